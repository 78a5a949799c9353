"""What `train`, `val` and `test` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from drivetrain.errors import ArgumentError
from drivetrain.hooks import RollBack
from drivetrain.logging import MessageHub, MMLogger
from drivetrain.registry import DefaultScope
from drivetrain.typing import Metrics
from drivetrain.visualization import Visualizer

from ._arguments import check_step
from ._counted import counted_losses

_PARTS = {
    "train": "train_dataloader, train_cfg and optim_wrapper",
    "val": "val_dataloader, val_cfg and val_evaluator",
    "test": "test_dataloader, test_cfg and test_evaluator",
}


@contextmanager
def current_objects(runner: Any) -> Iterator[None]:
    """Make the run's logger, hub, visualizer and scope the current ones, for this context alone.

    When the stage fails, hooks that hold something of the process, such as the terminal, give it back at once: a
    notebook or a sweep goes on after the error.
    """
    with ExitStack() as stack:
        stack.enter_context(MMLogger.use(runner.logger))
        stack.enter_context(MessageHub.use(runner.message_hub))
        stack.enter_context(Visualizer.use(runner.visualizer))
        if runner.default_scope is not None:
            stack.enter_context(DefaultScope.use(runner.default_scope))
        try:
            yield
        except BaseException:
            for hook in runner.hooks:
                getattr(hook, "release_on_error", _nothing)()
            raise


def _nothing() -> None:
    pass


def check_configured(runner: Any, mode: str) -> None:
    """Refuse a stage that the runner was made without, or whose step the model does not have.

    Raises:
        ArgumentError: the parts of the stage are missing.
        MissingAttributeError: the model has no `train_step`, `val_step` or `test_step`.
    """
    if getattr(runner, f"_{mode}_loop") is None:
        raise ArgumentError(f"runner.{mode}() needs {_PARTS[mode]}, and the runner was made without them.")
    check_step(runner.model, f"{mode}_step")


def run_training(runner: Any, loop: Any) -> Any:
    """Run the train loop from where it stands, again whenever a hook has the run go back; returns the model."""
    while True:
        runner.optim_wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)
        try:
            with runner.crash_guard.around_training(runner, loop), runner.performance.around_training(runner):
                with counted_losses(runner), runner.crash_guard.noting(loop):
                    return loop.run()
        except RollBack as request:
            hook, reason = request.hook, str(request)
        hook.roll_back(runner, reason)


def evaluate(runner: Any, mode: str) -> Metrics:
    """Validate or test once; returns the metrics."""
    check_configured(runner, mode)
    with current_objects(runner):
        loop = getattr(runner, f"{mode}_loop")
        runner.call_hook("before_run")
        runner.load_or_resume()
        metrics: Metrics = loop.run()
        runner.call_hook("after_run")
    return metrics


def initialise_weights(model: Any) -> None:
    """Initialise the weights as the model's `init_cfg` says, once."""
    if hasattr(model, "init_weights"):
        model.init_weights()
