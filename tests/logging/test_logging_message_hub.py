"""MessageHub: no host read between reads, one copy at a read, flat memory, state."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError
from drivetrain.logging import HistoryBuffer, MessageHub


class NoHostRead(TorchDispatchMode):
    """Raises when a tensor's number is read on the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
            raise RuntimeError("host read")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def hub() -> MessageHub:
    return MessageHub.get_instance("test-hub")


@contextmanager
def counting_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    from drivetrain.logging import _device_values

    calls: list[int] = []
    copied = _device_values._copy

    def counted(scalars: list[Any], vectors: list[Any]) -> list[Any]:
        calls.append(len(scalars) + len(vectors))
        return copied(scalars, vectors)

    monkeypatch.setattr(_device_values, "_copy", counted)
    yield calls


def test_update_scalar_keeps_a_clone_not_a_reference(hub: MessageHub) -> None:
    loss = torch.tensor(1.0)
    hub.update_scalar("train/loss", loss)
    loss.fill_(9.0)
    assert hub.get_scalar("train/loss").current() == 1.0


def test_update_together_keeps_clones_not_references(hub: MessageHub) -> None:
    values = {"train/a": torch.tensor(1.0), "train/b": torch.tensor(2.0), "train/c": 3.0}
    hub.update_together(values)
    values["train/a"].fill_(9.0)
    values["train/b"].fill_(9.0)
    assert [hub.get_scalar(key).current() for key in values] == [1.0, 2.0, 3.0]


def test_updates_read_nothing_on_the_host_however_many(hub: MessageHub) -> None:
    with NoHostRead():
        for step in range(1500):
            if step % 400 == 0:
                hub.begin_epoch("train/", step)
            hub.update_scalar("train/loss", torch.tensor(float(step)))
            hub.update_together({"train/a": torch.tensor(1.0), "train/b": torch.tensor(float(step))})
    assert hub.flush_count == 0
    assert hub.get_scalar("train/loss").mean() == pytest.approx(sum(range(1500)) / 1500)
    assert hub.get_scalar("train/b").mean("epoch") == pytest.approx(np.mean(range(1200, 1500)))
    assert hub.get_scalar("train/loss").data[0].tolist() == [float(step) for step in range(1400, 1500)]
    assert hub.flush_count == 1


