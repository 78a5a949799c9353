"""`drivetrain replay CAPSULE`: from a config, over a crash, to the same step again."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.cli import main
from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, MODELS


@MODELS.register_module(force=True)
class ReplayNet(BaseModel):
    """Does not take the sample number 13; with `careful` it does."""

    def __init__(self, dropout: float = 0.0, careful: bool = False) -> None:
        super().__init__()
        self.stem, self.drop, self.head = nn.Linear(2, 8), nn.Dropout(dropout), nn.Linear(8, 3)
        self.careful = careful

    def forward(self, inputs, labels=None, number=None, mode="tensor"):
        if mode == "loss" and not self.careful and bool((number == 13).any()):
            raise ValueError("sample 13 again")
        logits = self.head(self.drop(self.stem(inputs)).relu())
        return {"loss": functional.cross_entropy(logits, labels)} if mode == "loss" else logits


@DATASETS.register_module(force=True)
class ReplayPoints(Dataset):
    def __init__(self, size: int, poison: int = -1) -> None:
        generator = torch.Generator().manual_seed(0)
        self.points = torch.randn(size, 2, generator=generator)
        self.labels = torch.randint(3, (size,), generator=generator)
        if poison >= 0:
            self.points[poison] = float("inf")

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return {"inputs": self.points[index], "labels": self.labels[index], "number": int(index)}


CONFIG = """\
model = dict(type="ReplayNet"{model})
train_dataloader = dict(
    dataset=dict(type="ReplayPoints", size=32{data}),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    batch_size=4,
)
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False, max_keep_ckpts=2))
randomness = dict(seed=0)
{more}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def crash(here: Path, error: type[Exception], model: str = "", data: str = "", more: str = "") -> Path:
    """Train until it fails; returns the capsule."""
    (here / "run.py").write_text(CONFIG.format(model=model, data=data, more=more))
    try:
        code = main(["train", "run.py", "--work-dir", "out"])
    except error:
        code = 1
    assert code == 1
    (capsule,) = (here / "out").glob("crash_*.capsule")
    return capsule


def test_an_exception_comes_again_at_the_same_step(here: Path, capsys: pytest.CaptureFixture) -> None:
    capsule = crash(here, ValueError)
    before = sorted(path.name for path in (here / "out").iterdir())
    capsys.readouterr()
    assert main(["replay", str(capsule)]) == 0
    out = capsys.readouterr().out
    assert "failed with ValueError: sample 13 again" in out
    assert "Run again, the step raised ValueError: sample 13 again (the same)" in out
    assert "test_cli_replay.py:" in out
    assert "batch.inputs: (4, 2) float32" in out
    assert sorted(path.name for path in (here / "out").iterdir()) == before


def test_a_fix_is_tried_with_another_config(here: Path, capsys: pytest.CaptureFixture) -> None:
    capsule = crash(here, ValueError)
    assert main(["replay", str(capsule), "--cfg-options", "model.careful=True"]) == 1
    assert "It did not fail again." in capsys.readouterr().out
    (here / "fixed.py").write_text(CONFIG.format(model=", careful=True", data="", more=""))
    assert main(["replay", str(capsule), "--config", "fixed.py"]) == 1


NON_FINITE = 'custom_hooks = [dict(type="NonFiniteHook", interval=3)]'


def test_a_loss_that_is_not_finite_is_reached_from_the_checkpoint_before_it(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    capsule = crash(here, ArithmeticError, ", careful=True", ", poison=13", NON_FINITE)
    assert main(["replay", str(capsule)]) == 0
    out = capsys.readouterr().out
    assert "Training from" in out
    assert "Before the step these weights" not in out
    assert "Not finite after it: loss" in out


def test_anomaly_names_the_module_and_the_operation(here: Path, capsys: pytest.CaptureFixture) -> None:
    capsule = crash(here, ArithmeticError, ", careful=True", ", poison=13", NON_FINITE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Error detected in")
        assert main(["replay", str(capsule), "--anomaly"]) == 0
    out = capsys.readouterr().out
    assert "The first output that was not finite: data_preprocessor (BaseDataPreprocessor)" in out
    assert "from non-finite inputs" in out
    assert "returned nan values" in out


def test_random_draws_are_told_of_unless_they_were_noted(here: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--cfg-options", "model.careful=True"]
    capsule = crash(here, ValueError, ", dropout=0.5")
    assert main(["replay", str(capsule), *options]) == 1
    assert "the step draws random numbers" in capsys.readouterr().out
    capsule.unlink()
    capsule = crash(here, ValueError, ", dropout=0.5", more="capsule = dict(rng=True)")
    assert main(["replay", str(capsule), *options]) == 1
    assert "Note" not in capsys.readouterr().out


def test_from_checkpoint_comes_to_the_same_step(here: Path, capsys: pytest.CaptureFixture) -> None:
    capsule = crash(here, ValueError)
    assert main(["replay", str(capsule), "--from-checkpoint"]) == 0
    assert "(the same)" in capsys.readouterr().out
    assert main(["replay", str(capsule), "--from-checkpoint", "no.pth"]) == 1


def test_what_is_no_capsule_is_refused(here: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": {}}, here / "a.pth")
    assert main(["replay", "a.pth"]) == 1
    assert "no crash capsule" in capsys.readouterr().err
