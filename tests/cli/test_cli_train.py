"""`drivetrain train`, `val` and `test`: real small runs through the command, in this process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cli_parts
import pytest
import torch
from cli_parts import GOOD, good_with, in_a_process
from torch.nn import functional

from drivetrain.checkpoint import CheckpointLoader
from drivetrain.cli import _alias, _testing, _train, main
from drivetrain.cli._load import load_config
from drivetrain.config import Config
from drivetrain.errors import ArgumentError, NotReadyError
from drivetrain.fileio import load


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A current folder with the good config, and the finders and paths as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    Path("tiny.py").write_text(GOOD, encoding="utf-8")
    return tmp_path


def options(**changes) -> argparse.Namespace:
    """The options of `train` and `test` as the parser leaves them."""
    return argparse.Namespace(
        **{"config": "tiny.py", "cfg_options": None, "resume": None, "amp": False, "auto_scale_lr": False, "no_validate": False,
           "seed": None, "diff_rank_seed": False, "deterministic": False, "out": None, "tta": False, "show": False,
           "show_dir": None, "wait_time": 2.0, "checkpoint": "epoch_1.pth", **changes}
    )  # fmt: skip


def trained(**changes) -> Config:
    cfg = load_config(options())
    _train.apply(cfg, options(**changes))
    return cfg


def steps_of(checkpoint: str) -> int:
    return CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")["meta"]["iter"]


def test_a_run_is_trained_resumed_validated_and_tested(capsys):
    assert main(["train", "tiny.py", "--seed", "1"]) == 0
    work_dir = Path("work_dirs/tiny")
    assert (work_dir / "tiny.py").exists() and steps_of(work_dir / "epoch_2.pth") == 8

    assert main(["train", "tiny.py", "--resume", "--cfg-options", "train_cfg.max_epochs=3"]) == 0
    assert steps_of(work_dir / "epoch_3.pth") == 12
    assert "resumed epoch: 2, iter: 8" in capsys.readouterr().out

    assert main(["val", "tiny.py", str(work_dir / "epoch_3.pth")]) == 0
    assert "Epoch(val) [0][2/2]    accuracy: " in capsys.readouterr().out
    out = str(work_dir / "predictions.pkl")
    assert main(["test", "tiny.py", str(work_dir / "epoch_3.pth"), "--out", out]) == 0
    assert len(load(out)) == 4  # two batches, each a pair of logits and labels


def test_resume_takes_the_file_that_is_named():
    main(["train", "tiny.py"])
    assert main(["train", "tiny.py", "--resume", "work_dirs/tiny/epoch_1.pth", "--work-dir", "again"]) == 0
    assert not Path("again/epoch_1.pth").exists() and steps_of("again/epoch_2.pth") == 8


@pytest.mark.parametrize(
    ("given", "config", "expected"),
    [("cli", 'work_dir = "own"\n', "cli"), (None, 'work_dir = "own"\n', "own"), (None, "", "./work_dirs/tiny")],
)
def test_the_work_dir_is_the_commands_then_the_configs_then_named_after_it(given, config, expected):
    from drivetrain.cli._run import set_work_dir

    Path("tiny.py").write_text(GOOD + config, encoding="utf-8")
    cfg = load_config(options())
    set_work_dir(cfg, argparse.Namespace(work_dir=given, config="tiny.py"))
    assert cfg.work_dir == expected


def test_cfg_options_are_merged_before_the_other_options():
    cfg = load_config(options(cfg_options={"randomness.seed": 3, "model.width": 4}))
    _train.apply(cfg, options(seed=5))
    assert cfg.randomness.seed == 5 and cfg.model.width == 4


def test_resume_without_a_path_drops_the_configs_own_load_from():
    cfg = load_config(options(cfg_options={"load_from": "pretrained.pth"}))
    _train.apply(cfg, options(resume="auto"))
    assert cfg.resume is True and cfg.load_from is None


def test_amp_puts_the_wrapper_of_mixed_precision_in_place():
    wrapper = trained(amp=True).optim_wrapper
    assert (wrapper.type, wrapper.loss_scale, wrapper.clip_grad.max_norm) == ("AmpOptimWrapper", "dynamic", 1.0)


def test_amp_leaves_an_amp_wrapper_and_its_loss_scale_alone():
    cfg = load_config(options(cfg_options={"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": 512}))
    _train.apply(cfg, options(amp=True))
    assert cfg.optim_wrapper.loss_scale == 512


def test_amp_refuses_another_wrapper():
    cfg = load_config(options(cfg_options={"optim_wrapper.type": "MyWrapper"}))
    with pytest.raises(ArgumentError, match="'MyWrapper'"):
        _train.apply(cfg, options(amp=True))


def test_auto_scale_lr_enables_the_scaling_that_the_config_describes():
    with pytest.raises(ArgumentError, match=r"needs 'auto_scale_lr'.*base_batch_size=256"):
        trained(auto_scale_lr=True)
    cfg = load_config(options(cfg_options={"auto_scale_lr.base_batch_size": 64}))
    _train.apply(cfg, options(auto_scale_lr=True))
    assert cfg.auto_scale_lr == {"base_batch_size": 64, "enable": True}


def test_no_validate_leaves_validation_out():
    cfg = trained(no_validate=True)
    assert [cfg[part] for part in ("val_cfg", "val_dataloader", "val_evaluator")] == [None, None, None]
    assert main(["train", "tiny.py", "--no-validate", "--cfg-options", "train_cfg.max_epochs=1"]) == 0


def test_the_seed_is_added_to_what_the_config_says_of_randomness():
    Path("tiny.py").write_text(good_with({38: "randomness = dict(seed=1, streams='worker')"}), encoding="utf-8")
    assert trained(seed=7, deterministic=True).randomness == {"seed": 7, "streams": "worker", "deterministic": True}
    assert trained().randomness == {"seed": 1, "streams": "worker"}


def test_one_seed_gives_one_run():
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        main(["train", "tiny.py", "--work-dir", name, "--seed", seed, "--cfg-options", "train_cfg.max_epochs=1"])
    first, same, other = (
        CheckpointLoader.load_checkpoint(f"{name}/epoch_1.pth", map_location="cpu")["state_dict"]["stem.weight"]
        for name in "abc"
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_the_launcher_of_the_command_wins_and_the_local_rank_goes_to_the_environment(monkeypatch):
    from drivetrain.cli._run import set_launcher

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    cfg = Config({"launcher": "slurm"})
    set_launcher(cfg, argparse.Namespace(launcher=None, local_rank=3))
    assert cfg.launcher == "slurm" and __import__("os").environ["LOCAL_RANK"] == "3"
    set_launcher(cfg, argparse.Namespace(launcher="none", local_rank=None))
    assert cfg.launcher == "none"
    monkeypatch.delenv("LOCAL_RANK")


def test_another_runner_is_built_by_its_name(monkeypatch):
    from drivetrain.registry import RUNNERS
    from drivetrain.runner import Runner

    class CliRunner(Runner):
        """Counts nothing; it is only another class."""

    RUNNERS.register_module(module=CliRunner)
    from drivetrain.cli._run import build_runner

    cfg = load_config(options(cfg_options={"runner_type": "CliRunner", "work_dir": "w"}))
    assert type(build_runner(cfg)) is CliRunner
    del RUNNERS.module_dict["CliRunner"]


def test_an_interrupted_training_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(_runner):
        raise KeyboardInterrupt

    monkeypatch.setattr("drivetrain.runner.Runner.train", interrupted)
    assert main(["train", "tiny.py", "--work-dir", "w d"]) == 130
    assert "Go on with: drivetrain train tiny.py --work-dir 'w d' --resume" in capsys.readouterr().err


def test_an_error_of_the_engine_is_one_line_with_the_place(capsys):
    Path("tiny.py").write_text(good_with({24: '    optimizer=dict(type="SDG", lr=0.1),'}), encoding="utf-8")
    assert main(["train", "tiny.py"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("drivetrain train: 'SDG' is not in the registry") and "tiny.py:24" in last


def test_traceback_shows_where_an_error_arose(capsys):
    assert main(["train", "tiny.py", "--cfg-options", "model.widht=3", "--traceback"]) == 1
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said and "has no argument 'widht'" in said


def test_a_missing_config_is_one_line_with_the_nearest(capsys):
    assert main(["train", "tniy.py"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["train", "tniy.py"]) == 1
    assert "Did you mean 'tiny.py'" in capsys.readouterr().err


def test_out_must_be_a_pickle(capsys):
    assert main(["test", "tiny.py", "epoch_1.pth", "--out", "a.json"]) == 1
    assert "must end in .pkl or .pickle, got 'a.json'" in capsys.readouterr().err


TTA = """
tta_model = dict(type="CliMeanOfViews")
tta_pipeline = [dict(type="TestTimeAug")]
"""


def test_tta_wraps_the_model_and_feeds_it_by_the_pipeline_of_the_innermost_dataset():
    wrapped = (
        'test_dataloader = dict(dataset=dict(type="RepeatDataset", times=1, dataset=dict(type="CliPoints", size=4)))'
    )
    Path("tiny.py").write_text(GOOD + wrapped + TTA, encoding="utf-8")
    cfg = load_config(options())
    _testing.apply(cfg, options(tta=True))
    assert (cfg.model.type, cfg.model.module.type) == ("CliMeanOfViews", "CliNet")
    assert cfg.test_dataloader.dataset.dataset.pipeline == cfg.tta_pipeline and cfg.load_from == "epoch_1.pth"


def test_a_test_with_tta_predicts_every_view_with_the_models_weights():
    Path("tiny.py").write_text(GOOD + TTA.replace("TestTimeAug", "CliTwoViews"), encoding="utf-8")
    assert main(["train", "tiny.py", "--work-dir", "w"]) == 0
    assert main(["test", "tiny.py", "w/epoch_2.pth", "--tta", "--out", "views.pkl", "--work-dir", "w"]) == 0
    assert main(["test", "tiny.py", "w/epoch_2.pth", "--out", "plain.pkl", "--work-dir", "w"]) == 0
    state = CheckpointLoader.load_checkpoint("w/epoch_2.pth", map_location="cpu")["state_dict"]
    points = cli_parts.CliPoints(size=16).points[:8]
    logits = [functional.linear(functional.linear(view, state["stem.weight"], state["stem.bias"]).relu(),
                                state["head.fc.weight"], state["head.fc.bias"]) for view in (points, -points)]  # fmt: skip
    assert torch.allclose(load("views.pkl")[0], sum(logits) / 2) and torch.allclose(load("plain.pkl")[0], logits[0])


def test_tta_says_what_the_config_lacks():
    with pytest.raises(ArgumentError, match=r"--tta needs 'tta_model', and .*tiny.py does not set it"):
        _testing.apply(load_config(options()), options(tta=True))


def test_show_dir_turns_the_configs_drawing_hook_on():
    hook = '\ndefault_hooks["visualization"] = dict(type="NaiveVisualizationHook")\n'
    Path("tiny.py").write_text(GOOD + hook, encoding="utf-8")
    cfg = load_config(options())
    _testing.apply(cfg, options(show_dir="drawn"))
    assert cfg.visualizer.save_dir == "drawn"
    assert cfg.default_hooks.visualization == {"type": "NaiveVisualizationHook"}


def test_show_sets_the_arguments_that_the_packages_hook_has():
    from drivetrain.hooks import Hook
    from drivetrain.registry import HOOKS

    class CliDrawingHook(Hook):
        def __init__(self, draw=False, show=False, wait_time=0.0, test_out_dir=None):
            pass

    HOOKS.register_module(module=CliDrawingHook)
    Path("tiny.py").write_text(
        GOOD + '\ndefault_hooks["visualization"] = dict(type="CliDrawingHook")\n', encoding="utf-8"
    )
    cfg = load_config(options())
    _testing.apply(cfg, options(show=True, show_dir="drawn", wait_time=1.5))
    del HOOKS.module_dict["CliDrawingHook"]
    assert dict(cfg.default_hooks.visualization) == {
        "type": "CliDrawingHook", "draw": True, "show": True, "wait_time": 1.5, "test_out_dir": "drawn"
    }  # fmt: skip


def test_show_without_a_drawing_hook_says_what_to_add():
    with pytest.raises(ArgumentError, match=r"no default_hooks\.visualization"):
        _testing.apply(load_config(options()), options(show=True))


def test_modules_beside_the_command_are_found(tmp_path):
    Path("cli_beside.py").write_text("value = 3\n", encoding="utf-8")
    Path("tiny.py").write_text('custom_imports = dict(imports=["cli_beside"])\n' + GOOD, encoding="utf-8")
    load_config(options())
    assert sys.modules.pop("cli_beside").value == 3


def test_a_config_that_does_not_mention_mmengine_does_not_load_the_alias(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mmengine" or name == "drivetrain.compat"]:
        monkeypatch.delitem(sys.modules, name)
    _alias.offer_alias()
    load_config(options())
    assert "drivetrain.compat" not in sys.modules and "mmengine" not in sys.modules


def test_a_config_that_imports_mmengine_gets_the_alias():
    code = "import sys; from drivetrain.cli import main; main(['config', 'show', 'plain.py']); import mmengine; print(mmengine.__drivetrain_alias__)"
    Path("plain.py").write_text("_base_ = []\nfrom mmengine import Config\nname = Config.__name__\n", encoding="utf-8")
    done = in_a_process(code)
    assert done.stdout.splitlines()[-2:] == ["name = 'Config'", "True"], done.stderr


def test_no_finder_is_left_after_a_command():
    before = list(sys.meta_path)
    assert main(["config", "show", "tiny.py"]) == 0 and sys.meta_path == before


def test_the_real_mmengine_in_the_process_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "mmengine", type(sys)("mmengine"))
    with pytest.raises(NotReadyError, match="in a process of its own"):
        _alias.offer_alias()
