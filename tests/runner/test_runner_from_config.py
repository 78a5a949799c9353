"""What a config says to the runner beside its arguments, and what of it reaches which part."""

from __future__ import annotations

import copy
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy import ToyAccuracy, ToyData, ToyNet, assert_same_weights, build, loader, parts, weights_of

from drivetrain.config import Config
from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingAttributeError
from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.parallel import SingleDeviceStrategy
from drivetrain.registry import (
    DATASETS,
    FUNCTIONS,
    HOOKS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    RUNNERS,
    STRATEGIES,
    DefaultScope,
)
from drivetrain.runner import Runner, turn_on_activation_checkpointing, wrap_forward


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys under names, for configs in text."""
    for registry, kind in ((MODELS, ToyNet), (DATASETS, ToyData), (METRICS, ToyAccuracy), (HOOKS, Noted)):
        monkeypatch.setitem(registry._module_dict, kind.__name__, kind)


class Noted(Hook):
    """A hook of a config's custom_hooks."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


CONFIG = """
model = dict(type='ToyNet', dropout=0.0)
train_dataloader = dict(
    dataset=dict(type='ToyData'), sampler=dict(type='DefaultSampler', shuffle=True), batch_size=4,
    collate_fn=dict(type='default_collate'))
val_dataloader = dict(
    dataset=dict(type='ToyData', size=8, noise=False), sampler=dict(type='DefaultSampler', shuffle=False), batch_size=4,
    collate_fn=dict(type='default_collate'))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
val_cfg = dict()
val_evaluator = dict(type='ToyAccuracy')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
param_scheduler = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
custom_hooks = [dict(type='Noted', number=3, priority='LOW')]
randomness = dict(seed=3)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
               dist_cfg=dict(backend='nccl'))
log_level = 'ERROR'
default_scope = 'mmengine'
launcher = 'none'
load_from = None
resume = False
vis_backends = [dict(type='LocalVisBackend'), dict(type='LocalVisBackend', save_dir='elsewhere')]
visualizer = dict(type='Visualizer', name='own', vis_backends=[dict(type='LocalVisBackend')])
my_variable = 7
"""


def config(tmp_path: Path, text: str = "") -> Config:
    path = tmp_path / "toy_config.py"
    path.write_text(CONFIG + f"work_dir = {str(tmp_path / 'work')!r}\n" + text)
    return Config.fromfile(path)


# --- the whole of a config -------------------------------------------------------------------------------------------