def test_one_read_brings_everything_over_in_one_copy_per_kind(hub: MessageHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(20):
        hub.update_together({"train/loss": torch.tensor(float(step)), "train/acc": torch.tensor(0.5)})
        hub.update_scalar("train/norm", torch.tensor(2.0))
        hub.update_scalar("train/count", torch.tensor(step))
    with counting_copies(monkeypatch) as copies:
        assert hub.get_scalar("train/loss").current() == 19.0
        assert len(copies) == 2  # float32 and int64
        assert hub.get_scalar("train/acc").mean(10) == 0.5
        assert hub.get_scalar("train/count").current() == 19
        assert len(copies) == 2
    assert hub.flush_count == 1


def test_values_that_nobody_reads_take_flat_memory(hub: MessageHub) -> None:
    for _ in range(3000):
        hub.update_scalar("train/loss", torch.tensor(1.0))
        hub.update_scalar("train/time", 0.1)
    loss, time = hub.get_scalar("train/loss"), hub.get_scalar("train/time")
    assert len(loss._pending) < 512 and len(time._pending) < 512
    assert loss._fold is not None and loss._fold.tail.numel() == 100
    assert loss._fold.tail.untyped_storage().nbytes() == 100 * 8


@pytest.mark.parametrize("read_every", [1, 7, 600, 5000])
def test_statistics_do_not_depend_on_when_they_are_read(hub: MessageHub, read_every: int) -> None:
    values = np.random.default_rng(0).normal(size=1700)
    for step, value in enumerate(values.tolist()):
        if step in (300, 1234):
            hub.begin_epoch("train/", step)
        kinds = (value, torch.tensor(value, dtype=torch.float64), np.float64(value))
        hub.update_scalar("train/x", kinds[step % 3])
        if step % read_every == 0:
            hub.flush()
    x = hub.get_scalar("train/x")
    assert x.data[0].tolist() == values[-100:].tolist()
    assert x.mean("global") == pytest.approx(values.mean())
    assert x.mean("epoch") == pytest.approx(values[1234:].mean())
    assert x.min("epoch") == values[1234:].min()
    assert x.max() == values.max()
    assert x.mean(10) == values[-10:].sum() / 10


def test_a_longer_window_is_kept_from_then_on_and_said_so(hub: MessageHub, capsys: pytest.CaptureFixture[str]) -> None:
    for step in range(300):
        hub.update_scalar("train/x", float(step))
    assert hub.get_scalar("train/x").mean(200) == np.mean(range(200, 300))
    assert "keeps the newest 100" in capsys.readouterr().out
    assert hub.retain() == 200
    for step in range(300, 600):
        hub.update_scalar("train/x", float(step))
    assert hub.get_scalar("train/x").mean(200) == np.mean(range(400, 600))
    assert capsys.readouterr().out == ""


def test_retain_in_time_loses_nothing(hub: MessageHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.retain(250)
    for step in range(600):
        hub.update_scalar("train/x", float(step))
    assert hub.get_scalar("train/x").mean(250) == np.mean(range(350, 600))
    assert capsys.readouterr().out == ""


def test_a_fold_made_before_the_window_grew_leaves_no_gap(hub: MessageHub) -> None:
    for step in range(50):
        hub.update_scalar("train/x", torch.tensor(float(step)))
    hub.flush()
    for step in range(50, 650):
        hub.update_scalar("train/x", torch.tensor(float(step)))
    hub.retain(1000)
    kept = hub.get_scalar("train/x").data[0]
    assert np.array_equal(kept, np.arange(650 - len(kept), 650))


def test_state_at_a_late_step_is_as_large_as_at_an_early_one(hub: MessageHub) -> None:
    sizes = []
    for step in range(1, 20001):
        hub.update_scalar("train/x", float(step))
        if step in (100, 20000):
            sizes.append(len(pickle.dumps(hub.state_dict())))
    assert sizes[1] <= 1.01 * sizes[0]


def test_peek_reads_nothing(hub: MessageHub) -> None:
    hub.update_scalar("train/x", torch.tensor(1.0))
    assert hub.get_scalar("train/x").peek() is None
    hub.flush()
    hub.update_scalar("train/x", torch.tensor(2.0))
    assert hub.get_scalar("train/x").peek() == 1.0
    assert hub.flush_count == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.array([2.0]), 2.0),
        (torch.tensor([3.0]), 3.0),
        (torch.tensor([[4]]), 4),
        (torch.tensor(1.5, requires_grad=True), 1.5),
        (torch.tensor(2.0, dtype=torch.bfloat16), 2.0),
    ],
)
def test_one_number_of_any_kind_is_a_scalar(hub: MessageHub, value: Any, expected: float) -> None:
    hub.update_scalar("x", value)
    assert hub.get_scalar("x").current() == expected
    assert not torch.is_tensor(hub.get_scalar("x").current())


@pytest.mark.parametrize("value", ["a", None, {"value": 1}, 1 + 1j])
def test_what_is_no_number_is_refused_by_name(hub: MessageHub, value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="'train/x' must be a number"):
        hub.update_scalar("train/x", value)
    with pytest.raises(ArgumentTypeError, match="'train/x' must be a number"):
        hub.update_together({"train/x": value})


@pytest.mark.parametrize("value", [torch.ones(2), np.ones((2, 1))])
def test_more_than_one_element_is_refused_with_the_shape(hub: MessageHub, value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"one element, got shape \(2"):
        hub.update_scalar("train/x", value)


def test_together_tensors_of_several_kinds_are_taken_one_by_one(hub: MessageHub) -> None:
    hub.update_together({"a": torch.tensor(1.0), "b": torch.tensor(2), "c": torch.tensor([3.0])})
    assert [hub.get_scalar(key).current() for key in "abc"] == [1.0, 2, 3.0]
    with pytest.raises(ArgumentError, match="one element"):
        hub.update_together({"a": torch.tensor(1.0), "b": torch.ones(2)})


