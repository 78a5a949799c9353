"""What one call of an operator costs, by the shapes of its tensors.

One multiply-add is one flop, which is the contract's convention; `torch.utils.flop_counter` counts two, so its formulas
are halved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils.flop_counter import flop_registry

Handle: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], "Counter[str] | Number | int | float"]
"""A count for one call of an operator, from the lists of its inputs and of its outputs: a number, or numbers by name.

The inputs are all arguments of the operator's schema in order, defaults filled in.
"""

_CONVOLUTIONS = {"convolution", "conv1d", "conv2d", "conv3d", "cudnn_convolution", "convolution_overrideable"}


def operator_name(name: str) -> str:
    """The one name of an operator: without its overload and the underscores of private and in-place variants, and one
    name for convolutions.

    >>> operator_name("aten::_softmax"), operator_name("aten::conv2d.padding"), operator_name("torchvision::nms")
    ('aten::softmax', 'aten::convolution', 'torchvision::nms')
    """  # noqa: D205
    space, _, base = name.rpartition("::")
    base = base.partition(".")[0].strip("_")
    if base in _CONVOLUTIONS:
        base = "convolution"
    elif base.startswith("scaled_dot_product"):
        base = "scaled_dot_product_attention"
    return f"{space or 'aten'}::{base}"


def short_name(name: str) -> str:
    """The name under which an operator's counts are summed: `conv` for every convolution, else without `aten::`."""
    base = name.rpartition("::")[2]
    return "conv" if base.startswith("conv") else base


def get_shape(val: Any) -> list[int] | None:
    """The shape of a tensor as a list; None for anything else."""
    return list(val.shape) if issubclass(type(val), Tensor) else None


def elementwise_flop_counter(input_scale: float = 1, output_scale: float = 0) -> Handle:
    """A handle for an operator that costs so much per element of its first input and of its first output."""

    def handle(inputs: Sequence[Any], outputs: Sequence[Any]) -> int | float:
        cost = 0 if not input_scale else input_scale * inputs[0].numel()
        return cost if not output_scale else cost + output_scale * outputs[0].numel()

    return handle


