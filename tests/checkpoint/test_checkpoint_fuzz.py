"""Mutated checkpoints and capsules: each loads whole or is refused with one clear error; none runs code, hangs or eats memory.

They are read in child processes whose memory is limited; see `fuzz_files.py`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fuzz_files import MUTATIONS, SOURCES, laughter, with_wrong_types
from toy import build, only_training

import drivetrain
from drivetrain.checkpoint import save_checkpoint
from drivetrain.cli import main
from drivetrain.errors import CheckpointError, DrivetrainError
from drivetrain.runner import load_capsule, replay_step

SCRIPT = Path(__file__).with_name("fuzz_files.py")
NAMES = [mutation.__name__ for mutation in MUTATIONS]


def verdicts(folder: Path, first: int, count: int) -> dict[int, str]:
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder), str(first), str(count)]
    # A child finds the package where this process has it, installed or not.
    environment = {**os.environ, "PYTHONPATH": str(Path(drivetrain.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / "it_ran").exists()
    left = {path.name for path in folder.iterdir()}
    assert left == {*SOURCES, "mutated.pth"}
    return {int(number): said for number, said in json.loads(done.stdout).items()}


def judge(found: dict[int, str]) -> Counter[str]:
    """Check the verdicts; returns how many there are of each."""
    for number, said in found.items():
        name, source = NAMES[number % len(NAMES)], SOURCES[number // len(NAMES) % len(SOURCES)]
        what = f"mutation {number} ({name} {source}): {said}"
        assert said in ("refused", "same", "other content"), what
        if name in ("flipped", "truncated", "spliced") and source != "legacy.pth":  # the legacy format has no checksum
            assert said != "other content", what
    return Counter(found.values())


def test_a_sample_of_mutated_files_is_refused_or_loads_whole(tmp_path: Path) -> None:
    counts = judge(verdicts(tmp_path / "files", 0, 360))
    assert counts["refused"] > 200


@pytest.mark.slow
def test_mutated_files_are_refused_or_load_whole(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for first in range(1000, 7000, 1000):
        counts += judge(verdicts(tmp_path / str(first), first, 1000))
    print(dict(counts))
    assert sum(counts.values()) == 6000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir with a checkpoint and a capsule of a real run."""
    folder = tmp_path_factory.mktemp("saved")
    runner = build(folder, train_cfg={"by_epoch": True, "max_epochs": 2}, **WITH_EMA)
    inner, loop = runner.model.train_step, runner.train_loop

    def train_step(data: object, optim_wrapper: object) -> object:
        if loop.iter == 7:
            raise ValueError("boom")
        return inner(data, optim_wrapper=optim_wrapper)

    runner.model.train_step = train_step
    with pytest.raises(ValueError, match="boom"):
        runner.train()
    return folder


WITH_EMA = {"custom_hooks": [{"type": "EMAHook"}], **only_training()}


def count_refusals(saved: Path, folder: Path, source: str, count: int, use: Callable[[str], object]) -> int:
    """Let `use` have files with wrong types; nothing else than a `DrivetrainError` may come. Returns how many did."""
    path, data, refused = folder / source, (saved / source).read_bytes(), 0
    for number in range(count):
        path.write_bytes(with_wrong_types(data, random.Random(number), str(saved)))
        try:
            use(str(path))
        except DrivetrainError:
            refused += 1
    return refused


SOME = pytest.param(12, id="sample")
MANY = pytest.param(400, id="many", marks=pytest.mark.slow)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SOME, MANY])
def test_a_checkpoint_with_wrong_types_is_resumed_or_refused(saved: Path, tmp_path: Path, count: int) -> None:
    runner = build(tmp_path / "again", **WITH_EMA)
    runner.call_hook("before_run")
    runner.train_loop, runner.built_param_schedulers()
    assert count_refusals(saved, tmp_path, "epoch_1.pth", count, runner.resume) > count / 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SOME, MANY])
def test_a_capsule_with_wrong_types_is_replayed_or_refused(saved: Path, tmp_path: Path, count: int) -> None:
    def use(path: str) -> None:
        replay_step(build(tmp_path / "again", **WITH_EMA), path)

    assert count_refusals(saved, tmp_path, "crash_7.capsule", count, use) > count / 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SOME, MANY])
def test_the_commands_take_or_refuse_a_checkpoint_with_wrong_types(
    saved: Path, tmp_path: Path, count: int, capsys: pytest.CaptureFixture
) -> None:
    def use(path: str) -> None:
        out = str(tmp_path / "out.pth")
        for command in (["inspect"], ["inspect", "--json"], ["inspect", "--keys"], ["verify"]):
            assert main(["checkpoint", *command[:1], path, *command[1:]]) in (0, 1)
        for command in (["convert"], ["convert", "--to", "mmengine"], ["strip"], ["strip", "--raw"]):
            assert main(["checkpoint", *command[:1], path, out, "--force", *command[1:]]) in (0, 1)

    count_refusals(saved, tmp_path, "epoch_1.pth", count, use)


def test_a_small_file_that_never_ends_is_refused(tmp_path: Path) -> None:
    torch.save({"capsule": laughter()}, tmp_path / "laughter.pth")
    with pytest.raises(CheckpointError, match="than a walk could end"):
        load_capsule(tmp_path / "laughter.pth")


def test_a_container_in_many_places_is_no_reason_to_refuse(tmp_path: Path) -> None:
    shared = [[0, 1]] * 500
    save_checkpoint({"capsule": [shared] * 1000}, tmp_path / "shared.pth")
    with pytest.raises(CheckpointError, match="no crash capsule"):
        load_capsule(tmp_path / "shared.pth")
