"""How the entries of a state dict fit a model: what matches, what is missing, left over or of another shape."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from drivetrain.errors import nearest

from ._wrappers import get_state_dict, unwrapped

ENOUGH = 0.5
"""The share of a file's entries that must match before a load is believed."""

_SHOWN = 10
_Shape = tuple[int, ...] | None


class ShapeMismatch(NamedTuple):
    """One entry that model and file have in different shapes."""

    name: str
    in_file: tuple[int, ...]
    in_model: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: file {self.in_file}, model {self.in_model}"


@dataclass(frozen=True)
class MatchReport:
    """What `match_state_dict` found.

    Attributes:
        model: name of the model's class.
        matched: names that both have, in one shape.
        missing: names of the model that the file lacks, `num_batches_tracked` aside.
        unexpected: names of the file that the model lacks.
        mis_shaped: entries that both have, in different shapes.
        prefix_removed: what was taken off the file's names to make them match, often `module.`.
        prefix_added: what was put before the file's names to make them match.
        rivals: prefixes in the file under which most of the model's names are found; none was removed because several
            do equally well, or because most of the file lies elsewhere.
        notes: other things that a module said while it loaded.
    """

    model: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mis_shaped: tuple[ShapeMismatch, ...]
    prefix_removed: str = ""
    prefix_added: str = ""
    rivals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def entries(self) -> int:
        """How many entries the file has."""
        return len(self.matched) + len(self.unexpected) + len(self.mis_shaped)

    @property
    def share(self) -> float:
        """The share of the file's entries that match; 1.0 when neither file nor model has any."""
        if self.entries:
            return len(self.matched) / self.entries
        return 0.0 if self.missing else 1.0

    @property
    def exact(self) -> bool:
        """Whether everything matches, under the names as they stand."""
        return not (self.missing or self.unexpected or self.mis_shaped or self.notes or self.repaired)

    @property
    def repaired(self) -> bool:
        """Whether a prefix was removed or added."""
        return bool(self.prefix_removed or self.prefix_added)

    def rename(self, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state dict under the names that match; the same object when no prefix differs."""
        if not self.repaired:
            return state_dict
        fitting = {*self.matched, *(entry.name for entry in self.mis_shaped)}
        renamed = OrderedDict((self._renamed(name, fitting), value) for name, value in state_dict.items())
        metadata = getattr(state_dict, "_metadata", None)
        if metadata is not None:
            renamed._metadata = self._rename_metadata(metadata)  # type: ignore[attr-defined]
        return renamed

    def _renamed(self, name: str, fitting: set[str]) -> str:
        other = self.prefix_added + name.removeprefix(self.prefix_removed)
        return other if other in fitting else name

    def _rename_metadata(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        return OrderedDict(
            ((self.prefix_added + f"{name}.".removeprefix(self.prefix_removed)).rstrip("."), value)
            for name, value in metadata.items()
        )

    def lines(self) -> Iterator[str]:
        """The counts, and the first names of each kind, one line each."""
        if self.prefix_removed:
            yield f"  the prefix {self.prefix_removed!r} was removed from the file's names"
        if self.prefix_added:
            yield f"  the prefix {self.prefix_added!r} was added to the file's names"
        yield from _listed("missing in the file, kept as they were", self.missing)
        yield from _listed("unexpected in the file, not used", self.unexpected)
        yield from _listed("of another shape, not used", self.mis_shaped)
        yield from (f"  {note}" for note in self.notes)

    def __str__(self) -> str:
        head = (
            f"{self.model}: {len(self.matched)} of the file's {self.entries} entries match "
            f"({len(self.missing)} missing, {len(self.unexpected)} unexpected, {len(self.mis_shaped)} of another shape)"
        )
        return "\n".join([head, *self.lines()])

    def near_misses(self, count: int = 3) -> list[str]:
        """Lines that pair the first unexpected names with the nearest names of the model."""
        pairs = ((name, nearest(name, self.missing, 1)) for name in self.unexpected[: 4 * count])
        found = [f"  nearest to the file's {name!r}: the model's {hits[0]!r}" for name, hits in pairs if hits]
        return found[:count]


def _listed(what: str, entries: Iterable[Any]) -> Iterator[str]:
    names = [str(entry) for entry in entries]
    if names:
        rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"  {what} ({len(names)}): {', '.join(names[:_SHOWN])}{rest}"


def match_state_dict(module: nn.Module, state_dict: Mapping[str, Any]) -> MatchReport:
    """Compare a state dict with a model, changing neither.

    When less than half of the file's entries match, but would under one common prefix more or less (`module.`,
    `backbone.`, `model.` ...), the report is the one with that prefix, and names it.

    Args:
        module: the model; wrappers are looked through.
        state_dict: tensors by name, as a file holds them.

    Returns:
        Names and counts. Hooks with which a module adapts old files as it loads are not run.
    """
    expected = {name: _shape(value) for name, value in get_state_dict(module).items()}
    given = {name: _shape(value) for name, value in state_dict.items()}
    kind = type(unwrapped(module)).__name__
    report = _compare(kind, given, expected)
    return report if report.share >= ENOUGH else _with_prefix(report, given, expected)


def _shape(value: Any) -> _Shape:
    return tuple(value.shape) if hasattr(value, "shape") else None


def _fits(in_file: _Shape, in_model: _Shape) -> bool:
    # torch takes a one-element tensor for a scalar: files from before 0.4 have them.
    return in_file == in_model or None in (in_file, in_model) or (in_file == (1,) and in_model == ())


def _compare(kind: str, given: Mapping[str, _Shape], expected: Mapping[str, _Shape]) -> MatchReport:
    shared = [name for name in given if name in expected]
    return MatchReport(
        model=kind,
        matched=tuple(name for name in shared if _fits(given[name], expected[name])),
        missing=tuple(name for name in expected if name not in given and not ignorable(name)),
        unexpected=tuple(name for name in given if name not in expected),
        mis_shaped=tuple(
            ShapeMismatch(name, given[name] or (), expected[name] or ())
            for name in shared
            if not _fits(given[name], expected[name])
        ),
    )


def ignorable(name: str) -> bool:
    """Whether a model may lack this entry silently: counters that old files do not have."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def _with_prefix(report: MatchReport, given: Mapping[str, _Shape], expected: Mapping[str, _Shape]) -> MatchReport:
    """The report under the one prefix that makes at least half of the file match, else `report` as it is."""
    removed, rivals = _favourite(_prefixes(given, expected), len(given), len(expected))
    added, _ = _favourite(_prefixes(expected, given), len(given), len(expected))
    if removed:
        renamed = _compare(report.model, _strip(given, removed), expected)
        candidate = replace(renamed, prefix_removed=removed)
    elif added:
        names = {(added + name if added + name in expected else name): shape for name, shape in given.items()}
        candidate = replace(_compare(report.model, names, expected), prefix_added=added)
    else:
        return replace(report, rivals=rivals)
    return candidate if candidate.share >= ENOUGH else report


