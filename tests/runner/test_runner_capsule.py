"""What is in a crash capsule, when one is written, and that the step in it is the step of the run."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import Recorder, ToyNet, build, only_training

from drivetrain.checkpoint import save_checkpoint
from drivetrain.errors import ArgumentError, ArgumentTypeError, CheckpointError, NonFiniteError
from drivetrain.hooks import Hook
from drivetrain.runner import load_capsule, replay_step
from drivetrain.runner._capsule_batch import pack, unpack
from drivetrain.structures import BaseDataElement, InstanceData


class Failing(ToyNet):
    """Fails at its eighth step; or only returns a loss that is then not finite."""

    def __init__(self, nan: bool = False, at: int = 8, **other: Any) -> None:
        super().__init__(**other)
        self.nan, self.at, self.calls = nan, at, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        found = super().forward(*args, **kwargs)
        if self.calls == self.at:
            if not self.nan:
                raise ValueError("step eight")
            found["loss_ce"] = found["loss_ce"] * float("nan")
        return found


def capsules(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.capsule"))


def crash(folder: Path, error: type[Exception] = ValueError, **changes: Any) -> None:
    changes.setdefault("model", Failing(dropout=0.0))
    runner = build(folder, **{**only_training(), **changes})
    with pytest.raises(error):
        runner.train()


def test_a_failing_step_leaves_a_capsule_with_its_batch_and_position(tmp_path: Path) -> None:
    crash(tmp_path)
    assert capsules(tmp_path) == ["crash_7.capsule"]
    content = load_capsule(tmp_path / "crash_7.capsule")
    facts = content["capsule"]
    assert (facts["error"], facts["message"], facts["step"], facts["batch_idx"]) == ("ValueError", "step eight", 8, 2)
    assert facts["moment"] == "before the update" and facts["left_out"] == []
    assert facts["checkpoint"] == str(tmp_path / "epoch_1.pth")
    assert content["batch"]["inputs"].shape == (4, 3, 6, 6)
    assert (content["meta"]["epoch"], content["meta"]["iter"]) == (1, 7)


@pytest.mark.parametrize("rng", [False, True])
def test_the_replayed_step_has_the_losses_of_the_run_bit_for_bit(tmp_path: Path, rng: bool) -> None:
    dropout = 0.3 if rng else 0.0
    recorder = Recorder()
    build(tmp_path / "whole", model=ToyNet(dropout=dropout), custom_hooks=[recorder], **only_training()).train()
    torch.manual_seed(0)
    crash(tmp_path / "cut", model=Failing(dropout=dropout), capsule={"rng": rng})
    runner = build(tmp_path / "again", model=Failing(dropout=dropout, at=-1), **only_training())
    seen = replay_step(runner, tmp_path / "cut" / "crash_7.capsule")
    assert seen.error is None and seen.is_exact and seen.draws == rng
    assert seen.log_vars["loss"] == float(recorder.losses[7])


def test_without_noted_random_states_a_step_that_draws_is_said_to_differ(tmp_path: Path) -> None:
    crash(tmp_path, model=Failing(dropout=0.3))
    runner = build(tmp_path / "again", model=Failing(dropout=0.3, at=-1), **only_training())
    seen = replay_step(runner, tmp_path / "crash_7.capsule")
    assert not seen.is_exact and "draws random numbers" in seen.notes[0]


def test_a_loss_that_is_not_finite_leaves_a_capsule_that_names_the_step(tmp_path: Path) -> None:
    hook = {"type": "NonFiniteHook", "interval": 2}
    crash(tmp_path, NonFiniteError, model=Failing(nan=True), custom_hooks=[hook])
    (name,) = capsules(tmp_path)
    facts = load_capsule(tmp_path / name)["capsule"]
    assert facts["step"] == 8 and facts["moment"] == "after the update"


class FailingHook(Hook):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter == 3:
            raise self.error


def test_an_error_after_the_update_is_known_as_such(tmp_path: Path) -> None:
    crash(tmp_path, KeyError, model=ToyNet(), custom_hooks=[FailingHook(KeyError("x"))])
    assert load_capsule(tmp_path / "crash_3.capsule")["capsule"]["moment"] == "after the update"


@pytest.mark.parametrize("error", [OSError("disk full"), CheckpointError("no"), KeyboardInterrupt()])
def test_errors_of_the_disk_and_interrupts_leave_none(tmp_path: Path, error: Any) -> None:
    crash(tmp_path, type(error), model=ToyNet(), custom_hooks=[FailingHook(error)], signals=False)
    assert capsules(tmp_path) == []


def test_capsule_false_leaves_none(tmp_path: Path) -> None:
    crash(tmp_path, capsule=False)
    assert capsules(tmp_path) == []


def test_only_the_newest_capsules_stay(tmp_path: Path) -> None:
    for at in (3, 4, 5):
        crash(tmp_path, model=Failing(at=at))
    assert capsules(tmp_path) == ["crash_3.capsule", "crash_4.capsule"]
    crash(tmp_path, model=Failing(at=2), capsule={"keep": 1})
    assert capsules(tmp_path) == ["crash_1.capsule"]


def test_above_the_limit_weights_are_left_out_and_the_checkpoint_is_named(tmp_path: Path) -> None:
    crash(tmp_path, capsule={"max_bytes": 1100})
    content = load_capsule(tmp_path / "crash_7.capsule")
    assert "state_dict" not in content and "optimizer" not in content
    assert "weights and optimizer: 1160 bytes" in content["capsule"]["left_out"][1]
    assert content["capsule"]["checkpoint"].endswith("epoch_1.pth")
    runner = build(tmp_path / "again", model=Failing(at=-1), **only_training())
    with pytest.raises(CheckpointError, match="has no batch"):
        replay_step(runner, content)


def test_a_capsule_that_cannot_be_written_does_not_hide_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("drivetrain.runner._capsule.save_checkpoint", full)
    crash(tmp_path)
    assert capsules(tmp_path) == []


def test_a_step_is_not_touched_unless_random_states_are_noted(tmp_path: Path) -> None:
    steps = []

    class Look(Hook):
        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            steps.append("train_step" in vars(runner.train_loop))

    for rng in (False, True):
        build(tmp_path, custom_hooks=[Look()], capsule={"rng": rng}, **only_training()).train()
    assert steps == [False] * 15 + [True] * 15


@pytest.mark.parametrize(
    ("given", "error"),
    [("yes", ArgumentTypeError), ({"rgn": True}, ArgumentError), ({"keep": 0}, ArgumentError)],
)
def test_a_wrong_setting_is_an_error(tmp_path: Path, given: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="capsule"):
        build(tmp_path, capsule=given)


class Mine(BaseDataElement):
    pass


def test_data_elements_come_back_in_their_class_and_what_cannot_be_saved_is_noted() -> None:
    sample = Mine(metainfo={"img_shape": (4, 5)})
    sample.gt = InstanceData(boxes=torch.ones(2, 4), labels=torch.tensor([1, 2]))
    pair = namedtuple("pair", "a b")(torch.zeros(3), "text")
    left_out: list[str] = []
    packed = pack({"samples": [sample], "pair": pair, "odd": object()}, left_out)
    assert left_out == ["batch['odd']: a builtins.object"]
    back = unpack(packed)
    assert type(back["samples"][0]) is Mine and back["samples"][0].img_shape == (4, 5)
    assert type(back["samples"][0].gt) is InstanceData and len(back["samples"][0].gt) == 2
    assert back["pair"][1] == "text" and back["odd"] is None


def test_an_element_of_a_class_that_is_not_loaded_is_one_of_ours() -> None:
    packed = pack([InstanceData(boxes=torch.ones(2, 4))], [])
    packed[0]["__element__"] = "os.system"
    assert type(unpack(packed)[0]) is InstanceData
    packed[0]["base"] = "Path"
    with pytest.raises(CheckpointError, match="damaged data element"):
        unpack(packed)


def test_a_view_does_not_take_its_whole_tensor_into_the_file(tmp_path: Path) -> None:
    save_checkpoint(pack(torch.zeros(1_000_000)[:4], []), tmp_path / "small.pth")
    assert (tmp_path / "small.pth").stat().st_size < 10_000
