"""`DataLoader`: torch's, with a random stream for each sample and a position that can be saved."""

from __future__ import annotations

import functools
from typing import Any, Literal, cast

import torch
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import IterableDataset

from drivetrain.dist import get_rank, sync_random_seed
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotReadyError, did_you_mean
from drivetrain.typing import StateDict

from ._fingerprint import OnChange, check_on_change, fingerprint, settled
from ._keyed import WorkerStart, keyed
from ._obstacles import generator_of, obstacle
from ._order import Entry, Order, Position, Watch
from ._passes import MainPass, MarkedPass, Pass
from ._samplers import DefaultSampler, InfiniteSampler
from ._streams import WORKERS, MainProcess, mixed
from ._worker_states import Marking, Turns, WorkerEntry, WorkerStates, around, as_begun, say_what_repeats
from ._workers import reseeded

StreamsMode = Literal["sample", "worker"]
_STREAMS = ("sample", "worker")
_OURS = (DefaultSampler, InfiniteSampler)
_OWN_ITERATION = ("__iter__", "_get_iterator", "_index_sampler", "_auto_collation")


class DataLoader(TorchDataLoader[Any]):
    """torch's `DataLoader`, whose samples have random streams and which knows where it stands.

    With `streams='sample'` the random numbers that a sample draws from `random`, `numpy.random` and `torch` while it is
    fetched are a function of (seed, pass, index, occurrence of the index in the pass): the same for any number of
    workers, persistent or not, and different in every pass. A dataset that fetches whole batches (`__getitems__`) is
    seeded once for each batch. With `streams='worker'` each worker is seeded when it starts, by `worker_init_fn`; where
    it stands comes along with its batches, so that a position can be gone on from.

    A pass begins with `iter(loader)`. `dataset`, `sampler` and `batch_sampler` are the objects that were given.

    Args:
        *args: as for torch's `DataLoader`.
        seed: seed of the streams and of a shuffling sampler's order; by default the seed of the sampler, or a drawn
            one.
        streams: 'sample' or 'worker'.
        on_change: what `load_state_dict` does with a state of other data (dataset, batch size, sampler, streams):
            'refuse' it, 'restart' with a new pass, or 'keep' the number of batches.
        **kwargs: as for torch's `DataLoader`.

    Attributes:
        watch_indices: called with the number of the pass, that of the batch, and the batch's indices, before it is
            fetched (workers fetch ahead); of passes that begin after it was set. None by default.

    Raises:
        ArgumentError: `streams` or `on_change` is none of these.
        ArgumentTypeError: `seed` is no int.
    """

    watch_indices: Watch | None = None
    _view_class: type = TorchDataLoader
    _original: TorchDataLoader[Any] | None = None
    on_change: OnChange = "refuse"

    def __init__(
        self,
        *args: Any,
        seed: int | None = None,
        streams: StreamsMode = "sample",
        on_change: OnChange = "refuse",
        **kwargs: Any,
    ) -> None:
        check_on_change(on_change)
        super().__init__(*args, **kwargs)
        self.on_change = on_change
        self._dress(seed, streams)

    @classmethod
    def adopt(
        cls, loader: TorchDataLoader[Any], *, seed: int | None = None, streams: StreamsMode = "sample"
    ) -> DataLoader:
        """A loader like `loader`, which stays as it is, with streams and positions.

        A subclass keeps its methods. One with its own `__iter__` is iterated as it is, without streams and positions;
        `why_not` says so. A loader that is ours and was given a seed is returned as it is.

        Args:
            loader: a torch `DataLoader`.
            seed: seed of the streams.
            streams: 'sample' or 'worker'.

        Raises:
            ArgumentTypeError: `loader` is no torch `DataLoader`.
        """
        if not isinstance(loader, TorchDataLoader):
            raise ArgumentTypeError(
                f"expected a torch DataLoader or its config (a dict), got {type(loader).__name__}: {loader!r}."
            )
        if getattr(loader, "_seed_given", False):
            return cast(DataLoader, loader)
        original: Any = type(loader)
        kind = _dressed_class(original)
        adopted = object.__new__(kind)
        adopted.__dict__.update(loader.__dict__, _iterator=None)
        if any(getattr(kind._view_class, name) is not getattr(TorchDataLoader, name) for name in _OWN_ITERATION):
            adopted._original = loader
        adopted._dress(seed, streams)
        return adopted

    def _dress(self, seed: int | None, streams: StreamsMode) -> None:
        if streams not in _STREAMS:
            raise ArgumentError(
                f"streams must be 'sample' or 'worker', got {streams!r}.{did_you_mean(str(streams), _STREAMS)}"
            )
        if seed is not None and type(seed) is not int:
            raise ArgumentTypeError(
                f"the seed of a loader must be an int or None, got {type(seed).__name__}: {seed!r}."
            )
        self._seed_given, self._streams = seed is not None, streams
        self._seed = seed
        self._position = Position()
        self._view: TorchDataLoader[Any] | None = None
        self._why_not = obstacle(self, self._original is not None, streams)
        if seed is None and streams == "sample":
            sampler: Any = self._order(self._position).sampler
            self._seed = sampler.seed if type(sampler) in _OURS else sync_random_seed()

    @property
    def seed(self) -> int | None:
        """Seed of the streams; None only with `streams='worker'`."""
        return self._seed

    @property
    def streams(self) -> str:
        """'sample' or 'worker'."""
        return self._streams

    @property
    def positions_known(self) -> bool:
        """Whether the loader can be sent to a batch of a pass and comes to the same samples there."""
        return not self._why_not

    @property
    def why_not(self) -> str:
        """The reason when positions are not known; otherwise empty."""
        return self._why_not

    @property
    def pass_index(self) -> int:
        """Number, from 0, of the pass that is being made, or of the next one when none is."""
        return self._position.number + self._position.ended

    @property
    def consumed(self) -> int:
        """Batches that this pass has handed out; those that workers fetched ahead are not among them."""
        return 0 if self._position.ended else self._position.consumed

    @property
    def _iterator(self) -> Any:
        """The iterator of persistent workers, under torch's name.

        Hooks that switch the pipeline set it to None: the next pass starts workers anew, with the dataset of then.
        """
        return getattr(self.__dict__.get("_view"), "_iterator", None)

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        if iterator is None:
            self._view = None

    def reseed(self, seed: int) -> None:
        """Take another seed for the passes to come; a sampler of ours that had the old one takes it too."""
        sampler: Any = self._order(self._position).sampler
        if type(sampler) in _OURS and sampler.seed == self._seed:
            sampler.seed = seed
        self.worker_init_fn = reseeded(self.worker_init_fn, self._seed, seed)
        self._seed, self._seed_given = seed, True

    def seek(self, pass_index: int, consumed: int = 0) -> None:
        """Let the next iteration make pass `pass_index` from batch `consumed` on. No skipped sample is fetched.

        Samplers with `set_epoch` get the number of the pass. An endless sampler is taken to have given `len(loader)`
        batches in each pass before, unless it stands at that pass already.

        Args:
            pass_index: number of the pass, from 0.
            consumed: batches to leave out.

        Raises:
            ArgumentError: a number is negative.
            ArgumentTypeError: it is no int.
            NotReadyError: batches are to be left out and positions are not known; the message says why.
        """
        _check_count("pass_index", pass_index)
        _check_count("consumed", consumed)
        if consumed and self._why_not:
            raise NotReadyError(f"this loader cannot be sent to batch {consumed}: {self._why_not}")
        position = self._position_of(pass_index, consumed)
        if consumed and self._is_iterable and position.dataset is None and position.entry is None:
            raise NotReadyError(
                f"{type(self.dataset).__name__} is iterable: only load_state_dict brings it to batch {consumed}."
            )
        self._position = position
        for sampler in (self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None)):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(pass_index)  # type: ignore[union-attr]

    def state_dict(self, *, pass_index: int | None = None, consumed: int | None = None) -> StateDict:
        """Where the loader stands, to go on from there.

        Args:
            pass_index: where the loop stands, if behind the loader because batches were taken ahead: its pass,
            consumed: and the batches of it that were used.

        Returns:
            `pass_index`, `consumed`, `seed`, `order` (what the order follows from), and what the sampler, an iterable
            dataset or the workers add.

        Raises:
            NotReadyError: positions are not known; the message says why.
        """
        if self._why_not:
            raise NotReadyError(f"this loader has no position to save: {self._why_not}")
        number = self.pass_index if pass_index is None else pass_index
        position = self._position_of(
            number, (self.consumed if number == self.pass_index else 0) if consumed is None else consumed
        )
        state: StateDict = {"pass_index": number, "consumed": position.consumed, "seed": self._seed}
        order = self._order(position)
        if type(order.sampler) in _OURS:
            state["sampler_seed"] = order.sampler.seed
        if order.endless:
            cycles = order.sampler.cycles(position.marks)
            state |= {"first": position.first, "marks": cycles.mark_for(order.start * order.sampler.world_size)}
        if position.generator is not None:
            state["generator"] = position.generator
        if self._is_iterable and self.num_workers == 0:
            state["dataset"] = self.dataset.state_dict()  # type: ignore[attr-defined]
        entry = self._entry_of(number, position.consumed)
        if entry is not None:
            state["entry"] = vars(entry)
        return {**state, "order": fingerprint(self)}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Stand where `state_dict` stood: the next iteration goes on behind the last batch that was used.

        Raises:
            ArgumentError: it is no state of a loader.
            CheckpointError: it is one of other data, and `on_change` is 'refuse'.
            NotReadyError: positions are not known; the message says why.
        """
        missing = [key for key in ("pass_index", "consumed") if key not in state_dict]
        if missing:
            raise ArgumentError(
                f"the state of a loader needs {' and '.join(map(repr, missing))}, and has only {list(state_dict)}."
            )
        state_dict = settled(state_dict, fingerprint(self), self.on_change)
        if self._streams == "sample" and state_dict.get("seed") is not None:
            self._seed = state_dict["seed"]
        number, consumed = state_dict["pass_index"], state_dict["consumed"]
        entry = Entry(**state_dict["entry"]) if "entry" in state_dict else None
        if self._marked:
            # Workers that live stand elsewhere.
            self._view = None
            say_what_repeats(self, number, consumed, entry is not None)
        self._position = Position(number, consumed, dataset=state_dict.get("dataset"), entry=entry)
        self.seek(number, consumed)
        position = self._position
        position.first, position.marks = state_dict.get("first", position.first), dict(state_dict.get("marks", {}))
        position.generator = state_dict.get("generator")
        order = self._order(position)
        if "sampler_seed" in state_dict and hasattr(order.sampler, "seed"):
            order.sampler.seed = state_dict["sampler_seed"]

    def passes_made(self) -> StateDict:
        """What the random numbers of passes to come follow from: how many were made, and where workers stand."""
        entry = self._entry_of(self.pass_index, 0)
        return {"passes": self.pass_index, "entry": None if entry is None else vars(entry)}

    def go_on_behind(self, made: StateDict) -> None:
        """Make the passes to come as if those that `passes_made` told of had been made; samplers stay as they are."""
        self._view = None
        entry = made["entry"]
        self._position = Position(made["passes"], entry=None if entry is None else Entry(**entry))

    def __iter__(self) -> Any:
        """Make a pass: the one that was sought, or the next."""
        position = self._upcoming()
        if position.entry is not None and position.entry.unended:
            self._end_pass(position, position.entry)
        before, self._position = self._position, position
        position.begun = True
        self._restore(position)
        if self._original is not None:
            return Pass(iter(self._original), position)
        if self._marked:
            position.workers = self._states_for(position, before)
        view = self._view_for(position)
        iterator: Any = as_begun(view, position) if self._streams == "worker" else iter(view)
        direct = getattr(iterator, "_next_data", None)
        if position.workers is not None:
            return MarkedPass(iterator, position, direct, position.workers)
        if self._is_iterable:
            return Pass(iterator, position)
        main: MainProcess | None = view._index_sampler.main
        return Pass(iterator, position, direct) if main is None else MainPass(iterator, position, direct, main)

    def _end_pass(self, position: Position, entry: Entry) -> None:
        """Let new workers come to the end of the pass before, as those did whose states they have."""
        self._position = Position(position.number - 1, entry=Entry(entry.states, entry.turn, entry.started))
        for _ in self:
            pass
        position.entry = None

    def _upcoming(self) -> Position:
        """The position that the next iteration starts from."""
        position = self._position
        if not position.begun:
            return position
        order = self._order(position)
        first = order.start if order.endless else 0
        return Position(position.number + 1, first=first, marks=position.marks if order.endless else {})

    def _position_of(self, number: int, consumed: int) -> Position:
        """The position at a batch of a pass, with what is known of where that pass begins."""
        current, upcoming = self._position, self._upcoming()
        if number == current.number:
            dataset, entry = (None, None) if current.begun else (current.dataset, current.entry)
            return Position(
                number, consumed, False, False, current.first, current.marks, current.generator, dataset, entry
            )
        if number == upcoming.number:
            return Position(number, consumed, first=upcoming.first, marks=upcoming.marks)
        order = self._order(current)
        return Position(number, consumed, first=number * len(self) * order.per_batch if order.endless else 0)

    def _order(self, position: Position) -> Order:
        size = 0 if self._is_iterable or not hasattr(self.dataset, "__len__") else len(self.dataset)
        order = Order(self.sampler, self.batch_sampler, size, self._seed_of_keys, self.num_workers == 0)
        order.position, order.watch = position, self.watch_indices
        return order

    def _entry_of(self, number: int, consumed: int) -> Entry | None:
        """What other workers need to go on behind batch `consumed` of a pass; None where they start anew there."""
        current = self._position
        states = current.workers
        if states is None:
            return current.entry if number == current.number else None
        if number == current.number and (consumed or self.persistent_workers):
            return Entry(states.behind(consumed), states.turn(consumed), current.started)
        if number == current.number + 1 and self.persistent_workers:
            # Only an iterable dataset has an end of its own, behind the last batch.
            turn = states.turn(current.consumed) if self._is_iterable else 0
            return Entry(states.behind(current.consumed), turn, current.started, self._is_iterable)
        return None

    def _states_for(self, position: Position, before: Position) -> WorkerStates:
        """The states that the workers of a pass begin with, as far as they are known."""
        entry = position.entry
        if entry is not None:
            return WorkerStates(entry.states, entry.turn, self.num_workers)
        lived = before.workers if self._view is not None else None
        if lived is not None:
            position.started = before.started
        turn = position.consumed % self.num_workers
        return WorkerStates({} if lived is None else lived.behind(before.consumed), turn, self.num_workers)

    @property
    def _marked(self) -> bool:
        """Whether batches come with the states of their workers: without them nobody could go on."""
        return self.num_workers > 0 and not self._why_not and (self._streams == "worker" or self._is_iterable)

    @property
    def _seed_of_keys(self) -> int | None:
        return self._seed if self._streams == "sample" else None

    @property
    def _is_iterable(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def _restore(self, position: Position) -> None:
        """Bring a generator of the user's, or an iterable dataset, to where the pass begins; or note where that is."""
        generator = generator_of(self)
        if generator is not None:
            if position.generator is None:
                position.generator = generator.get_state()
            generator.set_state(position.generator)
        order = self._order(position)
        if position.consumed and type(order.inner) is InfiniteSampler and not order.endless:
            # A batch sampler of the user's walks to its batch from the beginning, and this order would go on instead.
            order.inner.indices = order.inner._indices_of_rank()
        if position.dataset is not None:
            self.dataset.load_state_dict(position.dataset)  # type: ignore[attr-defined]

    def _view_for(self, position: Position) -> TorchDataLoader[Any]:
        """A plain loader that fetches this pass; kept while its workers are to live on."""
        view = self._view
        if view is None:
            view = self._new_view(position)
            self._view = view if self.persistent_workers and self.num_workers > 0 else None
        if not self._is_iterable:
            order: Order = view._index_sampler
            order.position, order.seed, order.watch = position, self._seed_of_keys, self.watch_indices
        return view

    def _new_view(self, position: Position) -> TorchDataLoader[Any]:
        changed: dict[str, Any] = {"_iterator": None}
        if not self._is_iterable:
            changed["sampler" if self.batch_sampler is None else "batch_sampler"] = self._order(position)
        if position.workers is not None:
            self._mark(changed, position)
        if self._streams == "sample":
            seed = mixed(WORKERS, self._seed or 0, position.number, get_rank())
            changed["generator"] = torch.Generator().manual_seed(seed)
            if not self._is_iterable:
                changed["dataset"] = keyed(self.dataset)
                changed["worker_init_fn"] = WorkerStart(self.worker_init_fn)
        view = cast("TorchDataLoader[Any]", object.__new__(self._view_class))
        # Past __setattr__, which guards the attributes of a loader that is built.
        view.__dict__.update(self.__dict__)
        view.__dict__.update(changed)
        return view

    def _mark(self, changed: dict[str, Any], position: Position) -> None:
        """Let workers send their states, and begin with those that the position has."""
        batched, turn = self.batch_sampler is not None, cast(WorkerStates, position.workers).turn(0)
        states = {} if position.entry is None else position.entry.states
        changed |= {
            "dataset": around(self.dataset, batched),
            "collate_fn": Marking(self.collate_fn),
            "worker_init_fn": WorkerEntry(self.worker_init_fn, states, turn),
        }
        if self._is_iterable:
            name = "batch_sampler" if batched else "sampler"
            changed[name] = Turns(getattr(self, name), batched, turn)


@functools.cache
def _dressed_class(kind: Any) -> type[DataLoader]:
    """A class that is both `DataLoader` and the user's."""
    if kind is TorchDataLoader:
        return DataLoader
    if issubclass(kind, DataLoader):
        return kind
    return type(
        kind.__name__, (DataLoader, kind), {"_view_class": kind, "__module__": kind.__module__, "__doc__": kind.__doc__}
    )


def _check_count(name: str, value: Any) -> None:
    if type(value) is not int:
        raise ArgumentTypeError(f"{name} must be an int, got {type(value).__name__}: {value!r}.")
    if value < 0:
        raise ArgumentError(f"{name} must be 0 or more, got {value}.")
