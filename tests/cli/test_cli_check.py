"""`drivetrain config check`: every fault with its line, the nearest right name and its cause; no good config refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import cli_parts
import pytest
from cli_parts import GOOD, good_with

from drivetrain.cli import main

MISSPELT, NOT_IMPORTED, ELSEWHERE, ARGUMENT = (
    "[misspelt name]", "[module not imported]", "[wrong scope or registry]", "[wrong or missing argument]",
)  # fmt: skip


class Wrong(NamedTuple):
    """A fault written into the good config: the changed lines, and what the report must say."""

    name: str
    changes: dict[int, str]
    says: list[str]


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Write config files, check the first one, and give back the exit code and the report on one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(files: dict[str, str] | str, *options: str) -> tuple[int, str]:
        files = {"config.py": files} if isinstance(files, str) else files
        for name, text in files.items():
            Path(name).write_text(text, encoding="utf-8")
        code = main(["config", "check", next(iter(files)), *options])
        return code, " ".join(capsys.readouterr().out.split())

    return run


def test_a_good_config_has_no_faults_and_no_notes(check):
    code, report = check(GOOD)
    assert code == 0 and re.fullmatch(r"config.py: no faults \(\d+\.\d s\)", report), report


def test_the_model_is_built_and_no_data_is_read(check):
    made, built = cli_parts.CliPoints.made, cli_parts.CliNet.built
    check(GOOD)
    assert (cli_parts.CliPoints.made, cli_parts.CliNet.built) == (made, built + 1)


TABLE = [
    # misspelt names
    Wrong("model", {2: '    type="CliNat",'}, ["config.py:2: model.type", MISSPELT, "'CliNat'", "Did you mean 'CliNet'"]),
    Wrong("part of a model", {4: '    head=dict(type="CliHaed", classes=3),'}, ["config.py:4: model.head.type", MISSPELT, "Did you mean 'CliHead'"]),
    Wrong("preprocessor", {5: '    data_preprocessor=dict(type="BaseDataPreprocesor"),'}, ["config.py:5: model.data_preprocessor.type", MISSPELT, "'BaseDataPreprocessor'"]),
    Wrong("initialiser", {3: '    init_cfg=dict(type="Kaimnig", layer="Linear"),'}, ["config.py:3: model.init_cfg.type", MISSPELT, "Did you mean 'Kaiming'"]),
    Wrong("transform", {7: 'train_pipeline = [dict(type="CliJiter", prob=0.5)]'}, ["config.py:7: train_dataloader.dataset.pipeline.0.type", MISSPELT, "Did you mean 'CliJitter'"]),
    Wrong("dataset", {9: '    dataset=dict(type="CliPionts", size=32),'}, ["config.py:9: train_dataloader.dataset.type", MISSPELT, "Did you mean 'CliPoints'"]),
    Wrong("dataset in a dataset", {9: '    dataset=dict(type="RepeatDataset", times=2, dataset=dict(type="CliPoint", size=3)),'}, ["config.py:9: train_dataloader.dataset.dataset.type", MISSPELT, "'CliPoints'"]),
    Wrong("sampler", {10: '    sampler=dict(type="DefaultSampeler", shuffle=True),'}, ["config.py:10: train_dataloader.sampler.type", MISSPELT, "Did you mean 'DefaultSampler'"]),
    Wrong("collate function", {11: '    collate_fn=dict(type="defualt_collate"),'}, ["config.py:11: train_dataloader.collate_fn.type", MISSPELT, "Did you mean 'default_collate'"]),
    Wrong("train loop", {20: 'train_cfg = dict(type="EpochTrainLoop", max_epochs=2)'}, ["config.py:20: train_cfg.type", MISSPELT, "'EpochBasedTrainLoop'"]),
    Wrong("metric", {22: 'val_evaluator = [dict(type="CliHit")]'}, ["config.py:22: val_evaluator.0.type", MISSPELT, "Did you mean 'CliHits'"]),
    Wrong("optimizer", {24: '    optimizer=dict(type="AdmaW", lr=0.1),'}, ["config.py:24: optim_wrapper.optimizer.type", MISSPELT, "'AdamW'"]),
    Wrong("optimizer wrapper", {25: '    type="AmpOptimWraper",'}, ["config.py:25: optim_wrapper.type", MISSPELT, "Did you mean 'AmpOptimWrapper'"]),
    Wrong("constructor", {25: '    constructor="DefaultOptimWraperConstructor",'}, ["config.py:25: optim_wrapper.constructor", MISSPELT, "'DefaultOptimWrapperConstructor'"]),
    Wrong("schedule", {29: '    dict(type="MultiStpLR", milestones=[1]),'}, ["config.py:29: param_scheduler.1.type", MISSPELT, "Did you mean 'MultiStepLR'"]),
    Wrong("hook", {33: '    checkpoint=dict(type="ChekpointHook"),'}, ["config.py:33: default_hooks.checkpoint.type", MISSPELT, "Did you mean 'CheckpointHook'"]),
    Wrong("custom hook", {35: 'custom_hooks = [dict(type="EMAHok")]'}, ["config.py:35: custom_hooks.0.type", MISSPELT, "Did you mean 'EMAHook'"]),
    Wrong("visualizer's backend", {36: 'visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackendd")])'}, ["config.py:36: visualizer.vis_backends.0.type", MISSPELT, "'LocalVisBackend'"]),
    Wrong("import path", {24: '    optimizer=dict(type="torch.optim.Admw", lr=0.1),'}, ["config.py:24: optim_wrapper.optimizer.type", MISSPELT, "has no 'Admw'", "'AdamW'"]),
    # modules that were not imported
    Wrong("class of the user", {2: '    type="VeryOwnNetwork",'}, ["config.py:2: model.type", NOT_IMPORTED, "was never imported", "custom_imports=dict(imports="]),
    Wrong("missing module in custom_imports", {1: 'custom_imports = dict(imports=["cli_nowhere"])\nmodel = dict('}, ["config.py:1: custom_imports.imports", NOT_IMPORTED, "'cli_nowhere'", "PYTHONPATH"]),
    Wrong("package that is not installed", {2: '    type="nopackage.models.Net",'}, ["config.py:2: model.type", NOT_IMPORTED, "'nopackage' cannot be imported"]),
    Wrong("default scope", {38: 'default_scope = "mmnowhere"'}, ["config.py:38: default_scope", NOT_IMPORTED, "there is no package 'mmnowhere' here"]),
    # the right name in the wrong place
    Wrong("hook as a model", {2: '    type="LoggerHook",'}, ["config.py:2: model.type", ELSEWHERE, "HOOKS has it"]),
    Wrong("model as an optimizer", {24: '    optimizer=dict(type="CliNet", lr=0.1),'}, ["config.py:24: optim_wrapper.optimizer.type", ELSEWHERE, "MODELS has it"]),
    Wrong("name of another scope", {2: '    type="CliSquare",'}, ["config.py:2: model.type", ELSEWHERE, "'clishapes.CliSquare'", "default_scope='clishapes'"]),
    Wrong("dataset as a metric", {22: 'val_evaluator = dict(type="CliPoints")'}, ["config.py:22: val_evaluator.type", ELSEWHERE, "DATASETS has it"]),
    # arguments
    Wrong("argument of the model", {3: "    widht=8,"}, ["config.py:3: model.widht", ARGUMENT, "CliNet has no argument 'widht'", "Did you mean 'width'"]),
    Wrong("argument of a part", {4: '    head=dict(type="CliHead", clases=3),'}, ["config.py:4: model.head.clases", ARGUMENT, "'classes'", "CliHead needs 'classes'"]),
    Wrong("missing argument of a part", {4: '    head=dict(type="CliHead"),'}, ["config.py:4: model.head.type", ARGUMENT, "CliHead needs 'classes'"]),
    Wrong("value that a constructor refuses", {3: '    neck=dict(type="CliNeck", rate=1.5),'}, ["config.py:3: model.neck.rate", ARGUMENT, "rate must lie in [0, 1), got 1.5"]),
    Wrong("text for a number", {4: '    head=dict(type="CliHead", classes="3"),'}, ["config.py:4: model.head.classes", ARGUMENT, "takes classes as int, got the text '3'"]),
    Wrong("argument handed on by **kwargs", {9: '    dataset=dict(type="CliPoints", siez=32),'}, ["config.py:9: train_dataloader.dataset.siez", ARGUMENT, "Did you mean 'size'", "CliPoints needs 'size'"]),
    Wrong("text for a number of a dataset", {15: '    dataset=dict(type="CliPoints", size="16"),'}, ["config.py:15: val_dataloader.dataset.size", ARGUMENT, "takes size as int, got the text '16'"]),
    Wrong("argument of a transform", {7: 'train_pipeline = [dict(type="CliJitter", porb=0.5)]'}, ["config.py:7: train_dataloader.dataset.pipeline.0.porb", ARGUMENT, "Did you mean 'prob'"]),
    Wrong("value that a transform refuses", {7: 'train_pipeline = [dict(type="CliJitter", prob=5)]'}, ["config.py:7: train_dataloader.dataset.pipeline.0.prob", ARGUMENT, "prob must lie in [0, 1], got 5"]),
    Wrong("argument of a loader", {12: "    batchsize=8,"}, ["config.py:12: train_dataloader.batchsize", ARGUMENT, "'batch_size'"]),
    Wrong("number of a loader", {12: "    batch_size=0,"}, ["config.py:12: train_dataloader.batch_size", ARGUMENT, "batch_size must be 1 or more, got 0"]),
    Wrong("loader without a sampler", {16: ""}, ["config.py:14: val_dataloader", ARGUMENT, "needs a sampler", "DefaultSampler"]),
    Wrong("argument of a sampler", {10: '    sampler=dict(type="DefaultSampler", shufle=True),'}, ["config.py:10: train_dataloader.sampler.shufle", ARGUMENT, "Did you mean 'shuffle'"]),
    Wrong("argument of a metric", {22: 'val_evaluator = [dict(type="CliHits", topK=5)]'}, ["config.py:22: val_evaluator.0.topK", ARGUMENT, "Did you mean 'topk'"]),
    Wrong("argument of an optimizer", {24: '    optimizer=dict(type="SGD", lr=0.1, momentun=0.9),'}, ["config.py:24: optim_wrapper.optimizer.momentun", ARGUMENT, "Did you mean 'momentum'"]),
    Wrong("value that torch refuses", {24: '    optimizer=dict(type="SGD", lr=-0.1),'}, ["config.py:24: optim_wrapper.optimizer.lr", ARGUMENT, "Invalid learning rate: -0.1"]),
    Wrong("key of clip_grad", {25: "    clip_grad=dict(max_nrm=1.0),"}, ["config.py:25: optim_wrapper.clip_grad.max_nrm", ARGUMENT, "Did you mean 'max_norm'"]),
    Wrong("key of paramwise_cfg", {25: "    paramwise_cfg=dict(norm_decay_mul=0.0),"}, ["config.py:25: optim_wrapper.paramwise_cfg", ARGUMENT, "'norm_decay_mult'"]),
    Wrong("wrapper without an optimizer", {24: '    optimiser=dict(type="SGD", lr=0.1),'}, ["config.py:24: optim_wrapper.optimiser", ARGUMENT, "Is 'optimiser' meant for 'optimizer'?"]),
    Wrong("argument of a schedule", {28: '    dict(type="LinearLR", start_facter=0.1),'}, ["config.py:28: param_scheduler.0.start_facter", ARGUMENT, "'start_factor'"]),
    Wrong("argument of a hook", {32: '    logger=dict(type="LoggerHook", intervall=2),'}, ["config.py:32: default_hooks.logger.intervall", ARGUMENT, "Did you mean 'interval'"]),
    Wrong("value that a hook refuses", {32: '    logger=dict(type="LoggerHook", interval=0),'}, ["config.py:32: default_hooks.logger.interval", ARGUMENT, "interval"]),
    Wrong("priority of a hook", {35: 'custom_hooks = [dict(type="EMAHook", priority="HIHG")]'}, ["config.py:35: custom_hooks.0.priority", ARGUMENT, "'HIGH'"]),
    Wrong("argument of the train loop", {20: "train_cfg = dict(by_epoch=True, max_epoch=2)"}, ["config.py:20: train_cfg.max_epoch", ARGUMENT, "Did you mean 'max_epochs'"]),
    Wrong("argument of the log processor", {37: "log_processor = dict(windowsize=5)"}, ["config.py:37: log_processor.windowsize", ARGUMENT, "Did you mean 'window_size'"]),
    Wrong("key of randomness", {38: "randomness = dict(sed=0)"}, ["config.py:38: randomness.sed", ARGUMENT, "Did you mean 'seed'"]),
    Wrong("key of env_cfg", {38: "env_cfg = dict(cudnn_bench=True)"}, ["config.py:38: env_cfg.cudnn_bench", ARGUMENT, "'cudnn_benchmark'"]),
    Wrong("path as resume", {38: 'resume = "epoch_3.pth"'}, ["config.py:38: resume", ARGUMENT, "True or False", "load_from"]),
    Wrong("scaling without its base", {38: "auto_scale_lr = dict(enable=True)"}, ["config.py:38: auto_scale_lr.enable", ARGUMENT, "base_batch_size"]),
    Wrong("dict without type", {2: '    typ="CliNet",'}, ["config.py:2: model.typ", ARGUMENT, "Is 'typ' meant?"]),
    Wrong("one hook for a list", {35: 'custom_hooks = dict(type="EMAHook")'}, ["config.py:35: custom_hooks", ARGUMENT, "must be a list"]),
    # the run as a whole
    Wrong("misspelt key of the run", {14: "val_dataloder = dict(", 39: "test_dataloader = val_dataloder"}, ["config.py:14: val_dataloder [misspelt key]", "Did you mean 'val_dataloader'", "config.py:21: val_cfg [incomplete parts]"]),
    Wrong("half of a stage", {22: "", 41: "test_evaluator = [dict(type='CliHits')]"}, ["[incomplete parts]", "validation needs val_dataloader, val_cfg, val_evaluator together"]),
    Wrong("no model", {1: "modle = dict("}, ["config.py:1: modle [misspelt key]", "lacks 'model'", "Is 'modle' meant?"]),
    Wrong("misspelt default hook", {32: '    loger=dict(type="LoggerHook"),'}, ["config.py:32: default_hooks.loger [misspelt key]", "'logger'"]),
    Wrong("training without an end", {20: "train_cfg = dict(val_interval=1)"}, ["config.py:20: train_cfg", "how long to train"]),
    # schedules
    Wrong("schedule that ends before it begins", {28: '    dict(type="LinearLR", by_epoch=False, begin=8, end=4),'}, ["config.py:28: param_scheduler.0.begin [schedule]", "begin=8, end=4"]),
    Wrong("epochs in a loop of iterations", {20: "train_cfg = dict(by_epoch=False, max_iters=20)"}, ["config.py:29: param_scheduler.1.by_epoch [schedule]", "it would never move"]),
    # files
    Wrong("checkpoint that is not there", {38: 'load_from = "epoch_12.pth"'}, ["config.py:38: load_from [missing file]", "'epoch_12.pth'"]),
    Wrong("misspelt annotation file", {15: '    dataset=dict(type="CliPoints", size=3, data_root=".", ann_file="confg.py"),'}, ["config.py:15: val_dataloader.dataset.ann_file [missing file]", "Did you mean 'config.py'"]),
]  # fmt: skip


@pytest.mark.parametrize("wrong", TABLE, ids=[entry.name for entry in TABLE])
def test_the_fault_is_told_with_line_name_and_cause(wrong, check):
    code, report = check(good_with(wrong.changes))
    assert code == 1
    missing = [part for part in wrong.says if part not in report]
    assert not missing, f"{missing} not in:\n{report}"


def test_one_fault_is_told_once_and_nothing_else_is_called_a_fault(check):
    alone = [wrong for wrong in TABLE if wrong.name in ("model", "part of a model", "argument of the model", "hook")]
    for wrong in alone:
        _, report = check(good_with(wrong.changes))
        assert "config.py: 1 fault (" in report, report


def test_a_fault_of_a_base_is_told_with_the_base_and_its_line(check):
    code, report = check(
        {
            "child.py": '_base_ = "base.py"\nmodel = dict(width=4)\n',
            "base.py": good_with({4: '    head=dict(type="CliHaed", classes=3),'}),
        }
    )
    assert code == 1 and "base.py:4: model.head.type [misspelt name]" in report


def test_a_fault_that_a_child_brings_is_told_with_the_child(check):
    child = '_base_ = "base.py"\nmodel = dict(\n    head=dict(clases=3),\n)\n'
    _, report = check({"child.py": child, "base.py": GOOD})
    assert "child.py:3: model.head.clases [wrong or missing argument]" in report and "1 fault" in report


def test_a_fault_of_a_config_in_the_python_dialect_is_told_with_its_line(check):
    base = GOOD.replace('"CliNet"', "CliNet").replace('"CliHits"', "CliHits")
    base = "from cli_parts import CliHits, CliNet\n" + base
    child = "from drivetrain.config import read_base\nwith read_base():\n    from .lazy_base import *\nmodel.update(dict(widht=4))\n"
    code, report = check({"lazy.py": child, "lazy_base.py": base})
    assert code == 1 and "lazy.py:4: model.widht" in report and "Did you mean 'width'" in report
    assert "1 fault" in report, report


def test_a_lazy_import_that_fails_is_told_with_the_import(check):
    text = "from cli_parts import CliNat\n" + GOOD.replace('"CliNet"', "CliNat")
    _, report = check(text)
    assert "config.py:3: model.type [misspelt name]" in report
    assert "has no 'CliNat', imported in" in report and "'CliNet'" in report


def test_a_lazy_import_of_a_missing_module_is_told(check):
    _, report = check("from cli_nowhere import Net\n" + GOOD.replace('"CliNet"', "Net"))
    assert "config.py:3: model.type [module not imported]" in report and "cannot import 'cli_nowhere'" in report


def test_an_override_of_the_command_line_is_the_place_of_its_fault(check):
    code, report = check(GOOD, "--cfg-options", "model.head.clases=4", "optim_wrapper.optimizer.lr=-1")
    assert code == 1 and "2 faults" in report
    assert "--cfg-options: model.head.clases" in report and "--cfg-options: optim_wrapper.optimizer.lr" in report


YAML = """\
model:
  type: CliNet
  head: {type: CliHead, classes: 3}
