"""Keep the message hub up to date: where the run is, learning rates, log variables, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from drivetrain.errors import ArgumentTypeError
from drivetrain.registry import HOOKS
from drivetrain.typing import RunnerLike
from drivetrain.version import CONTRACT_VERSION, __version__

from .hook import DATA_BATCH, Hook


@HOOKS.register_module()
class RuntimeInfoHook(Hook):
    """Writes what other parts read from the message hub.

    Infos: cfg, seed, experiment_name, drivetrain_version, loop_stage, epoch, iter, max_epochs, max_iters, epoch_length
    (batches of a pass, where the loader has a length), dataset_meta, and metrics that are not numbers. Scalars:
    `train/<learning rate>`, `train/<log variable>`, `val/<metric>`, `test/<metric>`. Log variables stay on their
    device.

    Attributes:
        last_loop_stage: the stage that a validation interrupted.
    """

    priority = "VERY_HIGH"
    last_loop_stage: str | None = None

    def before_run(self, runner: RunnerLike) -> None:
        """Write what holds for the whole run."""
        runner.message_hub.update_info_dict(
            {
                "cfg": runner.cfg_text,
                "seed": runner.seed,
                "experiment_name": runner.experiment_name,
                "mmengine_version": CONTRACT_VERSION,
                "drivetrain_version": __version__,
            }
        )

    def before_train(self, runner: RunnerLike) -> None:
        """Write where training begins and ends, and what the dataset says of itself."""
        hub = runner.message_hub
        hub.update_info("loop_stage", "train")
        for name in ("epoch", "iter", "max_epochs", "max_iters"):
            hub.update_info(name, getattr(runner, name))
        length = _length(runner.train_dataloader)
        if length:
            hub.update_info("epoch_length", length, resumed=False)
        metainfo = getattr(getattr(runner.train_dataloader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            hub.update_info("dataset_meta", metainfo)

    def after_train(self, runner: RunnerLike) -> None:
        """No stage is running."""
        runner.message_hub.pop_info("loop_stage")

    def before_train_epoch(self, runner: RunnerLike) -> None:
        """Write the epoch."""
        runner.message_hub.update_info("epoch", runner.epoch)

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Write the step and each learning rate (of an optimizer's first parameter group)."""
        hub = runner.message_hub
        hub.update_info("iter", runner.iter)
        rates = runner.optim_wrapper.get_lr()
        if not hasattr(rates, "items"):
            raise ArgumentTypeError(
                f"optim_wrapper.get_lr() must return a dict of lists of learning rates, got {rates!r}: "
                "build the optimizer as an OptimWrapper or OptimWrapperDict."
            )
        for name, values in rates.items():
            hub.update_scalar(_train_name(name), values[0])

    def after_train_iter(
        self,
        runner: RunnerLike,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Write the log variables of the step; tensors are copied on their device, not read."""
        if outputs:
            runner.message_hub.update_together({_train_name(name): value for name, value in outputs.items()})

    def before_val(self, runner: RunnerLike) -> None:
        """Remember the stage that validation interrupts."""
        self.last_loop_stage = runner.message_hub.get_info("loop_stage")
        runner.message_hub.update_info("loop_stage", "val")

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics."""
        _write_metrics(runner.message_hub, "val", metrics or {})

    def after_val(self, runner: RunnerLike) -> None:
        """Return to the stage that validation interrupted."""
        if self.last_loop_stage is None:
            runner.message_hub.pop_info("loop_stage")
        else:
            runner.message_hub.update_info("loop_stage", self.last_loop_stage)
            self.last_loop_stage = None

    def before_test(self, runner: RunnerLike) -> None:
        """Write the stage."""
        runner.message_hub.update_info("loop_stage", "test")

    def after_test_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics."""
        _write_metrics(runner.message_hub, "test", metrics or {})

    def after_test(self, runner: RunnerLike) -> None:
        """No stage is running."""
        runner.message_hub.pop_info("loop_stage")


def _length(loader: Any) -> int:
    """Batches of a pass; 0 where the loader has no length."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return 0


@lru_cache(1024)
def _train_name(name: str) -> str:
    return f"train/{name}"


def _write_metrics(hub: Any, mode: str, metrics: Mapping[str, Any]) -> None:
    """Numbers become scalars, everything else an info."""
    for name, value in metrics.items():
        write = hub.update_scalar if _is_number(value) else hub.update_info
        write(f"{mode}/{name}", value)


def _is_number(value: Any) -> bool:
    """Whether `value` is one number: of Python, of NumPy, or a tensor or array of one element."""
    if type(value) in (int, float, bool):
        return True
    if hasattr(value, "numel"):
        return bool(value.numel() == 1) and not value.is_complex()
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in tuple("biuf") and value.size == 1
