"""Wrong inputs, one row each: the error's type, the help it gives, and that no loader was started on the way."""

from __future__ import annotations

import warnings
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy import ToyAccuracy, ToyData, ToyNet, build, loader, only_training

from drivetrain import errors
from drivetrain.checkpoint import load_checkpoint, save_checkpoint
from drivetrain.dataset import BaseDataset, RepeatDataset
from drivetrain.evaluator import BaseMetric, Evaluator, get_metric_value
from drivetrain.hooks import CheckpointHook
from drivetrain.model import BaseModel, BaseModule, ImgDataPreprocessor, Sequential
from drivetrain.optim import LinearLR, MultiStepLR, OptimWrapper, build_optim_wrapper
from drivetrain.registry import MODELS, OPTIMIZERS, Registry, build_from_cfg
from drivetrain.runner import LogProcessor, Runner
from drivetrain.structures import InstanceData, PixelData

IMAGES, LABELS = torch.randn(2, 3, 6, 6), torch.tensor([0, 1])
BATCH = {"inputs": IMAGES, "labels": LABELS}


@MODELS.register_module()
class ErrorTableNet(nn.Module):
    def __init__(self, depth: int, channels: int = 3) -> None:
        super().__init__()


class Returns(BaseModel):
    """A model whose forward returns what it is told to."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor") -> Any:
        return self.value


class NoMode(BaseModel):
    def forward(self, inputs: Any, labels: Any) -> Any:
        return {}


class NoDict(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(1)

    def compute_metrics(self, results: Any) -> Any:
        return 0.5


class NoLength:
    def __getitem__(self, index: int) -> Any:
        return index


def sgd(model: nn.Module | None = None, **kwargs: Any) -> OptimWrapper:
    return OptimWrapper(torch.optim.SGD((model or nn.Linear(1, 1)).parameters(), lr=0.1), **kwargs)


def step(value: Any, batch: Any = BATCH) -> Any:
    model = Returns(value)
    return model.train_step(batch, sgd(model))


def evaluate(*metrics: Any) -> Any:
    evaluator = Evaluator(list(metrics))
    evaluator.process(data_samples=(IMAGES[:, :, 0, 0], LABELS), data_batch=None)
    return evaluator.evaluate(2)


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def half_of_a_checkpoint(path: Path) -> str:
    save_checkpoint({"state_dict": ToyNet().state_dict()}, str(path))
    return write(path, path.read_bytes()[:700])


def evil_checkpoint(path: Path) -> str:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    torch.save({"state_dict": Evil()}, path)
    return str(path)


Weird = namedtuple("Weird", "pictures classes")

# name, what the user does (given an empty folder), the error, a part of its message that helps
CASES: list[tuple[str, Any, type[Exception], str]] = [
    # the runner's arguments
    ("half a training triple", lambda d: build(d, optim_wrapper=None, param_scheduler=None), ValueError, "optim_wrapper missing"),
    ("half a validation triple", lambda d: build(d, val_evaluator=None), ValueError, "val_evaluator missing.*none to leave"),
    ("a test cfg alone", lambda d: build(d, test_cfg={}), ValueError, "test_dataloader and test_evaluator missing"),
    ("schedules without optimizer", lambda d: build(d, **only_training(), train_dataloader=None, train_cfg=None, optim_wrapper=None), ValueError, "no optimizer to schedule"),
    ("a model class, not an object", lambda d: build(d, model=ToyNet), TypeError, "model=Net\\(\\)"),
    ("a loader class", lambda d: build(d, train_dataloader=torch.utils.data.DataLoader), TypeError, "Create it first"),
    ("a schedule that is a string", lambda d: build(d, param_scheduler=["cosine"]), TypeError, "dict\\(type='MultiStepLR'"),
    ("an unknown randomness key", lambda d: build(d, randomness={"sede": 3}), ValueError, "'seed'"),
    ("unknown streams", lambda d: build(d, randomness={"streams": "samples"}), ValueError, "'sample'"),
    ("a seed that is no int", lambda d: build(d, randomness={"seed": "7"}), TypeError, "int or None"),
    ("a launcher on one process", lambda d: build(d, launcher="pytorch"), ValueError, "launcher='none'"),
    ("load_from a missing file", lambda d: build(d, load_from=str(d / "epoch_9.pth")), FileNotFoundError, "no such file"),
    ("an unknown default hook type", lambda d: build(d, default_hooks={"logger": {"type": "LogerHook"}}), KeyError, "LoggerHook"),
    ("a hook that is no hook", lambda d: build(d, custom_hooks=[ToyNet()]), TypeError, "must be a Hook"),
    ("a hook's priority misspelt", lambda d: build(d, custom_hooks=[{"type": "EMAHook", "priority": "NORML"}]), ValueError, "'NORMAL'"),
    ("one hook in place of a list", lambda d: build(d, custom_hooks={"type": "EMAHook"}), TypeError, "custom_hooks.*list"),
    ("default hooks as a list", lambda d: build(d, default_hooks=[{"type": "LoggerHook"}]), TypeError, "default_hooks.*logger="),
    ("randomness that is a number", lambda d: build(d, randomness=3), TypeError, "dict\\(seed=3\\)"),
    ("a visualizer's name alone", lambda d: build(d, visualizer="Visualizer"), TypeError, "dict\\(type='Visualizer'"),
    ("resume with a path", lambda d: build(d, resume="epoch_3.pth"), TypeError, "load_from='epoch_3.pth', resume=True"),
    ("a work dir that is a file", lambda d: build(Path(write(d / "f", b""))), OSError, "is a file"),
    ("a torch schedule", lambda d: build(d, param_scheduler=torch.optim.lr_scheduler.StepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1), 1)), TypeError, "drivetrain.optim"),
    ("a config without a model", lambda d: Runner.from_cfg({"modle": {"type": "ResNet"}, "work_dir": str(d)}), ValueError, "'model'.*'modle'"),
    ("an unknown log processor argument", lambda d: build(d, log_processor={"windowsize": 3}), TypeError, "window_size"),
    # how long and when
    ("val_interval=0", lambda d: build(d, train_cfg={"max_epochs": 2, "val_interval": 0}).train(), ValueError, "at least 1.*leave out"),
    ("max_epochs=0", lambda d: build(d, train_cfg={"max_epochs": 0}).train(), ValueError, "max_epochs must be"),
    ("max_iters as a float", lambda d: build(d, train_cfg={"max_iters": 1e3}).train(), ValueError, "max_iters must be"),
    ("neither epochs nor iterations", lambda d: build(d, train_cfg={"epochs": 2}).train(), ValueError, "max_epochs"),
    ("a misspelt train_cfg key", lambda d: build(d, train_cfg={"max_epochs": 2, "val_intervall": 1}).train(), ValueError, "'val_interval'"),
    ("an unknown loop", lambda d: build(d, train_cfg={"type": "EpochTrainLoop", "max_epochs": 1}).train(), KeyError, "EpochBasedTrainLoop"),
    ("falling milestones", lambda d: build(d, train_cfg={"max_epochs": 9, "dynamic_intervals": [(5, 1), (2, 1)]}).train(), ValueError, "must rise"),
    ("training without its parts", lambda d: build(d, train_dataloader=None, train_cfg=None, optim_wrapper=None, param_scheduler=None).train(), ValueError, "train_dataloader, train_cfg and optim_wrapper"),
    ("testing without its parts", lambda d: build(d).test(), ValueError, "test_dataloader"),
    ("a model without train_step", lambda d: build(d, model=nn.Linear(2, 2)).train(), AttributeError, "BaseModel"),
    # registries and configs
    ("a misspelt type", lambda d: MODELS.build({"type": "ErorTableNet", "depth": 1}), KeyError, "ErrorTableNet"),
    ("a type of another registry", lambda d: MODELS.build({"type": "CheckpointHook"}), KeyError, "HOOKS has it"),
    ("an unknown constructor argument", lambda d: MODELS.build({"type": "ErrorTableNet", "dept": 1}), TypeError, "depth"),
    ("a missing constructor argument", lambda d: MODELS.build({"type": "ErrorTableNet"}), TypeError, "depth"),
    ("a config without type", lambda d: MODELS.build({"depth": 1}), KeyError, "type"),
    ("a type that is a number", lambda d: MODELS.build({"type": 5}), TypeError, "type"),
    ("a config that is a string", lambda d: build_from_cfg("ErrorTableNet", MODELS), TypeError, "dict"),
    ("a name registered twice", lambda d: MODELS.register_module(name="ErrorTableNet", module=ToyNet), KeyError, "force"),
    ("an unknown optimizer", lambda d: OPTIMIZERS.build({"type": "SDG", "params": []}), KeyError, "'SGD'"),
    ("a location that is not there", lambda d: Registry("t", scope="tt", locations=["no_such_package_xyz.models"]).get("A"), Exception, "no_such_package_xyz"),
    # model, batch, loss
    ("a batch that is a tensor", lambda d: step({"loss": LABELS.sum()}, IMAGES), TypeError, "dict|tuple"),
    ("a batch that is a number", lambda d: step({"loss": LABELS.sum()}, 3), TypeError, "int"),
    ("no loss among the outputs", lambda d: step({"accuracy": torch.tensor(1.0)}), errors.LossError, "loss"),
    ("a loss that is a float", lambda d: step({"loss": 0.5}), TypeError, "tensor"),
    ("a list of floats as loss", lambda d: step({"loss": [0.5]}), TypeError, "tensor"),
    ("forward returns a tensor in mode loss", lambda d: step(torch.tensor(1.0)), errors.LossError, "dict"),
    ("forward without mode", lambda d: NoMode().val_step(BATCH), TypeError, "mode"),
    ("a batch key that forward does not take", lambda d: ToyNet().val_step({"input": IMAGES, "labels": LABELS}), TypeError, "inputs"),
    ("a list of images without a preprocessor", lambda d: ToyNet().val_step({"inputs": list(IMAGES), "labels": LABELS}), TypeError, "default_collate.*ImgDataPreprocessor"),
    ("mean without std", lambda d: ImgDataPreprocessor(mean=[1.0, 2.0, 3.0]), ValueError, "std"),
    ("two channel swaps", lambda d: ImgDataPreprocessor(bgr_to_rgb=True, rgb_to_bgr=True), ValueError, "bgr_to_rgb"),
    ("an unknown initialiser", lambda d: Sequential(nn.Linear(2, 2), init_cfg={"type": "Kamiing", "layer": "Linear"}).init_weights(), KeyError, "Kaiming"),
    ("an init_cfg that is a string", lambda d: BaseModule(init_cfg="Kaiming").init_weights(), TypeError, "dict"),
    # optimisation
    ("accumulative_counts=0", lambda d: sgd(accumulative_counts=0), ValueError, "accumulative_counts"),
    ("clip_grad of another type", lambda d: sgd(clip_grad={"type": "norms", "max_norm": 1}), Exception, "norm"),
    ("an optimizer argument misspelt", lambda d: build_optim_wrapper(nn.Linear(1, 1), {"optimizer": {"type": "SGD", "learning_rate": 1}}), TypeError, "lr"),
    ("an optimizer wrapper without optimizer", lambda d: build(d, optim_wrapper={"optimiser": {"type": "SGD", "lr": 1}}).train(), ValueError, "'optimizer'"),
    ("a start_factor of 0", lambda d: LinearLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1), start_factor=0), ValueError, "start_factor"),
    ("begin behind end", lambda d: MultiStepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1), milestones=[1], begin=5, end=3), ValueError, "begin"),
    ("an unknown schedule", lambda d: build(d, param_scheduler={"type": "CosineLR"}).train(), KeyError, "CosineAnnealingLR"),
    # data
    ("a missing annotation file", lambda d: BaseDataset(ann_file=str(d / "train.json")), FileNotFoundError, "train.json"),
    ("annotations of another form", lambda d: BaseDataset(ann_file=write(d / "a.json", b"[1, 2]")), TypeError, "data_list"),
    ("annotations without data_list", lambda d: BaseDataset(ann_file=write(d / "b.json", b'{"metainfo": {}}')), ValueError, "data_list"),
    ("a pipeline step that is a number", lambda d: BaseDataset(lazy_init=True, pipeline=[3]), TypeError, "callable|dict"),
    ("an unknown transform", lambda d: BaseDataset(lazy_init=True, pipeline=[{"type": "NoSuchTransform"}]), KeyError, "NoSuchTransform"),
    ("an unknown loader argument", lambda d: Runner.build_dataloader(loader(num_worker=2)), TypeError, "num_workers"),
    ("a sampler's name alone", lambda d: Runner.build_dataloader({**loader(), "sampler": "DefaultSampler"}), TypeError, "dict\\(type='DefaultSampler'"),
    ("a dataset's name alone", lambda d: Runner.build_dataloader({**loader(), "dataset": "CocoDataset"}), TypeError, "dict\\(type='CocoDataset'"),
    ("a dataset class", lambda d: Runner.build_dataloader({**loader(), "dataset": ToyData}), TypeError, "ToyData\\(...\\)"),
    ("a dataset without length", lambda d: Runner.build_dataloader({**loader(), "dataset": NoLength()}), TypeError, "NoLength.*__len__"),
    ("shuffle beside a sampler", lambda d: Runner.build_dataloader(loader() | {"shuffle": True}), ValueError, "shuffle.*sampler"),
    ("an unknown sampler", lambda d: Runner.build_dataloader({**loader(), "sampler": {"type": "DefaultSamplr"}}), KeyError, "DefaultSampler"),
    ("an unknown collate function", lambda d: Runner.build_dataloader(loader(collate_fn={"type": "default_colate"})), KeyError, "default_collate"),
    ("a dataset that is no dataset", lambda d: RepeatDataset(dataset=3, times=2), TypeError, "dataset"),
    # structures
    ("instances of unequal length", lambda d: InstanceData(a=torch.zeros(3), b=torch.zeros(4)), Exception, "4"),
    ("pixels of another shape", lambda d: PixelData(a=torch.zeros(1, 4, 4), b=torch.zeros(1, 5, 4)), Exception, "5"),
    # evaluation
    ("a metric class", lambda d: Evaluator(NoDict), TypeError, "NoDict\\(...\\)"),
    ("predictions that are None", lambda d: Evaluator(NoDict()).process(None), errors.MetricError, "mode='predict'"),
    ("a metric that returns no dict", lambda d: evaluate(NoDict()), TypeError, "NoDict"),
    ("two metrics with one key", lambda d: evaluate(ToyAccuracy(), ToyAccuracy()), ValueError, "accuracy"),
    ("an unknown metric", lambda d: Evaluator({"type": "Accurracy"}), KeyError, "Accurracy"),
    ("a collect_device misspelt", lambda d: ToyAccuracy(collect_device="cpus"), ValueError, "'cpu'"),
    ("a key that no metric has", lambda d: get_metric_value("acuracy", {"a/accuracy": 1.0}), ValueError, "accuracy"),
    # checkpoints
    ("a checkpoint interval of 0", lambda d: CheckpointHook(interval=0), ValueError, "interval"),
    ("save_best with an unknown rule", lambda d: CheckpointHook(save_best="x", rule="bigger"), Exception, "greater"),
    ("a checkpoint cut in half", lambda d: load_checkpoint(ToyNet(), half_of_a_checkpoint(d / "a.pth")), errors.CheckpointError, "a.pth"),
    ("a text file as checkpoint", lambda d: load_checkpoint(ToyNet(), write(d / "b.pth", b"hello")), errors.CheckpointError, "b.pth"),
    ("a checkpoint that would run code", lambda d: load_checkpoint(ToyNet(), evil_checkpoint(d / "c.pth")), errors.CheckpointError, "trusted"),
    ("a checkpoint of another model", lambda d: load_checkpoint(ToyNet(), (torch.save(nn.LSTM(3, 3).state_dict(), d / "d.pth"), str(d / "d.pth"))[1]), errors.WeightsMismatchError, "0"),
    ("a value that cannot be saved", lambda d: save_checkpoint({"meta": {"thing": [object()]}}, str(d / "e.pth")), errors.CheckpointError, "meta.*thing"),
    # the log
    ("an unknown statistic in the log", lambda d: LogProcessor(custom_cfg=[{"data_src": "loss", "method_name": "men"}]), Exception, "mean"),
]  # fmt: skip


@pytest.fixture
def watched_loaders(monkeypatch):
    """Counts the loaders that were started and the samples that were fetched."""
    started: list[Any] = []
    original = torch.utils.data.DataLoader.__iter__

    def watched(self):
        started.append(self)
        return original(self)

    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", watched)
    return started


@pytest.mark.parametrize(
    ("action", "error", "help_text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_wrong_input_is_answered_with_help_before_any_loader_starts(
    tmp_path, watched_loaders, action, error, help_text
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error, match=f"(?s){help_text}") as caught:
            action(tmp_path)
    assert isinstance(caught.value, errors.DrivetrainError), f"{type(caught.value).__name__} is not an error of ours"
    assert watched_loaders == []


def test_the_table_holds_at_least_forty_wrong_inputs():
    assert len(CASES) >= 40
    assert len({case[0] for case in CASES}) == len(CASES)


def test_every_error_is_also_one_of_pythons_own():
    own = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.DrivetrainError)
    ]
    builtin = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError, ImportError)
    assert all(issubclass(cls, builtin) for cls in own if cls is not errors.DrivetrainError)


def test_a_key_error_of_ours_prints_its_message_and_not_its_repr():
    assert str(errors.NotFoundError("no 'x' here")) == "no 'x' here"


def test_did_you_mean_ignores_case_and_is_silent_when_nothing_is_near():
    assert errors.did_you_mean("RESNET", ["ResNet"]) == " Did you mean 'ResNet'?"
    assert errors.did_you_mean("zzz", ["ResNet"]) == ""
