"""A fault of a config, and where faults are gathered."""

from __future__ import annotations

from typing import Any, NamedTuple

from drivetrain.config import ConfigDict, Origin, origins_of

MISSPELT, NOT_IMPORTED, ELSEWHERE = "misspelt name", "module not imported", "wrong scope or registry"
ARGUMENT = "wrong or missing argument"
KEY, PARTS, SCHEDULE, FILE, SOURCE = "misspelt key", "incomplete parts", "schedule", "missing file", "unreadable config"


class Fault(NamedTuple):
    """Something wrong with a config.

    Attributes:
        path: dotted path of the value; empty for the config as a whole.
        origin: the line that set it, where it is known.
        text: what is wrong, what was expected, and the nearest right name.
        cause: which kind of mistake it is, in a few words.
        note: whether it may be meant so: it does not make the check fail.
    """

    path: str
    origin: Origin | None
    text: str
    cause: str
    note: bool = False


class Place(NamedTuple):
    """A value of a config with the way to it.

    Attributes:
        path: dotted path.
        value: the value; what it imports is not imported.
        origin: the line that set it, where it is known.
    """

    path: str
    value: Any
    origin: Origin | None

    def at(self, key: Any, value: Any = None) -> Place:
        """The place of an item of this dict or list; its line is that of the dict's where it has none of its own."""
        path = f"{self.path}.{key}" if self.path else str(key)
        if type(self.value) is ConfigDict and key in self.value:
            known = origins_of(self.value, key)
            return Place(path, dict.__getitem__(self.value, key), known[-1] if known else self.origin)
        return Place(path, value, self.origin)

    def items(self) -> list[Place]:
        """The places of all items of this dict or list; none for anything else."""
        if type(self.value) is ConfigDict:
            return [self.at(key) for key in dict.keys(self.value)]
        if type(self.value) in (list, tuple):
            return [self.at(index, item) for index, item in enumerate(self.value)]
        return []

    def has(self, key: str) -> bool:
        """Whether this is a dict with a value other than None under `key`."""
        return type(self.value) is ConfigDict and dict.get(self.value, key) is not None


class Report:
    """The faults found so far."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, place: Place, text: str, cause: str, *, note: bool = False) -> None:
        """Take a fault in; the same one is taken once."""
        found = Fault(place.path, place.origin, " ".join(text.split()), cause, note)
        alike = [other for other in self.faults if (other.origin, other.text) == (found.origin, found.text)]
        told = note and any(other.path == found.path for other in self.faults)
        if not told and (found not in self.faults if found.origin is None else not alike):
            self.faults.append(found)

    def note(self, place: Place, text: str, cause: str) -> None:
        """Take in what may be meant so."""
        self.fault(place, text, cause, note=True)

    def below(self, path: str) -> bool:
        """Whether there is a fault in the value at `path`."""
        return any(f"{fault.path}.".startswith(f"{path}.") for fault in self.faults if not fault.note)