def norm_flop_counter(affine_arg_index: int, *, plain: int = 4) -> Handle:
    """A handle for a normalisation: `plain` flops per element, one more where it has a weight.

    Args:
        affine_arg_index: the position of the weight among the operator's inputs.
        plain: flops per element without a weight: mean, variance, subtraction, division.
    """

    def handle(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
        return inputs[0].numel() * (plain + (inputs[affine_arg_index] is not None))

    return handle


def conv_flop_count(
    x_shape: Sequence[int], w_shape: Sequence[int], out_shape: Sequence[int], transposed: bool = False
) -> int:
    """Multiply-adds of a convolution.

    Args:
        x_shape: shape of the input, (N, C, ...).
        w_shape: shape of the weight; its second or, when transposed, first extent is that of one group.
        out_shape: shape of the output, (N, C, ...).
        transposed: whether it is a transposed convolution.
    """
    places = x_shape if transposed else out_shape
    spatial = len(w_shape) - 2
    batch = math.prod(places[: -spatial - 1])
    return batch * math.prod(places[-spatial:]) * math.prod(w_shape)


def output_count(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """A handle: the number of elements of the first output."""
    return int(outputs[0].numel())


def torch_formula(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> int | None:
    """The multiply-adds of a call by torch's own formula, or by one that a user registered with it; None without one.

    Args:
        func: the operator.
        args: its positional arguments.
        kwargs: its other arguments.
        out: what it returned.
    """
    formula = flop_registry.get(getattr(func, "_overloadpacket", func))
    return None if formula is None else int(formula(*args, **kwargs, out_val=out)) // 2


def has_torch_formula(func: Any) -> bool:
    """Whether torch knows what the operator costs."""
    return getattr(func, "_overloadpacket", func) in flop_registry


def _transposed_convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return conv_flop_count(inputs[0].shape, inputs[1].shape, outputs[0].shape, transposed=True)


def _deformable_convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return conv_flop_count(inputs[0].shape, inputs[1].shape, outputs[0].shape)


def _attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """Queries (..., L, E) by keys (..., S, E), and the scores by values (..., S, V)."""
    query, key, value = inputs[:3]
    return query.numel() * key.shape[-2] + query.numel() // query.shape[-1] * key.shape[-2] * value.shape[-1]


def _recurrent(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """Every step of every sequence meets every matrix once. The weights are the list among the arguments."""
    sequences = inputs[0]
    lists = [value for value in inputs[1:] if type(value) in (list, tuple)]
    matrices = sum(weight.numel() for weight in lists[-1] if weight.ndim == 2)
    return sequences.numel() // sequences.shape[-1] * matrices


def _batch_norm(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    """In evaluation one multiplication, and one addition where it has a weight; in training the statistics too."""
    plain = 4 if inputs[5] else 1
    return inputs[0].numel() * (plain + (inputs[1] is not None))


def _added_matrix_by_vector(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:  # noqa: ARG001
    return int(inputs[1].numel())


_matrix_by_vector = elementwise_flop_counter(1, 0)
_recurrent_kinds = ("lstm", "gru", "rnn_tanh", "rnn_relu")

FLOP_HANDLES: dict[str, Handle] = {
    "aten::conv_transpose1d": _transposed_convolution,
    "aten::conv_transpose2d": _transposed_convolution,
    "aten::conv_transpose3d": _transposed_convolution,
    "torchvision::deform_conv2d": _deformable_convolution,
    "aten::scaled_dot_product_attention": _attention,
    **{f"aten::{kind}": _recurrent for kind in _recurrent_kinds},
    "aten::mv": _matrix_by_vector,
    "aten::dot": _matrix_by_vector,
    "aten::vdot": _matrix_by_vector,
    "aten::addmv": _added_matrix_by_vector,
    "aten::batch_norm": _batch_norm,
    "aten::instance_norm": norm_flop_counter(1),
    "aten::layer_norm": norm_flop_counter(2),
    "aten::group_norm": norm_flop_counter(2),
    "aten::rms_norm": norm_flop_counter(2, plain=3),
    "aten::adaptive_avg_pool2d": elementwise_flop_counter(1, 0),
    "aten::upsample_nearest2d": elementwise_flop_counter(0, 1),
    "aten::upsample_bilinear2d": elementwise_flop_counter(0, 4),
    "aten::grid_sampler": elementwise_flop_counter(0, 4),
}
"""Flops of one call, by operator; torch's `flop_registry` knows the rest: matrix products and convolutions."""

ACTIVATION_HANDLES: dict[str, Handle] = dict.fromkeys(
    [
        "aten::convolution", "aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d",
        "torchvision::deform_conv2d", "aten::linear", "aten::matmul", "aten::mm", "aten::bmm", "aten::addmm",
        "aten::baddbmm", "aten::einsum", "aten::mv", "aten::dot", "aten::scaled_dot_product_attention",
        *(f"aten::{kind}" for kind in _recurrent_kinds),
    ],
    output_count,
)  # fmt: skip
"""Elements that one call puts out, for the operators whose outputs are counted as activations."""

_FREE = """
    alias all allclose alpha_dropout any arange argmax argmin argsort as_strided bernoulli bincount broadcast_tensors
    bucketize cat chunk clamp clamp_max clamp_min clone concat constant_pad_nd contiguous copy cpu cuda detach
    dropout dropout2d embedding empty empty_like empty_permuted empty_strided eq equal expand expand_as exponential
    eye feature_dropout fill flatten flip full full_like gather ge gt hardtanh index index_fill index_put index_select
    is_nonzero isfinite isinf isnan item le lift lift_fresh linspace local_scalar_dense logical_and logical_not
    logical_or lt masked_fill masked_select max_values meshgrid ne new_empty new_empty_strided new_full new_ones
    new_zeros nonzero normal numpy_T one_hot ones ones_like pad pixel_shuffle pixel_unshuffle pin_memory rand rand_like
    randint randn randn_like randperm reflection_pad1d reflection_pad2d relu relu6 repeat repeat_interleave
    replication_pad2d reshape reshape_as resize resolve_conj resolve_neg roll scalar_tensor scatter searchsorted
    select_backward set size slice_scatter sort split stack tile to to_copy topk tril triu unfold_copy uniform
    unique unique2 unsafe_view where zero zeros zeros_like
"""
FREE = frozenset(f"aten::{name}" for name in _FREE.split())
"""Operators that move, choose or make values, which nobody counts; views are recognised by torch itself."""
