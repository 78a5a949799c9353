"""What a run consists of, as one dict, and back: the content of a checkpoint.

The top level is the contract's (`meta`, `state_dict`, `message_hub`, `optimizer`, `param_schedulers`); what the
contract has no place for (random states, positions of loaders, states of hooks) stands under `drivetrain`.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any

import numpy as np
import torch

from drivetrain.errors import CheckpointError
from drivetrain.logging import print_log
from drivetrain.typing import StateDict
from drivetrain.version import CONTRACT_VERSION, __version__

_PROGRESS = (
    *("last_step", "_global_step", "_last_value", "base_values", "verbose"),
    *("best", "num_bad_epochs", "cooldown_counter", "rule_worse"),
)
"""What a schedule's state holds beside the arguments it was made with."""

FORMAT = 1
"""Number of the layout under `drivetrain`; raised when a reader of the old one could not follow."""


def collect_meta(runner: Any, by_epoch: bool, given: StateDict | None) -> StateDict:
    """The `meta` of a checkpoint: where the run stands and how it was set up.

    A save in the middle of an epoch's or iteration's hooks counts the one that is ending, as the contract has it; a
    counter in `given` wins.
    """
    meta: StateDict = {
        "epoch": runner.epoch + 1 if by_epoch else runner.epoch,
        "iter": runner.iter if by_epoch else runner.iter + 1,
        "cfg": runner.cfg_text,
        "seed": runner.seed,
        "experiment_name": runner.experiment_name,
        "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
        "mmengine_version": CONTRACT_VERSION,
        "drivetrain_version": __version__,
    }
    metainfo = getattr(getattr(runner.train_dataloader, "dataset", None), "metainfo", None)
    if metainfo is not None:
        meta["dataset_meta"] = metainfo
    return {**meta, **(given or {})}


def collect_schedulers(schedulers: Any) -> Any:
    """States of all schedules: a list, or a dict of lists for several optimizers."""
    if hasattr(schedulers, "items"):
        return {name: collect_schedulers(chain) for name, chain in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers or []]


def restore_schedulers(schedulers: Any, state: Any) -> None:
    """Give each schedule its state.

    Raises:
        CheckpointError: the file holds another number of schedules than the run has.
    """
    if hasattr(schedulers, "items"):
        for name, chain in schedulers.items():
            restore_schedulers(chain, state[name])
        return
    chain = schedulers or []
    if len(chain) != len(state):
        raise CheckpointError(
            f"the checkpoint holds {len(state)} schedules and this run has {len(chain)}. Resume with the "
            "param_scheduler it was saved with, or load its weights alone with load_from."
        )
    for scheduler, saved in zip(chain, state, strict=True):
        _warn_of_changes(scheduler, saved)
        scheduler.load_state_dict(saved)


def _warn_of_changes(scheduler: Any, saved: StateDict) -> None:
    """Say so when the schedule was saved with other arguments than this run's, which the saved ones override."""
    given = vars(scheduler)
    changed = [name for name in saved if name in given and name not in _PROGRESS and given[name] != saved[name]]
    if changed:
        print_log(
            f"{type(scheduler).__name__} goes on as it was saved, with "
            f"{', '.join(f'{name}={saved[name]!r}' for name in changed)}; this run's "
            f"{', '.join(f'{name}={given[name]!r}' for name in changed)} has no effect. After its end the value stays "
            "where it is. For a schedule of another length, start a new run with load_from= and without resume.",
            logger="current",
            level=logging.WARNING,
        )


def collect_run_state(runner: Any) -> StateDict:
    """What the contract's keys do not hold: random states, positions, states of hooks."""
    state = {
        "format": FORMAT,
        "random": random_state(),
        "train_loop": _state_of(runner.train_loop),
        "hooks": _hook_states(runner.hooks),
    }
    if hasattr(runner.val_dataloader, "passes_made"):
        state["val_loader"] = runner.val_dataloader.passes_made()
    window = _open_window(runner.optim_wrapper)
    return state if window is None else {**state, "window": window}


def restore_run_state(runner: Any, state: StateDict, epoch: int, iteration: int) -> None:
    """Take over positions, states of hooks and, last, random states.

    Raises:
        CheckpointError: the file was written by a newer release in a layout this one does not know.
    """
    if state.get("format", FORMAT) > FORMAT:
        raise CheckpointError(
            f"the checkpoint's layout is number {state['format']}, and drivetrain {__version__} reads up to {FORMAT}. "
            "Update drivetrain to resume it."
        )
    if hasattr(runner.train_loop, "load_position"):
        runner.train_loop.load_position(epoch, iteration, state.get("train_loop"))
    if "val_loader" in state and hasattr(runner.val_dataloader, "go_on_behind"):
        runner.val_dataloader.go_on_behind(state["val_loader"])
    saved = state.get("hooks", {})
    for name, hook in _stateful_hooks(runner.hooks):
        if name in saved:
            hook.load_state_dict(saved[name])
    if "random" in state:
        restore_random_state(state["random"])


def restore_window(runner: Any, state: StateDict) -> None:
    """Go on inside an accumulation window that was open at the save, with its gradients.

    Raises:
        CheckpointError: the gradients are of other parameters.
    """
    wrapper = runner.optim_wrapper
    if hasattr(wrapper, "load_window_state"):
        wrapper.load_window_state(state.get("window"))


def _open_window(wrapper: Any) -> StateDict | None:
    return wrapper.window_state() if hasattr(wrapper, "window_state") else None


def random_state() -> StateDict:
    """The state of every generator that a training step may draw from."""
    numpy_state = np.random.get_state(legacy=False)
    state: StateDict = {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state()}
    if torch.accelerator.is_available():
        kind, module = _accelerator()
        state[kind] = module.get_rng_state_all()
    return state


def restore_random_state(state: StateDict) -> None:
    """Set every generator to a state that `random_state` returned; one for a device not here is left out."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.accelerator.is_available():
        kind, module = _accelerator()
        if kind in state and len(state[kind]) == module.device_count():
            module.set_rng_state_all([part.cpu() for part in state[kind]])


def _accelerator() -> tuple[str, Any]:
    device = torch.accelerator.current_accelerator()
    kind = "cpu" if device is None else device.type
    return kind, torch.get_device_module(kind)


def _state_of(part: Any) -> StateDict | None:
    return part.state_dict() if hasattr(part, "state_dict") else None


def _stateful_hooks(hooks: list[Any]) -> list[tuple[str, Any]]:
    """Hooks with a state, each under a name that is its class and, from the second of a class on, a number."""
    seen: dict[str, int] = {}
    named = []
    for hook in hooks:
        name = type(hook).__name__
        seen[name] = seen.get(name, 0) + 1
        if hasattr(hook, "state_dict") and hasattr(hook, "load_state_dict"):
            named.append((name if seen[name] == 1 else f"{name}#{seen[name]}", hook))
    return named


def _hook_states(hooks: list[Any]) -> dict[str, StateDict]:
    return {name: hook.state_dict() for name, hook in _stateful_hooks(hooks)}
