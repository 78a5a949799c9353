"""Flops, activations and parameters of a model in one dict, as a table and as its printed structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.errors import ArgumentError

from ._analyzer import ActivationAnalyzer, FlopAnalyzer, JitModelAnalysis
from ._parameters import parameter_count
from ._text import _format_size, text_table

_MISSING = "N/A"
_LABELS = ("#flops", "#acts")


def get_model_complexity_info(
    model: nn.Module,
    input_shape: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
    inputs: Tensor | tuple[Any, ...] | None = None,
    show_table: bool = True,
    show_arch: bool = True,
) -> dict[str, Any]:
    """What a model costs: it runs once, without gradients, in the mode it is in.

    Args:
        model: any module; its `forward` takes the inputs.
        input_shape: the shape of one sample, or a tuple of shapes for a model of several inputs. Normal random numbers
            with a batch of 1 are made of it, of the dtype and on the device of the model's parameters.
        inputs: the inputs themselves instead, with their batch: a tensor, or a tuple of positional arguments.
        show_table: give `out_table`.
        show_arch: give `out_arch`.

    Returns:
        `flops` (one for a multiply-add), `activations` and `params` as numbers; `flops_str`, `activations_str` and
        `params_str` with units; `out_table`, a row for each module of the upper three levels, and `out_arch`, the
        structure of the model with the numbers of each module. The last two are empty where they are not asked for.

    Raises:
        ArgumentError: neither of `input_shape` and `inputs` is given, or both and they differ, or `input_shape` is no
            shape.

    >>> info = get_model_complexity_info(nn.Linear(4, 2), (4,))
    >>> info["flops"], info["params_str"]
    (8, '10')
    """
    arguments: Any = _random_inputs(model, input_shape) if _by_shape(input_shape, inputs) else inputs
    flops = FlopAnalyzer(model, arguments)
    activations = ActivationAnalyzer(model, arguments)
    parameters = parameter_count(model)[""]
    return {
        "flops": flops.total(),
        "flops_str": _format_size(flops.total()),
        "activations": activations.total(),
        "activations_str": _format_size(activations.total()),
        "params": parameters,
        "params_str": _format_size(parameters),
        "out_table": "\n" + complexity_stats_table(flops, activations=activations) if show_table else "",
        "out_arch": "\n" + complexity_stats_str(flops, activations) if show_arch else "",
    }


def complexity_stats_table(
    flops: FlopAnalyzer,
    max_depth: int = 3,
    activations: ActivationAnalyzer | None = None,
    show_param_shapes: bool = True,
) -> str:
    """A table of what the modules of a model cost.

    A module with a single part is shown as that part. Cells are empty where a module did not run.

    Args:
        flops: the analysis of a model.
        max_depth: how many levels below the model are shown.
        activations: an analysis of the same model and inputs, for a fourth column.
        show_param_shapes: show parameters, with their shapes.
    """
    costs = _Costs(flops, activations)
    rows = [["model", *costs.cells("")]]
    rows += costs.rows("", 1, max_depth, show_param_shapes)
    header = ["module", "#parameters or shape", "#flops", "#activations"]
    return text_table(header[: len(rows[0])], rows)


def complexity_stats_str(flops: FlopAnalyzer, activations: ActivationAnalyzer | None = None) -> str:
    """The structure of a model as torch prints it, with what each module costs.

    Args:
        flops: the analysis of a model.
        activations: an analysis of the same model and inputs.
    """
    costs = _Costs(flops, activations)
    text = _structure(flops._model, "", costs, set())
    if _MISSING in text:
        note = "the module did not run by itself; what was done with its weights counts for its parent."
        text = f"{_MISSING}: {note}\n{text}"
    return text


class _Costs:
    """What each module of a model costs, by name."""

    def __init__(self, flops: JitModelAnalysis, activations: JitModelAnalysis | None) -> None:
        model = flops._model
        self.shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        self.parameters = parameter_count(model)
        self.analyses = [analysis for analysis in (flops, activations) if analysis is not None]
        self.counts = [analysis.by_module() for analysis in self.analyses]
        self.uncalled = flops.uncalled_modules()
        self.modules = dict(model.named_modules())

    def matters(self, name: str) -> bool:
        """Whether a module has parameters or costs anything."""
        return bool(self.parameters.get(name) or any(counts[name] for counts in self.counts))

    def cells(self, name: str) -> list[str]:
        """The cells of a row: the number of parameters and each count."""
        parameters = self.parameters.get(name, 0)
        if name in self.uncalled:
            return [_format_size(parameters, hide_zero=True), *("" for _ in self.counts)]
        return [_format_size(parameters, hide_zero=True), *(_format_size(counts[name]) for counts in self.counts)]

    def rows(self, parent: str, depth: int, max_depth: int, with_shapes: bool) -> Iterator[list[str]]:
        """The rows below a module."""
        if depth > max_depth:
            return
        indent = " " * depth
        for name in map(self._only_part, self._parts(parent)):
            if name not in self.shapes:
                yield [indent + name, *(indent + cell if cell else "" for cell in self.cells(name))]
                yield from self.rows(name, depth + 1, max_depth, with_shapes)
            elif with_shapes:
                yield [indent + name, f"{indent}{self.shapes[name]}", *("" for _ in self.counts)]

    def _parts(self, parent: str) -> list[str]:
        """Parameters and modules right below a module: those with parameters first."""
        start = f"{parent}." if parent else ""
        names = dict.fromkeys([*self.parameters, *filter(self.matters, self.modules)])
        return [name for name in names if name and name.startswith(start) and "." not in name[len(start) :]]

    def _only_part(self, name: str) -> str:
        """A module with a single module in it is shown as that one."""
        parts = self._parts(name)
        while len(parts) == 1 and parts[0] not in self.shapes:
            name = parts[0]
            parts = self._parts(name)
        return name


def _structure(module: nn.Module, name: str, costs: _Costs, seen: set[int]) -> str:
    """The text of a module and its parts; a module that was shown before is shown without numbers."""
    known = id(module) in seen
    seen.add(id(module))
    own = [line for line in module.extra_repr().split("\n") if line]
    if not known and costs.matters(name):
        own.append(_summary(name, costs))
    parts = []
    for part_name, part in module._modules.items():
        if part is not None:
            text = _structure(part, f"{name}.{part_name}" if name else part_name, costs, seen)
            parts.append(f"({part_name}): " + text.replace("\n", "\n  "))
    return _assembled(module._get_name(), own, parts)


def _summary(name: str, costs: _Costs) -> str:
    numbers = [f"#params: {_format_size(costs.parameters.get(name, 0), sig_figs=2)}"]
    for label, counts in zip(_LABELS, costs.counts, strict=False):
        known = name not in costs.uncalled
        numbers.append(f"{label}: {_format_size(counts[name], sig_figs=2) if known else _MISSING}")
    return ", ".join(numbers)


def _assembled(title: str, own: list[str], parts: list[str]) -> str:
    if not parts and len(own) <= 1:
        return f"{title}({''.join(own)})"
    return f"{title}(\n  " + "\n  ".join([*own, *parts]) + "\n)"


def _by_shape(input_shape: Any, inputs: Any) -> bool:
    """Whether inputs are to be made of a shape."""
    if input_shape is None and inputs is None:
        raise ArgumentError("give one of `input_shape` and `inputs`, such as input_shape=(3, 224, 224): got neither.")
    if input_shape is not None and inputs is not None:
        shape = tuple(getattr(inputs, "shape", ()))
        # Tools of packages give a batch and the shape of a sample of it.
        if shape[1:] != tuple(input_shape):
            raise ArgumentError(
                "give one of `input_shape` and `inputs`: got both, and they differ: "
                f"{input_shape!r}, and {f'a tensor of shape {shape}' if shape else f'{inputs!r:.80}'}."
            )
    return inputs is None


def _random_inputs(model: nn.Module, input_shape: Any) -> tuple[Tensor, ...]:
    """Normal random numbers of one shape, or of each of several, with a batch of 1."""
    shapes = [input_shape] if _is_shape(input_shape) else input_shape
    if type(shapes) not in (tuple, list) or not all(map(_is_shape, shapes)):
        raise ArgumentError(
            f"input_shape should be a tuple of int, or a tuple of such tuples for several inputs, got {input_shape!r}. "
            "It is the shape of one sample, without the batch: (3, 224, 224)."
        )
    like = next((item for item in model.parameters() if item.is_floating_point()), torch.empty(0))
    return tuple(torch.randn(1, *shape, dtype=like.dtype, device=like.device) for shape in shapes)


def _is_shape(value: Any) -> bool:
    return type(value) in (tuple, list, torch.Size) and all(type(extent) is int for extent in value)
