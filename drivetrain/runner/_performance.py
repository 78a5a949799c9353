"""The runner's arguments about speed, and what they set up around a training run."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError

from ._compile import compiled_calls, compiling_watched
from ._compile_plan import CompilePlan
from ._feed import fed_ahead
from ._graph import captured_steps
from ._graph_plan import GraphPlan, prepare_optimizer
from ._time_split import split_time


@dataclass(frozen=True)
class Performance:
    """What makes steps faster, and what measures them. Each is off, or costs nothing, unless asked for.

    Args:
        channels_last: lay images and the weights of convolutions out channel by channel innermost.
        collect_garbage_every: collect garbage each so many steps, and never in between.
        prefetch: copy batches to the device ahead; None does so wherever it changes nothing else, but not with `graph`.
        time_split: time the parts of training, and say in the log where the time goes.
        compile: compile forward and loss; a dict says how, see `CompilePlan`.
        graph: replay whole steps from CUDA graphs; a dict says how, see `GraphPlan`.

    Raises:
        ArgumentError: an interval is below 1, a setting is unknown, or there is no device for graphs.
        ArgumentTypeError: a switch is no bool.
    """

    channels_last: bool = False
    collect_garbage_every: int | None = None
    time_split: bool = False
    compile: bool | dict[str, Any] = False
    graph: bool | dict[str, Any] = False
    prefetch: bool | None = None
    compile_plan: CompilePlan | None = field(init=False)
    graph_plan: GraphPlan | None = field(init=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Performance:
        """The settings among the arguments of a runner."""
        return cls(**{setting.name: arguments[setting.name] for setting in fields(cls) if setting.init})

    def __post_init__(self) -> None:
        if type(self.time_split) is not bool:
            raise ArgumentTypeError(f"time_split must be True or False, got {self.time_split!r}.")
        if type(self.channels_last) is not bool:
            raise ArgumentTypeError(f"channels_last must be True or False, got {self.channels_last!r}.")
        if self.prefetch not in (None, True, False):
            raise ArgumentTypeError(f"prefetch must be True, False or None (where it helps), got {self.prefetch!r}.")
        every = self.collect_garbage_every
        if every is not None and (type(every) is not int or every < 1):
            raise ArgumentError(f"collect_garbage_every must be a whole number of steps of at least 1, got {every!r}.")
        object.__setattr__(self, "graph_plan", GraphPlan.parse(self.graph))
        object.__setattr__(self, "compile_plan", CompilePlan.parse(self.compile))
        if self.graph_plan is not None and self.compile_plan is not None and self.compile_plan.captures_graphs:
            raise ArgumentError(
                f"compile={self.compile!r} makes CUDA graphs of its own, and graph={self.graph!r} captures the whole "
                "step: use one of them, such as compile=True with graph=True, or mode='max-autotune-no-cudagraphs'."
            )

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Lay out the weights, before the model is placed on its device; check what is said of its modules."""
        if self.compile_plan is not None:
            self.compile_plan.find_modules(model)
        if self.channels_last:
            return model.to(memory_format=torch.channels_last)
        return model

    def prepare_optimizer(self, optim_wrapper: Any) -> Any:
        """The optimizer, or its config made fit for what was asked for; an object that is not fit is refused."""
        if self.graph_plan is None or optim_wrapper is None:
            return optim_wrapper
        return prepare_optimizer(optim_wrapper)

    @contextmanager
    def around_training(self, runner: Any) -> Iterator[None]:
        """Set up what was asked for, for the time of a training run.

        A feature attaches to the train loop in two places: `loop.open_batches`, which turns the loader into the batches
        of a pass, and `loop.train_step`, which takes a batch and returns the log variables.
        """
        with ExitStack() as stack:
            self._enter_faster_steps(stack, runner)
            if self.collect_garbage_every is not None:
                stack.enter_context(garbage_held(runner.train_loop, self.collect_garbage_every))
            # Behind what makes steps faster, so that these get the batch on the device.
            stack.enter_context(fed_ahead(runner, self._prefetches))
            if self.time_split:  # the last, so that it times what the others have set up
                stack.enter_context(split_time(runner))
            yield

    @property
    def _prefetches(self) -> bool | None:
        """A step from a graph copies its batch itself; a second stream costs such short steps more than it saves."""
        return False if self.prefetch is None and self.graph_plan is not None else self.prefetch

    def _enter_faster_steps(self, stack: ExitStack, runner: Any) -> None:
        plan = self.compile_plan
        calls = None
        if plan is not None:
            calls = stack.enter_context(compiled_calls(runner.strategy.unwrap(runner.model), plan))
        if self.graph_plan is not None:
            stack.enter_context(captured_steps(runner, self.graph_plan))
        if plan is not None and calls is not None:
            stack.enter_context(compiling_watched(runner, calls, plan))


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
