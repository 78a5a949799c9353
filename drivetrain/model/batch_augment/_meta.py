"""Meta information of samples, kept true while their images change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._draw import Array
from ._layout import Layout

_DIRECTIONS = {(True, False): "horizontal", (False, True): "vertical", (True, True): "diagonal"}
_FLAGS = {name: flags for flags, name in _DIRECTIONS.items()}


def sizes_of(samples: Sequence[Any]) -> list[tuple[int, int] | None]:
    """What of the canvas each sample fills, (height, width), where `img_shape` says so."""
    shapes = [sample.get("img_shape") for sample in samples]
    return [None if shape is None else (int(shape[0]), int(shape[1])) for shape in shapes]


def written_meta(samples: Sequence[Any], layout: Layout, before: Layout) -> list[dict[str, Any]]:
    """For each sample what has to change: `img_shape`, `pad_shape`, `batch_input_shape`, `scale_factor`, `flip`.

    Only what a sample has is changed.
    """
    moved = layout.sizes != before.sizes
    canvas = (layout.height, layout.width)
    shapes = {"batch_input_shape": canvas, "pad_shape": canvas} if canvas != (before.height, before.width) else {}
    changes = []
    for number, sample in enumerate(samples):
        meta: dict[str, Any] = {name: _with_channels(shape, sample.get(name)) for name, shape in shapes.items()}
        if moved[number].any():
            size = layout.sizes[number]
            meta["img_shape"] = _with_channels((int(size[0]), int(size[1])), sample.get("img_shape"))
        if (layout.scaled[number] != 1).any() and sample.get("scale_factor") is not None:
            meta["scale_factor"] = _scaled(sample.get("scale_factor"), layout.scaled[number])
        if layout.flipped[number].any():
            meta.update(_flipped(sample, layout.flipped[number]))
        known = sample.metainfo_keys()
        changes.append({name: value for name, value in meta.items() if name in known})
    return changes


def _with_channels(shape: tuple[int, int], old: Any) -> Any:
    rest = tuple(old[2:]) if old is not None else ()
    return type(old)((*shape, *rest)) if type(old) is list else (*shape, *rest)


def _scaled(old: Any, factors: Array) -> Any:
    new = np.asarray(old, dtype=np.float64) * np.resize(factors, len(old))
    return new.astype(old.dtype) if hasattr(old, "dtype") else tuple(float(value) for value in new)


def _flipped(sample: Any, flags: Array) -> dict[str, Any]:
    before = _FLAGS.get(str(sample.get("flip_direction") or "horizontal"), (True, False))
    old = before if sample.get("flip") else (False, False)
    now = (old[0] != bool(flags[0]), old[1] != bool(flags[1]))
    return {"flip": any(now), "flip_direction": _DIRECTIONS.get(now)}
