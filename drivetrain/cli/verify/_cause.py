"""From what differs first to what probably made it differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from drivetrain.cli._text import shown_path

from ._record import Difference, differing

Examination = Callable[[int], "tuple[Mapping[str, Any], Mapping[str, Any]]"]
"""Makes a sample in two fresh processes, and returns what each saw."""


def cause_of(difference: Difference, examine: Examination) -> list[str]:
    """The likely cause, in paragraphs.

    Args:
        difference: the first step that differs.
        examine: looks at how a sample is made.
    """
    first = difference.fields[0]
    if first == "samples":
        return list(_order(difference))
    if first == "batch":
        index = sample_at_fault(difference)
        return list(_batch(difference) if index is None else _sample(index, *examine(index)))
    if first in ("outputs", "weights", "averages", "optimizer"):
        return list(_step(difference))
    return list(_settings(difference) if first == "settings" else _generators(difference))


def sample_at_fault(difference: Difference) -> int | None:
    """Index of the first sample of the batch that differs; None where the batch does not tell."""
    indices = difference.found.get("indices") or []
    for path, marks in difference.found["rows"].items():
        expected = difference.expected["rows"].get(path, marks)
        for index, mark, other in zip(indices, marks, expected, strict=False):
            if mark != other and type(index) is int:
                return index
    return None


def _order(difference: Difference) -> Iterator[str]:
    expected, found = difference.expected["indices"], difference.found["indices"]
    yield f"The sampler gives other samples: {_some(found or [])} instead of {_some(expected or [])}."
    yield (
        "A sampler that shuffles must do so by its epoch (`set_epoch`) or by torch's, NumPy's or Python's global "
        "generator, which the run seeds; not by a generator of its own, by the time, or by what it has counted. The "
        "runner makes one that does: sampler=dict(type='DefaultSampler', shuffle=True)."
    )


def _batch(difference: Difference) -> Iterator[str]:
    yield (
        f"The same samples make another batch, at {_some(difference.paths('batch'))}, and which sample it is cannot be "
        "told. Look at `collate_fn`, and at what the dataset draws or counts."
    )


def _sample(index: int, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Why a sample comes out differently, by what two processes saw that each made it from the same random states."""
    changed = [path for path in one["changed"] if path in other["changed"]]
    said = f"Sample {index} of {one['dataset']} comes out differently, in {_where(_stage_at_fault(one, other), one)}"
    if _differ(one["first"], other["first"]):
        drawn = [pair for pair in one["drawn"] if pair[0] != "the time"] or one["drawn"]
        yield f"{said}: it is made from numbers that no seed governs, other ones at every start."
        yield from _unseeded(drawn, changed)
    elif _differ(one["first"], one["second"]) or changed:
        yield f"{said}: it depends on what was fetched before it, which a resumed run has not fetched."
        yield from _stateful(changed)
    else:
        yield (
            f"{said}. Made alone it is the same each time, so it depends on what was fetched before it, or on the "
            "process that fetched it: a cache, a file that changes, a global variable. Let it depend on its index and "
            "on numbers drawn from torch's, NumPy's or Python's global generator."
        )


def _unseeded(drawn: list[Any], changed: list[str]) -> Iterator[str]:
    yield from (f"  asks for {what}: {_shown(place)}" for what, place in drawn[:3])
    if not drawn:
        yield from (f"  made without a seed: {path}" for path in changed[:3])
    yield (
        "Draw from the global generators (`random`, `numpy.random`, `torch`): the run seeds them for every sample. A "
        "generator of one's own takes its seed from them, for each sample anew: "
        "numpy.random.default_rng(numpy.random.randint(2**31))."
    )


def _stateful(changed: list[str]) -> Iterator[str]:
    yield from (f"  another after every fetch: {path}" for path in changed[:4])
    yield (
        "A sample must follow from its index and from the global random generators, which the run seeds for every "
        "sample. What counts on belongs into the model (a buffer) or a hook, whose states are saved; a generator of "
        "one's own has to go."
    )


def _stage_at_fault(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The first transform that gave something else: in another process, else at the second fetch."""
    for first, second in ((one["first"], other["first"]), (one["first"], one["second"])):
        for stage, again in zip(first, second, strict=False):
            if stage["mark"] != again["mark"]:
                return dict(stage)
    return None


def _differ(first: list[Mapping[str, str]], second: list[Mapping[str, str]]) -> bool:
    return [stage["mark"] for stage in first] != [stage["mark"] for stage in second]


def _where(stage: Mapping[str, str] | None, seen: Mapping[str, Any]) -> str:
    if stage is not None and stage["name"]:
        return f"the transform {stage['name']} ({_shown(stage['place'])})"
    return f"{seen['dataset']}.__getitem__ ({_shown(seen['place'])})"


def _step(difference: Difference) -> Iterator[str]:
    """The same batch led to another result."""
    hints = _unsaved(difference)
    if hints:
        yield "The batch is the same and the step is not. Kept, not saved with the run, and different:"
        yield from hints[:5]
        yield (
            "A module keeps what it must not forget in a buffer (`register_buffer`), or in `get_extra_state` and "
            "`set_extra_state`; a hook in `state_dict` and `load_state_dict`."
        )
    elif difference.start == 0:
        yield (
            "The batch is the same, the step is not, and nothing had been killed yet: two starts of this run differ by "
            "themselves. The model draws from a generator of its own, or an operation adds in no fixed order: "
            "randomness=dict(deterministic=True) asks torch for operations that do not."
        )
    else:
        yield (
            f"The batch is the same and the step is not, first in: {_some(difference.fields)}. What is neither in the "
            "model's state dict nor in the optimizer's is not saved: look for generators of one's own and for global "
            "variables, in the model and in its train_step."
        )


def _unsaved(difference: Difference) -> list[str]:
    """What models and hooks keep outside their state, and differs."""
    return [
        f"  {kind} {path}: {_value(difference.found[name], path)} instead of {_value(difference.expected[name], path)}"
        for name, kind in (("attributes", "in the model,"), ("hooks", "in the hook"))
        for path in differing(difference.expected[name], difference.found[name])
    ]


def _settings(difference: Difference) -> Iterator[str]:
    yield (
        f"The optimizer goes on with other settings: {_some(difference.paths('settings'))}. Something beside the "
        "schedules sets them, and what it has counted is not saved: a hook needs `state_dict` and `load_state_dict`."
    )
    yield from _unsaved(difference)


def _generators(difference: Difference) -> Iterator[str]:
    yield (
        f"All is the same, and what is drawn next will not be: {_some(difference.paths('random'))} stands elsewhere. A "
        "hook or the script draws from it, at a start or at some steps only."
    )


def _value(values: Mapping[str, Any], path: str) -> str:
    return str(values.get(path, "not there"))


def _some(names: list[Any], most: int = 6) -> str:
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shown(place: str) -> str:
    file, colon, rest = place.partition(":")
    return f"{shown_path(file)}{colon}{rest}"
