"""Call a constructor from keyword arguments, and tell wrong arguments from errors of its own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from drivetrain.errors import ArgumentTypeError, BuildError, did_you_mean
from drivetrain.utils import ManagerMixin

from ._names import describe

if TYPE_CHECKING:
    from ._registry import Registry


def construct(target: Any, args: dict[str, Any], registry: Registry) -> Any:
    """`target(**args)`; for a class with named instances, the instance of that name.

    Raises:
        ArgumentTypeError: an argument is unknown or missing: raised before anything is called.
        Exception: what the constructor raises, unchanged, with a note that names the class and the registry.
    """
    managed = ManagerMixin in getattr(target, "__mro__", ())
    call = target.get_instance if managed else target
    fault = _fault(target, args, registry) or (managed and _fault(target, args, registry, call)) or None
    if fault is not None:
        raise fault
    try:
        return call(**args)
    except TypeError as error:
        # A decorated constructor takes anything at first sight; what it wraps may not.
        fault = _fault(target, args, registry, follow_wrapped=True) if "argument" in str(error) else None
        if fault is not None:
            raise fault from error
        _note(error, target, registry)
        raise
    except Exception as error:
        _note(error, target, registry)
        raise


def _fault(
    target: Any, args: dict[str, Any], registry: Registry, call: Any = None, *, follow_wrapped: bool = False
) -> ArgumentTypeError | None:
    """What is wrong with the arguments of `call` (`target` itself by default), or None."""
    try:
        signature = inspect.signature(call or target, follow_wrapped=follow_wrapped)
    except (ValueError, TypeError):  # written in C, without a signature: the call itself will tell
        return None
    try:
        signature.bind(**args)
    except TypeError:
        return ArgumentTypeError(_binding_message(target, signature, args, registry))
    return None


def _binding_message(target: Any, signature: inspect.Signature, args: dict[str, Any], registry: Registry) -> str:
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    accepted = [p.name for p in named if p.kind is not p.POSITIONAL_ONLY]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    unknown = [] if open_ended else [key for key in args if key not in accepted]
    missing = [p.name for p in named if p.default is p.empty and p.name not in args]
    faults = [f"It has no argument {key!r}.{did_you_mean(key, accepted)}" for key in unknown]
    if missing:
        faults.append(f"It needs {', '.join(map(repr, missing))}, which the config does not give.")
    return (
        f"cannot build the {registry.name} {describe(target)}. {' '.join(faults)} "
        f"Its signature is {getattr(target, '__name__', target)}{_short(signature)}."
    )


def _short(signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _note(error: Exception, target: Any, registry: Registry) -> None:
    text = f"raised while building {describe(target)} for the registry {registry.name!r}"
    add_note = getattr(error, "add_note", None)
    if add_note is None:  # Python 3.10
        _chain(error, text)
    else:
        add_note(text)


def _chain(error: BaseException, text: str) -> None:
    while error.__cause__ is not None:
        error = error.__cause__
    error.__cause__ = BuildError(text)
