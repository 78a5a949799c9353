"""Layer-wise decay of the learning rate: the nearer to the input, the smaller.

Where a parameter stands is judged by its name. ViT-like models keep their layers in one list (`blocks.3.attn.weight`),
ResNet-like ones in stages of blocks (`layer2.0.conv1.weight`, `stages.1.blocks.0.norm.bias`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from drivetrain.errors import ArgumentError, ArgumentTypeError, did_you_mean
from drivetrain.registry import FUNCTIONS

Steps = dict[str, int]
"""How many layers each parameter, by its name, lies below the top."""

_ROOT = r"^((?:\w+\.)*?)"  # as short as can be: the outermost list counts
_VIT_BLOCK = re.compile(_ROOT + r"(?:blocks?|layers?|resblocks|features|h)\.(?:encoder_layer_)?()(\d+)\.")
_RESNET_BLOCK = re.compile(
    _ROOT + r"(?:layers?_?|stages?_?|stages\.|layers\.(?=\d+\.blocks\.))(\d+)\.(?:blocks?\.)?(\d+)\."
)
_RESNET_STAGE = re.compile(_ROOT + r"(?:layers?_?|stages?_?|stages\.|layers\.)(\d+)\.")
_STEM = re.compile(
    r"(?:^|\.)(?:patch_embed\w*|pos_embed\w*|absolute_pos_embed|cls_token|class_token|class_embedding|dist_token|mask_token"
    r"|reg_token|register_tokens|positional_embedding|token_embedding|embeddings|conv_proj|ln_pre|stem|wte|wpe)(?:\.|$)"
)
_KEYS = ("rate", "depth")


class Block(NamedTuple):
    """A layer, by where its list is, its stage (0 where there are none), and its number there."""

    root: str
    stage: int
    number: int


class LayerDecay(NamedTuple):
    """The setting `layer_decay`, checked.

    Attributes:
        rate: the factor from one layer to the next below it, in (0, 1].
        depth: 'auto', 'vit', 'resnet', the name or import path of a function, or a function from a parameter's name to
            its depth (0 at the input), or None for a parameter that is left alone.
    """

    rate: float
    depth: str | Callable[[str], int | None] = "auto"

    @classmethod
    def parse(cls, given: Any) -> LayerDecay:
        """From a rate, or from a dict with `rate` and `depth`.

        Raises:
            ArgumentError: a key is unknown or missing, or the rate lies outside of (0, 1].
            ArgumentTypeError: it is neither, or `depth` is of a wrong type.
        """
        if type(given) in (int, float):
            given = {"rate": given}
        if not hasattr(given, "items"):
            raise ArgumentTypeError(
                f"paramwise_cfg.layer_decay must be a rate such as 0.65, or dict(rate=0.65, depth='vit'), "
                f"got {given!r}."
            )
        for key in given:
            if key not in _KEYS:
                raise ArgumentError(
                    f"paramwise_cfg.layer_decay has no key {key!r}; there are rate and depth.{did_you_mean(key, _KEYS)}"
                )
        rate, depth = given.get("rate"), given.get("depth", "auto")
        if type(rate) not in (int, float) or not 0 < rate <= 1:
            raise ArgumentError(f"paramwise_cfg.layer_decay.rate must be a number in (0, 1], got {rate!r}.")
        if type(depth) is not str and not callable(depth):
            raise ArgumentTypeError(
                f"paramwise_cfg.layer_decay.depth must be one of {', '.join(_JUDGES)}, or a function from a "
                f"parameter's name to its depth, got {depth!r}."
            )
        return cls(float(rate), depth)

    def factors(self, model: nn.Module) -> dict[str, float]:
        """What to multiply each parameter's learning rate by, by its name in `model`; names left alone are not in it.

        Raises:
            ArgumentError: `depth` is unknown, or the names of `model` are not of its kind.
        """
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        judge = _JUDGES.get(self.depth) if type(self.depth) is str else None
        steps = judge(model, names) if judge is not None else _by_function(_function(self.depth), names)
        return {name: self.rate**below for name, below in steps.items()}


def _function(depth: Any) -> Callable[[str], Any]:
    found = FUNCTIONS.get(depth) if type(depth) is str else depth
    if found is None:
        raise ArgumentError(
            f"paramwise_cfg.layer_decay.depth: there is no {depth!r}. Give one of {', '.join(_JUDGES)}, a function, or "
            f"the name or import path of one.{did_you_mean(str(depth), _JUDGES)}"
        )
    return found


def _by_function(function: Callable[[str], Any], names: Iterable[str]) -> Steps:
    depths = {name: function(name) for name in names}
    for name, depth in depths.items():
        if depth is not None and (type(depth) is not int or depth < 0):
            raise ArgumentError(
                f"the depth function of layer_decay must return a whole number from 0 at the input, or None; it "
                f"returned {depth!r} for {name!r}."
            )
    known = {name: depth for name, depth in depths.items() if depth is not None}
    top = max(known.values(), default=0)
    return {name: top - depth for name, depth in known.items()}


def _auto(model: nn.Module, names: list[str]) -> Steps:
    """By the model's own word, else by the kind of names it has."""
    own = [
        (name, module.get_layer_depth) for name, module in model.named_modules() if hasattr(module, "get_layer_depth")
    ]
    if own:
        return _by_model(own[0][0], own[0][1], names)
    kind = _RESNET_BLOCK if any(map(_RESNET_BLOCK.match, names)) else _VIT_BLOCK
    return _by_blocks(kind, names)


