"""A pipeline: transforms called one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from drivetrain.errors import ArgumentTypeError
from drivetrain.registry import TRANSFORMS

from ._configs import is_config


class Compose:
    """Call transforms one after the other.

    Args:
        transforms: each a config for the registry TRANSFORMS, or a callable that takes a sample's dict and returns one,
            or None to give the sample up. None means no transforms.

    Raises:
        ArgumentTypeError: the pipeline is no list, or an entry is neither a config nor callable.
        NotFoundError: a transform is not registered.
    """

    def __init__(self, transforms: Sequence[dict[str, Any] | Callable[..., Any]] | None) -> None:
        self.transforms = [_transform(entry, place) for place, entry in enumerate(_listed(transforms))]

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Transform a sample; None as soon as a transform returns None."""
        result: dict[str, Any] | None = data
        for transform in self.transforms:
            result = transform(result)
            if result is None:
                return None
        return result

    def __repr__(self) -> str:
        lines = "".join(f"\n    {transform}" for transform in self.transforms)
        return f"{type(self).__name__}({lines}\n)"


def _listed(transforms: Any) -> Sequence[Any]:
    if is_config(transforms) or type(transforms) is str:
        raise ArgumentTypeError(
            f"a pipeline must be a list of transforms, got {type(transforms).__name__}: {transforms!r}. "
            "Put a single transform into a list: pipeline=[dict(type=...)]."
        )
    return transforms or ()


def _transform(entry: Any, place: int) -> Callable[..., Any]:
    built = TRANSFORMS.build(entry) if is_config(entry) else entry
    if not callable(built):
        raise ArgumentTypeError(
            f"entry {place} of the pipeline must be a config with a 'type', or a callable such as a function "
            f"or an object with __call__; got {type(built).__name__}: {built!r}."
        )
    return built