def _strip(given: Mapping[str, _Shape], prefix: str) -> dict[str, _Shape]:
    """The names without `prefix`, where that does not run into another name of the file."""
    return {
        (name.removeprefix(prefix) if name.removeprefix(prefix) not in given else name): shape
        for name, shape in given.items()
    }


def _prefixes(long: Mapping[str, _Shape], short: Mapping[str, _Shape]) -> Counter[str]:
    """How many names of `long` become a name of `short`, in one shape, by the loss of each prefix."""
    votes: Counter[str] = Counter()
    for name, shape in long.items():
        position = name.find(".") + 1
        while position:
            rest = name[position:]
            if rest in short and _fits(shape, short[rest]):
                votes[name[:position]] += 1
            position = name.find(".", position) + 1
    return votes


def _favourite(votes: Counter[str], entries: int, wanted: int) -> tuple[str, tuple[str, ...]]:
    """The one prefix that fits enough of the file, else none; and those that fit most of the model's names."""
    ranked = votes.most_common()
    top = ranked[0][1] if ranked else 0
    leaders = [prefix for prefix, count in ranked if count == top]
    if len(leaders) == 1 and top >= ENOUGH * entries:
        return leaders[0], ()
    return "", tuple(prefix for prefix, count in ranked if count >= ENOUGH * wanted)
