"""The prefetcher on a simulated device: two streams that run when they like, and memory that is given out again at once."""

import contextlib
import gc
import random
import weakref
from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from drivetrain.device import Prefetcher, streams_of


class Event:
    reached = False


class SimulatedStream:
    """Runs what it was given in order, but only when the machine lets it."""

    def __init__(self, machine):
        self.machine, self.queue = machine, deque()

    def launch(self, kernel):
        self.queue.append((None, kernel))

    def wait_event(self, event):
        self.queue.append((event, None))

    def record_event(self):
        event = Event()
        self.launch(lambda: setattr(event, "reached", True))
        return event

    def wait_stream(self, stream):
        self.wait_event(stream.record_event())

    def __enter__(self):
        self.machine.current.append(self)

    def __exit__(self, *exc_info):
        self.machine.current.pop()

    def step(self):
        """Run one piece of work; False where there is none, or it has to wait."""
        if not self.queue or (self.queue[0][0] is not None and not self.queue[0][0].reached):
            return False
        _, kernel = self.queue.popleft()
        if kernel is not None:
            kernel()
        return True


class Block:
    """Memory of the device."""

    content = None


class DeviceBatch:
    """A batch on the device. When the last reference is gone its block can be given out again: nothing waits for kernels."""

    def __init__(self, pool):
        self.pool = pool
        self.block = pool.pop() if pool else Block()

    def __del__(self):
        self.pool.append(self.block)


