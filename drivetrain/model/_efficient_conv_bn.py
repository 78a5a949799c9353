"""A convolution and the batch norm behind it as one convolution, while the batch norm uses its running statistics.

You, Qin, Bao and others, "Tune-Mode ConvBN Blocks For Efficient Transfer Learning" (2023): the weights of the batch
norm are folded into those of the convolution at each call, so gradients flow to all of them, and the output of the
convolution itself is neither computed nor kept.
"""

from __future__ import annotations

import types
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from drivetrain.errors import ArgumentError
from drivetrain.tensors import _BatchNorm, _ConvNd

from ._parts import find_parts

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def efficient_conv_bn_eval_forward(bn: _BatchNorm, conv: _ConvNd, x: Tensor) -> Tensor:
    """What `bn(conv(x))` gives while `bn` uses its running statistics, in one convolution.

    Args:
        bn: a batch norm with running statistics.
        conv: a convolution, transposed ones included.
        x: its input.
    """
    mean: Any = bn.running_mean
    scale = torch.rsqrt(bn.running_var + bn.eps)  # type: ignore[operator, arg-type]
    if bn.weight is not None:
        scale = scale * bn.weight
    bias = -mean if conv.bias is None else conv.bias - mean
    bias = bias * scale if bn.bias is None else torch.addcmul(bn.bias, bias, scale)
    transposed = isinstance(conv, _TRANSPOSED)
    weight = _scaled(conv.weight, scale, conv.groups if transposed else None)
    if not transposed:
        forward: Any = conv._conv_forward
        return forward(x, weight, bias)
    function: Any = getattr(nn.functional, f"conv_transpose{conv.weight.dim() - 2}d")
    places = (conv.stride, conv.padding, conv.output_padding, conv.groups, conv.dilation)
    return function(x, weight, bias, *places)


def _scaled(weight: Tensor, scale: Tensor, groups: int | None) -> Tensor:
    """The weight with each output channel scaled; `groups` of a transposed one, which has them on its second axis."""
    if groups is None:
        return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    by_group = weight.reshape(groups, -1, *weight.shape[1:])
    return (by_group * scale.reshape(groups, 1, -1, *[1] * (weight.dim() - 2))).reshape(weight.shape)


def efficient_conv_bn_eval_control(bn: _BatchNorm, conv: _ConvNd, x: Tensor) -> Tensor:
    """`bn(conv(x))`: in one convolution where `bn` uses its running statistics, else as it stands."""
    return efficient_conv_bn_eval_forward(bn, conv, x) if _is_fixed(bn) else bn(conv(x))


def efficient_conv_bn_eval_graph_transform(fx_model: Any) -> None:
    """Let a traced model call `efficient_conv_bn_eval_control` for each convolution with a batch norm behind it.

    Args:
        fx_model: a `torch.fx.GraphModule`; changed in place.
    """
    graph = fx_model.graph
    for conv_node, bn_node in _paired_nodes(fx_model):
        with graph.inserting_before(conv_node):
            parts = [graph.get_attr(node.target) for node in (bn_node, conv_node)]
            call = graph.call_function(efficient_conv_bn_eval_control, (*parts, conv_node.args[0]))
        bn_node.replace_all_uses_with(call)
        graph.erase_node(bn_node)
        graph.erase_node(conv_node)
    graph.lint()
    fx_model.recompile()


def turn_on_efficient_conv_bn_eval_for_single_model(model: nn.Module) -> None:
    """Fold, inside `model`, each batch norm that always follows one convolution into it while it is in eval mode.

    What follows what is found by tracing `forward` with `torch.fx`; a part that cannot be traced is looked through,
    part by part. The model, its names and its state stay as they are; only the calls of the two layers change.

    Args:
        model: any module.
    """
    # Methods bound to the layers: a copy of a layer binds its own, and a pickle falls back on that of the class.
    for conv, bn in _pairs(model):
        vars(conv)["_folded_norm"] = (bn,)
        vars(conv)["forward"] = types.MethodType(_conv_with_norm, conv)
        vars(bn)["_folded_output"] = None
        vars(bn)["forward"] = types.MethodType(_norm_unless_folded, bn)


def turn_on_efficient_conv_bn_eval(model: nn.Module, modules: list[str] | str) -> None:
    """Turn it on for parts of a model.

    Args:
        model: the model.
        modules: dotted names of the parts, such as 'backbone', or patterns of these; see `find_parts`.

    Raises:
        MissingAttributeError: the model has no such part.
        ArgumentError: in none of them a batch norm follows a convolution.
    """
    parts = find_parts(model, modules, "efficient_conv_bn_eval")
    for part in parts.values():
        turn_on_efficient_conv_bn_eval_for_single_model(part)
    folded = sum("_folded_norm" in vars(module) for part in parts.values() for module in part.modules())
    if parts and not folded:
        raise ArgumentError(
            f"efficient_conv_bn_eval={modules!r}: in {', '.join(parts)} no batch norm was found that always follows "
            "one convolution. Name the parts that hold such pairs, and whose forward torch.fx can trace."
        )


def _is_fixed(bn: Any) -> bool:
    return not bn.training and bn.running_mean is not None


def _conv_with_norm(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The forward of a convolution that takes the work of its batch norm over while that one is in eval mode."""
    bn = self._folded_norm[0]
    if args or kwargs or not _is_fixed(bn):
        return type(self).forward(self, x, *args, **kwargs)
    folded = efficient_conv_bn_eval_forward(bn, self, x)
    # The batch norm knows its input by this: the very tensor, not only the order of the calls.
    bn._folded_output = folded
    return folded


def _norm_unless_folded(self: Any, x: Tensor) -> Tensor:
    """The forward of a batch norm whose work may be done already."""
    folded, self._folded_output = self._folded_output, None
    return x if folded is x else type(self).forward(self, x)


for _method in (_conv_with_norm, _norm_unless_folded):
    _method.__name__ = "forward"


def _pairs(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Convolutions and the batch norms that always follow them, from the largest parts that can be traced."""
    try:
        traced = fx.GraphModule(model, _Tracer().trace(model))
    except Exception:  # whatever a model's forward does with a stand-in for a tensor
        return [pair for child in model.children() for pair in _pairs(child)]
    modules = dict(model.named_modules())
    return [(modules[conv.target], modules[bn.target]) for conv, bn in _paired_nodes(traced)]


class _Tracer(fx.Tracer):
    """Takes every convolution and batch norm as a whole, those of other packages too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the inside of `m` is left out."""
        return isinstance(m, (_ConvNd, _BatchNorm)) or super().is_leaf_module(m, module_qualified_name)


def _paired_nodes(traced: Any) -> list[tuple[Any, Any]]:
    """Calls of a convolution and a batch norm that belong together: each made once, one on the other's result alone."""
    modules = dict(traced.named_modules())
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    times = Counter(id(modules[node.target]) for node in calls)
    found = []
    for node in calls:
        source: Any = node.args[0] if node.args else None
        if getattr(source, "op", "") == "call_module" and len(source.users) == 1 and len(source.args) == 1:
            conv, bn = modules[source.target], modules[node.target]
            if _fold(conv, bn) and not source.kwargs and times[id(conv)] == times[id(bn)] == 1:
                found.append((source, node))
    return found


def _fold(conv: Any, bn: Any) -> bool:
    """Whether these two are layers of torch's own, whose arithmetic is known."""
    right = isinstance(conv, _ConvNd) and isinstance(bn, _BatchNorm) and bn.track_running_stats
    return right and all(type(layer).forward.__module__.startswith("torch.nn.") for layer in (conv, bn))
