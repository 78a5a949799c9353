"""From objects to what `torch.load(weights_only=True)` reads without an allow-list, and back.

Plain containers (dict, OrderedDict, list, tuple), tensors, numbers, strings, bytes, None and bools stand in the file as
they are. Everything else becomes `{"__drivetrain__": tag, "value": parts}`, see `_kinds.py`. A user's dict that holds
the reserved key, or keys that the file cannot hold, is written as a list of pairs under the tag "dict".
"""

from __future__ import annotations

import enum
import functools
import reprlib
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import torch

from drivetrain.errors import CheckpointError

from ._foreign import STORED, bare
from ._kinds import KINDS, Kind, UnsupportedError

RESERVED = "__drivetrain__"
"""The key that marks a tagged object in a file."""

_AS_IS = frozenset({type(None), bool, float, str})
# The reader takes integers of at most 255 bytes.
_MOST_BITS = 8 * 255 - 1
# Containers that a walk may meet where some stand in several places: a small file can have more than a walk can end.
_MOST_REPEATED = 10**6

Encoding: TypeAlias = Callable[["_Encoder", Any], Any]


def encode(obj: Any) -> Any:
    """Turn nested objects into plain containers, tensors, numbers and strings, without copying a tensor.

    Subclasses of dict, list, tuple, str, int and float become the plain class; NumPy values, paths, sets, ranges,
    slices, defaultdicts, dtypes, devices and history buffers are tagged and come back from `decode` as they were.

    Args:
        obj: what to save.

    Returns:
        An object that `torch.save` writes and `torch.load(weights_only=True)` reads with no allow-list.

    Raises:
        CheckpointError: an object of another type, or a container that holds itself; the message has its key path.
    """
    encoder = _Encoder()
    try:
        return encoder.encode(obj)
    except RecursionError:
        raise CheckpointError(f"{_written(encoder.path[:8])}...: nested too deeply to be saved.") from None


def decode(plain: Any) -> Any:
    """Put back together what `encode` took apart; other plain containers come back equal.

    Args:
        plain: what `torch.load(weights_only=True)` returned.

    Raises:
        CheckpointError: a tag is unknown (a newer version wrote the file) or its value is damaged.
    """
    try:
        return _Decoder().decode(plain)
    except RecursionError:
        raise CheckpointError("the file's containers are nested too deeply, or hold themselves.") from None


class _Encoder:
    """One walk over what is to be saved; knows the key path it is at."""

    def __init__(self) -> None:
        self.path: list[Any] = []
        self._open: set[int] = set()
        # Keeps the object beside its encoding, so that its id stays taken while the walk lasts.
        self._done: dict[int, tuple[Any, Any]] = {}

    def encode(self, obj: Any) -> Any:
        """The plain form of `obj`, which stands at `path`."""
        cls = type(obj)
        if cls in _AS_IS or (cls is int and obj.bit_length() <= _MOST_BITS):
            return obj
        encoding = _encoding_of(cls)  # type: ignore[arg-type]
        if encoding is None:
            raise self.refusal(obj)
        if id(obj) in self._done:
            return self._done[id(obj)][1]
        if id(obj) in self._open:
            raise CheckpointError(f"{self.here()}: this {cls.__name__} holds itself; a checkpoint cannot hold a cycle.")
        self._open.add(id(obj))
        encoded = encoding(self, obj)
        self._open.discard(id(obj))
        self._done[id(obj)] = (obj, encoded)
        return encoded

    def inside(self, key: Any, value: Any) -> Any:
        """Encode the entry `key` of the container at hand."""
        if type(value) in _AS_IS:
            return value
        self.path.append(key)
        encoded = self.encode(value)
        self.path.pop()
        return encoded

    def here(self) -> str:
        """The key path the walk is at."""
        return _written(self.path)

    def refusal(self, obj: Any, why: str = "") -> CheckpointError:
        """The error to raise for an object that cannot be saved."""
        cls = type(obj)
        return CheckpointError(
            f"{self.here()}: object of type {cls.__module__}.{cls.__qualname__} cannot be saved; "
            f"{why or _advice(obj)}. "
            "A checkpoint holds containers, tensors, numbers, strings, NumPy arrays, paths, sets, ranges and slices."
        )


