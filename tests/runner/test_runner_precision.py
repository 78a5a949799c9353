"""`Runner(precision=...)`: one format for train, val and test, and no contradiction goes unnoticed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from toy import Recorder, ToyAccuracy, ToyData, ToyNet, assert_same_weights, build, loader, only_training, weights_of

from drivetrain.errors import ArgumentError, ArgumentTypeError
from drivetrain.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from drivetrain.registry import OPTIM_WRAPPERS
from drivetrain.runner import Runner

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
TESTING = {
    "test_dataloader": loader(ToyData(8, noise=False), shuffle=False),
    "test_cfg": {},
    "test_evaluator": ToyAccuracy(),
}


class Noting(ToyNet):
    """Notes in which format the convolution answers, by mode."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: dict[str, set[torch.dtype]] = {}
        self.conv.register_forward_hook(self._note)
        self.mode = ""

    def _note(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.formats.setdefault(self.mode, set()).add(output.dtype)

    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        self.mode = "train"
        return super().train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> Any:
        self.mode = "val"
        return super().val_step(data)

    def test_step(self, data: Any) -> Any:
        self.mode = "test"
        return super().test_step(data)


def formats_of(tmp_path, **changes):
    model = Noting()
    runner = build(tmp_path, model=model, **{**TESTING, "train_cfg": {"by_epoch": True, "max_epochs": 1}, **changes})
    runner.train()
    runner.test()
    return {mode: next(iter(formats)) for mode, formats in model.formats.items() if len(formats) == 1}, runner


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_train_val_and_test_compute_in_the_format_asked_for(tmp_path, precision, dtype):
    formats, runner = formats_of(tmp_path, precision=precision)
    assert formats == {"train": dtype, "val": dtype, "test": dtype}
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    assert (getattr(runner.optim_wrapper, "loss_scaler", None) is not None) is (precision == "fp16")


def test_a_run_that_only_tests_computes_in_it_too(tmp_path):
    model = Noting()
    runner = Runner(model, str(tmp_path), **TESTING, precision="bf16", log_level="ERROR")
    runner.test()
    assert model.formats == {"test": {torch.bfloat16}}


def test_without_it_wrapper_and_loops_each_say_what_holds_for_them(tmp_path):
    amp = {"type": "AmpOptimWrapper", "optimizer": SGD, "dtype": "bfloat16"}
    formats, _ = formats_of(tmp_path, optim_wrapper=amp, val_cfg={"fp16": True})
    assert formats == {"train": torch.bfloat16, "val": torch.bfloat16, "test": torch.float32}
    formats, _ = formats_of(tmp_path, test_cfg={"fp16": True})
    assert formats == {"train": torch.float32, "val": torch.float32, "test": torch.bfloat16}


def trained(tmp_path, **changes):
    runner = build(tmp_path, **only_training(), **changes)
    runner.train()
    return runner


def test_fp32_trains_bitwise_as_without_it(tmp_path):
    plain, asked = (trained(tmp_path, precision=precision) for precision in (None, "fp32"))
    assert type(asked.optim_wrapper) is OptimWrapper
    assert_same_weights(weights_of(plain), weights_of(asked))


def test_bf16_trains_bitwise_as_the_wrapper_alone(tmp_path):
    amp = {"type": "AmpOptimWrapper", "optimizer": SGD, "dtype": "bfloat16"}
    wrapper, asked = trained(tmp_path, optim_wrapper=amp), trained(tmp_path, precision="bf16")
    assert_same_weights(weights_of(wrapper), weights_of(asked))


def test_an_epoch_of_skipped_steps_moves_neither_weights_nor_schedule_by_iteration(tmp_path):
    class Overflowing(ToyNet):
        def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
            result = super().forward(*args, mode=mode, **kwargs)
            return {"loss": result["loss_ce"] * float("inf")} if mode == "loss" else result

    runner = build(
        tmp_path,
        model=Overflowing(),
        **only_training(),
        precision="fp16",
        train_cfg={"by_epoch": False, "max_iters": 6},
        param_scheduler={"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 4},
        default_hooks={"checkpoint": None},
    )
    before = weights_of(runner)
    runner.train()
    after = weights_of(runner)
    assert all(torch.equal(before[name], after[name]) for name, _ in runner.model.named_parameters())
    assert runner.optim_wrapper.updates == 0 and runner.optim_wrapper.step_skipped
    assert runner.message_hub.get_scalar("train/skipped_steps").current() == 6
    assert runner.param_schedulers[0].last_step == 0


def test_a_plain_optimizer_and_a_derived_wrapper_are_fitted(tmp_path):
    @OPTIM_WRAPPERS.register_module(force=True)
    class DerivedAmp(AmpOptimWrapper):
        pass

    model = ToyNet()
    for given in (torch.optim.SGD(model.parameters(), lr=0.1), {"type": "DerivedAmp", "optimizer": SGD}):
        runner = build(tmp_path, **only_training(), model=model, optim_wrapper=given, precision="bf16")
        assert runner.built_optim_wrapper().cast_dtype == torch.bfloat16


def test_members_of_a_constructor_of_the_users_are_fitted_each(tmp_path):
    from drivetrain.optim import build_optim_wrapper
    from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS

    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
    class TwoParts:
        def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None:
            self.cfg = optim_wrapper_cfg

        def __call__(self, model: Any) -> Any:
            named = {"conv": model.conv, "head": model.head}
            return OptimWrapperDict(**{name: build_optim_wrapper(part, self.cfg[name]) for name, part in named.items()})

    given = {"constructor": "TwoParts", "conv": {"optimizer": SGD}, "head": {"optimizer": SGD}}
    runner = build(tmp_path, **only_training(), optim_wrapper=given, precision="bf16", param_scheduler=None)
    assert {part.cast_dtype for part in runner.built_optim_wrapper().values()} == {torch.bfloat16}


def ready(**settings):
    optimizer = torch.optim.SGD(ToyNet().parameters(), lr=0.1)
    return AmpOptimWrapper(optimizer=optimizer, **settings) if settings else OptimWrapper(optimizer)


class Other(OptimWrapper):
    pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16", "optim_wrapper": {"type": "AmpOptimWrapper", "optimizer": SGD, "dtype": "float16"}},
         "'bf16', and optim_wrapper is AmpOptimWrapper with dtype='float16'.*leave precision out"),
        ({"precision": "fp32", "optim_wrapper": {"type": "AmpOptimWrapper", "optimizer": SGD}},
         "'fp32', and optim_wrapper is AmpOptimWrapper.*Use type='OptimWrapper'"),
        ({"precision": "bf16", "optim_wrapper": {"type": Other, "optimizer": SGD}}, "optim_wrapper is a Other"),
        ({"precision": "fp16", "optim_wrapper": ready()}, r"AmpOptimWrapper\(dtype='float16'"),
        ({"precision": "fp16", "optim_wrapper": ready(dtype="bfloat16")}, "AmpOptimWrapper with dtype='bfloat16'"),
        ({"precision": "fp32", "optim_wrapper": {"a": ready(dtype="bfloat16")}}, "dtype='bfloat16'"),
        ({"precision": "bf16", "val_cfg": {"fp16": True}}, r"'bf16' and val_cfg=dict\(fp16=True\) contradict"),
        ({"precision": "fp32", "val_cfg": {"fp16": True}}, "contradict each other"),
        ({"precision": "fp16", "val_cfg": {"fp16": False}}, r"val_cfg=dict\(fp16=False\)"),
        ({"precision": "bf17"}, "got 'bf17'. Did you mean 'bf16'"),
        ({"precision": "float16"}, "got 'float16'. Write 'fp16'"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_before_anything_is_built(tmp_path, changes, message):
    with pytest.raises(ArgumentError, match=message):
        build(tmp_path, **changes)


def test_a_number_is_no_precision(tmp_path):
    with pytest.raises(ArgumentTypeError, match="got 16"):
        build(tmp_path, precision=16)


def test_what_agrees_is_taken(tmp_path):
    amp = {"type": "AmpOptimWrapper", "optimizer": SGD, "dtype": torch.float16}
    build(tmp_path, precision="fp16", val_cfg={"fp16": True}, optim_wrapper=amp)
    build(tmp_path, precision="bf16", val_cfg={"fp16": False}, optim_wrapper=ready(dtype="bfloat16"))
    build(tmp_path, precision="fp32", optim_wrapper=ready(dtype="float64"))


def test_a_constructor_that_ignores_the_format_is_found_out(tmp_path):
    from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS

    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
    class Stubborn:
        def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None:
            pass

        def __call__(self, model: Any) -> Any:
            return OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))

    runner = build(tmp_path, **only_training(), optim_wrapper={"constructor": "Stubborn"}, precision="bf16")
    with pytest.raises(ArgumentError, match="the optimizer wrapper is OptimWrapper"):
        runner.built_optim_wrapper()


@pytest.mark.parametrize(
    ("precision", "line"),
    [
        ("bf16", "bf16 by autocast for train, val and test; weights in float32"),
        ("fp16", "fp16 by autocast for train, val and test with a loss scale; weights in float32"),
        ("fp32", "fp32 for train, val and test"),
        (None, "fp32, unless optim_wrapper, val_cfg or test_cfg say otherwise"),
    ],
)
def test_the_log_states_the_format(tmp_path, precision, line):
    runner = build(tmp_path, **only_training(), precision=precision, log_level="INFO")
    log = next((tmp_path / runner.timestamp).glob("*.log")).read_text()
    row = next(row for row in log.splitlines() if row.strip().startswith("precision"))
    assert row.split(maxsplit=1)[1] == line


def test_a_hook_sees_bf16_losses_that_are_near_those_of_float32(tmp_path):
    losses = []
    for precision in ("fp32", "bf16"):
        recorder = Recorder()
        runner = build(tmp_path, **only_training(), precision=precision, custom_hooks=[recorder])
        runner.train()
        losses.append(torch.stack(recorder.losses).float())
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.05)
