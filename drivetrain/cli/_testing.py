"""`drivetrain test CONFIG CHECKPOINT`."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from drivetrain.config import Config, ConfigDict
from drivetrain.errors import ArgumentError

from ._run import add_run_arguments, need, options_file, run_config, set_checkpoint

_EPILOG = """\
examples:
  drivetrain test configs/resnet50.py work_dirs/resnet50/epoch_12.pth
  drivetrain test configs/resnet50.py epoch_12.pth --out predictions.pkl
  drivetrain test configs/resnet50.py epoch_12.pth --show-dir drawn
  drivetrain test configs/resnet50.py epoch_12.pth --tta
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = _EPILOG
    add_run_arguments(parser)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="weights to test")
    group = parser.add_argument_group("testing")
    group.add_argument(
        "--out", metavar="FILE", help="also write all predictions to FILE, which ends in .pkl or .pickle"
    )
    group.add_argument(
        "--tta", action="store_true", help="test-time augmentation: tta_model around the model, fed by tta_pipeline"
    )
    group.add_argument("--show", action="store_true", help="show the predictions in a window")
    group.add_argument("--show-dir", metavar="DIR", help="draw the predictions into DIR")
    group.add_argument(
        "--wait-time", type=float, default=2.0, metavar="S", help="seconds to show each image (%(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Test; returns the exit code."""
    return run_config(options, lambda cfg: apply(cfg, options), lambda runner: _test(runner, options.out))


def apply(cfg: Config, options: argparse.Namespace) -> None:
    """Put the options into the config.

    Raises:
        ArgumentError: `--out` has another ending.
    """
    if options.out is not None and not options.out.endswith((".pkl", ".pickle")):
        raise ArgumentError(f"--out writes a pickle: FILE must end in .pkl or .pickle, got {options.out!r}.")
    set_checkpoint(cfg, options.checkpoint)
    if options.tta:
        use_tta(cfg)
    if options.show or options.show_dir:
        draw_predictions(cfg, options)


def _test(runner: Any, out: str | None) -> None:
    if out is not None:
        from drivetrain.evaluator import DumpResults

        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))
    runner.test()


def use_tta(cfg: Config) -> None:
    """Put `tta_model` around the model, and `tta_pipeline` in the place of the test data's own.

    Raises:
        ArgumentError: the config lacks one of the two, or the test data.
    """
    wrapper = need(cfg, "tta_model", "--tta", "dict(type=...), a BaseTTAModel")
    pipeline = need(cfg, "tta_pipeline", "--tta", "[...], with a TestTimeAug")
    dataset = need(cfg, "test_dataloader", "--tta", "dict(dataset=...)").dataset
    cfg.model = ConfigDict({**wrapper, "module": cfg.model})
    while "dataset" in dataset:  # a dataset around another, such as RepeatDataset: the inner one has the pipeline
        dataset = dataset.dataset
    dataset.pipeline = pipeline


def draw_predictions(cfg: Config, options: argparse.Namespace) -> None:
    """Turn the config's visualization hook on; packages name its arguments differently, so its signature decides.

    Raises:
        ArgumentError: the config has no such hook.
    """
    hook = (cfg.get("default_hooks") or {}).get("visualization")
    if hook is None:
        raise ArgumentError(
            f"--show and --show-dir need a hook that draws, and {options_file(cfg)} has no default_hooks.visualization."
            " Set default_hooks=dict(visualization=dict(type='NaiveVisualizationHook')), or your package's hook."
        )
    known = _parameters_of(hook, cfg)
    wanted = {"draw": True, "enable": True}
    if options.show:
        wanted.update(show=True, wait_time=options.wait_time)
    if options.show_dir:
        folder = next((key for key in ("test_out_dir", "out_dir") if key in known), None)
        if folder is None:
            cfg.visualizer = {"type": "Visualizer", **(cfg.get("visualizer") or {}), "save_dir": options.show_dir}
        else:
            wanted[folder] = options.show_dir
    hook.update({key: value for key, value in wanted.items() if key in known})


def _parameters_of(hook: Any, cfg: Config) -> list[str]:
    """The arguments of the class that a hook's config names; an unknown class is the runner's to report."""
    from drivetrain.registry import HOOKS, DefaultScope

    kind = hook.get("type")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        with HOOKS.switch_scope_and_registry(hook.get("_scope_")) as registry:
            found = registry.get(kind) if type(kind) is str else kind
    return list(inspect.signature(found).parameters) if callable(found) else []