def _written(path: Iterable[Any]) -> str:
    """A key path as one would write it: `message_hub.runtime_info.foo[3]`."""
    text = "".join(f".{key}" if type(key) is str and key.isidentifier() else f"[{key!r}]" for key in path)
    return text.removeprefix(".") or "the checkpoint"


def _advice(obj: Any) -> str:
    if type(type(obj)) is enum.EnumMeta:
        return "save its .value or .name"
    if hasattr(obj, "state_dict"):
        return "save its state_dict()"
    if hasattr(obj, "get_state"):
        return "save its get_state()"
    if callable(obj):
        return "save its name, or leave it out"
    return "convert it to plain containers and numbers, or leave it out"


def _dict(encoder: _Encoder, obj: Any) -> Any:
    if RESERVED in obj or not all(map(_is_plain_key, obj)):
        pairs = [[encoder.inside(key, key), encoder.inside(key, value)] for key, value in obj.items()]
        return {RESERVED: "dict", "value": pairs}
    return {key: encoder.inside(key, value) for key, value in obj.items()}


def _ordered_dict(encoder: _Encoder, obj: Any) -> Any:
    plain = _dict(encoder, obj)
    if plain.get(RESERVED) == "dict":
        return {RESERVED: "OrderedDict", "value": plain["value"]}
    ordered = OrderedDict(plain)
    if hasattr(obj, "_metadata"):
        # The versions of a module's entries; torch keeps them as an attribute of its state dicts.
        ordered._metadata = encoder.inside("_metadata", obj._metadata)  # type: ignore[attr-defined]
    return ordered


def _list(encoder: _Encoder, obj: Any) -> list[Any]:
    return [encoder.inside(index, item) for index, item in enumerate(obj)]


def _tuple(encoder: _Encoder, obj: Any) -> tuple[Any, ...]:
    return tuple(_list(encoder, obj))


def _tensor(_: _Encoder, obj: Any) -> torch.Tensor:
    # torch.save would pickle attributes that somebody hung on the tensor, whatever they are.
    return obj.detach().requires_grad_(obj.requires_grad) if obj.__dict__ else obj


def _parameter(_: _Encoder, obj: Any) -> torch.nn.Parameter:
    return torch.nn.Parameter(obj.detach(), obj.requires_grad) if obj.__dict__ else obj


def _bytes(_: _Encoder, obj: Any) -> Any:
    return bytes(obj) if obj else {RESERVED: "bytes", "value": ""}


def _int(_: _Encoder, obj: Any) -> Any:
    plain = int.__index__(obj)
    return plain if plain.bit_length() <= _MOST_BITS else {RESERVED: "int", "value": hex(plain)}


def _float(_: _Encoder, obj: Any) -> float:
    return float.__float__(obj)


def _str(_: _Encoder, obj: Any) -> str:
    return str.__str__(obj)


def _tagging(kind: Kind) -> Encoding:
    def tagged(encoder: _Encoder, obj: Any) -> dict[str, Any]:
        try:
            parts = kind.take(obj)
        except UnsupportedError as why:
            raise encoder.refusal(obj, str(why)) from None
        return {RESERVED: kind.tag, "value": encoder.encode(parts)}

    return tagged


