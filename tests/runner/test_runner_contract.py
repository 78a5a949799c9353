"""What packages written for the contract touch on a runner and its loops, beyond running it."""

import pytest
import torch
from toy import ToyAccuracy, ToyData, ToyNet, build, loader, only_training, parts

from drivetrain.registry import LOOPS
from drivetrain.runner import EpochBasedTrainLoop, Runner
from drivetrain.structures import BaseDataElement


class LossOnPredict(ToyNet):
    """Validation outputs end with an element that holds the losses of the batch."""

    losses = (0.25, 0.5)

    def val_step(self, data):
        return [BaseDataElement(), BaseDataElement(loss={"loss_ce": torch.tensor(self.losses[len(data["id"]) == 3])})]


class Nothing(ToyAccuracy):
    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return {"samples": sum(results)}


@pytest.mark.parametrize(
    ("name", "value"), [("max_epochs", 3), ("max_iters", 15), ("val_interval", 1), ("val_begin", 1)]
)
def test_lengths_and_intervals_are_known_before_training(tmp_path, name, value):
    assert getattr(build(tmp_path), name) == value


@pytest.mark.parametrize("name", ["max_epochs", "max_iters", "epoch", "iter"])
def test_counters_are_zero_without_training(tmp_path, name):
    runner = build(tmp_path, train_dataloader=None, train_cfg=None, optim_wrapper=None, param_scheduler=None)
    assert getattr(runner, name) == 0


def test_asking_for_the_epoch_reads_no_training_data(tmp_path):
    runner = build(tmp_path)
    assert (runner.epoch, runner.iter) == (0, 0)
    assert type(runner._train_loop) is dict


def test_loops_of_other_packages_find_the_randomness_they_build_loaders_with(tmp_path):
    runner = build(tmp_path, **only_training(), randomness={"seed": 3, "diff_rank_seed": True})
    assert runner._randomness_cfg.get("diff_rank_seed", False) is True
    built = runner.build_dataloader(loader(ToyData(4)), seed=runner.seed, diff_rank_seed=True)
    assert len(built) == 1


def test_losses_that_predictions_carry_are_averaged_over_batches(tmp_path):
    runner = build(
        tmp_path, model=LossOnPredict(), val_dataloader=loader(ToyData(7), shuffle=False), val_evaluator=Nothing()
    )
    assert runner.val() == {"samples": 2, "loss_ce": 0.375, "val_loss": 0.375}
    assert [float(value) for value in runner.val_loop.val_loss["loss_ce"]] == [0.25, 0.5]


@pytest.mark.parametrize("train_cfg", [{"by_epoch": True, "max_epochs": 1}, {"by_epoch": False, "max_iters": 5}])
def test_train_loops_of_other_packages_find_the_counters_they_drive(tmp_path, train_cfg):
    loop = build(tmp_path, **only_training(), train_cfg=train_cfg, param_scheduler=None).train_loop
    assert (loop._epoch, loop._iter, loop._max_epochs, loop._max_iters) == (0, 0, 1, 5)
    assert loop._runner is loop.runner


class Meddler(Runner):
    """A runner as other packages derive it: it looks at what is built."""

    def __init__(self, **arguments):
        self.seen = []
        super().__init__(**arguments)

    def build_model(self, model):
        self.seen.append("model")
        return super().build_model(model)

    def load_checkpoint(self, filename, **kwargs):
        self.seen.append("checkpoint")
        return super().load_checkpoint(filename, **kwargs)


class MeddlerOfLoaders(Runner):
    @classmethod
    def build_dataloader(cls, dataloader, seed=None, diff_rank_seed=False):
        built = super().build_dataloader({**dataloader, "batch_size": 2}, seed, diff_rank_seed)
        return torch.utils.data.DataLoader(built.dataset, batch_size=built.batch_size, sampler=built.sampler)


def test_a_subclass_that_overrides_what_builds_or_loads_is_asked(tmp_path):
    first = build(tmp_path / "first", **only_training(), train_cfg={"by_epoch": True, "max_epochs": 1})
    first.train()
    file = str(tmp_path / "first" / "epoch_1.pth")
    runner = Meddler(work_dir=str(tmp_path), **parts(**only_training(), load_from=file, resume=True))
    assert runner.seen == ["model"]
    runner.load_or_resume()
    assert runner.seen == ["model", "checkpoint"] and runner.iter == 5


def test_a_subclass_that_builds_its_own_loaders_trains_with_them(tmp_path):
    runner = MeddlerOfLoaders(work_dir=str(tmp_path), **parts(train_cfg={"by_epoch": True, "max_epochs": 1}))
    runner.train()
    assert (runner.max_iters, runner.train_dataloader.batch_size, len(runner.val_dataloader)) == (10, 2, 4)
    assert runner.train_dataloader.positions_known


@LOOPS.register_module()
class LoopWithTwoLoaders(EpochBasedTrainLoop):
    def __init__(self, runner, dataloader, second, max_epochs):
        super().__init__(runner, dataloader, max_epochs)
        self.second = runner.build_dataloader(second, seed=runner.seed, diff_rank_seed=False)


@pytest.mark.parametrize("streams", ["sample", "worker"])
def test_a_loader_that_a_loop_builds_itself_has_the_streams_of_the_run(tmp_path, streams):
    loop = {"type": "LoopWithTwoLoaders", "second": loader(), "max_epochs": 1}
    runner = build(tmp_path, **only_training(), train_cfg=loop, randomness={"seed": 1, "streams": streams})
    assert (runner.train_loop.second.streams, runner.train_loop.dataloader.streams) == (streams, streams)
    assert runner.build_dataloader(loader()).streams == "sample"
