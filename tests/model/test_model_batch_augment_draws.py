"""The random numbers of batch augmentation: of each sample's own, a function of the step, read by nobody on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.errors import ArgumentError
from drivetrain.logging import MessageHub
from drivetrain.model import (
    BatchAugmentChoice,
    BatchAugments,
    BatchCutMix,
    BatchMixUp,
    BatchMosaic,
    BatchRandomErase,
    BatchRandomFlip,
    BatchRandomResize,
)
from drivetrain.model.batch_augment._draw import BATCH_AUGMENT, Draw, partners
from drivetrain.model.batch_augment._moment import Moment
from drivetrain.registry import MODELS
from drivetrain.structures import BaseDataElement, InstanceData, PixelData
from drivetrain.utils import mixed


def moment(iteration=0, *, seed=1, rank=0, occurrence=0):
    return Moment(seed, rank, iteration, occurrence, None)


def at_step(iteration, seed=5, **infos):
    """A hub as the runner keeps it."""
    hub = MessageHub.get_current_instance()
    hub.runtime_info.update(seed=seed, iter=iteration, **infos)
    return hub


def test_the_key_of_a_row_is_mixed_from_seed_rank_step_augmentation_and_place():
    keys = Draw(moment(7, seed=3, rank=2, occurrence=1), 4, 9).keys(5)
    assert [int(key) for key in keys] == [mixed(BATCH_AUGMENT, 3, 2, 7, 1, 4, 9, place) for place in range(5)]


def test_a_row_does_not_depend_on_how_many_samples_the_batch_has():
    assert np.array_equal(Draw(moment(), 0).rows(7, 3)[:4], Draw(moment(), 0).rows(4, 3))


def test_no_two_samples_share_a_stream():
    keys = [
        Draw(moment(step, seed=seed, rank=rank, occurrence=occurrence), path).keys(64)
        for seed in (0, 1) for rank in range(4) for step in range(150) for occurrence in range(2) for path in range(3)
    ]  # fmt: skip
    assert len(np.unique(np.concatenate(keys))) == 2 * 4 * 150 * 2 * 3 * 64


def test_rows_of_parameters_are_distinct():
    rows = np.concatenate([Draw(moment(step), 0).rows(64, 4) for step in range(500)])
    assert len(np.unique(rows, axis=0)) == len(rows)
    shares = np.concatenate([Draw(moment(step), 0).beta(0.8, 64) for step in range(500)])
    assert len(np.unique(shares)) == len(shares)


def test_uniform_numbers_are_uniform_and_unrelated():
    rows = Draw(moment(), 0).rows(40000, 3)
    assert rows.min() >= 0 and rows.max() < 1
    for column in rows.T:
        counts, _ = np.histogram(column, bins=50, range=(0, 1))
        assert ((counts - 800) ** 2 / 800).sum() < 90  # chi-square with 49 degrees: one in 3000 lies above
    assert np.abs(np.corrcoef(rows.T) - np.eye(3)).max() < 0.02
    assert abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 0.02


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.8, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha):
    ours = np.sort(Draw(moment(3), 0).beta(alpha, 20000))
    theirs = np.sort(np.random.default_rng(0).beta(alpha, alpha, 20000))
    grid = np.concatenate([ours, theirs])
    distance = np.abs(np.searchsorted(ours, grid, "right") - np.searchsorted(theirs, grid, "right")).max() / 20000
    assert distance < 1.95 * (2 / 20000) ** 0.5  # Kolmogorov, Smirnov: one in a thousand lies above
    assert np.isfinite(Draw(moment(3), 0).beta(0.001, 1000)).all()


def test_partners_are_a_cycle_that_changes_from_step_to_step():
    pairs = np.zeros((6, 6))
    for step in range(3000):
        other = partners(Draw(moment(step), 0).cycle(6))
        place, seen = 0, set()
        while place not in seen:
            seen.add(place)
            place = int(other[place])
        assert len(seen) == 6
        pairs[np.arange(6), other] += 1
    assert (pairs.diagonal() == 0).all() and (np.abs(pairs[~np.eye(6, dtype=bool)] - 600) < 110).all()


def test_a_step_of_the_run_gives_its_numbers_whatever_was_drawn_before():
    images, labels = torch.randn(8, 3, 6, 6), torch.arange(8)
    augment = BatchMixUp(num_classes=8)
    at_step(3)
    first = augment(images, labels)
    at_step(4)
    torch.rand(5)
    other = augment(images, labels)
    at_step(3)
    again = BatchMixUp(num_classes=8)(images, labels)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_two_batches_of_one_step_differ():
    at_step(3)
    augment, labels = BatchMixUp(num_classes=8), torch.arange(8)
    assert not torch.equal(augment(torch.zeros(8, 1, 2, 2), labels)[1], augment(torch.zeros(8, 1, 2, 2), labels)[1])


def test_augmentations_at_two_places_of_a_sequence_draw_apart():
    at_step(3)
    images = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 1, 4, 4).contiguous()
    once, _ = BatchAugments([BatchRandomFlip(0.5), BatchRandomFlip(0.5)])(torch.arange(4.0).expand(64, 1, 4, 4))
    turned = (once[:, 0, 0, 0] == 3).sum()
    assert 10 < int(turned) < 54  # the second does not just undo the first
    assert images.shape == (64, 1, 4, 4)
    one, two = BatchRandomFlip(stream=0), BatchRandomFlip(stream=1)
    row = torch.arange(4.0).expand(64, 1, 4, 4)
    assert not torch.equal(one(row)[0], two(row)[0])


def test_over_99_percent_of_samples_draw_otherwise_in_the_next_pass():
    augment, labels = BatchMixUp(num_classes=4), torch.arange(64) % 4
    passes = []
    for number in range(2):
        shares = []
        for batch in range(20):
            at_step(20 * number + batch)
            shares.append(augment(torch.zeros(64, 1, 1, 1), labels)[1])
        passes.append(torch.cat(shares))
    # Two labels of one class hide the share: a quarter of all pairs.
    differ = (passes[0] != passes[1]).any(1).float().mean()
    assert differ > 0.9
    rows = [Draw(moment(step), 0).rows(64, 2) for step in range(40)]
    same = (np.concatenate(rows[:20]) == np.concatenate(rows[20:])).any(1)
    assert same.mean() < 0.01


def test_ranks_draw_apart_and_agree_on_a_size():
    one, two = (Draw(moment(5, rank=rank), 0) for rank in (0, 1))
    assert not np.array_equal(one.rows(4, 1), two.rows(4, 1)) and not np.array_equal(one.once(2), two.once(2))
    assert np.array_equal(one.on_all_ranks(2), two.on_all_ranks(2))


def test_without_a_runner_torchs_seed_and_a_counter_decide():
    MessageHub.get_current_instance().runtime_info.clear()
    images, labels = torch.zeros(8, 1, 2, 2), torch.arange(8)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        augment = BatchMixUp(num_classes=8)
        results.append([augment(images, labels)[1] for _ in range(3)])
    assert all(map(torch.equal, results[0], results[1]))
    assert not torch.equal(results[0][0], results[0][1]) and not torch.equal(results[0][0], results[2][0])


@pytest.mark.parametrize(
    ("open_at", "close_at", "open_steps"),
    [(None, "30it", range(30)), ("10it", None, range(10, 60)), ("1ep", "2.5ep", range(20, 50)), (None, None, range(60))],
)  # fmt: skip
def test_a_sequence_runs_between_its_intervals_and_keeps_the_form_of_labels(open_at, close_at, open_steps):
    augments = BatchAugments([BatchMixUp(num_classes=4)], open_at=open_at, close_at=close_at)
    images, labels = torch.randn(4, 1, 2, 2), torch.arange(4)
    for step in range(60):
        at_step(step, epoch_length=20)
        new, soft = augments(images, labels)
        assert soft.shape == (4, 4) and torch.equal(new, images) is (step not in open_steps)


def test_a_sequence_can_be_switched_by_hand():
    at_step(0, epoch_length=20)
    augments = BatchAugments([BatchRandomFlip(1.0)], close_at="1it")
    row = torch.arange(4.0).expand(2, 1, 4, 4)

    def runs():
        return not torch.equal(augments(row)[0], row)

    seen = []
    for on in (None, False, True, None):
        augments.switch(on)
        seen.append(runs())
    at_step(1)
    for on in (None, True):
        augments.switch(on)
        seen.append(runs())
    assert seen == [True, False, True, True, False, True]


def test_epochs_need_somebody_who_knows_how_long_they_are():
    MessageHub.get_current_instance().runtime_info.clear()
    with pytest.raises(ArgumentError, match=r"how long an epoch is.*'500it'"):
        BatchAugments([BatchRandomFlip()], close_at="2ep")(torch.zeros(1, 1, 2, 2))


class Reads(TorchDispatchMode):
    """Notes the operations that bring a value from a tensor to the host, or make a shape of values."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.calls = Calls(self.found)

    def __enter__(self):
        self.calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.calls.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if any(part in name for part in ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.")):
            self.found.append(name)
        if "index.Tensor" in name and any(getattr(i, "dtype", None) is torch.bool for i in args[1] if i is not None):
            self.found.append(f"{name} with a mask")
        return function(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Notes the methods that bring values to the host without an operation: of a tensor on the CPU they are free."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in ("tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__array__", "__iter__"):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def scenes():
    samples = []
    for count in (2, 0, 3, 1):
        sample = BaseDataElement(metainfo={"img_shape": (20, 24)})
        sample.gt_instances = InstanceData(
            bboxes=torch.rand(count, 4).sort(1)[0] * 20, labels=torch.zeros(count), masks=torch.zeros(count, 20, 24)
        )
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, 20, 24, dtype=torch.uint8))
        samples.append(sample)
    return samples


