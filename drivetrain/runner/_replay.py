"""Run the training step of a crash capsule again, and watch it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drivetrain.checkpoint import CheckpointLoader
from drivetrain.errors import CheckpointError
from drivetrain.typing import StateDict

from ._capsule import FORMAT
from ._capsule_batch import unpack
from ._counted import counted_losses
from ._refusal import refused_clearly
from ._stages import current_objects
from ._state import restore_random_state, restore_window

_TYPES = {"error": str, "message": str, "traceback": str, "step": int, "moment": str, "random": str, "left_out": list}
_MAPPINGS = ("meta", "drivetrain", "state_dict", "optimizer", "message_hub")


@dataclass(frozen=True)
class Replay:
    """What happened when a step was run again.

    Attributes:
        step: which step of the run, from 1.
        error: what it raised; None if it ended.
        log_vars: what it returned, as numbers.
        non_finite: names of the losses and of the weights after the step that are NaN or infinite.
        damaged_before: names of the weights that were so before the step.
        first_bad_output: the first module whose output was NaN or infinite, and what it got; None without `anomaly`, or
            if there was none.
        draws: whether the step drew random numbers.
        is_exact: whether the step began in the state it began with in the run, random numbers included.
        notes: why it may differ from the step in the run.
    """

    step: int
    error: Exception | None
    log_vars: dict[str, float]
    non_finite: list[str]
    damaged_before: list[str]
    first_bad_output: str | None
    draws: bool
    is_exact: bool
    notes: list[str] = field(default_factory=list)


def load_capsule(path: str | Path) -> StateDict:
    """What a capsule holds, on the CPU, its batch rebuilt; nothing in it is run.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is damaged, or no capsule.
    """
    content = CheckpointLoader.load_checkpoint(path, "cpu", logger="silent")
    facts = content.get("capsule") if type(content) is dict else None
    if type(facts) is not dict:
        raise CheckpointError(f"{str(path)!r} is no crash capsule: it has no 'capsule' at its top.")
    if type(facts.get("format")) is not int or facts["format"] > FORMAT:
        raise CheckpointError(
            f"the layout of {str(path)!r} is {facts.get('format')!r}, and this version reads up to {FORMAT}."
        )
    wrong = next((name for name, kind in _TYPES.items() if type(facts.get(name)) is not kind), None)
    wrong = wrong or next((name for name in _MAPPINGS if not hasattr(content.get(name, {}), "items")), None)
    if wrong:
        raise CheckpointError(f"the capsule {str(path)!r} is damaged: its {wrong!r} is missing or of a wrong type.")
    try:
        content["batch"] = unpack(content.get("batch"))
    except RecursionError:
        raise CheckpointError(f"the batch in {str(path)!r} is nested too deeply.") from None
    return content


def replay_step(runner: Any, capsule: str | Path | StateDict, anomaly: bool = False) -> Replay:
    """Give a new runner the state of a capsule and run the capsule's step.

    Hooks are not called, and nothing is compiled or captured. The runner is of no use for training afterwards.

    Args:
        runner: made as the one that failed, and not started.
        capsule: its path, or what `load_capsule` returned.
        anomaly: let autograd find the operation whose gradient is NaN, and look at the output of every module.

    Raises:
        CheckpointError: the capsule has no batch or no weights, or does not fit the runner.
    """
    content: Any = capsule if hasattr(capsule, "items") else load_capsule(capsule)
    facts = content["capsule"]
    for name, what in (("batch", "batch"), ("state_dict", "weights"), ("optimizer", "optimizer's state")):
        if content.get(name) is None:
            raise CheckpointError(
                f"the capsule has no {what}: {'; '.join(map(str, facts['left_out'])) or 'the step had not begun'}. "
                "Its step can be run again from a checkpoint: see drivetrain replay --help."
            )
    _restore(runner, content)
    notes = _differences(facts)
    wrapper = runner.built_optim_wrapper()
    with current_objects(runner), counted_losses(runner):
        seen = _observe(runner, lambda: runner.model.train_step(content["batch"], optim_wrapper=wrapper), anomaly)
    if seen.draws and facts["random"] != "before the step":
        notes.append(
            "the step draws random numbers, and the capsule has the generators' states at the crash: it drew others "
            "than in the run. With capsule=dict(rng=True) a run notes them before each step"
        )
    return Replay(**{**vars(seen), "step": facts["step"], "notes": notes, "is_exact": not notes})


class _Reached(BaseException):
    """Training has come to the step it was run for."""


def replay_from_checkpoint(runner: Any, step: int, anomaly: bool = False) -> Replay:
    """Train from the checkpoint that the runner resumes up to a step, and watch that one.

    Resuming is exact, so the step is the one of the run.

    Args:
        runner: made with `load_from=` and `resume=True`, and not started. Its work dir should not be the run's.
        step: which, from 1; it comes after the checkpoint.
        anomaly: as in `replay_step`, at this step alone.

    Raises:
        CheckpointError: training ended before that step, or began after it.
    """
    loop, seen = runner.train_loop, []
    inner = loop.train_step

    def train_step(data_batch: Any) -> Any:
        if loop.iter + 1 < step:
            return inner(data_batch)
        if loop.iter + 1 == step:
            seen.append(_observe(runner, lambda: inner(data_batch), anomaly))
        raise _Reached

    loop.train_step = train_step
    with suppress(_Reached):
        runner.train()
    if not seen:
        raise CheckpointError(f"the run did not come to step {step}: it stands at {loop.iter} steps.")
    return Replay(**{**vars(seen[0]), "step": step})


def _observe(runner: Any, step: Callable[[], Any], anomaly: bool) -> Replay:
    """Run `step` and say what happened; the runner's model is what it trains."""
    model = runner.strategy.unwrap(runner.model)
    before = _bad_in(model.state_dict())
    random_before = _random_mark()
    error, outputs, watched = None, {}, _Outputs()
    model.train()
    with watched.of(model) if anomaly else nullcontext():
        try:
            with torch.autograd.set_detect_anomaly(anomaly):
                outputs = step()
        except Exception as raised:
            error = raised
    log_vars = {name: _number(value) for name, value in outputs.items() if _is_number(value)}
    return Replay(
        step=0,
        error=error,
        log_vars=log_vars,
        non_finite=[name for name, value in log_vars.items() if not np.isfinite(value)] + _bad_in(model.state_dict()),
        damaged_before=before,
        first_bad_output=watched.first,
        draws=_random_mark() != random_before,
        is_exact=True,
    )