def test_a_config_of_strings_trains_and_is_dumped_equal(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    runner = RUNNERS.build(cfg)
    runner.train()
    assert type(runner) is Runner and runner.epoch == 2 and runner.seed == 3
    assert runner.experiment_name == f"toy_config_{runner.timestamp}"
    assert [hook.number for hook in runner.hooks if type(hook) is Noted] == [3]
    assert runner.visualizer.instance_name == "own" and runner.cfg["my_variable"] == 7
    dumped = Config.fromfile(tmp_path / "work" / "toy_config.py")
    assert dumped.to_dict() == cfg.to_dict()
    meta = torch.load(tmp_path / "work" / "epoch_2.pth", weights_only=True)["meta"]
    assert Config.fromstring(meta["cfg"], ".py").to_dict() == cfg.to_dict()


def test_the_config_of_a_run_is_a_copy(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    runner = Runner.from_cfg(cfg)
    cfg.optim_wrapper.optimizer.lr = 5.0
    runner.train()
    assert runner.cfg.optim_wrapper.optimizer.lr == 0.1


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_configs_of_other_formats_are_dumped_under_their_name(tmp_path: Path, suffix: str) -> None:
    cfg = config(tmp_path)
    path = tmp_path / f"other{suffix}"
    cfg.dump(path)
    runner = Runner.from_cfg(Config.fromfile(path))
    assert Config.fromfile(Path(runner.work_dir) / path.name).to_dict() == cfg.to_dict()


def test_runner_type_names_a_runner_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Longer(Runner):
        def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
            self.seen = model_wrapper_cfg
            return super().wrap_model(model_wrapper_cfg, model)

    monkeypatch.setitem(RUNNERS._module_dict, "Longer", Longer)
    runner = RUNNERS.build(config(tmp_path, "runner_type = 'Longer'\nmodel_wrapper_cfg = dict(type='Anything')\n"))
    assert type(runner) is Longer and runner.seen == {"type": "Anything"}
    with pytest.raises(KeyError, match=r"'Lnger'.*'Longer'"):
        RUNNERS.build(config(tmp_path, "runner_type = 'Lnger'\n"))


def test_custom_imports_and_functions_of_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_parts.py").write_text(
        "from drivetrain.registry import FUNCTIONS\n"
        "@FUNCTIONS.register_module(force=True)\n"
        "def own_collate(batch, scale):\n"
        "    from drivetrain.dataset import default_collate\n"
        "    made = default_collate(batch)\n"
        "    made['inputs'] = made['inputs'] * scale\n"
        "    return made\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FUNCTIONS, "_module_dict", dict(FUNCTIONS._module_dict))
    text = (
        "custom_imports = dict(imports=['own_parts'], allow_failed_imports=False)\n"
        "train_dataloader['collate_fn'] = dict(type='own_collate', scale=0.0)\n"
    )
    runner = Runner.from_cfg(config(tmp_path, text))
    assert next(iter(runner.train_dataloader))["inputs"].abs().sum() == 0


def test_the_default_scope_holds_in_the_run_and_none_gives_none(tmp_path: Path) -> None:
    runner = build(tmp_path / "a", default_scope="somewhere")
    assert runner.default_scope.scope_name == "somewhere"
    assert DefaultScope.get_current_instance() is runner.default_scope
    without = Runner(**parts(), work_dir=str(tmp_path / "b"), default_scope=None)
    without.train()
    assert without.default_scope is None and without.epoch == 3


@pytest.mark.parametrize("key", ["model", "work_dir"])
def test_a_config_without_what_a_run_needs_says_so(tmp_path: Path, key: str) -> None:
    cfg = config(tmp_path)
    cfg.pop(key)
    with pytest.raises(ValueError, match=f"lacks '{key}'"):
        Runner.from_cfg(cfg)


def test_unknown_keys_of_env_cfg_are_warned_about_with_the_nearest(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'cudnn_benchmrk'.*Did you mean 'cudnn_benchmark'"):
        build(tmp_path, env_cfg={"cudnn_benchmrk": True})


BUILDING = [
    "setup_env",
    "set_randomness",
    "build_log_processor",
    "build_logger",
    "_log_env",
    "build_message_hub",
    "build_visualizer",
    "build_model",
    "wrap_model",
    "register_hooks",
    "register_default_hooks",
    "register_custom_hooks",
    "dump_config",
]
TRAINING = [
    "build_train_loop",
    "build_optim_wrapper",
    "scale_lr",
    "build_param_scheduler",
    "build_val_loop",
    "build_evaluator",
    "before_run",
    "_init_model_weights",
    "load_or_resume",
    "before_train",
    "after_run",
]


def test_parts_are_built_and_a_run_begins_in_the_order_of_the_contract(tmp_path: Path) -> None:
    called: list[str] = []

    def noting(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return getattr(Runner, name)(self, *args, **kwargs)

        return method

    class Points(Hook):
        def before_run(self, runner: Any) -> None:
            called.append("before_run")

        def before_train(self, runner: Any) -> None:
            called.append("before_train")

        def after_run(self, runner: Any) -> None:
            called.append("after_run")

    names = [name for name in (*BUILDING, *TRAINING) if hasattr(Runner, name)]
    kind: Any = type("Noting", (Runner,), {name: noting(name) for name in names})
    runner = kind(**parts(custom_hooks=[Points()]), work_dir=str(tmp_path))
    assert called == BUILDING
    called.clear()
    runner.train()
    assert called == TRAINING


# --- wrappers and launchers ------------------------------------------------------------------------------------------


@MODEL_WRAPPERS.register_module()
class FromConfigWrapper(nn.Module):
    def __init__(self, module: nn.Module, number: int = 0) -> None:
        super().__init__()
        self.module, self.number = module, number


def test_one_process_trains_the_model_unwrapped_whatever_the_config_says(tmp_path: Path) -> None:
    runner = build(tmp_path, cfg={"model_wrapper_cfg": {"type": "MMDistributedDataParallel"}, "sync_bn": "torch"})
    assert type(runner.model) is ToyNet and type(runner.model.norm) is nn.BatchNorm2d
    wrapped = runner.wrap_model({"type": "FromConfigWrapper"}, ToyNet())
    assert type(wrapped) is ToyNet


@STRATEGIES.register_module()
class SeveralProcesses(SingleDeviceStrategy):
    """One process that believes to be one of two, without their group."""


class Distributed(Runner):
    @property
    def distributed(self) -> bool:
        return True


def test_several_processes_get_the_wrapper_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import drivetrain.parallel.single as single

    monkeypatch.setattr(single, "revert_sync_batchnorm", lambda model: model)
    asked: list[Any] = []
    original = SingleDeviceStrategy.prepare_model

    def prepare(self: Any, model: nn.Module, cfg: Any = None) -> nn.Module:
        asked.append(cfg)
        return original(self, model, cfg if cfg and cfg["type"] == "FromConfigWrapper" else None)

    monkeypatch.setattr(SingleDeviceStrategy, "prepare_model", prepare)
    monkeypatch.setattr("drivetrain.runner.runner.setup_process", lambda *_: None)

    def model_of(number: int, cfg: dict[str, Any]) -> Any:
        return Distributed(**parts(val_dataloader=None, val_cfg=None, val_evaluator=None),
                           work_dir=str(tmp_path / str(number)), cfg=cfg).model  # fmt: skip

    wrapped = model_of(0, {"model_wrapper_cfg": {"type": "FromConfigWrapper", "number": 4}, "sync_bn": "torch"})
    assert type(wrapped) is FromConfigWrapper and wrapped.number == 4
    assert type(wrapped.module.norm) is nn.SyncBatchNorm
    model_of(1, {"find_unused_parameters": True})
    model_of(2, {})
    assert asked[1:] == [
        {"type": "MMDistributedDataParallel", "broadcast_buffers": False, "find_unused_parameters": True},
        None,
    ]


@pytest.mark.parametrize(
    ("cfg", "error", "words"),
    [
        ({"sync_bn": "troch"}, ArgumentError, "Did you mean 'torch'"),
        ({"model_wrapper_cfg": "MMDistributedDataParallel"}, ArgumentTypeError, "model_wrapper_cfg must be a dict"),
        ({"compile": "inductor"}, ArgumentTypeError, "compile must be True, False or a dict"),
        ({"compile": {"target": "forward"}}, ArgumentError, "unknown key 'target'"),
        ({"activation_checkpointing": ["cnov"]}, MissingAttributeError, "Did you mean 'conv'"),
        ({"activation_checkpointing": {"conv": 1}}, ArgumentTypeError, "list of names"),
        ({"efficient_conv_bn_eval": True}, ArgumentTypeError, "list of names"),
        ({"efficient_conv_bn_eval": ["body"]}, MissingAttributeError, "no module 'body'"),
    ],
)
def test_a_wrong_value_is_refused_when_the_runner_is_made(tmp_path: Path, cfg: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        build(tmp_path, cfg=cfg)


@pytest.mark.parametrize("name", ["pytorch", "slurm", "mpi"])
def test_a_launcher_that_started_one_process_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}[name]
    monkeypatch.setenv(variable, "1")
    runner = build(tmp_path, launcher=name)
    assert runner.launcher == name and not runner.distributed and runner.world_size == 1
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ArgumentError, match=rf"launcher='{name}'.*started 2;.*launcher='none'"):
        build(tmp_path, launcher=name)
    monkeypatch.delenv(variable)
    with pytest.raises(ArgumentError, match=f"{variable} is not set"):
        build(tmp_path, launcher=name)


def test_an_unknown_launcher_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'pytorch'"):
        build(tmp_path, launcher="pytroch")


# --- compile ---------------------------------------------------------------------------------------------------------


def test_compile_is_read_from_the_config_and_the_argument_goes_first(tmp_path: Path) -> None:
    by_cfg = build(tmp_path / "a", cfg={"compile": {"backend": "eager"}})
    assert by_cfg.performance.compile_plan.arguments == {"backend": "eager"}
    by_argument = build(tmp_path / "b", cfg={"compile": True}, compile={"backend": "aot_eager"})
    assert by_argument.performance.compile_plan.arguments == {"backend": "aot_eager"}
    assert build(tmp_path / "c", cfg={"compile": False}).performance.compile_plan is None


# --- activation checkpointing ----------------------------------------------------------------------------------------


class Deep(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.3)) for _ in range(3)])
        self.stem, self.head = nn.Linear(108, 8), nn.Linear(8, 4)
        self.calls = 0

    def forward(self, inputs: Any, labels: Any = None, id: Any = None, mode: str = "tensor") -> Any:
        x = self.stem(inputs.flatten(1))
        for layer in self.layers:
            x = layer(x)
        logits = self.head(x)
        return {"loss": nn.functional.cross_entropy(logits, labels)} if mode == "loss" else (logits, labels)