OF_SCENES = [
    BatchRandomFlip(0.5, 0.5), BatchRandomErase(1.0), BatchRandomErase(1.0, value="noise"), BatchMosaic(),
    BatchRandomResize([32, 64]), BatchAugments([BatchMosaic(), BatchRandomFlip(), BatchRandomResize([32])]),
]  # fmt: skip
OF_LABELS = [
    BatchMixUp(num_classes=4), BatchCutMix(num_classes=4), BatchMixUp(num_classes=4, per="batch"),
    BatchAugmentChoice([BatchMixUp(num_classes=4), BatchCutMix(num_classes=4)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("augment", "targets"),
    [*((augment, scenes()) for augment in OF_SCENES), *((augment, torch.arange(4)) for augment in OF_LABELS)],
    ids=lambda value: type(value).__name__,
)
def test_nothing_is_read_on_the_host(augment, targets):
    images = torch.randn(4, 3, 24, 24)
    with Reads() as reads:
        augment(images, targets)
    assert reads.found == []


def test_dropping_hidden_instances_reads_once_and_is_seen():
    with Reads() as reads:
        BatchMosaic(drop_hidden=True)(torch.randn(4, 3, 24, 24), scenes())
    assert reads.found == ["tolist"]


def test_all_numbers_of_a_sequence_cross_in_one_copy(monkeypatch):
    from drivetrain.model.batch_augment import _base

    calls = []
    original = _base.upload

    def counted(steps, device):
        calls.append(len(steps))
        return original(steps, device)

    monkeypatch.setattr(_base, "upload", counted)
    BatchAugments([BatchMosaic(), BatchRandomErase(), BatchRandomFlip()])(torch.randn(4, 3, 24, 24), scenes())
    assert calls == [3]


def test_every_class_is_in_the_registry_by_its_name():
    for name in (
        "BatchMixUp", "BatchCutMix", "BatchAugmentChoice", "BatchMosaic", "BatchRandomFlip", "BatchRandomErase",
        "BatchRandomResize", "BatchAugments",
    ):  # fmt: skip
        assert MODELS.get(name).__name__ == name
    built = MODELS.build(
        {
            "type": "BatchAugments",
            "augments": [
                {"type": "BatchRandomFlip"},
                {"type": "BatchAugmentChoice", "augments": [{"type": "BatchMixUp"}]},
            ],
            "close_at": "10ep",
        }
    )
    assert str(built.close_at) == "10ep" and len(built.parts) == 2
