"""Hand the counts that a model returns beside its losses to an optimizer wrapper that weighs by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._taps import Taps


@contextmanager
def counted_losses(runner: Any) -> Iterator[None]:
    """Show the log variables to the wrapper where the model parses its losses, for the time of a training run.

    Without `normalise_by`, with several wrappers, or for a model that does not parse losses, nothing happens: a
    `train_step` of the user's hands the counts over itself.
    """
    wrapper, taps = runner.optim_wrapper, Taps()
    if getattr(wrapper, "normalise_by", None) is not None:
        taps.put(runner.strategy.unwrap(runner.model), "parse_losses", lambda *found: _counted(wrapper, *found))
    try:
        yield
    finally:
        taps.remove()


def _counted(wrapper: Any, found: Callable[..., Any], owned: bool) -> Callable[..., Any]:
    def parse_losses(model: Any, losses: Any) -> Any:
        parsed = found(model, losses) if owned else found(losses)
        wrapper.take_count(parsed[1])
        return parsed

    return parse_losses
