"""The runner: one object that holds the parts of a run and starts its loops."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeAlias

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from drivetrain.config import dump_python
from drivetrain.dataset import build_dataloader, streams_by_default
from drivetrain.dist import broadcast_object_list, is_distributed, master_only
from drivetrain.evaluator import BaseMetric, Evaluator
from drivetrain.hooks import Hook, default_hooks
from drivetrain.logging import MessageHub, MMLogger
from drivetrain.optim import BaseOptimWrapper, OptimWrapper, _ParamScheduler
from drivetrain.parallel import Strategy
from drivetrain.registry import LOG_PROCESSORS, RUNNERS, STRATEGIES
from drivetrain.typing import ConfigType, Metrics
from drivetrain.visualization import Visualizer

from . import _arguments as arguments
from . import _build as build
from . import _checkpointing as checkpointing
from . import _stages as stages
from ._capsule import CrashGuard
from ._environment import describe_environment, set_random_seed, setup_process, time_of_start
from ._from_config import FromConfig
from ._hook_table import HookTable
from ._performance import Performance
from ._precision import Precision
from ._signals import Endings
from .log_processor import LogProcessor
from .loops import BaseLoop
from .priority import Priority

ParamSchedulerType: TypeAlias = "list[_ParamScheduler] | dict[str, list[_ParamScheduler]]"
OptimWrapperType: TypeAlias = BaseOptimWrapper


def _of_loop(part: str, name: str, doc: str, absent: Any = 0) -> Any:
    """A property that reads `name` of a part of the runner; `absent` where that part is not there or not built."""
    return property(lambda runner: getattr(getattr(runner, part), name, absent), doc=doc)


@RUNNERS.register_module()
class Runner:
    """Drives loaders, model, optimisation, evaluation and hooks through a run.

    Every part is an object, or a config: a dict whose `type` is a class or a registered name. Loaders, loops, optimizer
    and schedules are built on first use, so a runner that only tests never reads the training set.

    Args:
        model: the model, usually a `BaseModel`.
        work_dir: folder for logs and checkpoints; made if it is not there.
        train_dataloader: with `train_cfg` and `optim_wrapper`: what training needs.
        val_dataloader: with `val_cfg` and `val_evaluator`: what validation needs.
        test_dataloader: with `test_cfg` and `test_evaluator`: what testing needs.
        train_cfg: `dict(by_epoch=True, max_epochs=..., val_interval=...)`, `dict(by_epoch=False, max_iters=...)`, or
            the config of a loop.
        val_cfg: `dict()`, or the config of a loop.
        test_cfg: `dict()`, or the config of a loop.
        auto_scale_lr: `dict(enable=True, base_batch_size=...)`: scale learning rates to the real batch size.
        optim_wrapper: an optimizer, a wrapper, or a config such as `dict(optimizer=dict(type='SGD', lr=0.1))`.
        param_scheduler: one schedule or a list of them; for several optimizers a dict of lists.
        val_evaluator: an `Evaluator`, a metric, or configs of these.
        test_evaluator: the same for testing.
        default_hooks: changes to the default hooks: `dict(checkpoint=dict(type="CheckpointHook", interval=5))`; None
            a key takes that hook away.
        custom_hooks: further hooks.
        data_preprocessor: goes into the model's config where that names none.
        load_from: checkpoint to take weights from, or to resume.
        resume: go on from `load_from`, or from the newest checkpoint in `work_dir`.
        launcher: 'none' for one process.
        env_cfg: `dict(cudnn_benchmark=..., mp_cfg=..., dist_cfg=..., resource_limit=...)`.
        log_processor: a `LogProcessor` or its config.
        log_level: level of the log, by name or number.
        visualizer: a `Visualizer` or its config.
        default_scope: scope in which registries look names up first; None leaves it to whoever set one before.
        randomness: `dict(seed=..., diff_rank_seed=..., deterministic=..., streams='sample' | 'worker')`. With 'sample'
            the random numbers of a sample depend on seed, pass and index alone; 'worker' is MMEngine's way
            and the default where the run goes by the name of mmengine (`drivetrain.compat`).
        experiment_name: name of the run; a time stamp is added.
        cfg: the whole config of the run, kept in log and checkpoints.
        strategy: how a step is spread over devices; a `Strategy` or its config. One device by default.
        channels_last: lay images and the weights of convolutions out with the channels innermost.
        collect_garbage_every: collect garbage each so many steps and never in between.
        time_split: say at each log point and at the end where the time of training goes, part by part.
        compile: compile forward and loss with `torch.compile`; a dict holds its arguments (`mode`, `dynamic`,
            `fullgraph`, `backend`, `options`), `modules` (patterns of names, to compile these one by one), `fallback`.
        graph: replay whole training steps from CUDA graphs; a dict holds `warmup` (eager steps before) and `ignore`
            (entries of the batch that forward does not compute with).
        prefetch: copy each batch to the device while the one before is computed. None does so on an accelerator
            where it changes nothing else; True says in the log why not where it would; False does not.
        precision: 'fp32', 'bf16' or 'fp16' for train, val and test. None leaves it to `AmpOptimWrapper` and to `fp16`
            of the val and test loops.
        signals: after SIGTERM, SIGUSR1 or SIGINT, save at the step's end and leave `train` (exit codes 143, 75, 130).
            A dict holds `names` and `requeue` (with code 75, give a Slurm job back to its queue); False does nothing.
        max_time: do so, with exit code 75, when `train` has run for this long: `'11h50min'`, seconds or a `timedelta`.
        capsule: when a step fails, write its batch and the state it began with to `crash_<iter>.capsule` in `work_dir`,
            for `drivetrain replay`. False does not; a dict holds `keep` (2), `max_bytes` (1 GiB of state) and `rng`.

    Raises:
        ArgumentError: parts that belong together are incomplete, or a value is wrong.
        ArgumentTypeError: a part is neither an object of its kind nor a config.
    """

    cfg: Any

    def __init__(
        self,
        model: nn.Module | dict[str, Any],
        work_dir: str,
        train_dataloader: DataLoader[Any] | dict[str, Any] | None = None,
        val_dataloader: DataLoader[Any] | dict[str, Any] | None = None,
        test_dataloader: DataLoader[Any] | dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        val_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        auto_scale_lr: dict[str, Any] | None = None,
        optim_wrapper: OptimWrapper | Optimizer | dict[str, Any] | None = None,
        param_scheduler: _ParamScheduler | dict[str, Any] | list[Any] | None = None,
        val_evaluator: Evaluator | BaseMetric | dict[str, Any] | list[Any] | None = None,
        test_evaluator: Evaluator | BaseMetric | dict[str, Any] | list[Any] | None = None,
        default_hooks: dict[str, Hook | dict[str, Any]] | None = None,
        custom_hooks: list[Hook | dict[str, Any]] | None = None,
        data_preprocessor: nn.Module | dict[str, Any] | None = None,
        load_from: str | None = None,
        resume: bool = False,
        launcher: str = "none",
        env_cfg: dict[str, Any] = dict(dist_cfg=dict(backend="nccl")),  # noqa: B006
        log_processor: dict[str, Any] | None = None,
        log_level: str = "INFO",
        visualizer: Visualizer | dict[str, Any] | None = None,
        default_scope: str | None = "mmengine",
        randomness: dict[str, Any] = dict(seed=None),  # noqa: B006
        experiment_name: str | None = None,
        cfg: ConfigType | None = None,
        *,
        strategy: Strategy | dict[str, Any] | None = None,
        channels_last: bool = False,
        collect_garbage_every: int | None = None,
        time_split: bool = False,
        compile: bool | dict[str, Any] = False,
        graph: bool | dict[str, Any] = False,
        prefetch: bool | None = None,
        precision: str | None = None,
        signals: bool | dict[str, Any] = True,
        max_time: str | float | timedelta | None = None,
        capsule: bool | dict[str, Any] = True,
    ) -> None:
        self._keep_parts(locals())
        self._randomness_cfg = arguments.check_randomness(randomness)
        self._said = FromConfig.read(cfg)
        self.performance = Performance.of({**locals(), "compile": self._said.compile_or(compile)})
        self.precision = Precision.of(precision, val_cfg=val_cfg, test_cfg=test_cfg)
        prepared = self.precision.prepare_optimizer(self.performance.prepare_optimizer(optim_wrapper))
        self.optim_wrapper: Any = prepared
        self.crash_guard = CrashGuard.parse(capsule)
        checkpointing.check_start(load_from, resume)
        self._load_from, self._resume, self._launcher = load_from, resume, launcher
        self._has_loaded = False
        self.cfg = copy.deepcopy(cfg) if cfg is not None else {}
        self.auto_scale_lr = auto_scale_lr
        self.schedulers_built = False
        self._hook_table = HookTable()
        self._hooks = self._hook_table.hooks

        self._work_dir = os.path.abspath(work_dir)
        os.makedirs(self._work_dir, exist_ok=True)
        self.strategy: Strategy = _build_strategy(strategy)
        self.setup_env(env_cfg)
        self._endings = Endings.parse(signals, max_time, self.distributed)
        self.set_randomness(**self._randomness_cfg)
        self._experiment_name = arguments.name_of_run(experiment_name, self.cfg, self._timestamp)
        self._log_dir = os.path.join(self._work_dir, self._timestamp)
        os.makedirs(self._log_dir, exist_ok=True)
        self.default_scope = build.build_scope(self._experiment_name, default_scope)
        self.log_processor = self.build_log_processor(log_processor or {})
        self.logger = self.build_logger(log_level=log_level)
        self._log_env(env_cfg)
        arguments.tell_of_streams(randomness, self.logger)
        self.message_hub = self.build_message_hub()
        self.visualizer = self.build_visualizer(visualizer)
        self.visualizer.add_config(self.cfg)
        model = self.performance.prepare_model(self.build_model(build.with_preprocessor(model, data_preprocessor)))
        self._said.check_names(model)
        self.model = self.wrap_model(self._said.model_wrapper_cfg, model)
        self.register_hooks(default_hooks, custom_hooks)
        self.logger.info(f"Hooks will be executed in the following order:\n{self.get_hooks_info()}")
        self.dump_config()

    def _keep_parts(self, given: dict[str, Any]) -> None:
        """Keep what loops are built from, unbuilt."""
        arguments.check_parts(given)
        self._train_dataloader, self._train_loop = given["train_dataloader"], given["train_cfg"]
        self._val_dataloader, self._val_loop = given["val_dataloader"], given["val_cfg"]
        self._test_dataloader, self._test_loop = given["test_dataloader"], given["test_cfg"]
        self._val_evaluator, self._test_evaluator = given["val_evaluator"], given["test_evaluator"]
        self.param_schedulers: Any = given["param_scheduler"]

    @classmethod
    def from_cfg(cls, cfg: ConfigType) -> Runner:
        """A runner from a config that holds the arguments above as keys; other keys are free variables."""
        arguments.check_model_is_there(cfg)
        names = [name for name in _argument_names() if name in cfg]
        given = {name: copy.deepcopy(cfg[name]) for name in names}
        return cls(**given, cfg=cfg)

    @property
    def experiment_name(self) -> str:
        """Name of the run, with its time stamp."""
        return self._experiment_name

    @property
    def model_name(self) -> str:
        """Class name of the model."""
        return type(self.strategy.unwrap(self.model)).__name__

    @property
    def work_dir(self) -> str:
        """Absolute path of the folder for checkpoints."""
        return self._work_dir

    @property
    def log_dir(self) -> str:
        """Folder of this start's logs: `<work_dir>/<timestamp>`."""
        return self._log_dir

    @property
    def timestamp(self) -> str:
        """When the runner was made: `%Y%m%d_%H%M%S`."""
        return self._timestamp

    @property
    def cfg_text(self) -> str:
        """The config as Python source."""
        text = getattr(self.cfg, "pretty_text", None)
        return text if type(text) is str else dump_python(self.cfg)

    max_epochs = _of_loop("train_loop", "max_epochs", "Epochs to train; builds the train loop. 0 without training.")
    max_iters = _of_loop("train_loop", "max_iters", "Steps to train; builds the train loop. 0 without training.")
    epoch = _of_loop("_train_loop", "epoch", "Epochs made.")
    val_interval = _of_loop("train_loop", "val_interval", "Interval between validations; builds the train loop.")
    val_begin = _of_loop("train_loop", "val_begin", "First epoch or iteration after which validation may come.")
    rank = _of_loop("strategy", "rank", "Rank of this process.")
    world_size = _of_loop("strategy", "world_size", "Number of processes.")

    @property
    def iter(self) -> int:
        """Training steps made."""
        try:  # the quickest way to it: hooks ask at every step
            return self._train_loop.iter
        except AttributeError:
            return 0

    @property
    def launcher(self) -> str:
        """How processes were started."""
        return self._launcher

    @property
    def distributed(self) -> bool:
        """Whether several processes train together."""
        return is_distributed()

    @property
    def deterministic(self) -> bool:
        """Whether torch was asked for deterministic algorithms."""
        return bool(self._randomness_cfg["deterministic"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self._seed

    @property
    def hooks(self) -> list[Hook]:
        """Hooks in the order in which they run."""
        return self._hooks

    @property
    def train_loop(self) -> Any:
        """The train loop, built on first access; None without training."""
        if hasattr(self._train_loop, "keys"):
            self._train_loop = self.build_train_loop(self._train_loop)
        return self._train_loop

    @property
    def val_loop(self) -> Any:
        """The validation loop, built on first access; None without validation."""
        if hasattr(self._val_loop, "keys"):
            self._val_loop = self.build_val_loop(self._val_loop)
        return self._val_loop

    @property
    def test_loop(self) -> Any:
        """The test loop, built on first access; None without testing."""
        if hasattr(self._test_loop, "keys"):
            self._test_loop = self.build_test_loop(self._test_loop)
        return self._test_loop

    train_dataloader = _of_loop("train_loop", "dataloader", "The loader of the train loop, built with it.", None)
    val_dataloader = _of_loop("val_loop", "dataloader", "The loader of the validation loop.", None)
    test_dataloader = _of_loop("test_loop", "dataloader", "The loader of the test loop.", None)
    val_evaluator = _of_loop("val_loop", "evaluator", "The evaluator of the validation loop.", None)
    test_evaluator = _of_loop("test_loop", "evaluator", "The evaluator of the test loop.", None)

    def train(self) -> nn.Module:
        """Train and validate; returns the model, or raises `TrainingInterrupted` once saved, where told to end."""
        began = time.monotonic()
        stages.check_configured(self, "train")
        if self._val_loop is not None:
            stages.check_configured(self, "val")
        self._hook_table.replan()
        with stages.current_objects(self):
            loop = self.train_loop
            self.scale_lr(self.built_optim_wrapper(), self.auto_scale_lr)
            if self.param_schedulers is not None:
                self.built_param_schedulers()
            _ = self.val_loop
            self.call_hook("before_run")
            self._init_model_weights()
            self._said.turn_on(self.strategy.unwrap(self.model))
            self.load_or_resume()
            with self._endings.around(self, began):
                model: nn.Module = stages.run_training(self, loop)
            self.call_hook("after_run")
        return model

    def val(self) -> Metrics:
        """Validate once; returns the metrics."""
        self._hook_table.replan()
        return stages.evaluate(self, "val")

    def test(self) -> Metrics:
        """Test once; returns the metrics."""
        self._hook_table.replan()
        return stages.evaluate(self, "test")

    def _init_model_weights(self) -> None:
        """Initialise the weights as the model's `init_cfg` says, once."""
        stages.initialise_weights(self.strategy.unwrap(self.model))

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Join other processes, and set up start method, threads and limits."""
        dist_cfg = dict(env_cfg.get("dist_cfg") or {})
        self.strategy.setup(self._launcher, dist_cfg)
        setup_process(env_cfg, self.distributed)
        now = [time_of_start()]
        broadcast_object_list(now)
        self._timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(now[0]))

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False, *, streams: str = ""
    ) -> None:
        """Seed everything; see the argument `randomness`. Without `streams` these stay as they are."""
        streams = streams or self._randomness_cfg["streams"]
        changes = {"seed": seed, "diff_rank_seed": diff_rank_seed, "deterministic": deterministic, "streams": streams}
        self._randomness_cfg.update(changes)
        self._seed = set_random_seed(seed, deterministic=deterministic, diff_rank_seed=diff_rank_seed)

    def adopt_seed(self, seed: int) -> None:
        """Take over the seed of a resumed run, for this process and for loaders built already."""
        self.logger.info(f"Taking over seed {seed} of the resumed run (this run's own was {self._seed}).")
        self.set_randomness(**{**self._randomness_cfg, "seed": seed})
        for loop in (self._train_loop, self._val_loop, self._test_loop):
            if hasattr(getattr(loop, "dataloader", None), "reseed"):
                loop.dataloader.reseed(seed)

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        streams = self._randomness_cfg["streams"]
        facts = {
            "device": self.strategy.device,
            "precision": self.precision.describe(),
            "processes": self.world_size,
            "seed": f"{self.seed} (streams by {streams})",
        }
        self.logger.info(describe_environment(facts))
        if self.cfg:
            self.logger.info(f"Config:\n{self.cfg_text}")

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """The logger of the run; it writes to the terminal and to `log_file` (`<log_dir>/<timestamp>.log`)."""
        path = log_file or os.path.join(self._log_dir, f"{self._timestamp}.log")
        return MMLogger.get_instance(
            **{"name": self._experiment_name, "log_file": path, "log_level": log_level, **kwargs}
        )

    def build_message_hub(self, message_hub: dict[str, Any] | None = None) -> MessageHub:
        """The hub of the run, where parts leave values for the log."""
        return MessageHub.get_instance(**{"name": self._experiment_name, **(message_hub or {})})

    def build_visualizer(self, visualizer: Visualizer | dict[str, Any] | None = None) -> Visualizer:
        """The visualizer; by default one that writes to `<log_dir>/vis_data`."""
        return build.build_visualizer(visualizer, self._experiment_name, self._log_dir)

    def build_log_processor(self, log_processor: LogProcessor | dict[str, Any]) -> LogProcessor:
        """The log processor."""
        if isinstance(log_processor, LogProcessor):
            return log_processor
        return LOG_PROCESSORS.build({"type": "LogProcessor", **log_processor})

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """The model from an object or a config."""
        return build.build_model(model)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Place the model on its device; several processes wrap it as the strategy or `model_wrapper_cfg` says."""
        return self._said.place(self, model, model_wrapper_cfg)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Multiply learning rates by (world size * batch size) / base batch size, if `auto_scale_lr` enables it."""
        build.scale_lr(optim_wrapper, auto_scale_lr, self)

    def build_optim_wrapper(self, optim_wrapper: Optimizer | OptimWrapper | dict[str, Any]) -> OptimWrapperType:
        """The optimizer wrapper from an optimizer, a wrapper or a config."""
        return build.build_optimizers(self.model, optim_wrapper)

    def build_param_scheduler(self, scheduler: _ParamScheduler | dict[str, Any] | list[Any]) -> ParamSchedulerType:
        """The schedules, as a list for one optimizer and as a dict of lists for several."""
        return build.build_schedulers(scheduler, self)

    def built_optim_wrapper(self) -> Any:
        """The optimizer wrapper, built now if it is still a config; it logs to the hub of this run."""
        if not isinstance(self.optim_wrapper, BaseOptimWrapper):
            self.optim_wrapper = self.precision.checked(self.build_optim_wrapper(self.optim_wrapper))
        build.log_to(self.optim_wrapper, self.message_hub)
        return self.optim_wrapper

    def built_param_schedulers(self) -> Any:
        """The schedules, built now if they are still configs."""
        if not self.schedulers_built:
            self.built_optim_wrapper()
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
            self.schedulers_built = True
        return self.param_schedulers

    def build_evaluator(self, evaluator: dict[str, Any] | list[Any] | BaseMetric | Evaluator) -> Evaluator:
        """The evaluator from a metric, its config, a list of these, or an `Evaluator`."""
        return build.build_evaluator(evaluator)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader[Any]:
        """A loader from its config; see `drivetrain.dataset.build_dataloader`."""
        return build_dataloader(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)

    def open_dataloader(self, dataloader: DataLoader[Any] | dict[str, Any]) -> DataLoader[Any]:
        """A loader whose samples draw from this run's random streams; a config goes through `build_dataloader`."""
        seeds: Any = {"seed": self.seed, "diff_rank_seed": bool(self._randomness_cfg["diff_rank_seed"])}
        with self._own_streams():
            loader = self.build_dataloader(dataloader, **seeds) if build.is_config(dataloader) else dataloader
            return build_dataloader(loader, **seeds)

    def _own_streams(self) -> AbstractContextManager[None]:
        return streams_by_default(self._randomness_cfg["streams"], packed=build.takes_packed(self))

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """The train loop."""
        with self._own_streams():
            return build.build_train_loop(loop, self, self._train_dataloader)

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """The validation loop."""
        with self._own_streams():
            return build.build_evaluation_loop(loop, self, self._val_dataloader, self._val_evaluator, "val")

    def build_test_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """The test loop."""
        with self._own_streams():
            return build.build_evaluation_loop(loop, self, self._test_dataloader, self._test_evaluator, "test")

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call `fn_name` of every hook that overrides it, in order of priority.

        Raises:
            HookError: `fn_name` is no hook point, or a hook does not take its arguments.
        """
        self._hook_table.call(fn_name, self, kwargs)

    def register_hook(self, hook: Hook | dict[str, Any], priority: str | int | Priority | None = None) -> None:
        """Add a hook; lower priority runs first, equal priority in order of registration."""
        self._hook_table.register(hook, priority)

    def register_default_hooks(self, hooks: dict[str, Hook | dict[str, Any]] | None = None) -> None:
        """Add the default hooks with the user's changes: None takes one away, a new key adds one."""
        arguments.warn_of_new_keys(hooks or {}, self.logger)
        for hook in {**default_hooks(), **(hooks or {})}.values():
            if hook is not None:
                self.register_hook(hook)

    def register_custom_hooks(self, hooks: list[Hook | dict[str, Any]]) -> None:
        """Add further hooks."""
        for hook in hooks:
            self.register_hook(hook)

    def register_hooks(
        self,
        default_hooks: dict[str, Hook | dict[str, Any]] | None = None,
        custom_hooks: list[Hook | dict[str, Any]] | None = None,
    ) -> None:
        """Add default hooks, then custom ones."""
        self.register_default_hooks(default_hooks)
        self.register_custom_hooks(custom_hooks or [])

    def get_hooks_info(self) -> str:
        """The order in which hooks run, point by point."""
        return self._hook_table.describe()

    def load_or_resume(self) -> None:
        """Load or resume what the arguments `load_from` and `resume` say, once."""
        if not self._has_loaded:
            checkpointing.load_or_resume(self, self._load_from, self._resume)
            self._has_loaded = True

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = "default",
    ) -> None:
        """Restore the whole state of a run from a checkpoint.

        Args:
            filename: path or address of the file.
            resume_optimizer: restore the optimizer's state too.
            resume_param_scheduler: restore the schedules' states too.
            map_location: where tensors are read to; by default the CPU, from where each goes to its place.
        """
        self._resume = True
        checkpointing.resume_run(self, filename, resume_optimizer, resume_param_scheduler, map_location)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = "cpu",
        strict: bool = False,
        revise_keys: list[Any] = [(r"^module.", "")],  # noqa: B006
    ) -> dict[str, Any]:
        """Load the weights of a checkpoint, report what did not fit, and return the whole file."""
        return checkpointing.load_weights(self, filename, map_location, strict, revise_keys)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Write the state of the run to `out_dir/filename`, whole or not at all.

        Args:
            out_dir: folder or address.
            filename: name of the file.
            file_client_args: the older name of `backend_args`.
            save_optimizer: also the optimizer's state.
            save_param_scheduler: also the schedules' states.
            meta: entries for `meta`; they win over the runner's own.
            by_epoch: whether the save counts an epoch that is ending, or an iteration.
            backend_args: arguments of the storage.
        """
        parts: Any = {"save_optimizer": save_optimizer, "save_param_scheduler": save_param_scheduler}
        storage: Any = {"file_client_args": file_client_args, "backend_args": backend_args}
        checkpointing.write_checkpoint(self, out_dir, filename, meta=meta, by_epoch=by_epoch, **parts, **storage)

    @master_only
    def dump_config(self) -> None:
        """Write the config of the run into `work_dir`."""
        config_file = getattr(self.cfg, "filename", None)
        name = os.path.basename(config_file) if config_file else f"{self._timestamp}.py"
        build.write_config(self.cfg, self.cfg_text, os.path.join(self._work_dir, name))


def _argument_names() -> list[str]:
    import inspect

    return [name for name in inspect.signature(Runner.__init__).parameters if name not in ("self", "cfg")]


def _build_strategy(strategy: Strategy | dict[str, Any] | None) -> Strategy:
    if isinstance(strategy, Strategy):
        return strategy
    return STRATEGIES.build({"type": "SingleDeviceStrategy", **(strategy or {})})
