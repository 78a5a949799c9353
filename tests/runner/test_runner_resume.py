"""A resumed run is the uninterrupted one, bit by bit; where it cannot be, it says so."""

import contextlib
import random

import numpy as np
import pytest
import torch
from toy import Recorder, ToyData, ToyNet, assert_same_weights, build, loader, weights_of

from drivetrain.errors import CheckpointError
from drivetrain.evaluator import BaseMetric
from drivetrain.hooks import Hook

EPOCHS = {"by_epoch": True, "max_epochs": 4}
ITERATIONS = {"by_epoch": False, "max_iters": 17, "val_interval": 6}


class StopAt(Hook):
    """Ends the process's training as a kill right after a save would: by an exception."""

    priority = "LOWEST"

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def schedule(by_epoch):
    if by_epoch:
        return [{"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 7},
                {"type": "CosineAnnealingLR", "by_epoch": True}]  # fmt: skip
    return [{"type": "CosineAnnealingLR", "by_epoch": False}]


def run(work_dir, train_cfg, interval, *, stop=None, resume=False, seed=7, streams="sample", **changes):
    recorder = Recorder()
    by_epoch = train_cfg["by_epoch"]
    checkpoint = {"type": "CheckpointHook", "interval": interval, "by_epoch": changes.pop("save_by_epoch", by_epoch)}
    runner = build(
        work_dir,
        train_cfg=train_cfg,
        custom_hooks=[recorder, *([StopAt(stop)] if stop is not None else [])],
        default_hooks={"checkpoint": checkpoint},
        param_scheduler=schedule(by_epoch),
        optim_wrapper={
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "clip_grad": {"max_norm": 1.0},
        },
        randomness={"seed": seed, "streams": streams},
        resume=resume,
        **changes,
    )
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    return runner, recorder


@pytest.mark.parametrize("streams", ["sample", "worker"])
@pytest.mark.parametrize(
    ("train_cfg", "interval", "stop", "resumed_at"),
    [(EPOCHS, 1, 12, 10), (EPOCHS, 2, 19, 10), (ITERATIONS, 4, 10, 8), (ITERATIONS, 5, 16, 15)],
    ids=["epoch border", "two epochs back", "inside a pass", "at a pass's end"],
)
def test_losses_order_and_weights_equal_those_of_the_uninterrupted_run(
    tmp_path, streams, train_cfg, interval, stop, resumed_at
):
    whole, recorded = run(tmp_path / "whole", train_cfg, interval, streams=streams)
    run(tmp_path / "cut", train_cfg, interval, stop=stop, streams=streams)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    resumed, rest = run(tmp_path / "cut", train_cfg, interval, resume=True, streams=streams, seed=3)
    assert rest.ids == recorded.ids[resumed_at:]
    assert all(torch.equal(a, b) for a, b in zip(rest.losses, recorded.losses[resumed_at:], strict=True))
    assert_same_weights(weights_of(whole), weights_of(resumed))
    assert resumed.iter == whole.iter
    assert resumed.seed == 7


def test_a_save_inside_an_epoch_resumes_behind_its_batch(tmp_path):
    whole, recorded = run(tmp_path / "whole", EPOCHS, 3, save_by_epoch=False)
    run(tmp_path / "cut", EPOCHS, 3, save_by_epoch=False, stop=14)
    resumed, rest = run(tmp_path / "cut", EPOCHS, 3, save_by_epoch=False, resume=True)
    assert rest.ids == recorded.ids[12:]
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_a_resumed_run_fetches_no_skipped_sample(tmp_path):
    run(tmp_path, ITERATIONS, 4, stop=9)
    data = ToyData()
    run(tmp_path, ITERATIONS, 4, resume=True, train_dataloader=loader(data))
    assert len(data.fetched) == (17 - 8) * 4


def test_a_checkpoint_without_random_states_is_continued_as_mmengine_does_it(tmp_path):
    _, recorded = run(tmp_path, ITERATIONS, 4, stop=9, streams="worker")
    checkpoint = torch.load(tmp_path / "iter_8.pth")
    del checkpoint["drivetrain"]
    torch.save(checkpoint, tmp_path / "foreign.pth")
    data = ToyData()
    _, rest = run(tmp_path / "b", ITERATIONS, 4, resume=True, load_from=str(tmp_path / "foreign.pth"), streams="worker",
                  train_dataloader=loader(data))  # fmt: skip
    assert rest.ids[:1] == recorded.ids[8:] and len(rest.ids) == 9
    assert len(data.fetched) == 17 * 4  # what is skipped is fetched, for the random numbers that it draws


def test_resuming_twice_changes_nothing(tmp_path):
    whole, _ = run(tmp_path / "whole", EPOCHS, 1)
    for stop in (7, 13):
        run(tmp_path / "cut", EPOCHS, 1, stop=stop, resume=stop != 7)
    resumed, _ = run(tmp_path / "cut", EPOCHS, 1, resume=True)
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_a_validation_that_was_due_after_the_save_is_made_first(tmp_path):
    _, recorded = run(tmp_path / "whole", EPOCHS, 1)
    run(tmp_path / "cut", EPOCHS, 1, stop=11)
    _, rest = run(tmp_path / "cut", EPOCHS, 1, resume=True)
    assert rest.metrics == recorded.metrics[1:]


def test_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path):
    runner, _ = run(tmp_path, EPOCHS, 1, resume=True)
    assert runner.iter == 20


