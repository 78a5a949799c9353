"""The check of one part: is its `type` there, does its constructor take what the config gives it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from drivetrain.config import ConfigDict
from drivetrain.registry import Registry

from ._fault import ARGUMENT, MISSPELT, Place, Report
from ._lookup import find_anywhere, is_lazy, look_up, near_names
from ._signature import Signature, is_near, signature_of

_NOT_ARGUMENTS = ("type", "_scope_")


class Role(NamedTuple):
    """What a part of a run is.

    Attributes:
        registry: where its `type` is looked up.
        given: names of arguments that the engine gives, whether the config does or not.
        extra: keys that are not arguments of the class.
        default: what is built where the config has no `type`.
    """

    registry: Registry
    given: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    default: Any = None


def scope_of(place: Place) -> str | None:
    """The scope that a config names for itself."""
    return dict.get(place.value, "_scope_") if type(place.value) is ConfigDict else None


def check_part(place: Place, role: Role, report: Report, scope: str | None = None) -> Any:
    """Check the `type` and the arguments of a config; what is no config, an object or None, is left alone.

    Returns:
        The class or function that would be called; None where that is not known.
    """
    if type(place.value) is not ConfigDict:
        return None
    kind = dict.get(place.value, "type", role.default)
    if kind is None:
        _say_typeless(place, role, report)
        return None
    found = look_up(kind, role.registry, scope_of(place) or scope)
    if found.target is None:
        report.fault(place.at("type"), found.text, found.cause)
        return None
    signature = signature_of(found.target)
    if signature is not None:
        check_arguments(place, signature, report, role.given, role.extra)
    return found.target


def check_arguments(
    place: Place, signature: Signature, report: Report, given: Iterable[str] = (), extra: Iterable[str] = ()
) -> None:
    """Hold the keys of a config against a signature.

    Args:
        place: the config.
        signature: of what it builds.
        report: takes the faults.
        given: arguments that the engine gives.
        extra: keys that somebody else takes.
    """
    keys = [key for key in dict.keys(place.value) if key not in (*_NOT_ARGUMENTS, *extra)]
    for key in signature.unknown(keys):
        report.fault(place.at(key), signature.about(str(key)), ARGUMENT)
    for key in signature.suspicious(keys):
        report.note(place.at(key), f"{signature.about(str(key))} It takes any other name as well.", ARGUMENT)
    missing = [name for name in signature.required if name not in (*keys, *given)]
    if missing:
        named = ", ".join(map(repr, missing))
        report.fault(place.at("type"), f"{signature.name} needs {named}, which the config does not give.", ARGUMENT)
    for key in keys:
        text = signature.mistyped(str(key), dict.__getitem__(place.value, key))
        if text is not None:
            report.fault(place.at(key), text, ARGUMENT)


def check_loosely(place: Place, report: Report, scope: str | None = None) -> None:
    """Check every config below `place` whose builder is not known: only what is surely, or probably, misspelt.

    Its `type` may be the name of a mode rather than of a class, and who builds it may add or take away arguments.
    """
    for item in place.items():
        if type(item.value) is ConfigDict and "type" in item.value:
            _check_one_loosely(item, report, scope_of(item) or scope)
        check_loosely(item, report, scope_of(item) or scope)


def _check_one_loosely(place: Place, report: Report, scope: str | None) -> None:
    kind = dict.get(place.value, "type")
    if is_lazy(kind):
        found = look_up(kind, _any_registry())
        if found.target is None:
            report.fault(place.at("type"), found.text, found.cause)
        return
    known = find_anywhere(kind, scope)
    if known is None:
        near = near_names(kind) if type(kind) is str else []
        if near:
            report.note(place.at("type"), f"no registry has {kind!r}. Did you mean {near[0]!r}?", MISSPELT)
        return
    signature = signature_of(known[0])
    keys = [key for key in dict.keys(place.value) if key not in _NOT_ARGUMENTS]
    for key in [] if signature is None or signature.is_open else signature.unknown(keys):
        if signature is not None and is_near(str(key), signature.accepted):
            report.note(place.at(key), signature.about(str(key)), ARGUMENT)


def _any_registry() -> Registry:
    from drivetrain.registry import MODELS

    return MODELS


def _say_typeless(place: Place, role: Role, report: Report) -> None:
    near = [key for key in dict.keys(place.value) if is_near(str(key), ["type"], 0.7)]
    hint = f" Is {near[0]!r} meant?" if near else ""
    report.fault(
        place.at(near[0]) if near else place,
        f"the config of a {role.registry.name} needs 'type', which says what to build.{hint} "
        f"It has {', '.join(map(repr, place.value)) or 'no keys'}.",
        ARGUMENT,
    )
