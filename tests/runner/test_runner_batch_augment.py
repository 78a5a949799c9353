"""Batch augmentation in a real run: the same for any workers and after a resume, off in validation, closed at its step."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from toy import ToyData, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.hooks import Hook
from drivetrain.model import ImgDataPreprocessor
from drivetrain.runner._opt_in import promises

MIXING = {
    "type": "BatchAugmentChoice",
    "augments": [{"type": "BatchMixUp", "num_classes": 4}, {"type": "BatchCutMix", "num_classes": 4}],
}


def augments(**switch):
    return [
        {"type": "BatchAugments", "augments": [MIXING], **switch},
        {"type": "BatchRandomFlip", "horizontal": 0.5, "vertical": 0.5},
        {"type": "BatchRandomErase", "value": "noise"},
    ]


class Net(ToyNet):
    """Writes down what reaches the network."""

    def __init__(self, batch_augments):
        super().__init__(data_preprocessor={"type": "ImgDataPreprocessor", "batch_augments": batch_augments})
        self.seen, self.validated = [], []

    def forward(self, inputs, labels=None, id=None, data_samples=None, mode="tensor"):
        (self.seen if mode == "loss" else self.validated).append((id.clone(), inputs.clone(), labels.clone()))
        logits = super().forward(inputs, labels, mode="tensor")
        if mode == "loss":
            return {"loss_ce": functional.cross_entropy(logits, labels)}
        return (logits, labels) if mode == "predict" else logits


class StopAt(Hook):
    priority = "LOWEST"

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def run(work_dir, *, stop=None, resume=False, workers=0, persistent=False, switch=None, epochs=4, **changes):
    torch.manual_seed(0)
    model = Net(augments(**(switch or {})))
    runner = build(
        work_dir,
        model=model,
        train_dataloader=loader(ToyData(), num_workers=workers, persistent_workers=persistent),
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False}},
        custom_hooks=[] if stop is None else [StopAt(stop)],
        resume=resume,
        **changes,
    )
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    # Ends persistent workers now; where the garbage collector ends them, torch takes five seconds for each.
    runner.train_dataloader._iterator = None
    return runner, model.seen


def assert_same_batches(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert all(map(torch.equal, one, other))


def test_a_resumed_run_mixes_the_batches_of_the_uninterrupted_one(tmp_path):
    whole, seen = run(tmp_path / "whole", **only_training())
    run(tmp_path / "cut", stop=14, **only_training())
    torch.manual_seed(99)
    resumed, rest = run(tmp_path / "cut", resume=True, **only_training())
    assert_same_batches(rest, seen[12:])
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_a_sequence_closes_at_its_epoch_before_and_after_a_resume(tmp_path):
    switch = {"close_at": "2ep"}
    _, seen = run(tmp_path / "whole", switch=switch, **only_training())
    hard = [bool((labels == 1).any(1).all()) for _, _, labels in seen]
    assert hard[10:] == [True] * 10 and not any(hard[:10])
    run(tmp_path / "cut", stop=8, switch=switch, **only_training())
    _, rest = run(tmp_path / "cut", resume=True, switch=switch, **only_training())
    assert_same_batches(rest, seen[6:])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (2, True), (4, False), (4, True)])
def test_any_number_of_workers_gives_the_same_batches(tmp_path, workers, persistent):
    _, seen = run(tmp_path / "main", epochs=2, **only_training())
    _, with_workers = run(tmp_path / "workers", workers=workers, persistent=persistent, epochs=2, **only_training())
    assert_same_batches(with_workers, seen)


def test_over_99_percent_of_samples_come_otherwise_in_the_next_pass(tmp_path):
    data = ToyData(160, noise=False)
    torch.manual_seed(0)
    model = Net([{"type": "BatchMixUp", "num_classes": 4}])
    build(
        tmp_path,
        model=model,
        train_dataloader=loader(data, batch_size=16),
        train_cfg={"max_epochs": 2},
        **only_training(),
    ).train()
    passes = [{}, {}]
    for step, (ids, images, _) in enumerate(model.seen):
        passes[step // 10].update(zip(ids.tolist(), images, strict=True))
    same = sum(torch.equal(passes[0][i], passes[1][i]) for i in range(160))
    assert same <= 1


def test_validation_sees_images_and_labels_as_they_are(tmp_path):
    runner, _ = run(tmp_path, epochs=1)
    validated, data = runner.model.validated, ToyData(8, noise=False)
    assert torch.equal(torch.cat([images for _, images, _ in validated]), data.images)
    assert torch.equal(torch.cat([labels for _, _, labels in validated]), data.labels)


def test_no_value_is_read_on_the_host_while_batches_are_augmented(tmp_path):
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = str(function)
            self.count += "_local_scalar_dense" in name or "nonzero" in name
            return function(*args, **(kwargs or {}))

    class Watch(Hook):
        priority = "HIGHEST"
        reads = Reads()

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 1:
                self.reads.__enter__()

        def after_train(self, runner):
            self.reads.__exit__(None, None, None)

    watch = Watch()
    data = [
        {"inputs": torch.randn(4, 3, 6, 6), "labels": torch.randint(4, (4,)), "id": torch.zeros(1)} for _ in range(40)
    ]
    torch.manual_seed(0)
    build(
        tmp_path,
        model=Net(augments()),
        train_dataloader=torch.utils.data.DataLoader(data, batch_size=None, shuffle=False),
        train_cfg={"by_epoch": False, "max_iters": 40},
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1000}, "checkpoint": None},
        custom_hooks=[watch],
        **only_training(),
    ).train()
    assert watch.reads.count == 0


def test_what_draws_random_numbers_is_not_called_pure():
    assert promises(ImgDataPreprocessor(), "pure")
    drawing = ImgDataPreprocessor(batch_augments=[{"type": "BatchRandomFlip"}])
    assert not promises(drawing, "pure") and promises(drawing, "moves_ahead")