def _restore(runner: Any, content: StateDict) -> None:
    """Put weights, optimizer, log values and random states where they stood.

    Raises:
        CheckpointError: they do not fit the runner.
    """
    facts, wrapper = content["capsule"], runner.built_optim_wrapper()
    with refused_clearly("the capsule's state"):
        runner.strategy.load_model_state_dict(runner.model, content["state_dict"], strict=True)
        runner.strategy.load_optim_state_dict(wrapper, content["optimizer"])
        restore_window(runner, content)
        if "message_hub" in content:
            runner.message_hub.load_state_dict(content["message_hub"])
        wrapper.initialize_count_status(runner.model, facts["step"] - 1, facts.get("max_iters") or facts["step"])
        restore_random_state(content["drivetrain"]["random"])


def _differences(facts: Mapping[str, Any]) -> list[str]:
    """Why the state is not the one the step began with."""
    notes = []
    if facts["moment"] != "before the update":
        notes.append(f"the weights are those {facts['moment']} of the step, which had ended when the error came")
    if facts["left_out"]:
        notes.append(f"left out of the capsule: {'; '.join(map(str, facts['left_out']))}")
    return notes


class _Outputs:
    """Looks at what modules return, for the first that is NaN or infinite."""

    def __init__(self) -> None:
        self.first: str | None = None
        self._names: dict[int, str] = {}

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Look at every module of `model` while the block lasts."""
        self._names = {id(module): name for name, module in model.named_modules()}
        handles = [module.register_forward_hook(self._look) for module in model.modules()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _look(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.first is not None:
            return
        bad = next((tensor for tensor in _floats_in(output) if not bool(torch.isfinite(tensor).all())), None)
        if bad is None:
            return
        whole = all(bool(torch.isfinite(tensor).all()) for tensor in _floats_in(inputs))
        count = int((~torch.isfinite(bad)).sum())
        name = self._names[id(module)] or "the model"
        self.first = (
            f"{name} ({type(module).__name__}): {count} of {bad.numel()} values of its output {tuple(bad.shape)}, from "
            f"{'finite' if whole else 'non-finite'} inputs"
        )


def _floats_in(value: Any) -> Iterator[Tensor]:
    if torch.is_tensor(value):
        if value.is_floating_point():
            yield value
    elif hasattr(value, "values") and callable(value.values):
        for item in value.values():
            yield from _floats_in(item)
    elif type(value) in (list, tuple):
        for item in value:
            yield from _floats_in(item)


def _bad_in(state: Mapping[str, Any]) -> list[str]:
    return [name for name, value in state.items() if any(not bool(torch.isfinite(t).all()) for t in _floats_in(value))]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) or (torch.is_tensor(value) and value.numel() == 1)


def _number(value: Any) -> float:
    return float(value.detach() if torch.is_tensor(value) else value)


def _random_mark() -> Any:
    marks = [torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state(legacy=True))]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        module: Any = torch.get_device_module("cpu" if kind is None else kind.type)
        marks.append([state.numpy().tobytes() for state in module.get_rng_state_all()])
    return marks
