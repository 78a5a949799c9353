"""Whether a PyTorch file's pickle claims no more of its records than they hold."""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ._archive import DamageError

_ITEM_SIZES = {
    **dict.fromkeys(("ComplexDoubleStorage",), 16),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
}
"""Bytes of an item by the name of the storage's class; all others count bytes."""
_STRINGS = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"})
_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "LONG4"})
_VALUES = _STRINGS | _NUMBERS | {"GLOBAL"}
_PUTS = frozenset({"BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GETS = frozenset({"BINGET", "LONG_BINGET"})


def check_storages(pickled: bytes, sizes: Mapping[str, int]) -> None:
    """Compare the storages that a pickle asks for with the records that hold them; nothing is unpickled.

    torch before 2.10 takes the pickle's word for a storage's size, and reads past the end of a smaller record.

    Args:
        pickled: the record `data.pkl`.
        sizes: bytes of each record, by the storage's key.

    Raises:
        DamageError: the pickle is cut off, or a storage is larger than its record or has none.
    """
    try:
        with warnings.catch_warnings():
            # pickletools reads names as if they had escapes in them.
            warnings.simplefilter("ignore", DeprecationWarning)
            for asked in _persistent_ids(pickled):
                _check(asked, sizes)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DamageError(f"its pickle is damaged: {error}") from error


def _persistent_ids(pickled: bytes) -> Iterator[Any]:
    """What stands before each opcode that asks for a storage: the last tuple of texts, numbers, and global names."""
    since_mark: list[Any] = []
    memo: dict[int, Any] = {}
    operations: Iterator[tuple[Any, Any, Any]] = pickletools.genops(io.BytesIO(pickled))
    for opcode, value, _ in operations:
        name = opcode.name
        if name == "BINPERSID":
            yield since_mark[-1] if since_mark else None
            since_mark = [None]
        elif name == "MARK":
            since_mark = []
        elif name == "TUPLE":
            since_mark = [tuple(since_mark)]
        elif name == "STACK_GLOBAL":
            since_mark[-2:] = [" ".join(map(str, since_mark[-2:]))]
        elif name in _PUTS:
            memo[len(memo) if value is None else value] = since_mark[-1] if since_mark else None
        elif name != "FRAME":
            # What is not followed counts as None: a tuple with it is not of the form that is looked for.
            since_mark.append(memo.get(value) if name in _GETS else value if name in _VALUES else None)


def _check(asked: Any, sizes: Mapping[str, int]) -> None:
    if type(asked) is not tuple or len(asked) != 5 or asked[0] != "storage" or type(asked[4]) is not int:
        raise DamageError("its pickle asks for a storage in a way in which torch never does")
    _, kind, key, _, count = asked
    if key not in sizes:
        raise DamageError(f"its pickle asks for the storage {key!r}, and there is no such record")
    claimed = count * _ITEM_SIZES.get(str(kind).rpartition(" ")[2], 1)
    if not 0 <= claimed <= sizes[key]:
        raise DamageError(f"its storage {key!r} claims {claimed} bytes of a record of {sizes[key]}")
