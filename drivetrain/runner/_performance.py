"""The runner's arguments about speed, and what they set up around a training run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError


@dataclass(frozen=True)
class Performance:
    """What makes steps faster, and what measures them. Each is off, or costs nothing, unless asked for.

    Args:
        channels_last: lay images and the weights of convolutions out channel by channel innermost.
        collect_garbage_every: collect garbage each so many steps, and never in between.

    Raises:
        ArgumentError: an interval is below 1.
        ArgumentTypeError: a switch is no bool.
    """

    channels_last: bool = False
    collect_garbage_every: int | None = None

    def __post_init__(self) -> None:
        if type(self.channels_last) is not bool:
            raise ArgumentTypeError(f"channels_last must be True or False, got {self.channels_last!r}.")
        every = self.collect_garbage_every
        if every is not None and (type(every) is not int or every < 1):
            raise ArgumentError(f"collect_garbage_every must be a whole number of steps of at least 1, got {every!r}.")

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Lay out the weights, before the model is placed on its device."""
        if self.channels_last:
            return model.to(memory_format=torch.channels_last)
        return model

    @contextmanager
    def around_training(self, runner: Any) -> Iterator[None]:
        """Set up what was asked for, for the time of a training run.

        A feature attaches to the train loop in two places: `loop.open_batches`, which turns the loader into the batches of
        a pass, and `loop.train_step`, which takes a batch and returns the log variables.
        """
        with ExitStack() as stack:
            if self.collect_garbage_every is not None:
                stack.enter_context(garbage_held(runner.train_loop, self.collect_garbage_every))
            yield


@contextmanager
def garbage_held(loop: Any, every: int) -> Iterator[None]:
    """Keep the garbage collector off the step path; collect each `every` steps."""
    inner, steps = loop.train_step, 0

    def train_step(data_batch: Any) -> Any:
        nonlocal steps
        outputs = inner(data_batch)
        steps += 1
        if steps % every == 0:
            gc.collect()
        return outputs

    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    loop.train_step = train_step
    try:
        yield
    finally:
        loop.train_step = inner
        gc.unfreeze()
        if was_enabled:
            gc.enable()