def test_update_scalars_takes_values_and_dicts_with_counts(hub: MessageHub) -> None:
    hub.update_scalars({"a": 1.0, "b": {"value": 6.0, "count": 3}, "c": {"value": torch.tensor(2.0)}})
    assert [hub.get_scalar(key).mean() for key in "abc"] == [1.0, 2.0, 2.0]
    with pytest.raises(ArgumentError, match="'d' must have a `value`"):
        hub.update_scalars({"d": {"count": 3}})
    with pytest.raises(ArgumentTypeError, match="must be a dict"):
        hub.update_scalars([1])  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="count of 'a' must be an int"):
        hub.update_scalar("a", 1.0, 1.5)  # type: ignore[arg-type]


def test_infos_are_kept_by_reference_and_popped(hub: MessageHub) -> None:
    value = [1]
    hub.update_info("a", value)
    hub.update_info_dict({"b": 2})
    assert hub.get_info("a") is value and hub.runtime_info["b"] == 2
    assert hub.get_info("c", 3) == 3
    assert hub.pop_info("b") == 2 and hub.pop_info("b") is None
    with pytest.raises(ArgumentTypeError, match="must be a dict"):
        hub.update_info_dict([1])  # type: ignore[arg-type]


def test_resumed_cannot_change(hub: MessageHub) -> None:
    hub.update_scalar("x", 1.0)
    hub.update_info("y", 1, resumed=False)
    with pytest.raises(ArgumentError, match="'x' was first given with resumed=True"):
        hub.update_scalar("x", 1.0, resumed=False)
    with pytest.raises(ArgumentError, match="'y' was first given with resumed=False"):
        hub.update_info("y", 1)
    with pytest.raises(ArgumentTypeError, match="must be a bool"):
        hub.update_info("z", 1, resumed="yes")  # type: ignore[arg-type]


def test_a_missing_scalar_names_the_nearest(hub: MessageHub) -> None:
    hub.update_scalar("train/loss", 1.0)
    with pytest.raises(NotFoundError, match="Did you mean 'train/loss'"):
        hub.get_scalar("train/los")


def test_state_dict_holds_resumed_keys_only_and_copies(hub: MessageHub) -> None:
    hub.update_scalar("x", torch.tensor(1.0))
    hub.update_scalar("gone", 1.0, resumed=False)
    hub.update_info("info", [1])
    hub.update_info("gone_info", 1, resumed=False)
    state = hub.state_dict()
    assert {key: list(part) for key, part in state.items()} == {
        "log_scalars": ["x"],
        "runtime_info": ["info"],
        "resumed_keys": ["x", "info"],
    }
    hub.get_info("info").append(2)
    hub.update_scalar("x", 5.0)
    assert state["runtime_info"]["info"] == [1]
    assert state["log_scalars"]["x"].data[0].tolist() == [1.0]


def test_a_loaded_hub_goes_on_where_the_saved_one_was(hub: MessageHub) -> None:
    other = MessageHub.get_instance("other")
    hub.retain(120)
    for step in range(200):
        hub.update_scalar("train/x", torch.tensor(float(step)))
        if step == 150:
            hub.begin_epoch("train/", 7)
    other.update_info("stays", 1)
    other.load_state_dict(pickle.loads(pickle.dumps(hub.state_dict())))
    other.begin_epoch("train/", 7)  # resumed inside epoch 7
    for each in (hub, other):
        each.update_scalar("train/x", torch.tensor(5.0))
        each.update_scalar("train/y", torch.tensor(5.0))
    assert other.get_scalar("train/x").mean("epoch") == hub.get_scalar("train/x").mean("epoch")
    assert other.get_scalar("train/x").mean() == hub.get_scalar("train/x").mean()
    assert len(other.get_scalar("train/x").data[0]) == 100
    assert other.flush_count == 1 and other.get_info("stays") == 1


def test_a_scalar_that_appears_inside_an_epoch_belongs_to_it(hub: MessageHub) -> None:
    hub.begin_epoch("train/", 4)
    hub.update_scalar("train/late", 1.0)
    hub.begin_epoch("train/", 4)
    hub.update_scalar("train/late", 3.0)
    assert hub.get_scalar("train/late").mean("epoch") == 2.0