_ENCODINGS: dict[type, Encoding] = {cls: _tagging(kind) for kind in KINDS for cls in kind.types} | {
    dict: _dict,
    OrderedDict: _ordered_dict,
    list: _list,
    tuple: _tuple,
    bytes: _bytes,
    int: _int,
    float: _float,
    str: _str,
    np.str_: _tagging(next(kind for kind in KINDS if kind.tag == "numpy_scalar")),
    np.bytes_: _tagging(next(kind for kind in KINDS if kind.tag == "numpy_scalar")),
    torch.Tensor: _tensor,
    torch.nn.Parameter: _parameter,
}
_EXACT = {torch.Tensor, torch.nn.Parameter} | {cls for kind in KINDS if kind.exact for cls in kind.types}


@functools.lru_cache(maxsize=1024)
def _encoding_of(cls: type) -> Encoding | None:
    """How objects of `cls` are written; None if they cannot be."""
    if cls in _ENCODINGS:
        return _ENCODINGS[cls]
    if type(cls) is enum.EnumMeta:
        return None
    base = next((base for base in cls.__mro__ if base in _ENCODINGS), None)
    return None if base is None or base in _EXACT else _ENCODINGS[base]


def _is_plain_key(key: Any) -> bool:
    cls = type(key)
    if cls in _AS_IS:
        return True
    if cls is int:
        return key.bit_length() <= _MOST_BITS
    return cls is tuple and all(map(_is_plain_key, key))


class _Decoder:
    """One walk over what a file held. Containers met twice are made once.

    Attributes:
        size: how many containers a walk would meet that goes through those met twice each time.
    """

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self.size = 0

    def decode(self, obj: Any) -> Any:
        """What `obj` stands for."""
        decoding = _DECODINGS.get(type(obj))
        if decoding is None:
            return obj
        if id(obj) in self._done:
            made, size = self._done[id(obj)]
            self.size += size
            if self.size > max(_MOST_REPEATED, 1000 * len(self._done)):
                raise CheckpointError("the file's containers hold each other more often than a walk could end.")
            return made
        if id(obj) in self._open:
            raise CheckpointError("the file has a container that holds itself; no checkpoint of ours does.")
        self._open.add(id(obj))
        before = self.size
        made = decoding(self, obj)
        self.size += 1
        self._done[id(obj)] = made, self.size - before
        self._open.discard(id(obj))
        return made


def _from_dict(decoder: _Decoder, obj: dict[Any, Any]) -> Any:
    if RESERVED in obj:
        return _from_tagged(decoder, obj)
    return {key: decoder.decode(value) for key, value in obj.items()}


def _from_ordered_dict(decoder: _Decoder, obj: OrderedDict[Any, Any]) -> OrderedDict[Any, Any]:
    made = OrderedDict((key, decoder.decode(value)) for key, value in obj.items())
    if hasattr(obj, "_metadata"):
        made._metadata = decoder.decode(obj._metadata)  # type: ignore[attr-defined]
    return made


def _from_tagged(decoder: _Decoder, obj: dict[Any, Any]) -> Any:
    tag = obj[RESERVED]
    make = _MAKERS.get(tag) if type(tag) is str else None
    if make is None or "value" not in obj:
        raise CheckpointError(
            f"the file has an object of the unknown kind {reprlib.repr(tag)}: a newer version of drivetrain wrote it, "
            "or it is damaged."
        )
    parts = decoder.decode(obj["value"])
    try:
        return make(parts)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"the file has a damaged object of the kind {tag!r}: {error}") from error


_DECODINGS: dict[type, Callable[[_Decoder, Any], Any]] = {
    dict: _from_dict,
    OrderedDict: _from_ordered_dict,
    list: lambda decoder, obj: [decoder.decode(item) for item in obj],
    tuple: lambda decoder, obj: tuple(decoder.decode(item) for item in obj),
    type: lambda _, obj: bare(obj),
    types.FunctionType: lambda _, obj: bare(obj),
    **dict.fromkeys(STORED, lambda decoder, obj: obj.made(decoder.decode)),
}
_MAKERS: dict[str, Callable[[Any], Any]] = {kind.tag: kind.make for kind in KINDS} | {
    "dict": dict,
    "OrderedDict": OrderedDict,
}
