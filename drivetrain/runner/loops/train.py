"""The two ways to train: by epoch and by iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Union

from torch import nn
from torch.utils.data import DataLoader

from drivetrain.errors import ArgumentError, LossError
from drivetrain.registry import LOOPS
from drivetrain.runner._state import random_state, restore_random_state
from drivetrain.typing import StateDict
from drivetrain.utils import Ticker

from .base import BaseLoop
from .intervals import check_count, interval_at, plan_validation


class _TrainLoop(BaseLoop):
    """What both loops share: counters, the step, and when validation is due."""

    in_epochs = False
    """Whether plain numbers count epochs, else iterations."""
    _max_iters: int

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        val_begin: int,
        val_interval: Union[int, str],  # noqa: UP007
        dynamic_intervals: list[tuple[int, int]] | None,
    ) -> None:
        check_count("val_begin", val_begin, least=0)
        plan = plan_validation(val_interval, dynamic_intervals, self.in_epochs)
        self.dynamic_milestones, self.dynamic_intervals, every = plan
        super().__init__(runner, dataloader)
        # Only for an interval that the contract has not: in other units than the loop's, or in parts of epochs.
        self._ticker = None if every is None else Ticker(every, _length(self.dataloader) if every.unit == "ep" else 1)
        self._epoch = 0
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval: Any = self.dynamic_intervals[0]
        self.stop_training = False
        self.batches_used: dict[str, int] = {}
        self._validation_checked = 0
        self._before_validation: StateDict | None = None
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
            **({} if self._ticker is None else {"validation_clock": self._ticker.state_dict()}),
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
        self._validation_checked = (state or {}).get("validation_checked", self._count())
        if self._ticker is not None and "validation_clock" in (state or {}):
            self._ticker.load_state_dict((state or {})["validation_clock"])
        if getattr(self.dataloader, "positions_known", False):
            self._place_loader((state or {}).get("dataloader"))
        elif iteration:
            self._say_what_repeats()

    def _say_what_repeats(self) -> None:
        why = getattr(self.dataloader, "why_not", "") or f"{type(self.dataloader).__name__} is no torch DataLoader."
        self._runner.logger.warning(
            "The position in the training data is not known, so the data begins anew: what was used of the pass before "
            f"the save comes again. {why}"
        )

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
        if self._ticker is not None:
            self._validate_if_passed(self._ticker)
            return
        runner, position = self._runner, self._position()
        self._validation_checked = position
        if runner.val_loop is None or position < self.val_begin:
            return
        if position % self.val_interval == 0 or position == last:
            self._validate()

    def _validate_if_passed(self, ticker: Ticker) -> None:
        """Run the validation loop if its interval has passed at the end of the step just made, and after the last."""
        self._validation_checked = self._iter
        due = ticker.due(self._iter) or self._iter == self._max_iters
        if due and self._runner.val_loop is not None and self._may_validate():
            self._validate()

    def _will_end_epoch(self) -> bool:
        """Whether the next thing to come is the end of an epoch, and with it the validation that is due there."""
        return False

    def _may_validate(self) -> bool:
        """Whether `val_begin` is reached, by the step just made."""
        return self._iter >= self.val_begin

    def _count(self) -> int:
        """What validations are counted by: the position, or steps where they may come inside an epoch."""
        return self._position() if self._ticker is None else self._iter

    def _validate(self) -> None:
        self._before_validation = random_state()
        self._runner.val_loop.run()
        self._before_validation = None

    def abandon_validation(self) -> bool:
        """Stand as if the running validation had not begun, for a save; a resumed run makes it again.

        Returns:
            Whether there is one that this loop has begun.
        """
        if self._before_validation is None:
            return False
        restore_random_state(self._before_validation)
        self._before_validation = None
        self._validation_checked = self._count() - 1
        if self._ticker is not None:
            self._ticker.undo()
        return True

    def _catch_up(self, last: int) -> None:
        """Make the validation that was due when the checkpoint was saved, right before it: as if never stopped."""
        if self._ticker is not None:
            self._ticker.start()
        if self._validation_checked < self._count() and not self._will_end_epoch():
            self._decide_current_val_interval()
            self._validate_if_due(last)

    def _decide_current_val_interval(self) -> None:
        """Take the interval that `dynamic_intervals` sets for the current position."""
        self.val_interval = interval_at(self._position() + 1, self.dynamic_milestones, self.dynamic_intervals)

    def _position(self) -> int:
        raise NotImplementedError


@LOOPS.register_module()
class EpochBasedTrainLoop(_TrainLoop):
    """Trains for a number of epochs; validates between epochs, or inside them where `val_interval` says so.

    Args:
        runner: the runner.
        dataloader: a loader or its config.
        max_epochs: epochs to train.
        val_begin: first epoch (from 1) after which validation may come.
        val_interval: validate every so many epochs, or at an interval such as '500it', '0.25ep' or '10min'; the last
            epoch is always followed by a validation.
        dynamic_intervals: pairs (epoch, interval): from that epoch on, that interval.

    Raises:
        ArgumentError: a count or an interval is not a whole number of at least 1.
    """

    in_epochs = True

    def __init__(
        self,
        runner: Any,
        dataloader: Union[DataLoader[Any], dict[str, Any]],  # noqa: UP007
        max_epochs: int,
        val_begin: int = 1,
        val_interval: Union[int, str] = 1,  # noqa: UP007
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
        batches = self.open_batches() if self._ticker is None else self._with_validations(self._ticker)
        for idx, data_batch in enumerate(batches, self._first_batch):
            self.run_iter(idx, data_batch)
        self._first_batch = 0
        runner.call_hook("after_train_epoch")
        self._epoch += 1

    @property
    def inside_epoch(self) -> bool:
        """Whether the epoch that goes on has had some of its steps."""
        return self._iter % (self._max_iters // self._max_epochs) > 0

    def _with_validations(self, ticker: Ticker) -> Iterator[Any]:
        """The batches of a pass, and between two of them the validations that are due.

        One that is due after the last batch waits for what hooks do at the end of the epoch.
        """
        for data_batch in self.open_batches():
            yield data_batch
            if self.inside_epoch:
                self._validate_if_passed(ticker)
                self._runner.model.train()

    def _may_validate(self) -> bool:
        return self._iter > (self.val_begin - 1) * (self._max_iters // self._max_epochs)

    def _will_end_epoch(self) -> bool:
        return self._ticker is not None and self._first_batch * self._max_epochs == self._max_iters

    def run_iter(self, idx: int, data_batch: Sequence[dict[str, Any]]) -> None:
        """One training step; `idx` counts the batches of the epoch from 0."""
        self._step(idx, data_batch)

    def _place_loader(self, state: StateDict | None) -> None:
        if state is not None:
            self.dataloader.load_state_dict(state)
            self._first_batch = self.dataloader.consumed if self.dataloader.pass_index == self._epoch else 0

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
        val_interval: validate every so many iterations, or at an interval such as '2ep' or '10min', and after the last.
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
        val_interval: Union[int, str] = 1000,  # noqa: UP007
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
        self._dataloader.load_state_dict(state)
        self._epoch = self._dataloader.pass_index
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
