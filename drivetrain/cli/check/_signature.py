"""What a constructor takes, and what is wrong with the arguments that a config gives it."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from drivetrain.errors import did_you_mean, nearest
from drivetrain.utils import ManagerMixin

_NUMBERS = frozenset({"int", "float", "bool"})
_PLAIN = frozenset({"int", "float", "bool", "str", "None", "NoneType"})


class Signature(NamedTuple):
    """The arguments of a class or function.

    Attributes:
        name: of the class or function, for messages.
        accepted: names that may be given by keyword, its own first.
        required: names without a default.
        is_open: whether any other name is taken as well.
        annotations: by name, as text.
    """

    name: str
    accepted: tuple[str, ...]
    required: tuple[str, ...]
    is_open: bool
    annotations: Mapping[str, str]

    def unknown(self, keys: Iterable[Any]) -> list[Any]:
        """The keys that it does not take."""
        return [] if self.is_open else [key for key in keys if key not in self.accepted]

    def suspicious(self, keys: Iterable[Any]) -> list[Any]:
        """Of an open signature, the keys that look like misspelt names of its own."""
        strange = [key for key in keys if key not in self.accepted] if self.is_open else []
        return [key for key in strange if is_near(str(key), self.accepted)]

    def about(self, key: str) -> str:
        """What to say of a key that it does not take."""
        hint = did_you_mean(key, self.accepted) or f" Its arguments: {', '.join(self.accepted) or 'none'}."
        return f"{self.name} has no argument {key!r}.{hint}"

    def mistyped(self, key: str, value: Any) -> str | None:
        """What to say of a value that is text where a number is expected; None where that is not so."""
        wanted = _plain_types(self.annotations.get(key, ""))
        if type(value) is not str or not wanted or not wanted <= (_NUMBERS | {"None", "NoneType"}):
            return None
        hint = " YAML reads 1e-3 as text: write 1.0e-3." if "float" in wanted and _is_number(value) else ""
        expected = " or ".join(sorted(wanted - {"None", "NoneType"}))
        return f"{self.name} takes {key} as {expected}, got the text {value!r}.{hint}"


def is_near(name: str, options: Iterable[str], least: float = 0.85) -> bool:
    """Whether a name is so like one of the options that it is probably meant: a letter or two differ."""
    return any(
        difflib.SequenceMatcher(None, name.lower(), hit.lower()).ratio() >= least for hit in nearest(name, options, 2)
    )


def signature_of(target: Any) -> Signature | None:
    """The signature of a class or function; None for what is written in C and has none.

    Where a constructor hands its `**kwargs` on to the one above it, the names of that one are taken, too.
    """
    call = target.get_instance if ManagerMixin in getattr(target, "__mro__", ()) else target
    try:
        own = inspect.signature(call, follow_wrapped=False)
        inner = inspect.signature(target, follow_wrapped=False)
    except (ValueError, TypeError):
        return None
    given = {**own.parameters, **inner.parameters} if call is not target else own.parameters
    parameters = [p for p in given.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY)]
    chain = inner if call is not target else own
    names = {p.name: str(_text_of(p.annotation)) for p in parameters}
    is_open = any(p.kind is p.VAR_KEYWORD for p in chain.parameters.values())
    if is_open and inspect.isclass(target):
        above, is_open = _above(target)
        names = {**{p.name: str(_text_of(p.annotation)) for p in above.values()}, **names}
        parameters += [p for p in above.values() if p.name not in given]
    ordered = tuple(dict.fromkeys([p.name for p in parameters]))
    required = tuple(dict.fromkeys(p.name for p in parameters if p.default is p.empty))
    return Signature(getattr(target, "__name__", str(target)), ordered, required, is_open, names)


def _text_of(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if type(annotation) is str else getattr(annotation, "__name__", str(annotation))


def _plain_types(annotation: str) -> frozenset[str]:
    """The plain types that an annotation is a union of; empty where it holds anything else."""
    text = annotation.replace("typing.", "").strip("'\" ")
    if text.startswith("Optional[") and text.endswith("]"):
        text = f"{text[len('Optional[') : -1]} | None"
    elif text.startswith("Union[") and text.endswith("]"):
        text = text[len("Union[") : -1].replace(",", " | ")
    parts = frozenset(part.strip() for part in text.split("|"))
    return parts if parts <= _PLAIN else frozenset()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _above(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Parameters of the constructors to which `**kwargs` are handed on, and whether the chain ends in any name."""
    found: dict[str, inspect.Parameter] = {}
    given: set[str] = set()
    is_open = False
    constructors = [base.__dict__["__init__"] for base in cls.__mro__ if "__init__" in base.__dict__]
    for constructor, following in zip(constructors, [*constructors[1:], None], strict=True):
        handed = _hands_on(constructor)
        parameters = None if following in (None, object.__init__) else _parameters(following)
        if parameters is None:
            return found, True
        is_open = is_open or handed is None
        by_name, by_position = handed or (frozenset(), 0)
        given |= {*by_name, *list(parameters)[:by_position]}
        for name, parameter in parameters.items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                # What the class below hands on itself need not be given.
                default = None if is_open or name in given else parameter.default
                found.setdefault(name, parameter.replace(default=default))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return found, is_open
    return found, True


def _parameters(constructor: Any) -> dict[str, inspect.Parameter] | None:
    try:
        named = list(inspect.signature(constructor).parameters.values())[1:]
    except (ValueError, TypeError):
        return None
    return {p.name: p for p in named}


@cache
def _hands_on(constructor: Any) -> tuple[frozenset[str], int] | None:
    """What a constructor gives the one above it beside its `**kwargs`; None if it uses these otherwise.

    Read from the source: the only place of the name must be `super().__init__(..., **kwargs)`.

    Returns:
        The names that are given by keyword, and how many arguments are given by position.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(constructor)))
    except (OSError, TypeError, SyntaxError):
        return None
    function: Any = tree.body[0]
    star = getattr(getattr(function, "args", None), "kwarg", None)
    if star is None:
        return None
    uses = [node for node in ast.walk(function) if type(node) is ast.Name and node.id == star.arg]
    calls = [node for node in ast.walk(function) if type(node) is ast.Call and _is_super_init(node)]
    if len(uses) != 1 or len(calls) != 1:
        return None
    keywords = calls[0].keywords
    if not any(keyword.arg is None and keyword.value is uses[0] for keyword in keywords):
        return None
    starred = [type(argument) is ast.Starred for argument in calls[0].args]
    by_position = starred.index(True) if True in starred else len(starred)
    return frozenset(keyword.arg for keyword in keywords if keyword.arg), by_position


def _is_super_init(call: ast.Call) -> bool:
    function: Any = call.func
    owner = getattr(function, "value", None)
    return getattr(function, "attr", None) == "__init__" and getattr(getattr(owner, "func", None), "id", "") == "super"