def test_begin_epoch_touches_its_prefix_only(hub: MessageHub) -> None:
    for key in ("train/x", "val/x"):
        hub.update_scalar(key, 1.0)
    hub.begin_epoch("val/")
    for key in ("train/x", "val/x"):
        hub.update_scalar(key, 3.0)
    assert (hub.get_scalar("train/x").mean("epoch"), hub.get_scalar("val/x").mean("epoch")) == (2.0, 3.0)


def test_loading_takes_another_hub_with_all_it_has(hub: MessageHub) -> None:
    hub.update_scalar("x", 1.0, resumed=False)
    hub.update_info("y", 2)
    other = MessageHub.get_instance("other")
    other.load_state_dict(hub)
    hub.update_scalar("x", 2.0, resumed=False)
    assert other.get_scalar("x").data[0].tolist() == [1.0] and other.get_info("y") == 2


def test_unusable_entries_are_left_out_with_a_warning(hub: MessageHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.load_state_dict(
        {
            "log_scalars": {"x": 5},
            "runtime_info": {"a": 1, "free": 2},
            "resumed_keys": {"x": True, "a": True, "z": False},
        }
    )
    assert list(hub.log_scalars) == [] and dict(hub.runtime_info) == {"a": 1, "free": 2}
    assert capsys.readouterr().out.count("WARNING") == 1


def test_a_long_history_is_cut_to_the_window_and_its_mean_kept(hub: MessageHub) -> None:
    history = HistoryBuffer(list(range(1000)), [1] * 1000)
    hub.load_state_dict({"log_scalars": {"x": history}, "runtime_info": {}, "resumed_keys": {"x": True}})
    assert len(hub.get_scalar("x").data[0]) == 100
    assert hub.get_scalar("x").mean() == 499.5
    assert len(history.data[0]) == 1000


def test_a_state_without_its_three_parts_is_refused(hub: MessageHub) -> None:
    with pytest.raises(ArgumentError, match="'runtime_info'"):
        hub.load_state_dict({"log_scalars": {}})
    with pytest.raises(ArgumentTypeError, match="must be a dict"):
        hub.load_state_dict(5)  # type: ignore[arg-type]


def test_an_info_that_cannot_be_copied_is_kept_with_a_warning(
    hub: MessageHub, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = threading.Lock()
    hub.update_info("lock", lock)
    assert hub.state_dict()["runtime_info"]["lock"] is lock
    assert "cannot be copied" in capsys.readouterr().out


def test_the_constructor_checks_what_it_is_given() -> None:
    with pytest.raises(ArgumentTypeError, match="'a' is int"):
        MessageHub("x", log_scalars={"a": 1})
    with pytest.raises(ArgumentError, match="'zz'"):
        MessageHub("x", resumed_keys={"zz": True})
    given = MessageHub(
        "x", log_scalars={"a": HistoryBuffer([1.0], [1])}, runtime_info={"b": 1}, resumed_keys={"a": True}
    )
    given.update_scalar("a", torch.tensor(3.0))
    assert given.log_scalars["a"].mean() == 2.0


def test_without_any_hub_the_current_one_is_made() -> None:
    for name in list(MessageHub._instance_dict):
        del MessageHub._instance_dict[name]
    assert MessageHub.get_current_instance().instance_name == "mmengine"


def test_a_series_may_turn_from_tensors_to_numbers_unread(hub: MessageHub) -> None:
    for step in range(2000):
        hub.update_scalar("x", torch.tensor(float(step)) if step < 600 else float(step))
    assert hub.flush_count == 0
    assert hub.get_scalar("x").mean("global") == pytest.approx(np.mean(range(2000)))
    assert hub.get_scalar("x").data[0].tolist() == [float(step) for step in range(1900, 2000)]


@pytest.fixture
def busy_threads() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_no_update_of_any_thread_is_lost(hub: MessageHub, busy_threads: None) -> None:
    def work(offset: int) -> None:
        for step in range(8000):
            hub.update_scalar("x", float(offset + step))
            if step % 2 == 0:
                hub.get_scalar("x").mean(10)

    threads = [threading.Thread(target=work, args=(10000 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [10000 * index + step for index in range(4) for step in range(8000)]
    assert hub.get_scalar("x").max("global") == max(expected)
    assert hub.get_scalar("x").mean("global") == pytest.approx(np.mean(expected))
    assert hub.get_scalar("x")._run.entries == 32000