def trained(tmp_path: Path, model: nn.Module, **changes: Any) -> Runner:
    runner = build(tmp_path, model=model, **changes)
    runner.train()
    return runner


@pytest.mark.parametrize("names", ["layers", ["layers.0", "layers.1"], "layers.*", ["layers.?", "stem"]])
def test_checkpointed_parts_train_bit_for_bit_the_same(tmp_path: Path, names: Any) -> None:
    torch.manual_seed(0)
    plain = Deep()
    model = copy.deepcopy(plain)
    first = trained(tmp_path / "plain", plain)
    second = trained(tmp_path / "checkpointed", model, cfg={"activation_checkpointing": names})
    assert_same_weights(weights_of(first), weights_of(second))
    assert list(model.state_dict()) == list(plain.state_dict())


def test_activations_inside_are_computed_again_in_backward() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    calls: list[int] = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    outer = nn.ModuleDict({"inner": model})
    turn_on_activation_checkpointing(outer, "inner")
    turn_on_activation_checkpointing(outer, ["inner"])
    model(torch.ones(1, 2)).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        model(torch.ones(1, 2))
    assert len(calls) == 3


def test_a_copy_of_a_checkpointed_module_uses_its_own_weights() -> None:
    model = nn.ModuleDict({"inner": nn.Linear(2, 2)})
    turn_on_activation_checkpointing(model, "inner")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model["inner"].weight.zero_()
        model["inner"].bias.zero_()
    assert twin["inner"](torch.ones(1, 2)).abs().sum() > 0


