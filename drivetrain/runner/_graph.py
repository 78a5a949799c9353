"""Whole training steps in CUDA graphs: preprocessing where it is pure, forward, loss, backward, clipping, update.

A model of many small kernels spends its step on launching them. A graph is the step's list of kernels, recorded once;
from then on a step copies its batch into the recorded place and launches the list.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from drivetrain.errors import CaptureError
from drivetrain.hooks import overrides_point
from drivetrain.logging import print_log

from ._graph_plan import GraphPlan, check_run
from ._opt_in import promises
from ._recording import MirroredRates, NotedHub, Recording
from ._static_batch import PLAIN, Fact, first_difference, static_copy, take_apart

_Role = tuple[float, bool]
"""The factor of the loss in its accumulation window, and whether the step ends with an update."""

_ALONE: _Role = (1.0, True)
"""A step that is a window of its own."""

_PATIENCE = 50
"""Steps after which a run without a graph is told why."""


@contextmanager
def captured_steps(runner: Any, plan: GraphPlan) -> Iterator[None]:
    """Replay the steps of a training run from graphs, for the time of the context.

    All of the run's work goes into one stream beside the default one: that is where torch can record, and so no step,
    recorded or not, has to wait for another stream.
    """
    check_run(runner)
    loop, device = runner.train_loop, runner.strategy.device
    outside, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    steps = StepGraphs(runner, plan, stream)
    train_step, open_batches = loop.train_step, loop.open_batches
    stream.wait_stream(outside)
    loop.train_step, loop.open_batches = steps.train_step, steps.before_each(open_batches)
    try:
        with torch.cuda.stream(stream):
            yield
            steps.close()
    finally:
        loop.train_step, loop.open_batches = train_step, open_batches
        outside.wait_stream(stream)
    runner.message_hub.update_info("graph_steps", dict(steps.counts), resumed=False)
    runner.logger.info(steps.report())


class StepGraphs:
    """Takes the training steps of a run, eagerly or from a graph.

    There is one graph for each role of a step (inside an accumulation window or at its end), for batches of one shape:
    the first that came `warmup` times. Batches with other shapes, or with other texts and numbers beside the tensors,
    run eagerly and are counted. What Python decides in forward is decided once: when attributes of the model, frozen
    weights or settings of the optimizer have changed by the start of a pass over the loader, or a schedule changes a
    setting other than the learning rate, steps are recorded anew.

    The gradients of a recorded step are gone when it ends: for hooks they are None, or zero with accumulation.

    Args:
        runner: the runner.
        plan: how to capture.
        stream: where all steps run.

    Attributes:
        counts: number of steps by how they ran: 'replayed', 'warm-up', 'another batch'.
    """

    def __init__(self, runner: Any, plan: GraphPlan, stream: torch.cuda.Stream) -> None:
        self.model, self.wrapper, self.hub = runner.model, runner.optim_wrapper, runner.message_hub
        self.plan, self.stream, self.device = plan, stream, runner.strategy.device
        self._hooks, self._hands_out = runner.hooks, True
        self.counts: Counter[str] = Counter()
        self._pure = promises(self.model.data_preprocessor, "pure")
        self._rates = MirroredRates(self.wrapper.optimizer, self.device)
        self._scheduled = _scheduled_settings(runner.param_schedulers)
        self._pool: Any = None
        self._graphs: dict[Any, Recording] = {}
        self._seen: Counter[Any] = Counter()
        self._shape: tuple[Fact, ...] | None = None
        self._last: tuple[Fact, ...] = ()
        self._settings: list[Any] = self._scheduled_values()
        self._python_state: Any = None
        # torch warns of a capturable optimizer that steps outside of a graph, which the eager steps here do.
        self.wrapper.optimizer._warned_capturable_if_run_uncaptured = True

    def train_step(self, data_batch: Any) -> Any:
        """Take a step; returns the log variables, for others' hooks as tensors that no later step overwrites."""
        data = data_batch if self._pure else self._preprocess(data_batch)
        tensors, facts = take_apart(data, self.plan.ignore)
        role: _Role = (self.wrapper.scale_loss(1.0), self.wrapper.should_sync())
        if self._settings != self._scheduled_values():
            self.forget()
        recording = self._graphs.get((role, facts))
        if recording is not None:
            self.wrapper.count_loss()
        elif not self._is_due(role, facts):
            return self._step(data, role)
        else:
            recording = self._graphs[role, facts] = self._record(data, role)
        self.counts["replayed"] += 1
        self._rates.refresh()
        return recording.replay(tensors, self.hub, copies=self._hands_out)

    def before_each(self, open_batches: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[Any]]:
        """`open_batches` of the loop with a look before each pass at what the graphs take for granted."""

        def checked() -> Iterator[Any]:
            state = _python_state(self.model, self.wrapper.optimizer)
            if self._graphs and state != self._python_state:
                self.forget()
            self._python_state = state
            self._hands_out = _are_others_among(self._hooks)
            return open_batches()

        return checked

    def forget(self) -> None:
        """Drop all graphs, to record anew."""
        self.stream.synchronize()
        self._graphs.clear()
        self._seen.clear()
        self._shape = None
        self._settings = self._scheduled_values()

    def close(self) -> None:
        """Leave the gradients as an eager run leaves them."""
        if self._graphs and self.wrapper.should_update():
            self.wrapper.zero_grad()

    def report(self) -> str:
        """How many steps ran in which way."""
        eager = self.counts.total() - self.counts["replayed"]
        return (
            f"graph: {self.counts['replayed']} of {self.counts.total()} steps were replayed; {eager} ran eagerly "
            f"({self.counts['warm-up']} to warm up, {self.counts['another batch']} with another shape or content)."
        )

    def _preprocess(self, data_batch: Any) -> Any:
        with self.wrapper.optim_context(self.model):
            return self.model.data_preprocessor(data_batch, True)

    def _step(self, data: Any, role: _Role) -> Any:
        """The step as `BaseModel.train_step` takes it, but for two things.

        A preprocessor that is not pure has run before, and gradients that are accumulated stay in their place, where
        the graph of the next step finds them.
        """
        model, wrapper = self.model, self.wrapper
        with wrapper.optim_context(model):
            prepared = model.data_preprocessor(data, True) if self._pure else data
            losses = model._run_forward(prepared, mode="loss")
        loss, log_vars = model.parse_losses(losses)
        wrapper.update_params(loss, zero_kwargs=None if role == _ALONE else {"set_to_none": False})
        return log_vars

    def _is_due(self, role: _Role, facts: tuple[Fact, ...]) -> bool:
        """Count a step without a graph; whether to record one for it."""
        last, self._last = self._last, facts
        if self._shape is not None and self._shape != facts:
            self.counts["another batch"] += 1
            return False
        if len(self._seen) > _PATIENCE:
            self._seen.clear()
        self._seen[role, facts] += 1
        if self._seen[role, facts] > self.plan.warmup:
            self._shape = facts
            return True
        self.counts["warm-up"] += 1
        if self.counts.total() == _PATIENCE and not self._graphs:
            self._complain(last, facts)
        return False

    def _complain(self, last: tuple[Fact, ...], facts: tuple[Fact, ...]) -> None:
        print_log(
            f"graph: no two batches have been alike, so all {_PATIENCE} steps ran eagerly. Of the last two, "
            f"{first_difference(last, facts)}. A step is replayed for batches that differ in the values of tensors "
            "alone: pad to one size, or name entries that forward does not compute with, graph=dict(ignore=[...]).",
            "current",
            logging.WARNING,
        )

    def _record(self, data: Any, role: _Role) -> Recording:
        """Record the step; nothing is computed yet."""
        static = static_copy(data, self.device)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph, notes = torch.cuda.CUDAGraph(), NotedHub("graph")
        for generator in _generators(self.model):
            graph.register_generator_state(generator)
        capture = torch.cuda.graph(graph, pool=self._pool, stream=self.stream, capture_error_mode="thread_local")
        try:
            with self._rates.in_place(), notes.in_place_of(self.wrapper), capture:
                log_vars = self._step(static, role)
        except Exception as error:
            raise _explained(error, self.model) from error
        inputs, _ = take_apart(static, self.plan.ignore)
        return Recording(graph, static, inputs, log_vars, notes.entries, _gradients(self.wrapper.optimizer))

    def _scheduled_values(self) -> list[Any]:
        groups = self.wrapper.optimizer.param_groups
        return [group[name] for name in self._scheduled for group in groups if name in group]


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _generators(model: nn.Module) -> Iterator[torch.Generator]:
    """Random generators of the model's own; torch knows of the default one itself."""
    for module in model.modules():
        for value in vars(module).values():
            if type(value) is torch.Generator and value.device.type == "cuda":
                yield value


