"""Well mixed bits of whole numbers: what the seeds of independent random streams are made of."""

from __future__ import annotations

_LONG = 0xFFFFFFFFFFFFFFFF


def mixed(*numbers: int) -> int:
    """64 well mixed bits of some whole numbers; order matters.

    Each number is folded in by the finaliser of SplitMix64 (Steele, Lea, Flood 2014).

    >>> mixed(1, 2) == mixed(2, 1)
    False
    """
    state = 0
    for number in numbers:
        state = ((state ^ (number & _LONG)) + 0x9E3779B97F4A7C15) & _LONG
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _LONG
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _LONG
        state ^= state >> 31
    return state