def test_wrap_forward_checkpoints_a_function() -> None:
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    calls: list[int] = []

    def forward(x: Any) -> Any:
        calls.append(1)
        return layer(x).tanh()

    wrapped = wrap_forward(forward)
    wrapped(x).sum().backward()
    assert len(calls) == 2 and wrapped.__name__ == "forward"


# --- convolutions with batch norm in one -----------------------------------------------------------------------------


class Frozen(ToyNet):
    """Its batch norm keeps its statistics, as detectors have it."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.norm.eval()
        return self


def test_batch_norms_in_eval_mode_are_folded_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
            self.head = nn.Linear(4, 4)

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.body[1].eval()
            return self

        def forward(self, inputs: Any, labels: Any = None, id: Any = None, mode: str = "tensor") -> Any:
            logits = self.head(self.body(inputs).mean((2, 3)))
            return {"loss": nn.functional.cross_entropy(logits, labels)} if mode == "loss" else (logits, labels)

    torch.manual_seed(0)
    plain = Net()
    model = copy.deepcopy(plain)
    first = trained(tmp_path / "plain", plain)
    calls: list[int] = []
    original = nn.functional.batch_norm
    monkeypatch.setattr(nn.functional, "batch_norm", lambda *a, **k: calls.append(1) or original(*a, **k))
    second = trained(tmp_path / "folded", model, cfg={"efficient_conv_bn_eval": ["body"]})
    assert not calls
    for name, value in weights_of(first).items():
        torch.testing.assert_close(weights_of(second)[name], value, rtol=1e-4, atol=1e-5)


# --- learning rates --------------------------------------------------------------------------------------------------


def rates_after(tmp_path: Path, **changes: Any) -> Any:
    runner = build(tmp_path, param_scheduler=None, **changes)
    runner.train()
    wrapper = runner.optim_wrapper
    members = wrapper.values() if hasattr(wrapper, "optim_wrappers") else [wrapper]
    return [[group["lr"] for group in member.optimizer.param_groups] for member in members]


def test_every_group_and_every_optimizer_is_scaled_and_base_settings_stay(tmp_path: Path) -> None:
    scale = {"enable": True, "base_batch_size": 8}
    rules = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 0.5}}}}
    runner = build(tmp_path / "groups", auto_scale_lr=scale, optim_wrapper=rules, param_scheduler=None)
    runner.train()
    assert {round(group["lr"], 6) for group in runner.optim_wrapper.optimizer.param_groups} == {0.05, 0.025}
    assert runner.optim_wrapper.base_param_settings["lr"] == 0.1

    class Parts(ToyNet):
        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            loss = self(**self.data_preprocessor(data, True), mode="loss")["loss_ce"]
            optim_wrapper.zero_grad()
            optim_wrapper["conv"].update_params(loss)
            return {"loss": loss}

    two = {
        "conv": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "head": {"optimizer": {"type": "SGD", "lr": 0.2}},
    }
    assert rates_after(tmp_path / "two", model=Parts(), optim_wrapper=two, auto_scale_lr=scale) == [[0.05], [0.1]]


def test_scaling_comes_before_the_schedules(tmp_path: Path) -> None:
    runner = build(
        tmp_path,
        auto_scale_lr={"enable": True, "base_batch_size": 8},
        param_scheduler={"type": "ConstantLR", "factor": 0.5, "by_epoch": False, "end": 100},
    )
    runner.train()
    assert runner.param_schedulers[0].base_values == [pytest.approx(0.05)]
    assert runner.optim_wrapper.get_lr()["lr"] == [pytest.approx(0.025)]


def test_scaling_is_off_without_enable(tmp_path: Path) -> None:
    assert rates_after(tmp_path, auto_scale_lr={"base_batch_size": 8}) == [[0.1]]
    with pytest.raises(ArgumentError, match="base_batch_size"):
        rates_after(tmp_path / "b", auto_scale_lr={"enable": True})


# --- the process -----------------------------------------------------------------------------------------------------


def test_keys_of_env_cfg_reach_the_process(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(tmp_path, env_cfg={
            "cudnn_benchmark": True, "resource_limit": min(before[0] + 1, before[1]), "dist_cfg": {"backend": "gloo"},
            "mp_cfg": {"mp_start_method": torch.multiprocessing.get_start_method(), "opencv_num_threads": 0},
        })  # fmt: skip
    assert torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(before[0] + 1, before[1])


def test_loaders_keep_what_their_config_says(tmp_path: Path) -> None:
    batches = {"type": "BatchSampler", "drop_last": True}
    from drivetrain.registry import DATA_SAMPLERS

    DATA_SAMPLERS.register_module(name="BatchSampler", module=torch.utils.data.BatchSampler, force=True)
    try:
        made = Runner.build_dataloader(loader(ToyData(10), batch_sampler=batches), seed=1)
    finally:
        DATA_SAMPLERS._module_dict.pop("BatchSampler")
    assert len(made) == 2 and made.batch_sampler.batch_size == 4
    assert len(Runner.build_dataloader(loader(ToyData(10), num_batch_per_epoch=2), seed=1)) == 2
    with pytest.raises(ValueError, match="num_workers"):
        Runner.build_dataloader(loader(persistent_workers=True), seed=1)
    with pytest.raises(KeyError, match=r"needs a sampler"):
        Runner.build_dataloader({k: v for k, v in loader().items() if k != "sampler"}, seed=1)


def test_a_log_level_may_be_a_name_or_a_number(tmp_path: Path) -> None:
    for level in ("ERROR", 40):
        logger = build(tmp_path / str(level), log_level=level).logger
        assert {handler.level for handler in logger.handlers} == {40}


def test_results_go_to_every_backend_of_the_visualizer(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]
    runner = build(tmp_path, visualizer={"type": "Visualizer", "name": "two", "vis_backends": backends})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        runner.train()
        runner.visualizer.close()
    names = os.listdir(Path(runner.log_dir) / "vis_data")
    assert "scalars.json" in names and any(name.startswith("events.out") for name in names)
