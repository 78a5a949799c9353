"""Compile what a training step computes: preprocessing where it is pure, forward and loss.

Nothing is wrapped. A module's call is replaced on the instance for the time of the run, where `nn.Module.compile` puts
it too, so state dicts and every other way to look at the model stay as they are.
"""

from __future__ import annotations

import itertools
import logging
import re
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from drivetrain.errors import CompileError
from drivetrain.logging import print_log
from drivetrain.model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor

from ._compile_plan import CompilePlan
from ._opt_in import promises

_numbers = itertools.count()
_CASTS_ONLY = BaseDataPreprocessor.forward
_IMAGES_ONLY = ImgDataPreprocessor.forward


@contextmanager
def compiled_calls(model: nn.Module, plan: CompilePlan) -> Iterator[Sequence[CompiledCall]]:
    """Compile calls of `model` and its modules for the time of the context; nothing of it stays behind."""
    calls = _regional_calls(model, plan) if plan.modules else _whole_calls(model, plan)
    with ExitStack() as stack:
        for call in calls:
            stack.enter_context(call.replacing())
        yield calls


def _regional_calls(model: nn.Module, plan: CompilePlan) -> list[CompiledCall]:
    functions: dict[Any, Callable[..., Any]] = {}
    calls = []
    for name, module in plan.find_modules(model).items():
        structure = _structure(module)
        if structure not in functions:
            functions[structure] = _compile(_call, plan)
        calls.append(CompiledCall(module, f"{name} ({type(module).__name__})", functions[structure], plan))
    return calls


def _whole_calls(model: Any, plan: CompilePlan) -> list[CompiledCall]:
    calls: list[CompiledCall] = [_TrainingCall(model, type(model).__name__, _compile(_call_and_parse, plan), plan)]
    preprocessor: Any = getattr(model, "data_preprocessor", None)
    if promises(preprocessor, "pure") and preprocessor.forward.__func__ is not _CASTS_ONLY:
        calls.append(_PreprocessorCall(preprocessor, type(preprocessor).__name__, _compile(_call, plan), plan))
    return calls


def _structure(module: nn.Module) -> Any:
    """What modules have in common that can share one compilation."""
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    shapes = tuple((name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in tensors)
    return type(module), repr(module), shapes


def _compile(function: Any, plan: CompilePlan) -> Callable[..., Any]:
    # What torch has compiled hangs on a function's code, and there is a limit of how much. A code object of its own
    # keeps runs of one process, and modules of one class but other shapes, from using up each other's share.
    name = f"{function.__name__}_{next(_numbers)}"
    own = types.FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)
    return torch.compile(own, **plan.arguments)


def _call(module: Any, args: Any, kwargs: Any) -> Any:
    return module._call_impl(*args, **kwargs)


def _call_and_parse(module: Any, args: Any, kwargs: Any, parses: bool) -> Any:
    outputs = module._call_impl(*args, **kwargs)
    return outputs, BaseModel.parse_losses(module, outputs) if parses else None


class CompiledCall:
    """Stands in the place of a module's call.

    Args:
        module: whose call.
        label: how to name it to the user.
        compiled: the compiled function of module and arguments.
        plan: what was asked for.
    """

    def __init__(self, module: Any, label: str, compiled: Callable[..., Any], plan: CompilePlan) -> None:
        self.module, self.label, self.compiled, self.plan = module, label, compiled, plan
        self.used = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(args, kwargs)

    def run(self, *given: Any) -> Any:
        """Call the compiled function, or the module as it is written where compiling has failed before."""
        self.used = True
        try:
            return self.compiled(self.module, *given)
        except _compiler_errors() as error:
            self.give_up(error)
        return self.compiled(self.module, *given)

    def give_up(self, error: Exception) -> None:
        """Go on as the module is written, if the plan allows it.

        Raises:
            CompileError: it does not.
        """
        reason = f"{self.label} cannot be compiled: {_place(error)}"
        if not self.plan.fallback:
            raise CompileError(
                f"{reason}\nChange that code, compile other modules with compile=dict(modules=...), or let what fails "
                "run as it is written with compile=dict(fallback=True)."
            ) from error
        print_log(f"{reason}\nIt runs as it is written.", "current", logging.WARNING)
        self.compiled = self.as_written

    def as_written(self, module: Any, *given: Any) -> Any:
        """What the compiled function computes, without the compiler."""
        return _call(module, *given)

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Stand in the module's place for the time of the context."""
        attributes = vars(self.module)
        before = attributes.get("_compiled_call_impl")
        attributes["_compiled_call_impl"] = self
        try:
            yield
        finally:
            del attributes["_compiled_call_impl"]
            if before is not None:
                attributes["_compiled_call_impl"] = before