train_dataloader:
  dataset: {type: CliPoints, size: 8}
  sampler: {type: DefaultSampler, shuffle: true}
train_cfg: {max_epochs: 1}
optim_wrapper:
  optimizer:
    type: SGD
    lr: 1e-1
"""


def test_a_number_that_yaml_reads_as_text_is_told_with_its_line(check):
    code, report = check({"run.yaml": YAML})
    assert code == 1 and "run.yaml:11: optim_wrapper.optimizer.lr" in report and "write 1.0e-3" in report


def test_a_fault_of_a_json_config_is_told_with_its_line(check):
    text = json.dumps({"_base_": ["run.yaml"], "model": {"widht": 4}}, indent=2)
    _, report = check({"run.json": text, "run.yaml": YAML.replace("1e-1", "0.1")})
    assert "run.json:6: model.widht" in report and "1 fault" in report


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = dict(\ntype=\n", ["config.py:1: the config [unreadable config]", "is no Python"]),
        ("lr = 0.1\nbig = lrr * 2\n", ["config.py:2: the config [unreadable config]", "Did you mean 'lr'"]),
        ('_base_ = "bse.py"\n', ["names 'bse.py' as its base", "Did you mean 'base.py'"]),
        ('_base_ = "base.py"\nmodel = dict(head=dict(classes=dict(a=1)))\n', ["config.py:2", "_delete_=True"]),
        ('a = "{{$CLI_NOT_SET}}"\n', ["config.py:1", "'CLI_NOT_SET'"]),
    ],
    ids=["syntax", "name", "base", "dict over a number", "environment"],
)  # fmt: skip
def test_a_config_that_cannot_be_read_is_a_fault_with_its_line(text, says, check):
    code, report = check({"config.py": text, "base.py": GOOD})
    assert code == 1 and all(part in report for part in says), report


def test_all_faults_are_told_in_one_pass(check):
    changes = {3: "    widht=8,", 4: '    head=dict(type="CliHaed", clases=3),', 10: '    sampler=dict(type="Sampler"),',
               15: '    dataset=dict(type="CliPoints", siez=16),', 24: '    optimizer=dict(type="SGD", lr=-1, momentun=0.9),',
               25: "    clip_grad=dict(max_nrm=1.0),", 28: '    dict(type="LinearLR", begin=8, end=4),', 33: '    chekpoint=dict(type="CheckpointHook"),',
               37: "log_processor = dict(windowsize=5)"}  # fmt: skip
    code, report = check(good_with(changes))
    assert code == 1
    unseen = [line for line in changes if f"config.py:{line}:" not in report]
    assert not unseen, report
    assert "'widht'" in report and "'clases'" in report and "'momentun'" in report and "learning rate" in report


def test_faults_come_in_the_order_of_the_file(check):
    _, report = check(good_with({3: "    widht=8,", 12: "    batchsize=8,", 37: "log_processor = dict(windowsize=5)"}))
    assert re.findall(r"config.py:(\d+):", report) == ["3", "12", "37"]


def test_a_folder_of_data_that_is_missing_as_a_whole_is_a_note(check):
    changes = {15: '    dataset=dict(type="CliPoints", size=16, data_root="data/nowhere", ann_file="a.json"),'}
    code, report = check(good_with(changes))
    assert code == 0 and "[note: missing file]" in report and "'data/nowhere'" in report and "a.json" not in report
    _, report = check(good_with(changes), "--no-notes")
    assert "nowhere" not in report


def test_an_argument_for_a_constructor_that_takes_any_is_a_note(check):
    code, report = check(good_with({15: '    dataset=dict(type="CliOpenPoints", ann_fle="a.json"),'}))
    assert code == 0 and "config.py:15: val_dataloader.dataset.ann_fle [note:" in report


def test_a_constructor_that_takes_any_argument_is_left_to_take_it(check):
    code, report = check(good_with({15: '    dataset=dict(type="CliOpenPoints", anything=1),'}))
    assert code == 0 and "no faults (" in report


def test_a_free_variable_of_the_config_is_no_fault(check):
    assert check(GOOD + "learning_rate = 0.1\ndataset_type = 'CliPoints'\nnum_classes = 3\n")[0] == 0


def test_a_module_of_custom_imports_is_imported_for_the_check(check):
    part = "from torch import nn\nfrom drivetrain.registry import MODELS\n@MODELS.register_module()\nclass CliImported(nn.Module):\n    pass\n"
    text = 'custom_imports = dict(imports=["cli_imported_part"])\nmodel = dict(type="CliImported")\n'
    code, report = check({"config.py": text, "cli_imported_part.py": part})
    assert code == 0, report


def test_a_custom_key_that_looks_like_a_misspelt_part_of_the_model_is_a_note(check):
    code, report = check(good_with({25: '    paramwise_cfg=dict(custom_keys={"haed": dict(lr_mult=0.1)}),'}))
    assert code == 0 and "config.py:25" in report and "Did you mean 'head'" in report


def test_a_model_that_computes_with_its_weights_is_built_on_the_cpu(check):
    part = (
        "import torch\nfrom torch import nn\nfrom drivetrain.registry import MODELS\n@MODELS.register_module()\n"
        "class CliRates(nn.Module):\n    def __init__(self, rate=0.1):\n        super().__init__()\n"
        "        self.rates = [x.item() for x in torch.linspace(0, rate, 4)]\n"
    )
    text = 'custom_imports = dict(imports=["cli_rates_part"])\nmodel = dict(type="CliRates")\n'
    assert check({"config.py": text, "cli_rates_part.py": part})[0] == 0


def test_a_schedule_without_an_end_in_a_unit_that_the_loop_does_not_count_is_no_fault(check):
    text = good_with({29: '    dict(type="CosineAnnealingLR", by_epoch=False, begin=4),'})
    assert check(text)[0] == 0


def test_a_misspelt_mark_for_the_reader_is_a_note(check):
    code, report = check(
        good_with(
            {
                25: "    paramwise_cfg=dict(_delete=True, norm_decay_mult=1.0),",
                24: '    optimizer=dict(type="SGD", lr=0.1, weight_decay=0.1),',
            }
        )
    )
    assert code == 0 and "config.py:25: optim_wrapper.paramwise_cfg._delete [note: misspelt key]" in report
    assert "Did you mean '_delete_'" in report