class Machine:
    """A device with the interface of `Streams`; the host runs ahead of it by chance."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.computing, self.copying = SimulatedStream(self), SimulatedStream(self)
        self.current = [self.computing]
        self.pool, self.blocks, self.results = [], set(), []

    def move(self, batch):
        assert self.current[-1] is self.copying
        self.run_some()
        moved = DeviceBatch(self.pool)
        block = moved.block
        self.blocks.add(id(block))
        self.copying.launch(lambda: setattr(block, "content", "half"))
        self.copying.launch(lambda: setattr(block, "content", batch))
        return moved

    def compute(self, moved):
        """A step of three kernels that read the batch."""
        block, seen = moved.block, []
        for _ in range(3):
            self.computing.launch(lambda: seen.append(block.content))
        self.computing.launch(lambda: self.results.append(tuple(seen)))
        self.run_some()

    def run_some(self):
        for _ in range(self.chance.choice((0, 0, 1, 3, 20))):
            self.chance.choice((self.computing, self.copying)).step()

    def run_all(self):
        while any([self.computing.step(), self.copying.step()]):
            pass
        assert not self.computing.queue
        assert not self.copying.queue


def prefetcher_on(machine):
    return Prefetcher("cpu", machine.move, streams=machine)


def train(machine, prefetcher, batches, keep=0):
    """Steps over a pass; the model keeps the last `keep` batches and computes with them again."""
    kept = deque(maxlen=max(keep, 1))
    for batch in prefetcher.ahead(iter(batches)):
        machine.compute(prefetcher.moved(batch))
        if keep:
            kept.append(prefetcher.moved(batch))
            machine.compute(kept[0])


@given(st.integers(0, 10**6), st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_every_kernel_reads_its_own_batch_however_the_streams_run(seed, passes):
    machine = Machine(seed)
    prefetcher = prefetcher_on(machine)
    expected = []
    for number, size in enumerate(passes):
        batches = [(number, place) for place in range(size)]
        train(machine, prefetcher, batches)
        expected += [(batch,) * 3 for batch in batches]
    machine.run_all()
    assert machine.results == expected
    assert len(machine.blocks) <= 2


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_a_batch_that_the_model_keeps_is_not_written_over(seed, keep):
    machine = Machine(seed)
    prefetcher = prefetcher_on(machine)
    for number in range(3):
        train(machine, prefetcher, [(number, place) for place in range(8)], keep)
    machine.run_all()
    expected = []
    for number in range(3):
        for place in range(8):
            expected += [((number, place),) * 3, ((number, max(0, place - keep + 1)),) * 3]
    assert machine.results == expected


def test_two_thousand_steps_equal_the_synchronous_path():
    """Passes of random length, random failures of loader and copy, early ends; memory stays flat."""
    chance, machine = random.Random(5), Machine(5)
    prefetcher = Prefetcher("cpu", failing(machine.move), streams=machine)
    expected, got, steps = [], [], 0
    while steps < 2000:
        outcomes = [chance.choices(("fine", "loader", "copy"), (30, 1, 1))[0] for _ in range(chance.randrange(40))]
        end = chance.choice((None, chance.randrange(1, 40)))
        batches = [(steps, place, outcome) for place, outcome in enumerate(outcomes)]
        expected += list(synchronous(batches, end))
        for event in seen_of(machine, prefetcher, batches, end):
            got.append(event)
            steps += 1
    machine.run_all()
    assert got == expected
    assert machine.results == [(batch,) * 3 for batch in expected if batch not in ("loader", "copy")]
    # The third: the error of a failed copy holds what was copied until it is raised, or collected.
    assert len(machine.blocks) <= 3


def failing(move):
    def moving(batch):
        moved = move(batch)
        if batch[2] == "copy":
            raise MemoryError("copy")
        return moved

    return moving


def broken_loader(batches):
    for batch in batches:
        if batch[2] == "loader":
            raise ValueError("loader")
        yield batch


def synchronous(batches, end):
    for batch in batches[:end]:
        yield batch if batch[2] == "fine" else batch[2]
        if batch[2] != "fine":
            return


def seen_of(machine, prefetcher, batches, end):
    taken = prefetcher.ahead(broken_loader(batches))
    for _ in range(len(batches) if end is None else end):
        try:
            batch = next(taken)
        except StopIteration:
            return
        except (ValueError, MemoryError) as error:
            yield str(error)
            return
        machine.compute(prefetcher.moved(batch))
        yield batch


@pytest.mark.parametrize("place", [0, 1, 2, 5])
@pytest.mark.parametrize("culprit", ["loader", "copy"])
def test_an_exception_comes_at_its_step_with_the_traceback_of_its_origin(place, culprit):
    machine = Machine(0)
    prefetcher = Prefetcher("cpu", failing(machine.move), streams=machine)
    batches = [(0, number, culprit if number == place else "fine") for number in range(7)]
    seen = []
    with pytest.raises((ValueError, MemoryError), match=culprit) as caught:
        seen.extend(prefetcher.ahead(broken_loader(batches)))
    seen += [batch for batch in batches[:place] if batch not in seen]
    assert seen == batches[:place]
    assert caught.traceback[-1].name == ("broken_loader" if culprit == "loader" else "moving")


def test_steps_before_an_exception_are_all_made():
    machine = Machine(0)
    prefetcher = prefetcher_on(machine)
    made = []

    def batches():
        yield from range(3)
        raise ValueError("fourth")

    def steps():
        for batch in prefetcher.ahead(batches()):
            made.append(batch)

    with pytest.raises(ValueError, match="fourth"):
        steps()
    assert made == [0, 1, 2]


def test_a_loader_goes_on_after_an_exception_as_it_does_without():
    class Flaky:
        number = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.number += 1
            if self.number == 2:
                raise ValueError("second")
            if self.number > 4:
                raise StopIteration
            return self.number

    machine = Machine(0)
    taken = prefetcher_on(machine).ahead(Flaky())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="second"):
        next(taken)
    assert list(taken) == [3, 4]
    with pytest.raises(StopIteration):
        next(taken)


def test_an_interrupt_is_not_held_back():
    def batches():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(prefetcher_on(Machine(0)).ahead(batches()))


def test_the_next_batch_is_fetched_and_on_its_way_before_the_step():
    machine, fetched = Machine(0), []
    prefetcher = prefetcher_on(machine)
    taken = prefetcher.ahead(fetched.append(batch) or batch for batch in "abc")
    assert (next(taken), fetched) == ("a", ["a", "b"])
    assert (next(taken), fetched) == ("b", ["a", "b", "c"])


def test_batches_in_no_use_are_not_exchanged():
    machine = Machine(0)
    prefetcher = prefetcher_on(machine)
    first, second = [1], [2]
    taken = prefetcher.ahead(iter([first, second]))
    assert prefetcher.moved(first) is first
    next(taken)
    assert prefetcher.moved(first) is not first
    assert prefetcher.moved(second) is second
    assert prefetcher.moved([1]) == [1]


def test_one_object_filled_again_for_every_batch_has_the_right_copy():
    machine, batch = Machine(0), {}
    copies = Prefetcher("cpu", dict, streams=machine)

    def batches():
        for number in range(4):
            batch["number"] = number
            yield batch

    assert [copies.moved(taken)["number"] for taken in copies.ahead(batches())] == [0, 1, 2, 3]


def test_releasing_drops_the_copies_and_loses_no_batch():
    machine = Machine(0)
    prefetcher = prefetcher_on(machine)
    taken = prefetcher.ahead(iter(["a", "b", "c", "d"]))
    assert next(taken) == "a"
    assert len(machine.pool) == 0
    prefetcher.release()
    assert len(machine.pool) == 2
    assert list(taken) == ["b", "c", "d"]
    assert prefetcher.moved("d") == "d"


def test_no_copy_is_held_after_the_last_step_of_a_pass():
    machine = Machine(0)
    train(machine, prefetcher_on(machine), ["a", "b", "c"])
    assert len(machine.pool) == len(machine.blocks) == 2


@pytest.mark.parametrize("end", ["dropped early", "exhausted", "failed"])
def test_a_loader_is_let_go_without_the_garbage_collector(end):
    class Batches:
        def __init__(self):
            self.left = 4

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise StopIteration if end == "exhausted" else ValueError
            return self.left

    batches = Batches()
    gone = weakref.ref(batches)
    taken = prefetcher_on(Machine(0)).ahead(batches)
    del batches
    gc.disable()
    try:
        next(taken)
        if end == "exhausted":
            assert list(taken) == [2, 1, 0]
        elif end == "failed":
            with contextlib.suppress(ValueError):
                list(taken)
        del taken
        assert gone() is None
    finally:
        gc.enable()


def test_workers_end_when_a_pass_is_left_early():
    machine = Machine(0)
    prefetcher = prefetcher_on(machine)
    loader = DataLoader(range(64), batch_size=2, num_workers=2)
    iterator = iter(loader)
    workers = list(iterator._workers)
    taken = prefetcher.ahead(iterator)
    assert next(taken).tolist() == [0, 1]
    del iterator, taken
    for worker in workers:
        worker.join(10)
    assert not any(worker.is_alive() for worker in workers)


def test_the_cpu_has_nothing_around_it():
    prefetcher = Prefetcher("cpu", lambda batch: pytest.fail("copied on the CPU"))
    batches = iter([torch.ones(2)])
    assert prefetcher.ahead(batches) is batches
    batch = next(batches)
    assert prefetcher.moved(batch) is batch
    assert streams_of("cpu") is streams_of(torch.device("mps")) is None