class _TrainingCall(CompiledCall):
    """Compiles a model's call in training, and with it the sum of the losses where that is the contract's own."""

    parsed: tuple[Any, Any] = (None, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.module.training:
            return self.module._call_impl(*args, **kwargs)
        self.parsed = self.run(args, kwargs, self._parses and kwargs.get("mode") == "loss")
        return self.parsed[0]

    def as_written(self, module: Any, *given: Any) -> Any:
        """The call alone: losses are then added up where they always are."""
        return _call(module, *given[:2]), None

    def parse_losses(self, losses: Any) -> Any:
        """What the compiled call made of these losses; nothing of it is kept, since it holds the step's memory."""
        (outputs, parsed), self.parsed = self.parsed, (None, None)
        return BaseModel.parse_losses(self.module, losses) if parsed is None or outputs is not losses else parsed

    @property
    def _parses(self) -> bool:
        cls: Any = type(self.module)
        names = ("parse_losses", "train_step")
        return all(getattr(cls, name, None) is getattr(BaseModel, name) for name in names)

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Stand in the place of the model's call and of its `parse_losses`."""
        with super().replacing():
            if not self._parses:
                yield
                return
            self.module.parse_losses = self.parse_losses
            try:
                yield
            finally:
                del self.module.parse_losses


class _PreprocessorCall(CompiledCall):
    """Compiles what a pure preprocessor computes in training once the batch is on the device; the copy stays outside.

    While it runs, `cast_data` returns the batch as it is: to trace the walk through a batch would tie the compilation
    to every text and number in it. In torch 2.9 it is enough that a text passes through: of a batch for the `forward`
    of `ImgDataPreprocessor` only the images do.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (kwargs.get("training") or args[1:] == (True,)):
            return self.module._call_impl(*args, **kwargs)
        moved = self.module.cast_data(args[0])
        attributes = vars(self.module)
        attributes["cast_data"] = _as_it_is
        try:
            if type(moved) is not dict or "inputs" not in moved or self.module.forward.__func__ is not _IMAGES_ONLY:
                return self.run((moved, *args[1:]), kwargs)
            moved["inputs"] = self.run(({"inputs": moved["inputs"]}, *args[1:]), kwargs)["inputs"]
            moved.setdefault("data_samples", None)
            return moved
        finally:
            del attributes["cast_data"]


def _as_it_is(data: Any) -> Any:
    return data


@contextmanager
def compiling_watched(runner: Any, calls: Sequence[CompiledCall], plan: CompilePlan) -> Iterator[None]:
    """See that something is compiled in the first step, and explain what fails in the backward pass."""
    loop = runner.train_loop
    inner, watches = loop.train_step, True
    if plan.captures_graphs:
        inner = _keeping_gradients(inner, runner.strategy.unwrap(runner.model))

    def train_step(data_batch: Any) -> Any:
        nonlocal watches
        try:
            outputs = inner(data_batch)
        except _compiler_errors() as error:
            for call in calls:
                call.give_up(error)
            outputs = inner(data_batch)
        if watches:
            watches = False
            _report(calls)
        return outputs

    before, loop.train_step = loop.train_step, train_step
    try:
        yield
    finally:
        loop.train_step = before


def _keeping_gradients(inner: Callable[[Any], Any], model: nn.Module) -> Callable[[Any], Any]:
    """Tell graphs of the compiler's own where a step begins, and copy gradients that a later step adds to out of them.

    They lie in memory that the next step overwrites.
    """
    parameters = list(model.parameters())
    own: list[Any] = [None] * len(parameters)

    def train_step(data_batch: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        outputs = inner(data_batch)
        for place, parameter in enumerate(parameters):
            if parameter.grad is not own[place]:
                own[place] = parameter.grad = None if parameter.grad is None else parameter.grad.clone()
        return outputs

    return train_step


def _report(calls: Sequence[CompiledCall]) -> None:
    idle = [call.label for call in calls if not call.used]
    if idle:
        print_log(
            f"compile: the first step did not call {', '.join(idle)}, so nothing was compiled there. A train_step that "
            "calls parts of a model needs their names: compile=dict(modules=[...]).",
            "current",
            logging.WARNING,
        )


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What the compiler raises on its own account; asked for when something was raised, since it loads the compiler."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    return TorchDynamoException, InductorError


def _place(error: Exception) -> str:
    """The compiler's own words, first the line of code they are about."""
    text = str(error)
    lines = re.findall(r'File "([^"]+)", line (\d+), in (\w+)\n\s*(.*)', text.partition("from user code:")[2])
    said = text.partition("\n\n")[0].strip()
    if not lines:
        return said
    file, line, function, code = lines[-1]
    return f"in {function} ({file}:{line}): `{code}`: {said}"
