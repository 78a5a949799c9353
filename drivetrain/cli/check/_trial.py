"""Really build a part of a config, for what only its constructors can tell, and find all that fails, not the first."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from drivetrain.config import ConfigDict
from drivetrain.registry import MODELS, replace_failures

from ._fault import ARGUMENT, FILE, NOT_IMPORTED, Place, Report
from ._lookup import is_lazy, look_up, near_names
from ._part import check_arguments
from ._signature import signature_of

_TORCH_WORDS = {"learning rate": "lr", "epsilon": "eps", "beta parameter": "betas"}
"""What torch's optimizers call their arguments in their errors."""


class Stand(nn.Module):
    """Stands for a part that could not be built, so that what is built around it can go on."""

    def __getattr__(self, name: str) -> Any:
        """Whatever is asked for is another one."""
        return super().__getattr__(name) if name.startswith("_") else Stand()


class _WithoutInit(TorchFunctionMode):
    """Leaves new parameters as they are: `torch.nn.init` returns what it was given."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what constructors print, log and warn to themselves: the report is what the reader asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def built_without_weights(build: Callable[[], Any]) -> Any:
    """What `build` makes, without memory for its weights; or on the CPU, where a constructor computes with them."""
    try:
        with quietly(), _WithoutInit(), torch.device("meta"):
            return build()
    except Exception:
        return built_uninitialised(build)


def built_uninitialised(build: Callable[[], Any]) -> Any:
    """What `build` makes on the CPU, with weights that nobody has written to."""
    with quietly(), _WithoutInit():
        return build()


def try_to_build(place: Place, build: Callable[[Any], Any], report: Report) -> Any:
    """Build a part, and report what fails.

    The first attempt is the real one: where it succeeds, nothing is wrong. Only after a failure each nested part that
    fails is replaced, so that the rest is tried as well.

    Args:
        place: the part's config.
        build: makes the part from a copy of its config.
        report: takes the faults.

    Returns:
        The part; None where it could not be built.
    """
    try:
        return built_without_weights(lambda: build(_copied(place.value)))
    except Exception as error:
        first = error
    tracker = _Tracker(place, report)
    with contextlib.suppress(Exception), replace_failures(tracker.failed):
        built_uninitialised(lambda: build(_copied(place.value)))
    if not report.below(place.path):
        tracker.constructor_failed(place, first)
    return None


def _copied(value: Any) -> Any:
    return value.deepcopy() if type(value) is ConfigDict else value


class _Tracker:
    """Turns failures of nested builds into faults with a place.

    What can be mended is mended and built again, for the faults of what stands below it: an unknown argument is left
    out, a misspelt name is taken for the nearest.
    """

    def __init__(self, place: Place, report: Report) -> None:
        self._report = report
        self._places = list(_configs_below(place))
        self._kinds: dict[str, str] = {}
        self._mended: set[tuple[str, str | None]] = set()

    def failed(self, error: Exception, cfg: Any, default_args: Any, registry: Any) -> Any:
        """Called for each config that cannot be built; returns what goes in its place."""
        place = self._place_of(cfg)
        if place is None:
            raise error
        attempt = place.path, self._kinds.get(place.path)
        if attempt not in self._mended:
            before = len(self._report.faults)
            self._mended.add(attempt)
            remedy = self._bind(place, {**(default_args or {}), **dict(dict.items(cfg))}, registry)
            if remedy is not None:
                return registry.build(ConfigDict(remedy(dict(dict.items(cfg)))), default_args=default_args)
            if len(self._report.faults) == before and not self._report.below(place.path):
                self.constructor_failed(place, error)
        return Stand()

    def _bind(self, place: Place, given: dict[str, Any], registry: Any) -> Callable[[Any], Any] | None:
        """Report what is wrong with the type and the arguments; returns what mends a config of these, if anything.

        Args:
            place: where the config stands.
            given: what really arrived: its parent may have added arguments and taken some away.
            registry: where it is built.
        """
        kind = self._kinds.get(place.path, given.get("type"))
        found = look_up(kind, registry, given.get("_scope_"))
        if found.target is None:
            self._report.fault(place.at("type"), found.text, found.cause)
            near = near_names(kind) if type(kind) is str else []
            if not near:
                return None
            self._kinds[place.path] = near[0]
            return lambda cfg: {**cfg, "type": near[0]}
        signature = signature_of(found.target)
        if signature is None:
            return None
        taken = [key for key in dict.keys(place.value) if key not in given]
        check_arguments(place, signature, self._report, tuple(given), taken)
        unknown = signature.unknown(key for key in dict.keys(place.value) if key not in ("type", "_scope_", *taken))
        return (lambda cfg: {key: cfg[key] for key in cfg if key not in unknown}) if unknown else None

    def constructor_failed(self, place: Place, error: Exception) -> None:
        """Report what a constructor raised; what it could not download, or needs several processes for, is a note."""
        kind = dict.get(place.value, "type", "") if type(place.value) is ConfigDict else ""
        name = str(getattr(kind, "__name__", kind)).rpartition(".")[2] or place.path
        at, text = blamed(place, str(error)), f"{type(error).__name__}: {str(error) or 'without a word'}"
        text = text.split(" This is set in ")[0]
        if _has_cause(error, (OSError, MemoryError)) or "process group" in text:
            self._report.note(at, f"{name} could not be tried here: {text}", FILE)
            return
        missing = _has_cause(error, ImportError) or "not installed" in text or "pip install" in text
        self._report.fault(at, f"{name} cannot be built: {text}", NOT_IMPORTED if missing else ARGUMENT)

    def _stands_for(self, place: Place, kind: Any) -> bool:
        written = self._kinds.get(place.path, dict.get(place.value, "type"))
        return bool(written == kind) or _imported(written) is _imported(kind) is not None

    def _place_of(self, cfg: Any) -> Place | None:
        """Where a config that is being built stands: the one with the same origins, or the one most like it."""
        if not issubclass(type(cfg), dict):
            return None
        wanted = dict.get(cfg, "type")
        same_type = [place for place in self._places if self._stands_for(place, wanted)]
        ranked = sorted(same_type, key=lambda place: _likeness(place.value, cfg), reverse=True)
        return ranked[0] if ranked else None


def _imported(kind: Any) -> Any:
    return look_up(kind, MODELS).target if is_lazy(kind) else kind


def _has_cause(error: BaseException | None, kinds: Any) -> bool:
    """Whether an error, or one that it arose from, is of some kind."""
    while error is not None and not issubclass(type(error), kinds):
        error = error.__cause__ or error.__context__
    return error is not None


def _likeness(written: ConfigDict, cfg: Any) -> tuple[bool, int]:
    same_lines = type(cfg) is ConfigDict and cfg._origins is not None and written._origins == cfg._origins
    plain = dict(dict.items(cfg))
    return same_lines, sum(key in plain and _same(plain[key], value) for key, value in dict.items(written))


def _same(first: Any, second: Any) -> bool:
    try:
        return bool(first is second or first == second)
    except Exception:  # arrays and the like compare item by item
        return False


def _configs_below(place: Place) -> Iterator[Place]:
    if type(place.value) is ConfigDict:
        yield place
    for item in place.items():
        yield from _configs_below(item)


def blamed(place: Place, message: str) -> Place:
    """The key of a config, or of one inside it, that an error's message names; else its `type`."""
    for phrase, key in _TORCH_WORDS.items():
        message = message.replace(phrase, key)
    words = set("".join(char if char.isalnum() or char == "_" else " " for char in message).split())
    keys = [(item, item.path.rpartition(".")[2]) for item in _values_below(place)]
    named = [(item, key) for item, key in keys if key in words and key != "type"]
    quoted = [item for item, key in named if f"'{key}'" in message or f"{key}=" in message]
    own = [item for item, _ in named if item.path.count(".") == place.path.count(".") + 1]
    chosen = [*quoted, *own]
    if chosen:
        return chosen[0]
    return place.at("type") if type(place.value) is ConfigDict and "type" in place.value else place


def _values_below(place: Place) -> Iterator[Place]:
    """The values of a config, then those of the configs in it."""
    items = place.items()
    yield from items
    for item in items:
        yield from _values_below(item)
