"""Every claimed name of the contract is there, with the parameters, defaults and members that it promises."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CONTRACT: dict[str, dict[str, dict[str, Any]]] = json.loads(
    Path(__file__).with_name("contract.json").read_text(encoding="utf-8")
)
ANY = "*"


@functools.cache
def room_of(name: str) -> Any:
    """The room, or the error that its import raised."""
    try:
        return importlib.import_module(f"drivetrain.{name}")
    except Exception as error:
        return error


def claims() -> Iterator[Any]:
    for room, names in CONTRACT.items():
        for name, entry in names.items():
            if entry["claimed"] or hasattr(room_of(room), name):
                yield pytest.param(room, name, id=f"{room}.{name}")


@pytest.mark.parametrize(("room", "name"), list(claims()))
def test_name_keeps_its_contract(room: str, name: str) -> None:
    module, entry = room_of(room), CONTRACT[room][name]
    if isinstance(module, Exception):
        pytest.fail(f"drivetrain.{room} cannot be imported: {type(module).__name__}: {module}", pytrace=False)
    if not hasattr(module, name):
        pytest.fail(
            f"drivetrain.{room} has no {name} ({entry['kind']}, used by {entry['used_by']} of 10 packages).",
            pytrace=False,
        )
    faults = list(differences(getattr(module, name), entry))
    if faults:
        pytest.fail(f"drivetrain.{room}.{name} differs from the contract:\n  - " + "\n  - ".join(faults), pytrace=False)


def differences(ours: Any, entry: dict[str, Any]) -> Iterator[str]:
    """What `ours` lacks, one sentence each."""
    compare: dict[str, Callable[..., Iterator[str]]] = {
        "function": compare_function,
        "class": compare_class,
        "registry": compare_registry,
        "constant": compare_constant,
    }
    yield from compare[entry["kind"]](ours, entry)
    for registry, key in entry.get("registered", []):
        owner = getattr(room_of("registry"), registry, None)
        if owner is not None and owner.module_dict.get(key) is not ours:
            yield f"it is not registered in {registry} as {key!r}"


def compare_function(ours: Any, entry: dict[str, Any]) -> Iterator[str]:
    if callable(ours):
        yield from compare_parameters("", ours, entry["params"], skip_self=False)
    else:
        yield f"it must be a function and is a {type(ours).__name__}"


def compare_registry(ours: Any, entry: dict[str, Any]) -> Iterator[str]:
    if type(ours).__name__ != "Registry":
        yield f"it must be a Registry and is a {type(ours).__name__}"


def compare_constant(ours: Any, entry: dict[str, Any]) -> Iterator[str]:
    if entry["value"] not in (ANY, repr(ours)):
        yield f"its value must be {entry['value']} and is {ours!r}"


def compare_class(ours: Any, entry: dict[str, Any]) -> Iterator[str]:
    if not inspect.isclass(ours):
        yield f"it must be a class and is a {type(ours).__name__}"
        return
    if "init" in entry:
        yield from compare_parameters("constructor: ", ours.__init__, entry["init"], skip_self=True)
    for name, method in entry.get("methods", {}).items():
        yield from compare_method(ours, name, method)
    for name, has_setter in entry.get("properties", {}).items():
        yield from compare_property(ours, name, has_setter)
    for name, value in entry.get("attributes", {}).items():
        yield from compare_attribute(ours, name, value)
    for name in entry.get("inherited", []):
        if not hasattr(ours, name):
            yield f"member {name!r} is missing (inherited in the contract)"
    for place in entry.get("ancestors", []):
        room, name = place.split(".")
        ancestor = getattr(room_of(room), name, None)
        if ancestor is not None and not issubclass(ours, ancestor):
            yield f"it must be a subclass of drivetrain.{place}"


def compare_method(cls: type, name: str, entry: dict[str, Any]) -> Iterator[str]:
    static = inspect.getattr_static(cls, name, None)
    if static is None:
        yield f"method {name!r} is missing"
        return
    bound = {staticmethod: "staticmethod", classmethod: "classmethod"}.get(type(static), "method")
    if name == "__new__":  # Python makes it static, though it is written like a method
        bound = "method"
    if bound != entry.get("bound", "method"):
        yield f"{name!r} must be a {entry.get('bound', 'method')} and is a {bound}"
    elif not callable(getattr(cls, name)):
        yield f"{name!r} must be a method and is a {type(static).__name__}"
    else:
        yield from compare_parameters(
            f"method {name!r}: ", getattr(cls, name), entry["params"], skip_self=bound == "method"
        )


def compare_property(cls: type, name: str, has_setter: bool) -> Iterator[str]:
    static = inspect.getattr_static(cls, name, None)
    if static is None:
        annotated = any(name in inspect.get_annotations(base) for base in cls.__mro__)
        if not annotated:
            yield f"property {name!r} is missing"
    elif inspect.isfunction(static):
        yield f"{name!r} must be a property and is a method"
    elif has_setter and isinstance(static, property) and static.fset is None:
        yield f"property {name!r} must be settable"


def compare_attribute(cls: type, name: str, value: str) -> Iterator[str]:
    missing = object()
    ours = getattr(cls, name, missing)
    ours = getattr(ours, "value", ours)  # the members of an enumeration
    if ours is missing:
        yield f"class attribute {name!r} is missing"
    elif value not in (ANY, repr(ours)):
        yield f"class attribute {name!r} must be {value} and is {ours!r}"


def compare_parameters(
    where: str, ours: Callable[..., Any], expected: list[dict[str, Any]], *, skip_self: bool
) -> Iterator[str]:
    """Same names, order, kinds and defaults; more keyword-only parameters with defaults are allowed."""
    try:
        signature = inspect.signature(ours)
    except (TypeError, ValueError):
        yield f"{where}its signature cannot be read"
        return
    found = list(signature.parameters.values())[1 if skip_self else 0 :]
    wanted = {p["name"] for p in expected}
    for parameter in found:
        extra_ok = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
        if parameter.name not in wanted and not extra_ok:
            yield f"{where}parameter {parameter.name!r} is not in the contract (allowed: keyword-only, with a default)"
    common = [p for p in found if p.name in wanted]
    order = [p.name for p in common]
    if order != (promised := [p["name"] for p in expected if p["name"] in order]):
        yield f"{where}the order must be ({', '.join(promised)}) and is ({', '.join(order)})"
    by_name = {p.name: p for p in common}
    for parameter in expected:
        yield from compare_parameter(where, by_name.get(parameter["name"]), parameter)


def compare_parameter(where: str, ours: inspect.Parameter | None, expected: dict[str, Any]) -> Iterator[str]:
    name = expected["name"]
    if ours is None:
        yield f"{where}parameter {name!r} is missing"
        return
    if ours.kind.name != expected["kind"]:
        yield f"{where}parameter {name!r} must be {expected['kind']} and is {ours.kind.name}"
    default = "none" if ours.default is ours.empty else repr(ours.default)
    promised = expected.get("default", "none")
    if promised == ANY:
        promised = default if default != "none" else "given"
    if default != promised:
        yield f"{where}the default of {name!r} must be {promised} and is {default}"


def parameter(name: str, kind: str = "POSITIONAL_OR_KEYWORD", **default: str) -> dict[str, str]:
    return {"name": name, "kind": kind, **default}


@pytest.mark.parametrize(
    ("ours", "fault"),
    [
        (lambda a, b=1: 0, None),
        (lambda a, b=1, *, c=2: 0, None),
        (lambda a, b=2: 0, "default of 'b' must be 1 and is 2"),
        (lambda a, b=1.0: 0, "default of 'b' must be 1 and is 1.0"),
        (lambda a, b: 0, "default of 'b' must be 1 and is none"),
        (lambda a=1, b=1: 0, "default of 'a' must be none and is 1"),
        (lambda b, a: 0, r"order must be \(a, b\) and is \(b, a\)"),
        (lambda a: 0, "parameter 'b' is missing"),
        (lambda a, *, b=1: 0, "'b' must be POSITIONAL_OR_KEYWORD and is KEYWORD_ONLY"),
        (lambda a, b=1, c=2: 0, "parameter 'c' is not in the contract"),
        (lambda a, b=1, *, c: 0, "parameter 'c' is not in the contract"),
        (lambda a, b=1, **rest: 0, "parameter 'rest' is not in the contract"),
        (3, "must be a function"),
    ],
)
def test_the_comparison_of_functions_sees_each_fault(ours: Any, fault: str | None) -> None:
    entry = {"kind": "function", "params": [parameter("a"), parameter("b", default="1")]}
    check(differences(ours, entry), fault)


class Good:
    size = 1

    def __init__(self, a: int) -> None:
        self.a = a

    def run(self, n: int = 0) -> None: ...

    @classmethod
    def make(cls) -> None: ...

    @property
    def name(self) -> str:
        return ""

    @name.setter
    def name(self, value: str) -> None: ...


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"__init__": lambda self, b: None}, "constructor: parameter 'a' is missing"),
        ({"run": lambda self: None}, "method 'run': parameter 'n' is missing"),
        ({"run": None}, "'run'"),
        ({"make": lambda self: None}, "'make' must be a classmethod and is a method"),
        ({"name": lambda self: None}, "'name' must be a property and is a method"),
        ({"name": property(lambda self: None)}, "'name' must be settable"),
        ({"size": 2}, "class attribute 'size' must be 1 and is 2"),
    ],
)
def test_the_comparison_of_classes_sees_each_fault(change: dict[str, Any], fault: str | None) -> None:
    entry = {
        "kind": "class",
        "init": [parameter("a")],
        "properties": {"name": True},
        "attributes": {"size": "1"},
        "methods": {"run": {"params": [parameter("n", default="0")]}, "make": {"params": [], "bound": "classmethod"}},
    }
    check(differences(type("Changed", (Good,), change), entry), fault)


def test_registration_and_ancestors_are_compared() -> None:
    entry = {"kind": "class", "registered": [["HOOKS", "NoSuchHook"]], "ancestors": ["registry.Registry"]}
    faults = " ".join(differences(Good, entry))
    assert "not registered in HOOKS as 'NoSuchHook'" in faults
    assert "subclass of drivetrain.registry.Registry" in faults


def test_constants_and_registries_are_compared() -> None:
    check(differences(2, {"kind": "constant", "value": "1"}), "value must be 1 and is 2")
    check(differences(2, {"kind": "constant", "value": ANY}), None)
    check(differences(SimpleNamespace(), {"kind": "registry", "value": ANY}), "must be a Registry")


def check(faults: Iterator[str], expected: str | None) -> None:
    import re

    found = list(faults)
    assert not found if expected is None else any(re.search(expected, fault) for fault in found), found