def test_resume_from_a_named_file(tmp_path):
    run(tmp_path / "a", EPOCHS, 1)
    runner, rest = run(tmp_path / "b", EPOCHS, 1, resume=True, load_from=str(tmp_path / "a" / "epoch_3.pth"))
    assert (runner.epoch, len(rest.losses)) == (4, 5)


def test_load_from_takes_weights_alone(tmp_path):
    source, _ = run(tmp_path / "a", EPOCHS, 1)
    runner = build(tmp_path / "b", load_from=str(tmp_path / "a" / "epoch_4.pth"))
    runner.val()
    assert_same_weights(weights_of(source), weights_of(runner))
    assert runner.epoch == 0


def test_weights_alone_cannot_be_resumed(tmp_path):
    torch.save(ToyNet().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(RuntimeError, match=r"no training state.*load_from"):
        build(tmp_path, resume=True, load_from=str(tmp_path / "weights.pth")).train()


def test_another_number_of_schedules_is_refused(tmp_path):
    run(tmp_path, EPOCHS, 1)
    with pytest.raises(RuntimeError, match="holds 2 schedules and this run has 1"):
        build(tmp_path, resume=True, param_scheduler=[{"type": "MultiStepLR", "milestones": [3]}]).train()


def test_state_of_a_hook_survives(tmp_path):
    class Counting(Hook):
        count = 0

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    build(tmp_path, train_cfg={"max_epochs": 2}, custom_hooks=[Counting()]).train()
    hook = Counting()
    build(tmp_path, train_cfg={"max_epochs": 3}, custom_hooks=[hook], resume=True).train()
    assert hook.count == 15


def test_a_checkpoint_reads_without_an_allow_list_and_has_the_contracts_keys(tmp_path):
    run(tmp_path, EPOCHS, 1)
    raw = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    assert set(raw) == {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "drivetrain"}
    assert {"epoch", "iter", "cfg", "seed", "experiment_name", "time", "mmengine_version", "dataset_meta"} <= set(
        raw["meta"]
    )
    assert (raw["meta"]["epoch"], raw["meta"]["iter"]) == (2, 10)


def test_a_file_with_averaged_weights_resumed_without_the_hook_says_what_it_goes_on_from(tmp_path, capsys):
    saving = {"checkpoint": {"type": "CheckpointHook", "interval": 1}}
    build(tmp_path, train_cfg={"max_epochs": 1}, custom_hooks=[{"type": "EMAHook"}], default_hooks=saving).train()
    capsys.readouterr()
    build(tmp_path, train_cfg={"max_epochs": 2}, default_hooks=saving, resume=True, log_level="WARNING").train()
    assert "has no EMAHook and goes on from the average" in capsys.readouterr().out


def changed(tmp_path, **loader_changes):
    """A run cut behind step 8 and resumed with another loader: its recorder."""
    run(tmp_path, ITERATIONS, 4, stop=9)
    data = loader_changes.pop("data", None)
    return run(tmp_path, ITERATIONS, 4, resume=True, train_dataloader=loader(data, **loader_changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": ToyData(24)}, "samples was 20 and is 24"),
        ({"batch_size": 2}, "batch_size was 4 and is 2"),
        ({"shuffle": False}, "sampler.shuffle was True and is False"),
        ({"sampler": {"type": "InfiniteSampler"}}, "sampler was 'DefaultSampler' and is 'InfiniteSampler'"),
    ],
)
def test_other_data_than_the_checkpoints_is_refused_with_both_values(tmp_path, changes, words):
    with pytest.raises(CheckpointError, match=rf"{words}.*on_change='restart'"):
        changed(tmp_path, **changes)


def test_another_dataset_or_classes_are_refused_by_name(tmp_path):
    class Other(ToyData):
        METAINFO = {"classes": ("a", "b", "c", "e")}

    with pytest.raises(CheckpointError, match=r"dataset was 'ToyData' and is .*Other.*classes"):
        changed(tmp_path, data=Other())


def test_the_number_of_workers_is_free_with_a_stream_for_each_sample(tmp_path):
    _, recorded = run(tmp_path / "whole", ITERATIONS, 4)
    _, rest = changed(tmp_path / "cut", num_workers=1)
    assert rest.ids == recorded.ids[8:]
    assert all(torch.equal(a, b) for a, b in zip(rest.losses, recorded.losses[8:], strict=True))


def test_the_number_of_workers_is_part_of_the_order_with_a_stream_for_each_worker(tmp_path):
    run(tmp_path, ITERATIONS, 4, stop=9, streams="worker")
    with pytest.raises(CheckpointError, match="num_workers was 0 and is 1"):
        run(tmp_path, ITERATIONS, 4, resume=True, streams="worker", train_dataloader=loader(num_workers=1))


def test_a_run_on_other_data_can_begin_a_new_pass_or_keep_its_place(tmp_path, capsys):
    _, recorded = run(tmp_path / "whole", ITERATIONS, 4)
    runner, fresh = changed(tmp_path / "restart", batch_size=2, on_change="restart")
    assert runner.iter == 17 and len(fresh.ids) == 9
    assert [x for ids in fresh.ids[:5] for x in ids] == [x for ids in recorded.ids[10:13] for x in ids][:10]
    _, kept = changed(tmp_path / "keep", data=ToyData(21), on_change="keep")
    assert len(kept.ids) == 9


def test_a_checkpoint_without_an_order_resumes(tmp_path):
    run(tmp_path, ITERATIONS, 4, stop=9)
    checkpoint = torch.load(tmp_path / "iter_8.pth")
    del checkpoint["drivetrain"]["train_loop"]["dataloader"]["order"]
    torch.save(checkpoint, tmp_path / "old.pth")
    _, rest = run(
        tmp_path / "b",
        ITERATIONS,
        4,
        resume=True,
        load_from=str(tmp_path / "old.pth"),
        train_dataloader=loader(batch_size=2),
    )
    assert len(rest.ids) == 9


class Lines(torch.utils.data.IterableDataset):
    """Samples of a stream without length; each worker reads its part."""

    def __init__(self):
        self.data, self.at = ToyData(), 0

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        while self.at < len(self.data):
            self.at += 1
            if info is None or self.at % info.num_workers == info.id:
                yield self.data[self.at - 1]
        self.at = 0


class StatefulLines(Lines):
    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def of_lines(kind, workers):
    return {"dataset": kind(), "batch_size": 4, "num_workers": workers, "collate_fn": {"type": "default_collate"}}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_dataset_goes_on_through_its_own_state(tmp_path, workers):
    def train(folder, **changes):
        return run(tmp_path / folder, ITERATIONS, 4, train_dataloader=of_lines(StatefulLines, workers), **changes)

    whole, recorded = train("whole")
    train("cut", stop=9)
    resumed, rest = train("cut", resume=True)
    assert rest.ids == recorded.ids[8:]
    assert_same_weights(weights_of(whole), weights_of(resumed))


def test_an_iterable_dataset_without_a_state_says_what_repeats(tmp_path, capsys):
    def train(**changes):
        return run(tmp_path, ITERATIONS, 4, train_dataloader=of_lines(Lines, 0), log_level="WARNING", **changes)

    train(stop=9)
    capsys.readouterr()
    _, rest = train(resume=True)
    said = capsys.readouterr().out
    assert "the data begins anew" in said and "state_dict() and load_state_dict()" in said
    assert len(rest.ids) == 9


def test_a_save_inside_an_epoch_leaves_the_models_numbers_alone_with_a_stream_for_each_worker(tmp_path):
    whole, _ = run(tmp_path / "whole", EPOCHS, 3, save_by_epoch=False, streams="worker")
    run(tmp_path / "cut", EPOCHS, 3, save_by_epoch=False, stop=14, streams="worker")
    resumed, _ = run(tmp_path / "cut", EPOCHS, 3, save_by_epoch=False, resume=True, streams="worker")
    assert_same_weights(weights_of(whole), weights_of(resumed))


@pytest.mark.parametrize("streams", ["sample", "worker"])
def test_validations_draw_the_numbers_that_they_would_have_drawn(tmp_path, streams):
    validation = loader(ToyData(8), shuffle=False, num_workers=1, persistent_workers=True)

    def train(folder, **changes):
        return run(tmp_path / folder, EPOCHS, 1, val_dataloader=validation, streams=streams, **changes)

    class Loss(ToyNet):
        def forward(self, inputs, labels=None, id=None, mode="tensor"):
            return (inputs.sum(), labels) if mode == "predict" else super().forward(inputs, labels, id, mode=mode)

    class Sum(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.append(data_samples[0].item())

        def compute_metrics(self, results):
            return {"sum": sum(results)}

    def made():
        torch.manual_seed(0)
        return {"model": Loss(), "val_evaluator": Sum()}

    whole, recorded = train("whole", **made())
    train("cut", stop=12, **made())
    resumed, rest = train("cut", resume=True, **made())
    assert rest.metrics == recorded.metrics[1:]
    assert_same_weights(weights_of(whole), weights_of(resumed))
