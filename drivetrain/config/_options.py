"""Options of the command line: `--cfg-options model.depth=50 'stages=[1,2]'`."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Union

_CLOSING = {"[": "]", "(": ")"}


class DictAction(Action):
    """Parses `key=value` pairs into a dict.

    A value is an int, a float, a bool (`true`, `False`), `None`, a list `[1,2]`, a tuple `(1,2)`, nested at will, a
    comma list `1,2`, and else text. Quotes around text are taken off.
    """

    @staticmethod
    def _parse_int_float_bool(val: str) -> int | float | bool | Any:
        for kind in (int, float):
            try:
                return kind(val)
            except ValueError:
                pass
        known = {"true": True, "false": False}
        return None if val == "None" else known.get(val.lower(), val)

    @staticmethod
    def _parse_iterable(val: str) -> list[Any] | tuple[Any, ...] | Any:
        """The value that `val` writes.

        >>> DictAction._parse_iterable("[(1,2,3),[a,b],c]")
        [(1, 2, 3), ['a', 'b'], 'c']
        """
        text = "".join(val.strip().split(" ")) if val.strip()[:1] in _CLOSING else val.strip()
        if text[:1] in _CLOSING and text.endswith(_CLOSING[text[0]]) and len(_split(text)) == 1:
            items = [DictAction._parse_iterable(item) for item in _split(text[1:-1]) if item]
            return tuple(items) if text[0] == "(" else items
        parts = _split(text)
        if len(parts) > 1:
            return [DictAction._parse_iterable(part) for part in parts if part]
        return DictAction._parse_int_float_bool(text.strip("'\""))

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Union[str, Sequence[Any], None],  # noqa: UP007
        option_string: str | None = None,
    ) -> None:
        """Add the pairs in `values` to what earlier options gave."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in [values] if type(values) is str else values or []:
            key, equals, value = pair.partition("=")
            if not equals or not key:
                parser.error(f"{option_string} takes key=value, got {pair!r}: write for example {key or 'lr'}=1.")
            options[key] = self._parse_iterable(value)
        setattr(namespace, self.dest, options)


def _split(text: str) -> list[str]:
    """The parts of `text` between the commas that stand in no bracket and no quotes."""
    parts, depth, quote, begin = [], 0, "", 0
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "[(":
            depth += 1
        elif char in "])":
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]
