"""When a run takes its weights or its whole state from a file, and how it writes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from drivetrain.checkpoint import (
    _load_checkpoint,
    _load_checkpoint_to_model,
    find_good_checkpoint,
    save_checkpoint,
    wait_for_saves,
)
from drivetrain.dist import barrier, broadcast_object_list, is_main_process
from drivetrain.errors import ArgumentTypeError, CheckpointError, MissingFileError
from drivetrain.fileio import join_path
from drivetrain.hooks import EMAHook
from drivetrain.typing import StateDict

from ._refusal import clearly
from ._state import (
    collect_meta,
    collect_run_state,
    collect_schedulers,
    restore_run_state,
    restore_schedulers,
    restore_window,
)


def load_or_resume(runner: Any, load_from: str | None, resume: bool) -> None:
    """Start from a file if the user asked for one.

    With `resume`, the whole state: from `load_from`, or from the newest whole checkpoint of `work_dir`; when there is
    none, the run starts fresh and says so; when all are damaged, it does not start. Without, only the weights of
    `load_from`.
    """
    if resume:
        path = load_from or _latest(runner)
        if path is not None:
            runner.resume(path)
    elif load_from is not None:
        runner.load_checkpoint(load_from)


def check_start(load_from: str | None, resume: bool) -> None:
    """Refuse a local checkpoint that is not there, before anything is built.

    Raises:
        ArgumentTypeError: `resume` is something else than True or False, such as a path.
        MissingFileError: `load_from` names a local file that does not exist.
    """
    if type(resume) is not bool:
        raise ArgumentTypeError(
            f"resume must be True or False, got {resume!r}. To resume from a certain file, write "
            f"load_from={resume!r}, resume=True; resume=True alone takes the newest file in work_dir."
        )
    if load_from is None or "://" in str(load_from) or os.path.exists(load_from):
        return
    folder = os.path.dirname(os.path.abspath(load_from))
    beside = sorted(name for name in os.listdir(folder) if name.endswith(".pth")) if os.path.isdir(folder) else []
    hint = f" In that folder: {', '.join(beside[-5:])}." if beside else ""
    verb = "resume from" if resume else "load from"
    raise MissingFileError(f"cannot {verb} {load_from!r}: there is no such file.{hint}")


def _latest(runner: Any) -> str | None:
    """The newest good checkpoint of the run; the main process looks, so that all take the same.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
    """
    found: list[Any] = [None, None]
    if is_main_process():
        try:
            found = [find_good_checkpoint(runner.work_dir), None]
        except CheckpointError as error:
            found = [None, str(error)]
    broadcast_object_list(found)
    path: str | None = found[0]
    if found[1] is not None:
        raise CheckpointError(found[1])
    if path is None:
        runner.logger.info(f"resume=True, and {runner.work_dir} holds no checkpoint: starting from the beginning.")
    return path


def load_weights(
    runner: Any, filename: str, map_location: str | Callable[..., Any], strict: bool, revise_keys: list[Any]
) -> StateDict:
    """Load the weights of `filename` into the model; returns the whole checkpoint."""
    wait_for_saves()
    checkpoint = _load_checkpoint(filename, map_location=map_location)
    runner.call_hook("after_load_checkpoint", checkpoint=checkpoint)
    model = runner.strategy.unwrap(runner.model)
    _load_checkpoint_to_model(model, checkpoint, strict=strict, logger=runner.logger, revise_keys=revise_keys)
    return checkpoint


@clearly
def resume_run(
    runner: Any,
    filename: str,
    resume_optimizer: bool,
    resume_param_scheduler: bool,
    map_location: str | Callable[..., Any],
) -> None:
    """Restore the whole state of a run.

    Raises:
        CheckpointError: the file holds weights alone, or the state of another setup.
    """
    # Optimizer states move to their parameters' device by themselves: read to the host, they need no memory there.
    location = "cpu" if map_location == "default" else map_location
    checkpoint = runner.load_checkpoint(filename, map_location=location)
    meta = checkpoint.get("meta")
    if not isinstance(meta, dict) or "epoch" not in meta or "iter" not in meta:
        raise CheckpointError(
            f"{filename} holds weights and no training state, so it cannot be resumed. To start from its weights, use "
            f"load_from={filename!r} with resume=False."
        )
    _restore_seed(runner, meta)
    _compare_dataset(runner, meta)
    if "ema_state_dict" in checkpoint and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        runner.logger.warning(
            f"{filename} was saved with averaged weights, which its state_dict holds; this run has no EMAHook and "
            "goes on from the average. To go on from the weights in training, give custom_hooks=[dict(type='EMAHook')]."
        )
    if "message_hub" in checkpoint:
        runner.message_hub.load_state_dict(checkpoint["message_hub"])
    if resume_optimizer and runner.optim_wrapper is not None and "optimizer" in checkpoint:
        runner.strategy.load_optim_state_dict(runner.built_optim_wrapper(), checkpoint["optimizer"])
        restore_window(runner, checkpoint.get("drivetrain") or {})
    if resume_param_scheduler and runner.param_schedulers is not None and "param_schedulers" in checkpoint:
        restore_schedulers(runner.built_param_schedulers(), checkpoint["param_schedulers"])
    restore_run_state(runner, checkpoint.get("drivetrain") or {}, meta["epoch"], meta["iter"])
    runner.logger.info(f"resumed epoch: {meta['epoch']}, iter: {meta['iter']}")


def _restore_seed(runner: Any, meta: StateDict) -> None:
    saved = meta.get("seed")
    if saved is not None and saved != runner.seed:
        runner.adopt_seed(saved)


def _compare_dataset(runner: Any, meta: StateDict) -> None:
    current = getattr(getattr(runner.train_dataloader, "dataset", None), "metainfo", None)
    if "dataset_meta" in meta and current is not None and repr(meta["dataset_meta"]) != repr(current):
        runner.logger.warning(
            "The checkpoint was trained on a dataset with other metainfo: "
            f"{meta['dataset_meta']!r}; this run's is {current!r}. Classes may be numbered differently."
        )


def write_checkpoint(
    runner: Any,
    out_dir: str,
    filename: str,
    *,
    save_optimizer: bool = True,
    save_param_scheduler: bool = True,
    meta: StateDict | None = None,
    by_epoch: bool = True,
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
) -> None:
    """Collect the state of the run and write it, whole or not at all."""
    checkpoint: StateDict = {
        "meta": collect_meta(runner, by_epoch, meta),
        "state_dict": runner.strategy.model_state_dict(runner.model),
        "message_hub": runner.message_hub.state_dict(),
        "drivetrain": collect_run_state(runner),
    }
    if save_optimizer and runner.optim_wrapper is not None:
        checkpoint["optimizer"] = runner.strategy.optim_state_dict(runner.built_optim_wrapper())
    if save_param_scheduler and runner.param_schedulers is not None:
        checkpoint["param_schedulers"] = collect_schedulers(runner.built_param_schedulers())
    if is_main_process():
        runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        target = str(join_path(out_dir, filename, backend_args=backend_args))
        save_checkpoint(checkpoint, target, file_client_args=file_client_args, backend_args=backend_args)
    barrier()
