"""One spawn for all collectives: starting processes is what takes the time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gloo_processes import run_on_processes

from drivetrain import dist
from drivetrain.errors import ArgumentError, ArgumentTypeError


def every_collective(rank: int) -> dict[str, Any]:
    value = float(rank + 1)
    seen: dict[str, Any] = {}
    seen["info"] = (dist.get_dist_info(), dist.is_distributed(), dist.is_main_process(), dist.get_backend())
    seen["local"] = (dist.get_local_rank(), dist.get_local_size())
    seen["comm"] = str(dist.get_comm_device())
    seen["default_group"] = dist.get_world_size(dist.get_default_group())
    seen["master_only"] = dist.master_only(lambda: "ran")()

    for op in ("sum", "mean", "product", "min", "max"):
        data = torch.tensor([value, -value])
        dist.all_reduce(data, op)
        seen[op] = data.tolist()
    for name, wrong in (("bad_op", (torch.ones(1), "summ")), ("int_mean", (torch.ones(1, dtype=torch.long), "mean"))):
        try:
            dist.all_reduce(*wrong)
        except (ArgumentError, ArgumentTypeError) as error:
            seen[name] = str(error)

    strided = torch.full((4,), value)[::2]
    dist.broadcast(strided, src=1)
    seen["broadcast"] = strided.tolist()
    parameter = torch.nn.Parameter(torch.tensor([value]))
    dist.broadcast(parameter)
    seen["broadcast_parameter"] = parameter.item()

    seen["all_gather"] = [part.item() for part in dist.all_gather(torch.tensor(value))]
    seen["gather"] = [part.item() for part in dist.gather(torch.tensor(value), dst=1)]
    seen["gather_object"] = dist.gather_object({"rank": rank})
    seen["all_gather_object"] = dist.all_gather_object("ab"[rank])
    objects = [rank, {"r": rank}]
    dist.broadcast_object_list(objects, src=1)
    seen["broadcast_object_list"] = objects

    graph = torch.tensor(value, requires_grad=True)
    named = {"b": torch.tensor([value]), "a": graph * 2, "n": torch.tensor(rank)}
    if rank:
        named = dict(reversed(named.items()))
    dist.all_reduce_dict(named)
    seen["all_reduce_dict"] = {name: tensor.tolist() for name, tensor in named.items()}

    for coalesce, bucket in ((True, -1), (True, 1), (False, -1)):
        params = [torch.full((300_000,), value), torch.tensor(rank), torch.full((2, 2), value)]
        dist.all_reduce_params(iter(params), coalesce=coalesce, bucket_size_mb=bucket)
        seen[f"params {coalesce} {bucket}"] = [float(param.flatten()[-1]) for param in params]

    seen["seed"] = dist.sync_random_seed()
    for size in range(1, 6):
        mine = list(range(size))[rank::2] or [0]
        seen[f"collect {size}"] = dist.collect_results(mine, size)
        seen[f"collect gpu {size}"] = dist.collect_results(mine, size, device="gpu")
    uneven = list(range(5))[rank::2]
    seen["collect uneven"] = dist.collect_results(uneven, 5)

    dist.init_local_group(0, 2)
    seen["local group"] = (dist.get_local_rank(), dist.get_local_size(), dist.get_world_size(dist.get_local_group()))
    dist.barrier()
    return seen


@pytest.fixture(scope="module")
def seen() -> list[dict[str, Any]]:
    return run_on_processes(every_collective)


def test_every_process_knows_its_place(seen):
    assert seen[0]["info"] == ((0, 2), True, True, "gloo")
    assert seen[1]["info"] == ((1, 2), True, False, "gloo")
    assert [part["local"] for part in seen] == [(0, 1), (1, 1)]
    assert [part["local group"] for part in seen] == [(0, 2, 2), (1, 2, 2)]
    assert seen[0]["comm"] == "cpu" and seen[0]["default_group"] == 2


def test_master_only_runs_on_rank_0_alone(seen):
    assert [part["master_only"] for part in seen] == ["ran", None]


@pytest.mark.parametrize(
    ("op", "expected"),
    [("sum", [3, -3]), ("mean", [1.5, -1.5]), ("product", [2, 2]), ("min", [1, -2]), ("max", [2, -1])],
)
def test_all_reduce(seen, op, expected):
    assert [part[op] for part in seen] == [expected, expected]


def test_all_reduce_names_the_nearest_operation_and_refuses_the_mean_of_integers(seen):
    assert "'sum'" in seen[0]["bad_op"] and "'summ'" in seen[0]["bad_op"]
    assert "torch.int64" in seen[0]["int_mean"]


def test_broadcast_writes_in_place_also_into_views_and_parameters(seen):
    assert [part["broadcast"] for part in seen] == [[2, 2], [2, 2]]
    assert [part["broadcast_parameter"] for part in seen] == [1, 1]


def test_gathers_are_in_rank_order(seen):
    assert [part["all_gather"] for part in seen] == [[1, 2], [1, 2]]
    assert [part["gather"] for part in seen] == [[], [1, 2]]
    assert [part["gather_object"] for part in seen] == [[{"rank": 0}, {"rank": 1}], None]
    assert [part["all_gather_object"] for part in seen] == [["a", "b"], ["a", "b"]]
    assert [part["broadcast_object_list"] for part in seen] == [[1, {"r": 1}]] * 2


def test_all_reduce_dict_matches_names_whatever_their_order(seen):
    assert [part["all_reduce_dict"] for part in seen] == [{"b": [3], "a": 6, "n": 1}] * 2


@pytest.mark.parametrize("way", ["True -1", "True 1", "False -1"])
def test_all_reduce_params_gives_the_same_sums_however_they_are_sent(seen, way):
    assert [part[f"params {way}"] for part in seen] == [[3, 1, 3]] * 2


def test_sync_random_seed_is_rank_0s(seen):
    assert seen[0]["seed"] == seen[1]["seed"]


@pytest.mark.parametrize("size", range(1, 6))
def test_collect_results_restores_the_order_and_cuts_the_padding(seen, size):
    for name in (f"collect {size}", f"collect gpu {size}"):
        assert [part[name] for part in seen] == [list(range(size)), None]


def test_collect_results_drops_nothing_of_unequal_parts(seen):
    assert seen[0]["collect uneven"] == [0, 1, 2, 3, 4]
