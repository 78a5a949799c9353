from __future__ import annotations

import os

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain import dist
from drivetrain.dist._collect import _interleave
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, NotReadyError

CPU = torch.device("cpu")


@pytest.fixture
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM", "OMPI", "MASTER")) or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_one_process_is_rank_0_of_1():
    assert dist.get_dist_info() == (0, 1) and dist.is_main_process() and not dist.is_distributed()
    assert (dist.get_local_rank(), dist.get_local_size(), dist.get_local_group()) == (0, 1, None)
    assert dist.get_backend() is None and dist.get_comm_device() == CPU
    with pytest.raises(NotReadyError, match="init_dist"):
        dist.get_default_group()


def test_collectives_of_one_process_are_the_identity():
    data = torch.ones(2)
    for change in (dist.all_reduce, dist.broadcast):
        assert change(data) is None
    assert data.tolist() == [1, 1]
    assert dist.all_gather(data)[0] is data and dist.gather(data)[0] is data
    assert dist.gather_object(3) == [3] and dist.all_gather_object(3) == [3]
    dist.all_reduce_dict({"a": data})
    dist.all_reduce_params([data])
    dist.barrier()
    assert dist.collect_results([1, 2, 3], 2) == [1, 2]
    assert dist.collect_results([1, 2, 3], 2, "gpu", None) == [1, 2]


def test_collect_results_names_the_nearest_device():
    with pytest.raises(ArgumentError, match="Did you mean 'gpu'"):
        dist.collect_results([1], 1, "gpuu")


def test_collect_results_writes_nothing_into_tmpdir(tmp_path):
    dist.collect_results([1], 1, tmpdir=str(tmp_path))
    assert not list(tmp_path.iterdir())


@given(st.integers(1, 50), st.integers(1, 4))
def test_interleaving_restores_the_order_of_a_padding_sampler(size, world_size):
    order = list(range(size))
    while len(order) % world_size:
        order.append(order[len(order) - size])
    assert _interleave([order[rank::world_size] for rank in range(world_size)], size) == list(range(size))
    assert _interleave([list(range(size))[rank::world_size] for rank in range(world_size)], size) == list(range(size))


def test_sync_random_seed_is_numpys_next_draw():
    numpy.random.seed(3)
    expected = numpy.random.randint(2**31)
    numpy.random.seed(3)
    assert dist.sync_random_seed() == expected


def test_get_data_device_looks_through_nests():
    assert dist.get_data_device({"a": [torch.ones(1)], "b": torch.ones(1)}) == CPU
    with pytest.raises(ArgumentError, match="no tensor"):
        dist.get_data_device({})
    with pytest.raises(ArgumentError, match="cpu and meta"):
        dist.get_data_device([torch.ones(1), torch.ones(1, device="meta")])
    for wrong in ("abc", 3, [1]):
        with pytest.raises(ArgumentTypeError):
            dist.get_data_device(wrong)


def test_cast_data_device_keeps_the_form():
    data = {"a": [torch.ones(1), (torch.ones(1),)]}
    moved = dist.cast_data_device(data, torch.device("meta"))
    assert moved["a"][0].is_meta and type(moved["a"][1]) is tuple


def test_cast_data_device_writes_into_out():
    out = {"a": torch.zeros(1)}
    assert dist.cast_data_device({"a": torch.ones(1)}, CPU, out) is out
    assert out["a"].item() == 1
    with pytest.raises(NotFoundError, match="no key 'a'"):
        dist.cast_data_device({"a": torch.ones(1)}, CPU, {"b": torch.ones(1)})
    with pytest.raises(ArgumentTypeError, match="type of data"):
        dist.cast_data_device(torch.ones(1), CPU, [torch.ones(1)])
    with pytest.raises(ArgumentTypeError, match="as many items"):
        dist.cast_data_device([torch.ones(1)], CPU, [])


@pytest.mark.parametrize(
    ("variable", "launcher"),
    [("WORLD_SIZE", "pytorch"), ("SLURM_NTASKS", "slurm"), ("OMPI_COMM_WORLD_LOCAL_RANK", "mpi")],
)
def test_infer_launcher_reads_the_environment(environment, variable, launcher):
    assert dist.infer_launcher() == "none"
    environment.setenv(variable, "2")
    assert dist.infer_launcher() == launcher


def test_init_dist_explains_a_wrong_launcher_and_a_missing_one(environment):
    with pytest.raises(ArgumentError, match="Did you mean 'slurm'"):
        dist.init_dist("slrum")
    with pytest.raises(NotFoundError, match=r"RANK, WORLD_SIZE.*torchrun"):
        dist.init_dist("pytorch")
    with pytest.raises(NotFoundError, match="srun"):
        dist.init_dist("slurm")
    with pytest.raises(ArgumentError, match="init_backend"):
        dist.init_dist("pytorch", init_backend="deepspeed")


@pytest.mark.parametrize(
    ("launcher", "variables"),
    [
        ("pytorch", {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}),
        ("slurm", {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODELIST": "n[1-2]"}),
        ("mpi", {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}),
    ],
)
def test_init_dist_hands_each_launchers_ranks_to_torch(environment, launcher, variables):
    calls = []
    environment.setattr(torch.distributed, "init_process_group", lambda **kwargs: calls.append(kwargs))
    for name, value in {"MASTER_ADDR": "here", **variables}.items():
        environment.setenv(name, value)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        environment.setenv(name, os.environ.get(name, ""))  # so that the fixture restores them
        if launcher != "pytorch" or name == "MASTER_PORT":
            environment.delenv(name)
    dist.init_dist(launcher, backend="gloo", timeout=5)
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")] == ["1", "4", "1"]
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("here", "29500")
    assert calls[0]["backend"] == "gloo" and calls[0]["timeout"].total_seconds() == 5


def test_nccl_without_a_gpu_becomes_the_devices_own_backend_with_a_warning(environment):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    calls = []
    environment.setattr(torch.distributed, "init_process_group", lambda **kwargs: calls.append(kwargs))
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        environment.setenv(name, value)
    environment.setenv("MASTER_PORT", "1")
    environment.setenv("MASTER_ADDR", "here")
    with pytest.warns(UserWarning, match="using 'gloo'"):
        dist.init_dist("pytorch")
    assert calls[0]["backend"] == "gloo"


def test_master_only_keeps_the_functions_name():
    @dist.master_only
    def write() -> str:
        """Doc."""
        return "done"

    assert write() == "done" and write.__name__ == "write" and write.__doc__ == "Doc."
