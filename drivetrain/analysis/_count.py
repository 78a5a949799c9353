"""Run a model once, and count what each operator of each module costs.

The operators are seen by a dispatch mode below autograd, so that nothing is traced, compiled or recorded: `linear`,
`conv2d` or `softmax` arrive whole, and are taken apart only where nobody says what they cost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ._formulas import FREE, Handle, has_torch_formula, operator_name, short_name, torch_formula

Calls = tuple[str, ...]
"""Names of the modules that run at a moment, outermost first."""


@dataclass
class Recording:
    """What one run showed.

    Attributes:
        counts: by the modules that ran, the count of each operator.
        unsupported: by the modules that ran, how often each operator ran of which nobody knows the cost.
        called: names of the modules that were called.
    """

    counts: dict[Calls, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unsupported: dict[Calls, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    called: set[str] = field(default_factory=set)


def record(model: nn.Module, inputs: tuple[Any, ...], handles: Mapping[str, Handle], flops: bool) -> Recording:
    """Call `model(*inputs)` once and count; the model and the random state are as before afterwards.

    Args:
        model: any module.
        inputs: its positional arguments.
        handles: counts by operator name.
        flops: whether torch's own formulas count what has no handle.
    """
    recording = Recording()
    calls: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(_untouched(model))
        stack.enter_context(_tracked(model, calls, recording.called))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_whole_attention())
        stack.enter_context(_below_autograd())
        stack.enter_context(_CountingMode(recording, calls, handles, flops))
        model(*inputs)
    return recording


class _CountingMode(TorchDispatchMode):
    """Counts each operator that runs."""

    supports_higher_order_operators = True

    def __init__(self, recording: Recording, calls: list[str], handles: Mapping[str, Handle], flops: bool) -> None:
        super().__init__()
        self._recording = recording
        self._calls = calls
        self._handles = handles
        self._flops = flops
        self._whole: str | None = None
        self._counted_inside = False
        self._left_out_inside = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator, and count it."""
        kwargs = kwargs or {}
        name = operator_name(func.name()) if hasattr(func, "_schema") else str(func)
        handle = self._handles.get(name)
        if handle is not None:
            out = func(*args, **kwargs)
            self._add(name, handle(_all_inputs(func, args, kwargs), _as_list(out)))
            return out
        if self._flops and has_torch_formula(func):
            out = func(*args, **kwargs)
            self._add(name, torch_formula(func, args, kwargs, out) or 0)
            return out
        if name in FREE or getattr(func, "is_view", False) or not name.startswith("aten::"):
            self._leave_out(name, func)
            return func(*args, **kwargs)
        return self._taken_apart(name, func, args, kwargs)

    def _taken_apart(self, name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Count the parts of an operator under its name; one without parts is listed as unsupported."""
        if self._whole is not None:
            with self:
                out = func.decompose(*args, **kwargs)
            return self._leaf(name, func, args, kwargs) if out is NotImplemented else out
        self._whole, self._counted_inside, self._left_out_inside = name, False, False
        try:
            with self:
                out = func.decompose(*args, **kwargs)
        finally:
            self._whole = None
        if out is NotImplemented:
            return self._leaf(name, func, args, kwargs)
        if self._left_out_inside and not self._counted_inside:
            self._recording.unsupported[tuple(self._calls)][name] += 1
        return out

    def _leaf(self, name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        self._leave_out(name, func)
        return func(*args, **kwargs)

    def _leave_out(self, name: str, func: Any) -> None:
        """List an operator that costs something nobody knows."""
        if name in FREE or getattr(func, "is_view", False) or name.startswith("prim::"):
            return
        if self._whole is not None:
            self._left_out_inside = True
        else:
            self._recording.unsupported[tuple(self._calls)][name] += 1

    def _add(self, name: str, count: Any) -> None:
        by_operator = count if hasattr(count, "items") else {short_name(self._whole or name): count}
        self._recording.counts[tuple(self._calls)].update(by_operator)
        self._counted_inside = True


def _all_inputs(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """All arguments of the operator's schema, in order, with its defaults."""
    wanted = func._schema.arguments
    return list(args) + [kwargs.get(item.name, item.default_value) for item in wanted[len(args) :]]


def _as_list(out: Any) -> list[Any]:
    return list(out) if type(out) in (list, tuple) else [out]


@contextmanager
def _tracked(model: nn.Module, calls: list[str], called: set[str]) -> Iterator[None]:
    """Keep in `calls` the names of the modules that run."""

    def before(name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            calls.append(name)
            called.add(name)

        return enter

    def leave(*_: Any) -> None:
        calls.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(before(name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put back buffers, such as running statistics, and the state of random numbers."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()} if _trains(model) else {}
    devices = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)):
        yield
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in buffers and buffer.shape == buffers[name].shape:
                buffer.copy_(buffers[name])


def _trains(model: nn.Module) -> bool:
    return any(module.training for module in model.modules())


@contextmanager
def _whole_attention() -> Iterator[None]:
    """Let `nn.TransformerEncoderLayer` run its parts, where torch would call one fused operator."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _below_autograd() -> Iterator[None]:
    """See operators before autograd's kernels take them apart.

    Without the guard (an internal name of torch) the parts are seen instead: the same products are counted, under
    the names of the parts. `torch.inference_mode` would do too, but what a model caches in it cannot be trained with.
    """
    guard = getattr(torch._C, "_AutoDispatchBelowAutograd", None)
    if guard is None:
        yield
        return
    with guard():
        yield


def as_arguments(inputs: Any) -> tuple[Any, ...]:
    """The arguments of a call: a tuple is taken as it is, anything else is one argument."""
    return inputs if type(inputs) is tuple else (inputs,)