def _are_others_among(hooks: Sequence[Any]) -> bool:
    """Whether a hook that is not ours sees what a step returns. Ours keep nothing of it but the hub's own copies."""
    ours = __name__.partition(".")[0]
    return any(
        overrides_point(hook, "after_train_iter") and type(hook).__module__.partition(".")[0] != ours for hook in hooks
    )


def _scheduled_settings(schedulers: Any) -> tuple[str, ...]:
    """Names of the settings that schedules change, but for the learning rate."""
    chains = schedulers.values() if hasattr(schedulers, "values") else [schedulers or []]
    names = {scheduler.param_name for chain in chains for scheduler in chain} - {"lr"}
    return tuple(sorted(names | {"betas"} if "momentum" in names else names))


def _python_state(model: nn.Module, optimizer: Optimizer) -> Any:
    """What a recorded step takes for granted: attributes, frozen weights, places of tensors, settings."""
    attributes = [
        (name, key, value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if type(value) in PLAIN
    ]
    tensors = [(t.data_ptr(), t.requires_grad) for t in itertools.chain(model.parameters(), model.buffers())]
    settings = [
        (key, value)
        for group in optimizer.param_groups
        for key, value in group.items()
        if key not in ("lr", "params") and (type(value) in PLAIN or key == "betas")
    ]
    return attributes, tensors, settings


def _explained(error: BaseException, model: nn.Module) -> CaptureError:
    """The first of a chain of errors: what follows it in torch only says that the recording broke off."""
    while error.__context__ is not None:
        error = error.__context__
    said = str(error).partition("\n")[0][:300]
    return CaptureError(
        f"the training step of {type(model).__name__} cannot be recorded in a graph: {said}\nA recorded step must not "
        "read a tensor's value on the host (.item(), .cpu(), bool(tensor), printing, boolean masks), nor copy from "
        "memory that is not pinned. Change that, or leave graph out."
    )
