"""Counts of a model by module and by operator."""

from __future__ import annotations

import copy
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from typing_extensions import Self

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean
from drivetrain.logging import print_log

from ._count import Calls, Recording, as_arguments, record
from ._formulas import ACTIVATION_HANDLES, FLOP_HANDLES, Handle, operator_name

_TRACER_WARNINGS = ("no_tracer_warning", "all", "none")
_ANCESTOR_MODES = ("owner", "caller")


@dataclass
class Statistics:
    """What an analysis found.

    Attributes:
        counts: by module, the count of each operator.
        unsupported_ops: by module, how often each operator ran of which nobody knows the cost.
        uncalled_mods: modules that did not run.
    """

    counts: dict[str, Counter[str]]
    unsupported_ops: dict[str, Counter[str]]
    uncalled_mods: set[str]


class JitModelAnalysis:
    """Counts what a model's operators cost, by module and by operator. Nothing is traced: the model runs once.

    The run happens when a result is first asked for, without gradients; buffers and random state are put back. What a
    module costs includes what its parts cost. The model is named `''`, its parts by their dotted names; a module with
    several names is known by the first.

    Args:
        model: any module, in the mode (training or evaluation) that is to be counted.
        inputs: its positional arguments; a tensor is the only one.

    >>> analysis = FlopAnalyzer(nn.Linear(4, 2), torch.zeros(1, 4))
    >>> analysis.total(), analysis.by_operator()
    (8, Counter({'linear': 8}))
    """

    _handles: dict[str, Handle] = {}
    _flops = False
    _warns_by_default = True

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        self._model = model
        self._inputs = as_arguments(inputs)
        self._op_handles = dict(type(self)._handles)
        self._torch_formulas = type(self)._flops
        self._ancestor_mode = "owner"
        self._warn_unsupported = type(self)._warns_by_default
        self._warn_uncalled = type(self)._warns_by_default
        self._recording: Recording | None = None
        self._aliases = _aliases_of(model)

    def total(self, module_name: str = "") -> int:
        """The count of a module and all its parts.

        Raises:
            NotFoundError: the model has no such module.
        """
        return sum(self.by_operator(module_name).values())

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """The count of each operator in a module and its parts.

        Raises:
            NotFoundError: the model has no such module.
        """
        return self._statistics().counts[self.canonical_module_name(module_name)]

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """By module, the count of each operator."""
        return self._statistics().counts

    def by_module(self) -> Counter[str]:
        """The count of each module."""
        return Counter({name: sum(counts.values()) for name, counts in self._statistics().counts.items()})

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """How often each operator ran in a module whose cost nobody knows; it is counted as nothing.

        Raises:
            NotFoundError: the model has no such module.
        """
        return self._statistics().unsupported_ops[self.canonical_module_name(module_name)]

    def uncalled_modules(self) -> set[str]:
        """Modules that did not run, nor any of their parts: unused, or used through their weights or `forward`."""
        return self._statistics().uncalled_mods

    def set_op_handle(self, *args: Any, **kwargs: Handle | None) -> Self:
        """Set what one call of an operator counts as, or by None that nobody knows.

        Args:
            args: a name such as `'aten::softmax'` and its handle, alternating; or one dict of these.
            kwargs: handles by name.

        Returns:
            This analysis.

        Raises:
            ArgumentTypeError: the positional arguments are neither.
        """
        for name, handle in [*_pairs(args), *kwargs.items()]:
            if handle is None:
                self._op_handles.pop(operator_name(name), None)
            else:
                self._op_handles[operator_name(name)] = handle
        self._recording = None
        return self

    def clear_op_handles(self) -> Self:
        """Count nothing but what `set_op_handle` sets from now on."""
        self._op_handles = {}
        self._torch_formulas = False
        self._recording = None
        return self

    def canonical_module_name(self, name: str) -> str:
        """The name by which a module is known here.

        Raises:
            NotFoundError: the model has no such module.
        """
        try:
            return self._aliases[name]
        except KeyError:
            raise NotFoundError(
                f"the model {type(self._model).__name__} has no module {name!r}.{did_you_mean(name, self._aliases)}"
            ) from None

    def copy(
        self, new_model: nn.Module | None = None, new_inputs: Tensor | tuple[Any, ...] | None = None
    ) -> JitModelAnalysis:
        """An analysis with the same settings, of another model or other inputs if these are given."""
        twin = copy.copy(self)
        twin._op_handles = dict(self._op_handles)
        if new_model is not None:
            twin._model, twin._aliases = new_model, _aliases_of(new_model)
        if new_inputs is not None:
            twin._inputs = as_arguments(new_inputs)
        twin._recording = None
        return twin

    def tracer_warnings(self, mode: str) -> Self:
        """Accepted for the contract: nothing is traced, so there is nothing to warn of.

        Raises:
            ArgumentError: `mode` is none of 'no_tracer_warning', 'all', 'none'.
        """
        _one_of("mode", mode, _TRACER_WARNINGS)
        return self

    def ancestor_mode(self, mode: Literal["owner", "caller"]) -> Self:
        """Choose which modules an operator counts for besides the one that ran it.

        Args:
            mode: 'owner', those that contain it by name (the default); 'caller', those that were running.

        Raises:
            ArgumentError: it is neither.
        """
        _one_of("mode", mode, _ANCESTOR_MODES)
        self._ancestor_mode = mode
        return self

    def unsupported_ops_warnings(self, enabled: bool) -> Self:
        """Choose whether operators of unknown cost are logged."""
        self._warn_unsupported = enabled
        return self

    def uncalled_modules_warnings(self, enabled: bool) -> Self:
        """Choose whether modules that did not run are logged."""
        self._warn_uncalled = enabled
        return self

    def _statistics(self) -> Statistics:
        first = self._recording is None
        if self._recording is None:
            self._recording = record(self._model, self._inputs, self._op_handles, self._torch_formulas)
        found = Statistics(
            counts=self._by_module(self._recording.counts),
            unsupported_ops=self._by_module(self._recording.unsupported),
            uncalled_mods=self._uncalled(self._recording.called),
        )
        if first:
            self._report(found)
        return found

    def _by_module(self, by_calls: dict[Calls, Counter[str]]) -> dict[str, Counter[str]]:
        """The counts of each module, from those of each stack of running modules."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self._aliases.values()}
        for calls, by_operator in by_calls.items():
            for name in self._responsible(calls):
                counts[name].update(by_operator)
        return counts

    def _responsible(self, calls: Calls) -> set[str]:
        return {*calls, ""} if self._ancestor_mode == "caller" else set(_with_ancestors(calls[-1] if calls else ""))

    def _uncalled(self, called: set[str]) -> set[str]:
        reached = {ancestor for name in called for ancestor in _with_ancestors(name)}
        return set(self._aliases.values()) - reached

    def _report(self, found: Statistics) -> None:
        left_out = found.unsupported_ops[""]
        if self._warn_unsupported and left_out:
            listed = ", ".join(f"{name} ({count})" for name, count in left_out.most_common())
            _warn(f"{type(self).__name__} counts nothing for these operators (calls): {listed}")
        if self._warn_uncalled and found.uncalled_mods:
            listed = ", ".join(sorted(found.uncalled_mods))
            _warn(f"These modules did not run, or others use their weights or their `forward`: {listed}")


class FlopAnalyzer(JitModelAnalysis):
    """Counts flops: one for a multiply-add of a convolution or a matrix product, and those of normalisations,
    interpolation and adaptive pooling.

    Elementwise operators, activations and softmax are not counted; `unsupported_ops` lists them. Attention is counted
    as its two matrix products, and a recurrent layer as its matrices at every step.

    Args:
        model: any module, in the mode (training or evaluation) that is to be counted.
        inputs: its positional arguments; a tensor is the only one.
    """  # noqa: D205

    _handles = FLOP_HANDLES
    _flops = True


class ActivationAnalyzer(JitModelAnalysis):
    """Counts activations: elements that convolutions, matrix products, attention and recurrent layers put out.

    Args:
        model: any module, in the mode (training or evaluation) that is to be counted.
        inputs: its positional arguments; a tensor is the only one.
    """

    _handles = ACTIVATION_HANDLES
    _warns_by_default = False


def flop_count(
    model: nn.Module, inputs: tuple[Any, ...], supported_ops: dict[str, Handle] | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """Flops of a model by operator, in units of 1e9.

    Args:
        model: any module.
        inputs: its positional arguments.
        supported_ops: more handles by operator name, or others for known operators.

    Returns:
        The counts, and how often each operator ran whose cost nobody knows.
    """
    return _count(FlopAnalyzer(model, inputs), supported_ops, 1e9)


def activation_count(
    model: nn.Module, inputs: tuple[Any, ...], supported_ops: dict[str, Handle] | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """Activations of a model by operator, in units of 1e6.

    Args:
        model: any module.
        inputs: its positional arguments.
        supported_ops: more handles by operator name, or others for known operators.

    Returns:
        The counts, and how often each operator ran that puts out nothing that is counted.
    """
    return _count(ActivationAnalyzer(model, inputs), supported_ops, 1e6)


def _count(
    analysis: JitModelAnalysis, more: dict[str, Handle] | None, unit: float
) -> tuple[defaultdict[str, float], Counter[str]]:
    analysis.set_op_handle(more or {})
    scaled = {name: count / unit for name, count in analysis.by_operator().items()}
    return defaultdict(float, scaled), analysis.unsupported_ops()


def _aliases_of(model: nn.Module) -> dict[str, str]:
    """Every name of every module, and the first name of that module."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(module), name) for name, module in model.named_modules(remove_duplicate=False)}


def _with_ancestors(name: str) -> Iterable[str]:
    parts = name.split(".") if name else []
    return [".".join(parts[:count]) for count in range(len(parts) + 1)]


def _pairs(args: tuple[Any, ...]) -> Iterable[tuple[str, Handle | None]]:
    if len(args) == 1 and hasattr(args[0], "items"):
        return list(args[0].items())
    if len(args) % 2 or any(type(name) is not str for name in args[::2]):
        raise ArgumentTypeError(
            f"set_op_handle takes names and handles in turn, or one dict, got {args!r}. "
            "Write set_op_handle('aten::softmax', handle)."
        )
    return list(zip(args[::2], args[1::2], strict=True))


def _one_of(argument: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ArgumentError(
            f"{argument} should be one of {', '.join(map(repr, options))}, got {value!r}.{did_you_mean(value, options)}"
        )


def _warn(message: str) -> None:
    print_log(message, "current", logging.WARNING)
