"""Numbers and tables as text."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ((1e14, 1e15, "P"), (1e11, 1e12, "T"), (1e8, 1e9, "G"), (1e5, 1e6, "M"), (1e2, 1e3, "K"))


def _format_size(x: int, sig_figs: int = 3, hide_zero: bool = False) -> str:
    """A count with a unit of K, M, G, T or P, which begins at a tenth of it.

    Args:
        x: the count.
        sig_figs: digits after the point, at most.
        hide_zero: give an empty text for 0.

    >>> _format_size(2762), _format_size(123456), _format_size(74)
    ('2.762K', '0.123M', '74')
    """
    if hide_zero and x == 0:
        return ""
    for least, unit, letter in _UNITS:
        if abs(x) > least:
            return f"{x / unit:.{sig_figs}f}".rstrip("0").rstrip(".") + letter
    return str(x)


def format_rounded(x: int) -> str:
    """A count with one digit after the point and a unit of K, M or G, which begins at a tenth of it.

    >>> format_rounded(513), format_rounded(16)
    ('0.5K', '16')
    """
    for least, unit, letter in ((1e8, 1e9, "G"), (1e5, 1e6, "M"), (1e2, 1e3, "K")):
        if x > least:
            return f"{x / unit:.1f}{letter}"
    return str(x)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table drawn with `+`, `-` and `|`, its columns as wide as their widest cell; it ends with a line break."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    lines = [rule, _line(header, widths), rule, *(_line(row, widths) for row in rows), rule]
    if title:
        lines.insert(0, title.center(len(rule)).rstrip())
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "|".join(["", *(f" {cell:<{width}} " for cell, width in zip(cells, widths, strict=True)), ""])
