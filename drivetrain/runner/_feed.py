"""Feed a train loop with batches that are on the device before their step begins, where that changes nothing else."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.data import IterableDataset

from drivetrain.device import Prefetcher, streams_of
from drivetrain.hooks import Hook, IterTimerHook, RuntimeInfoHook
from drivetrain.model import BaseModel, MMDistributedDataParallel
from drivetrain.tensors import cast

from ._taps import Taps
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop

_LOOPS = (EpochBasedTrainLoop, IterBasedTrainLoop)
_MODELS = (BaseModel, MMDistributedDataParallel)
_LEAVE_BATCHES_ALONE = (Hook, IterTimerHook, RuntimeInfoHook)


@contextmanager
def fed_ahead(runner: Any, prefetch: bool | None) -> Iterator[None]:
    """Copy batches ahead for the time of a training run, if there is a device to copy to and `obstacle` finds nothing.

    Args:
        runner: the runner, with everything built.
        prefetch: False leaves everything as it is; True says in the log why batches are not copied ahead, None does so
            at debug level.
    """
    if prefetch is False:
        yield
        return
    device = runner.strategy.device
    streams = streams_of(device)
    reason = f"{device.type!r} has no streams to copy in." if streams is None else obstacle(runner)
    if reason:
        runner.logger.log(logging.INFO if prefetch else logging.DEBUG, f"Batches are not copied ahead: {reason}")
        yield
        return
    prefetcher = Prefetcher(device, partial(cast, device=device, non_blocking=True), streams=streams)
    feed, taps = _Feed(runner, prefetcher), Taps()
    taps.replace(runner.train_loop, "open_batches", feed.open_batches)
    taps.replace(runner.train_loop, "train_step", feed.train_step)
    try:
        yield
    finally:
        taps.remove()
        prefetcher.release()


class _Feed:
    """Takes the place of two methods of a train loop: its batches are fetched ahead, its steps get their copies."""

    def __init__(self, runner: Any, prefetcher: Prefetcher) -> None:
        self._runner, self._loop, self._prefetcher = runner, runner.train_loop, prefetcher
        self._open_batches, self._train_step = self._loop.open_batches, self._loop.train_step
        self._judged = list(runner.hooks)
        preprocessor = getattr(runner.strategy.unwrap(runner.model), "data_preprocessor", None)
        self._look_once = getattr(preprocessor, "look_once", None)

    def open_batches(self) -> Iterator[Any]:
        """A pass of the loader. A hook that came later and may change batches makes it a plain one."""
        batches = self._open_batches()
        if _obstacle_in_hooks(hook for hook in self._runner.hooks if hook not in self._judged):
            return batches
        return _Pass(self._loop, batches, self._prefetcher)

    def train_step(self, data_batch: Any) -> Any:
        """The loop's step with the batch on the device; the preprocessor may look at the first one on the host."""
        if self._look_once is not None:
            self._look_once(data_batch)
            self._look_once = None
        return self._train_step(self._prefetcher.moved(data_batch))


class _Pass(Iterator[Any]):
    """A pass of which the loader is a batch ahead; it notes where the loop stands.

    A loader that fetches in this process sets `random` by the batch, so that steps draw from it as they do without us:
    it is set so again when the loop gets the batch. Fetching leaves no trace in the other generators.
    """

    def __init__(self, loop: Any, batches: Iterator[Any], prefetcher: Prefetcher) -> None:
        loader = loop.dataloader
        self._loop = loop
        self._used = loop.batches_used = {"pass_index": loader.pass_index, "consumed": loader.consumed}
        self._noted = _NotedRandom(batches) if loader.num_workers == 0 else None
        self._ahead = prefetcher.ahead(self._noted or batches)

    def __next__(self) -> Any:
        try:
            batch = next(self._ahead)
        except StopIteration:
            self._loop.batches_used = {}
            raise
        self._used["consumed"] += 1
        if self._noted is not None:
            self._noted.restore(batch)
        return batch


class _NotedRandom(Iterator[Any]):
    """Batches of a loader, and for each the state it left `random` in."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._states: deque[tuple[Any, Any]] = deque()

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._states.append((batch, random.getstate()))
        return batch

    def restore(self, batch: Any) -> None:
        """Set `random` as it was when `batch` had been fetched."""
        known, state = self._states.popleft()
        while known is not batch:  # a batch that could not be copied
            known, state = self._states.popleft()
        random.setstate(state)


def obstacle(runner: Any) -> str:
    """Why batches cannot be copied before their step, or an empty string.

    What a step computes must not depend on it: nobody may change the host's batch after it was fetched and before the
    step has copied it, and nobody may look at it instead of the copy.
    """
    model, loop = runner.model, runner.train_loop
    preprocessor = getattr(runner.strategy.unwrap(model), "data_preprocessor", None)
    return (
        _obstacle_in_loop(loop)
        or _obstacle_in_loader(loop.dataloader)
        or _obstacle_in_step(model)
        or _obstacle_in_preprocessor(preprocessor)
        or _obstacle_in_hooks(runner.hooks)
    )


def _obstacle_in_loop(loop: Any) -> str:
    for name in ("run", "run_epoch", "run_iter"):
        if hasattr(loop, name) and _definer(loop, name) not in _LOOPS:
            return f"{type(loop).__name__} has its own {name}, which may change batches."
    return ""


def _obstacle_in_loader(loader: Any) -> str:
    """A loader without workers fetches in this process, a batch early; only sample streams keep its draws apart.

    With `streams='worker'` the samples draw from the global generators, as the model does: their order must stay. An
    iterable dataset draws from these too, and what it saves as its position would be a batch too far.
    """
    if loader.num_workers > 0:
        return ""
    if loader.streams != "sample":
        return "with num_workers=0 and streams='worker' the order of random draws would change."
    if isinstance(loader.dataset, IterableDataset) or not loader.positions_known:
        kind = type(loader.dataset if loader.positions_known else loader).__name__
        return f"with num_workers=0 the random draws and the position of {kind} would be a batch ahead."
    return ""


def _obstacle_in_step(model: Any) -> str:
    if _definer(model, "train_step") in _MODELS:
        return ""
    return f"{type(model).__name__} has its own train_step, which may look at batches on the host."


def _obstacle_in_preprocessor(preprocessor: Any) -> str:
    """Both methods that see the host's batch must come from classes that promise to do no more than to move it."""
    kind = type(preprocessor).__name__
    for name in ("forward", "cast_data"):
        definer = None if preprocessor is None else _definer(preprocessor, name)
        if definer is None or vars(definer).get("moves_ahead") is not True:
            return f"{kind}.{name} comes from no class that says `moves_ahead = True`."
    return "" if preprocessor.moves_ahead is True else f"{kind} says `moves_ahead = {preprocessor.moves_ahead}`."


def _obstacle_in_hooks(hooks: Iterable[Any]) -> str:
    for hook in hooks:
        for name in ("before_train_iter", "_before_iter"):
            if _definer(hook, name) not in _LEAVE_BATCHES_ALONE:
                return f"{type(hook).__name__} overrides {name} and may change batches there."
    return ""


def _definer(owner: Any, name: str) -> type | None:
    """The class that gives `owner` its method; None where the instance has one of its own, or nobody has."""
    if name in vars(owner):
        return None
    return next((kind for kind in type(owner).__mro__ if name in vars(kind)), None)
