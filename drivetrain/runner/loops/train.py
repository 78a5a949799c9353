"""The two ways to train: by epoch and by iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Union

from torch import nn
from torch.utils.data import DataLoader

from drivetrain.errors import ArgumentError, LossError
from drivetrain.registry import LOOPS
from drivetrain.typing import StateDict

from .base import BaseLoop
from .intervals import calc_dynamic_intervals, check_count, check_interval, interval_at


class _TrainLoop(BaseLoop):
    """What both loops share: counters, the step, and when validation is due."""

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        val_begin: int,
        val_interval: int,
        dynamic_intervals: list[tuple[int, int]] | None,
    ) -> None:
        check_interval("val_interval", val_interval)
        check_count("val_begin", val_begin, least=0)
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        super().__init__(runner, dataloader)
        self._epoch = 0
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False
        self.batches_used: dict[str, int] = {}
        self._validation_checked = 0
        if not hasattr(getattr(self.dataloader, "dataset", None), "metainfo"):
            runner.logger.debug("The training dataset has no metainfo; the visualizer works without.")
        else:
            runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo

    @property
    def epoch(self) -> int:
        """Epochs made."""
        return self._epoch

    @property
    def iter(self) -> int:
        """Training steps made."""
        return self._iter

    def state_dict(self) -> StateDict:
        """Where the loop stands in the loader, and up to where validations have been made that were due.

        Who fetches ahead writes into `batches_used` where the loop stands, `pass_index` and batches `consumed`. While
        it is empty, that is where the loader stands.
        """
        known = getattr(self.dataloader, "positions_known", False)
        return {
            "dataloader": self.dataloader.state_dict(**self.batches_used) if known else None,
            "validation_checked": self._validation_checked,
        }

    def load_position(self, epoch: int, iteration: int, state: StateDict | None) -> None:
        """Stand where a checkpoint stood.

        Args:
            epoch: epochs made.
            iteration: training steps made.
            state: what `state_dict` returned, or None for a file that holds only the counters.
        """
        self._epoch, self._iter = epoch, iteration
        self.batches_used = {}
        self._validation_checked = (state or {}).get("validation_checked", self._position())
        if getattr(self.dataloader, "positions_known", False):
            self._place_loader((state or {}).get("dataloader"))

    def _place_loader(self, state: StateDict | None) -> None:
        """Send the loader to where the run stands; `state` is its own, if the checkpoint has one."""
        raise NotImplementedError

    def _step(self, batch_idx: int, data_batch: Any) -> None:
        """One training step, with the hooks around it."""
        runner = self._runner
        runner.call_hook("before_train_iter", batch_idx=batch_idx, data_batch=data_batch)
        outputs = self.train_step(data_batch)
        if type(outputs) is not dict:
            _check_outputs(outputs, runner.model)
        runner.call_hook("after_train_iter", batch_idx=batch_idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def train_step(self, data_batch: Any) -> Any:
        """Let the model take its step. What makes steps faster or measures them takes the place of this method."""
        return self._runner.model.train_step(data_batch, optim_wrapper=self._runner.optim_wrapper)

    def open_batches(self) -> Iterator[Any]:
        """The batches of a pass, as hooks see them. What fetches or copies ahead takes the place of this method."""
        return iter(self.dataloader)

    def _validate_if_due(self, last: int) -> None:
        """Run the validation loop at every `val_interval`-th position from `val_begin` on, and at the last."""
        runner, position = self._runner, self._position()
        self._validation_checked = position
        if runner.val_loop is None or position < self.val_begin:
            return
        if position % self.val_interval == 0 or position == last:
            runner.val_loop.run()

    def _catch_up(self, last: int) -> None:
        """Make the validation that was due when the checkpoint was saved, right before it: as if never stopped."""
        if self._validation_checked < self._position():
            self._decide_current_val_interval()
            self._validate_if_due(last)

    def _decide_current_val_interval(self) -> None:
        """Take the interval that `dynamic_intervals` sets for the current position."""
        self.val_interval = interval_at(self._position() + 1, self.dynamic_milestones, self.dynamic_intervals)

    def _position(self) -> int:
        raise NotImplementedError


@LOOPS.register_module()
class EpochBasedTrainLoop(_TrainLoop):
    """Trains for a number of epochs; validates between epochs.

    Args:
        runner: the runner.
        dataloader: a loader or its config.
        max_epochs: epochs to train.
        val_begin: first epoch (from 1) after which validation may come.
        val_interval: validate every so many epochs; the last epoch is always followed by a validation.
        dynamic_intervals: pairs (epoch, interval): from that epoch on, that interval.

    Raises:
        ArgumentError: a count or an interval is not a whole number of at least 1.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        check_count("max_epochs", max_epochs)
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._max_epochs = max_epochs
        self._max_iters = max_epochs * _length(self.dataloader)
        self._first_batch = 0

    @property
    def max_epochs(self) -> int:
        """Epochs to train."""
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Training steps of the whole run."""
        return self._max_iters

    def run(self) -> nn.Module:
        """Train to the end; returns the model."""
        runner = self._runner
        runner.call_hook("before_train")
        self._catch_up(self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self._validate_if_due(self._max_epochs)
        runner.call_hook("after_train")
        return runner.model

    def run_epoch(self) -> None:
        """One pass over the loader."""
        runner = self._runner
        runner.call_hook("before_train_epoch")
        runner.model.train()
        if getattr(self.dataloader, "positions_known", False):
            self.dataloader.seek(self._epoch, self._first_batch)
        for idx, data_batch in enumerate(self.open_batches(), self._first_batch):
            self.run_iter(idx, data_batch)
        self._first_batch = 0
        runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict[str, Any]]) -> None:
        """One training step; `idx` counts the batches of the epoch from 0."""
        self._step(idx, data_batch)

    def _place_loader(self, state: StateDict | None) -> None:
        if state is not None:
            self.dataloader.load_state_dict(state)
            self._first_batch = state["consumed"] if state["pass_index"] == self._epoch else 0

    def _position(self) -> int:
        return self._epoch


@LOOPS.register_module()
class IterBasedTrainLoop(_TrainLoop):
    """Trains for a number of iterations over an endless stream of batches.

    Args:
        runner: the runner.
        dataloader: a loader or its config; it is started anew whenever it is exhausted.
        max_iters: training steps to make.
        val_begin: first iteration (from 1) after which validation may come.
        val_interval: validate every so many iterations, and after the last.
        dynamic_intervals: pairs (iteration, interval): from that iteration on, that interval.

    Raises:
        ArgumentError: a count or an interval is not a whole number of at least 1.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        check_count("max_iters", max_iters)
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._max_iters = max_iters
        self._max_epochs = 1
        self._batches_to_skip = 0
        self.dataloader_iterator = _InfiniteDataloaderIterator(
            self.dataloader, open_batches=lambda: self.open_batches()
        )

    @property
    def max_epochs(self) -> int:
        """Always 1: the whole run is one epoch."""
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Training steps to make."""
        return self._max_iters

    def run(self) -> nn.Module:
        """Train to the end; returns the model."""
        runner = self._runner
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        self.dataloader_iterator.tell_sampler()
        self._skip_batches()
        self._catch_up(self._max_iters)
        runner.model.train()
        while self._iter < self._max_iters and not self.stop_training:
            if not runner.model.training:
                runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            self._validate_if_due(self._max_iters)
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model

    def _skip_batches(self) -> None:
        if self._batches_to_skip:
            self._runner.logger.info(
                f"The checkpoint holds no random states: {self._batches_to_skip} batches are fetched and left out, so "
                "that random numbers go on as under MMEngine (streams='worker')."
            )
            self.dataloader_iterator.skip(self._batches_to_skip)
            self._batches_to_skip = 0

    def run_iter(self, data_batch: Sequence[dict[str, Any]]) -> None:
        """One training step; hooks see the running iteration as `batch_idx`."""
        self._step(self._iter, data_batch)

    def open_batches(self) -> Iterator[Any]:
        """The batches of a pass; the first may have been started with the loop."""
        return self.dataloader_iterator.start_pass()

    def _place_loader(self, state: StateDict | None) -> None:
        if state is None and getattr(self.dataloader, "streams", "sample") == "worker":
            # MMEngine's checkpoint, to be continued as MMEngine does: the skipped batches draw their random numbers.
            self._batches_to_skip = self._iter
            return
        if state is None:
            passes, batches = divmod(self._iter, _length(self.dataloader))
            state = {"pass_index": passes, "consumed": batches}
        self.dataloader_iterator.go_to(state)

    def _position(self) -> int:
        return self._iter


class _InfiniteDataloaderIterator:
    """Batches of a loader without end: when it is exhausted, the next pass begins, with the sampler's epoch raised.

    The loader is started at the first `next`, not before; but with `streams='worker'` at once, since MMEngine draws the
    seed of the workers from torch's generator before it initialises the weights.
    """

    def __init__(self, dataloader: DataLoader[Any], *, open_batches: Callable[[], Iterator[Any]] | None = None) -> None:
        self._dataloader: Any = dataloader
        self._open_batches = open_batches
        self._iterator: Iterator[Any] | None = None
        self._started: Iterator[Any] | None = iter(dataloader) if self._starts_at_once else None
        self._epoch = 0

    def __iter__(self) -> _InfiniteDataloaderIterator:
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._open()
        try:
            return next(self._iterator)
        except StopIteration:
            return self._first_of_next_pass()

    def __len__(self) -> int:
        return len(self._dataloader)

    @property
    def _starts_at_once(self) -> bool:
        return getattr(self._dataloader, "streams", "sample") == "worker"

    def go_to(self, state: StateDict) -> None:
        """Go on from a state of the loader."""
        self._epoch = state["pass_index"]
        self._dataloader.load_state_dict(state)
        self._iterator, self._started = None, iter(self._dataloader) if self._starts_at_once else None

    def skip(self, count: int) -> None:
        """Fetch `count` batches and let them go."""
        for _ in range(count):
            next(self)

    def start_pass(self) -> Iterator[Any]:
        """A pass of the loader: the one that was started at once, or a new one."""
        started, self._started = self._started, None
        return iter(self._dataloader) if started is None else started

    def _open(self) -> Iterator[Any]:
        return self.start_pass() if self._open_batches is None else self._open_batches()

    def tell_sampler(self) -> None:
        """Tell the sampler its pass, which the hooks, for which a run by iteration is one epoch, do not know."""
        for holder in (self._dataloader, getattr(self._dataloader, "batch_sampler", None)):
            sampler: Any = getattr(holder, "sampler", None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(self._epoch)
                return

    def _first_of_next_pass(self) -> Any:
        self._epoch += 1
        self.tell_sampler()
        self._iterator = self._open()
        try:
            return next(self._iterator)
        except StopIteration:
            raise ArgumentError(
                "the training loader yields no batch: its dataset is empty, or smaller than one batch."
            ) from None


def _length(loader: DataLoader[Any]) -> int:
    """Batches of a pass.

    Raises:
        ArgumentError: the loader has no length, or is empty.
    """
    try:
        length = len(loader)
    except TypeError as error:
        raise ArgumentError(
            f"{type(loader).__name__} has no length, so epochs cannot be counted. Train by iteration: "
            "train_cfg=dict(by_epoch=False, max_iters=...)."
        ) from error
    if length == 0:
        raise ArgumentError(
            "the training loader yields no batch: its dataset is empty, or drop_last drops the only batch."
        )
    return length


def _check_outputs(outputs: Any, model: nn.Module) -> None:
    if not hasattr(outputs, "items"):
        raise LossError(
            f"{type(model).__name__}.train_step must return a dict of what to log, such as {{'loss': loss}}, "
            f"and returned {type(outputs).__name__}."
        )