def _by_model(prefix: str, get_layer_depth: Any, names: list[str]) -> Steps:
    """By a backbone's `get_layer_depth(name, prefix) -> (depth, number of depths)`, as those of mmpretrain have it."""
    answers = {name: get_layer_depth(name, f"{prefix}." if prefix else "") for name in names}
    return {name: int(count) - int(depth) - 1 for name, (depth, count) in answers.items()}


def _by_blocks(kind: re.Pattern[str], names: list[str]) -> Steps:
    """Number the blocks of the longest list; the stem lies below the first, and all else is the top."""
    blocks = _blocks_by_name(kind, names)
    lines: dict[str, list[Block]] = {}
    for block in sorted(set(blocks.values())):
        lines.setdefault(block.root, []).append(block)
    longest = max(map(len, lines.values()), default=0)  # a shorter one, such as the layers of a head, is the top
    lines = {root: line for root, line in lines.items() if len(line) == longest}
    blocks = {name: block for name, block in blocks.items() if block.root in lines}
    if not lines:
        raise ArgumentError(
            "paramwise_cfg.layer_decay finds no layers in the parameters' names, such as 'blocks.0.' or 'layer1.0.'; "
            f"they are {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}. Give layer_decay=dict(rate=..., "
            "depth=function), with a function from a name to its depth (0 at the input)."
        )
    steps = {name: len(lines[block.root]) - lines[block.root].index(block) for name, block in blocks.items()}
    stems = _stem(names, blocks)
    return {name: longest + 1 if name in stems else steps.get(name, 0) for name in names}


def _blocks_by_name(kind: re.Pattern[str], names: Iterable[str]) -> dict[str, Block]:
    """The block of each parameter that is in one."""
    found: dict[str, Block] = {}
    for name in names:
        match = kind.match(name)
        if match is not None:
            found[name] = Block(match[1], int(match[2] or 0), int(match[3]))
    if kind is _RESNET_BLOCK:
        _add_between_blocks(found, names)
    return found


def _add_between_blocks(found: dict[str, Block], names: Iterable[str]) -> None:
    """Put parameters of a stage that are in none of its blocks, such as a downsampling, to the block at their side."""
    last: dict[tuple[str, int], Block] = {}
    first = {(block.root, block.stage): block for block in sorted(set(found.values()), reverse=True)}
    for name in names:
        match = _RESNET_STAGE.match(name)
        if name in found:
            last[found[name].root, found[name].stage] = found[name]
        elif match is not None and (place := (match[1], int(match[2]))) in first:
            found[name] = last.get(place, first[place])


def _stem(names: list[str], blocks: Mapping[str, Block]) -> set[str]:
    """The parameters below the first block.

    These are known by their names (`patch_embed`, `cls_token`), or stand before the first block in the module that
    holds the blocks.
    """
    positions = {name: position for position, name in enumerate(names)}
    first: dict[str, int] = {}
    for name, block in blocks.items():
        first[block.root] = min(positions[name], first.get(block.root, len(names)))

    def is_below(name: str) -> bool:
        return any(name.startswith(root) and positions[name] < position for root, position in first.items())

    return {name for name in names if name not in blocks and (_STEM.search(name) or is_below(name))}


_JUDGES: dict[str, Callable[[nn.Module, list[str]], Steps]] = {
    "auto": _auto,
    "vit": lambda _, names: _by_blocks(_VIT_BLOCK, names),
    "resnet": lambda _, names: _by_blocks(_RESNET_BLOCK, names),
}
