"""`drivetrain replay CAPSULE`."""

from __future__ import annotations

import argparse
import os
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.config import Config
from drivetrain.errors import ArgumentError, MissingFileError

from ._load import add_cfg_options, load_config
from ._run import build_runner
from ._text import shown_path

_EPILOG = """\
When a training step fails, the runner writes its batch, weights, states and config to crash_<iter>.capsule in the work
dir. This command builds the run that the config describes, in a scratch folder, and runs that step again.

A loss that is not finite is noticed some steps late, when the weights are damaged already. Such a step is reached by
training from the newest checkpoint before it, exactly as the run did; so is that of a capsule without weights.

Reading a capsule runs nothing. Building its run does, as every config does: for a capsule of somebody else give a
config of yours. The exit code is 0 where the step fails again, 1 where it does not.

examples:
  drivetrain replay work_dirs/resnet50/crash_1200.capsule
  drivetrain replay work_dirs/resnet50/crash_1200.capsule --anomaly
  drivetrain replay crash_1200.capsule --config configs/fixed.py        does the fix help?
  drivetrain replay crash_1200.capsule --from-checkpoint epoch_3.pth    train up to the step from there
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("capsule", metavar="CAPSULE", help="the file")
    parser.add_argument("--config", metavar="CONFIG", help="build the run from this config, not from the capsule's")
    add_cfg_options(parser)
    parser.add_argument(
        "--anomaly",
        action="store_true",
        help="find the operation whose gradient is NaN, and the first module whose output is not finite; slower",
    )
    parser.add_argument(
        "--from-checkpoint",
        nargs="?",
        const="",
        metavar="PATH",
        help="train up to the step from a checkpoint; without PATH from the one that the capsule names",
    )


def run(options: argparse.Namespace) -> int:
    """Run the step again; returns the exit code: 0 where it fails again.

    Raises:
        CheckpointError: the capsule is damaged, or does not fit.
        ArgumentError: there is no config.
    """
    from drivetrain.runner import load_capsule

    content = load_capsule(options.capsule)
    facts = content["capsule"]
    for line in introduced(content, options.capsule):
        print(line)
    checkpoint = checkpoint_for(content, options.from_checkpoint)
    with tempfile.TemporaryDirectory(prefix="drivetrain_replay_") as folder:
        cfg = config_of(content, options, folder)
        seen = _seen(cfg, content, checkpoint, options.anomaly)
    for line in told(seen, facts):
        print(line)
    return int(not fails_again(seen, facts))


def introduced(content: Mapping[str, Any], path: str) -> Iterator[str]:
    """What the capsule says, in lines."""
    facts = content["capsule"]
    message = facts["message"].splitlines() or [""]
    yield f"{shown_path(path)}: step {facts['step']} of the run"
    yield f"  failed with {facts['error']}: {message[0]}"
    yield f"  {facts['moment']}; random states {facts['random']}"
    for part in facts["left_out"]:
        yield f"  left out: {part}"
    for name, shape in _shapes(content["batch"]):
        yield f"  {name}: {shape}"


def checkpoint_for(content: Mapping[str, Any], asked: str | None) -> str | None:
    """The checkpoint to train from up to the step, None if the capsule itself has what the step needs.

    Raises:
        MissingFileError: the one that was asked for is not there.
    """
    facts = content["capsule"]
    named = asked or facts.get("checkpoint")
    if asked is not None:
        if type(named) is not str or not os.path.exists(named):
            raise MissingFileError(f"--from-checkpoint: there is no file {named!r}. Give the path of a checkpoint.")
        return named
    whole = all(content.get(name) is not None for name in ("batch", "state_dict", "optimizer"))
    if whole and facts["moment"] == "before the update":
        return None
    return named if type(named) is str and os.path.exists(named) else None


def config_of(content: Mapping[str, Any], options: argparse.Namespace, folder: str) -> Config:
    """The config of the run, for a scratch folder: nothing of the run's own is written or uploaded.

    Raises:
        ArgumentError: the capsule was made by a script that gave the runner objects.
    """
    path = options.config
    if path is None:
        text = content.get("meta", {}).get("cfg")
        if type(text) is not str or not text.strip():
            raise ArgumentError(
                f"{options.capsule!r} has no config: a script made its runner of objects. Give --config, or make the "
                "same runner in the script and call drivetrain.runner.replay_step(runner, path)."
            )
        path = os.path.join(folder, "capsule_config.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    cfg = load_config(argparse.Namespace(config=path, cfg_options=options.cfg_options))
    seed = content.get("meta", {}).get("seed")
    quiet = {"work_dir": os.path.join(folder, "run"), "log_level": "WARNING", "visualizer": None, "launcher": "none"}
    alone = {"load_from": None, "resume": False, "capsule": False, "graph": False, "signals": False}
    cfg.update({**quiet, **alone, "randomness": {**(cfg.get("randomness") or {}), "seed": seed}})
    cfg.default_hooks = {**(cfg.get("default_hooks") or {}), "checkpoint": None}
    return cfg


def _seen(cfg: Config, content: dict[str, Any], checkpoint: str | None, anomaly: bool) -> Any:
    from drivetrain.runner import replay_from_checkpoint, replay_step

    if checkpoint is None:
        return replay_step(build_runner(cfg), content, anomaly)
    print(f"Training from {shown_path(checkpoint)} up to step {content['capsule']['step']}.")
    cfg.load_from, cfg.resume = checkpoint, True
    return replay_from_checkpoint(build_runner(cfg), content["capsule"]["step"], anomaly)


def fails_again(seen: Any, facts: Mapping[str, Any]) -> bool:
    """Whether the step did again what the capsule tells of."""
    if facts["error"] == "NonFiniteError":
        return bool(seen.non_finite) or seen.error is not None
    return seen.error is not None and type(seen.error).__name__ == facts["error"]


def told(seen: Any, facts: Mapping[str, Any]) -> Iterator[str]:
    """What happened, in lines."""
    if seen.damaged_before:
        yield f"Before the step these weights were not finite already: {_some(seen.damaged_before)}."
    if seen.error is None:
        yield f"Run again, the step ended: {', '.join(f'{name} {value:.6g}' for name, value in seen.log_vars.items())}"
    else:
        same = type(seen.error).__name__ == facts["error"] and str(seen.error) == facts["message"]
        yield f"Run again, the step raised {type(seen.error).__name__}: {seen.error}{' (the same)' if same else ''}"
        yield f"  at {_place(seen.error)}"
    if seen.non_finite:
        yield f"Not finite after it: {_some(seen.non_finite)}."
    if seen.first_bad_output:
        yield f"The first output that was not finite: {seen.first_bad_output}."
    for note in seen.notes:
        yield f"Note: {note}."
    yield "It failed again." if fails_again(seen, facts) else "It did not fail again."


def _place(error: BaseException) -> str:
    """The line of the user's own code that an error came through last, or of whoever raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    packages = (f"{os.sep}torch{os.sep}", f"{os.sep}drivetrain{os.sep}")
    own = [frame for frame in frames if not any(package in frame.filename for package in packages)]
    frame = (own or list(frames))[-1]
    return f"{shown_path(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _shapes(value: Any, path: str = "batch") -> Iterator[tuple[str, str]]:
    """Tensors of a batch, in words."""
    from ._checkpoint import tensors_in

    for name, tensor in list(tensors_in(value, path))[:8]:
        bad = int((~tensor.isfinite()).sum())
        said = f", {bad} of its values not finite" if bad else ""
        yield name, f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}{said}"
