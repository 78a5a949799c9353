"""NaN and infinity: noticed without a read, named with their step, and acted upon as asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from toy import Recorder, ToyData, ToyNet, build, loader, only_training, weights_of

from drivetrain.checkpoint import find_good_checkpoint
from drivetrain.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from drivetrain.hooks import EMAHook, Hook, NonFiniteHook

NAN, INF = float("nan"), float("inf")
STEPS = 12


class Spoilt(ToyNet):
    """Multiplies the loss of certain calls of `forward`, counted from 1."""

    def __init__(self, factors: dict[int, float], *, gradient_only: bool = False) -> None:
        torch.manual_seed(0)
        super().__init__(dropout=0.0)
        self.factors, self.calls, self.gradient_only = factors, 0, gradient_only

    def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        result = super().forward(*args, mode=mode, **kwargs)
        if mode != "loss":
            return result
        self.calls += 1
        loss, factor = result["loss_ce"], self.factors.get(self.calls, 1.0)
        if self.gradient_only and factor != 1.0:
            loss.register_hook(lambda gradient: gradient * factor)
            return {"loss_ce": loss, "spread": result["spread"]}
        return {"loss_ce": loss * factor, "spread": result["spread"]}


class ByIteration(ToyNet):
    """Spoils the loss of certain iterations, each time they come."""

    def __init__(self, bad: dict[int, float]) -> None:
        torch.manual_seed(0)
        super().__init__(dropout=0.0)
        self.bad = bad
        self.iteration = -1

    def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        result = super().forward(*args, mode=mode, **kwargs)
        if mode == "loss":
            return {"loss_ce": result["loss_ce"] * self.bad.get(self.iteration, 1.0)}
        return result


class Tell(Hook):
    """Tells the model the iteration, from 1."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        runner.model.iteration = runner.iter + 1


def run(tmp_path, model, hook, *, log=1000, save=None, hooks=(), steps=STEPS, **changes):
    recorder = Recorder()
    checkpoint = {"type": "CheckpointHook", "by_epoch": False, "interval": save, "save_last": False} if save else None
    settings = {
        **only_training(),
        "train_cfg": {"by_epoch": False, "max_iters": steps},
        "train_dataloader": loader(ToyData(40)),
        "param_scheduler": {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 20},
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": log}, "checkpoint": checkpoint},
        "custom_hooks": [recorder, *([hook] if hook is not None else []), *hooks],
        **changes,
    }
    runner = build(tmp_path, model=model, **settings)
    return runner, recorder


def test_raise_names_the_first_bad_step_and_its_values_at_the_log_point(tmp_path):
    runner, recorder = run(tmp_path, Spoilt({4: NAN}), NonFiniteHook(), log=5)
    with pytest.raises(NonFiniteError, match=r"step 4: loss is nan, loss_ce is nan\..*clip_grad") as caught:
        runner.train()
    assert isinstance(caught.value, ArithmeticError)
    assert len(recorder.losses) == 4  # the hook comes before the recorder, at the log point of step 5


def test_without_a_log_point_it_looks_every_interval(tmp_path):
    runner, recorder = run(tmp_path, Spoilt({2: INF}), NonFiniteHook(interval=7))
    with pytest.raises(NonFiniteError, match="step 2: loss is inf"):
        runner.train()
    assert len(recorder.losses) == 6


def test_the_end_of_an_epoch_is_looked_at(tmp_path):
    runner, _ = run(tmp_path, Spoilt({5: NAN}), NonFiniteHook(), steps=0, train_cfg={"by_epoch": True, "max_epochs": 2},
                    train_dataloader=loader())  # fmt: skip
    with pytest.raises(NonFiniteError, match="step 5: loss is nan"):
        runner.train()
    assert runner.epoch == 0


def test_gradients_that_are_logged_count_too(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1.0}}
    runner, _ = run(tmp_path, Spoilt({3: INF}, gradient_only=True), NonFiniteHook(), log=3, optim_wrapper=wrapper)
    with pytest.raises(NonFiniteError, match=r"step 3: grad_norm is (inf|nan)"):
        runner.train()


def test_a_norm_of_a_window_is_placed_before_the_step_it_was_seen_at(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1.0}, "accumulative_counts": 2}
    model = Spoilt({3: INF}, gradient_only=True)
    runner, _ = run(tmp_path, model, NonFiniteHook(), log=4, optim_wrapper=wrapper)
    with pytest.raises(NonFiniteError, match="a step up to 4: grad_norm is"):
        runner.train()


def test_no_damaged_checkpoint_is_written(tmp_path):
    runner, _ = run(tmp_path, Spoilt({6: NAN}), NonFiniteHook(), save=3)
    with pytest.raises(NonFiniteError, match="step 6: loss is nan"):
        runner.train()
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_3.pth"]


def test_weights_that_are_not_finite_are_not_saved_whatever_the_log_says(tmp_path):
    runner, _ = run(tmp_path, Spoilt({3: NAN}, gradient_only=True), NonFiniteHook(), save=3, hooks=[EMAHook()])
    with pytest.raises(NonFiniteError, match=r"the weights 'conv.weight' and \d+ more are not finite after step 3"):
        runner.train()
    assert not list(tmp_path.glob("*.pth"))


def test_a_buffer_that_holds_infinity_by_design_is_saved(tmp_path):
    model = Spoilt({})
    model.register_buffer("mask", torch.full((2, 2), -INF))
    runner, _ = run(tmp_path, model, NonFiniteHook(), save=3, steps=4)
    runner.train()
    assert (tmp_path / "iter_3.pth").exists()


def test_values_that_are_not_watched_are_named_and_nothing_more(tmp_path):
    class Spread(ToyNet):
        def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
            result = super().forward(*args, mode=mode, **kwargs)
            return {**result, "spread": result["spread"] * NAN} if mode == "loss" else result

    runner, _ = run(tmp_path, Spread(), NonFiniteHook(), log=5, log_level="WARNING")
    runner.train()
    assert runner.iter == STEPS
    text = next(tmp_path.glob("*/*.log")).read_text()
    assert "step 1: spread is nan." in text


@pytest.mark.parametrize("clip", [None, {"max_norm": 1.0}])
def test_skip_leaves_out_the_update_and_schedule_and_average_wait(tmp_path, clip):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": clip}
    hooks = [EMAHook()]
    runner, _ = run(tmp_path, Spoilt({4: NAN, 7: INF}), NonFiniteHook("skip"), log=6, optim_wrapper=wrapper,
                    hooks=hooks, log_level="WARNING")  # fmt: skip
    runner.train()
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    assert runner.optim_wrapper.updates == STEPS - 2
    assert runner.message_hub.get_scalar("train/skipped_steps").current() == 2
    assert int(hooks[0].ema_model.steps) == STEPS - 2
    assert runner.param_schedulers[0].last_step == STEPS - 2
    assert runner.optim_wrapper.skip_non_finite is False  # given back
    text = next(tmp_path.glob("*/*.log")).read_text()
    assert "step 4: loss is nan" in text and "step 7: loss is inf" in text


def test_a_run_that_only_skips_ends(tmp_path):
    model = Spoilt(dict.fromkeys(range(3, 100), NAN))
    runner, recorder = run(tmp_path, model, NonFiniteHook("skip", max_skips=4), log=2)
    with pytest.raises(NonFiniteError, match=r"the last 4 updates, up to step 6.*max_skips=4"):
        runner.train()
    assert len(recorder.losses) == 5


@pytest.mark.parametrize("by_epoch", [True, False])
def test_rollback_goes_on_from_the_newest_checkpoint_without_the_bad_update(tmp_path, by_epoch):
    model = ByIteration({8: NAN})
    cfg = {"by_epoch": True, "max_epochs": 3} if by_epoch else {"by_epoch": False, "max_iters": 15}
    runner, recorder = run(
        tmp_path, model, NonFiniteHook("rollback"), log=5, save=3, hooks=[Tell()], train_cfg=cfg,
        train_dataloader=loader(), log_level="WARNING",
    )  # fmt: skip
    runner.train()
    assert runner.iter == 15 and runner.optim_wrapper.updates == 14
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    text = next(tmp_path.glob("*/*.log")).read_text()
    assert "step 8: loss is nan" in text and "iter_6.pth (1 of 3 times)" in text
    assert recorder.ids[:6] + recorder.ids[-9:] == recorder.ids[:6] + reference_ids(tmp_path, cfg)[6:]
    assert runner.message_hub.get_scalar("train/skipped_steps").current() == 1


def reference_ids(tmp_path, cfg):
    runner, recorder = run(tmp_path / "reference", ByIteration({}), None, hooks=[Tell()], train_cfg=cfg,
                           train_dataloader=loader())  # fmt: skip
    runner.train()
    return recorder.ids


def test_after_a_passing_fault_the_run_is_bitwise_the_one_without_it(tmp_path):
    whole, _ = run(tmp_path / "whole", Spoilt({}), NonFiniteHook("rollback"), save=4)
    whole.train()
    model = Spoilt({10: NAN})  # counted by calls, so that the second time is good
    runner, _ = run(tmp_path / "fault", model, NonFiniteHook("rollback"), save=4, log=5)
    runner.train()
    assert model.calls == 10 + STEPS - 8
    first, second = weights_of(whole), weights_of(runner)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_rollback_with_an_average_restores_both(tmp_path):
    hooks = [EMAHook(), Tell()]
    runner, _ = run(tmp_path, ByIteration({8: NAN}), NonFiniteHook("rollback"), log=5, save=3, hooks=hooks)
    runner.train()
    assert runner.optim_wrapper.updates == STEPS - 1 == int(hooks[0].ema_model.steps)
    assert all(torch.isfinite(p).all() for p in hooks[0].ema_model.parameters())


def test_damage_found_by_a_save_is_rolled_back_too(tmp_path):
    model = Spoilt({6: NAN}, gradient_only=True)
    runner, _ = run(tmp_path, model, NonFiniteHook("rollback"), save=3)
    runner.train()
    assert runner.iter == STEPS and model.calls == STEPS + 3
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["iter_12.pth", "iter_3.pth", "iter_6.pth", "iter_9.pth"]


@pytest.mark.parametrize(("policy", "expected"), [("rollback(2)", "iter_3.pth"), ("rollback(9)", "iter_3.pth")])
def test_rollback_by_several_goes_that_far_back_and_no_further_than_this_run(tmp_path, policy, expected):
    other, _ = run(tmp_path, Spoilt({}), None, save=2, steps=4)
    other.train()  # its iter_2.pth and iter_4.pth stay in the folder
    hook = NonFiniteHook(policy)
    runner, _ = run(tmp_path, ByIteration({8: NAN}), hook, log=5, save=3, hooks=[Tell()], log_level="WARNING")
    runner.train()
    text = "".join(path.read_text() for path in tmp_path.glob("*/*.log"))
    assert f"{expected} (1 of 3 times)" in text
    assert runner.iter == STEPS and runner.optim_wrapper.updates == STEPS - 1


def test_a_run_killed_after_going_back_goes_on_from_there_and_not_from_what_is_newer(tmp_path):
    class Killed(Exception):
        pass

    class Stop(Hook):
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.iter == 3 and (tmp_path / "iter_6.pth").exists():
                raise Killed

    runner, _ = run(
        tmp_path, ByIteration({8: NAN}), NonFiniteHook("rollback(2)"), log=5, save=3, hooks=[Tell(), Stop()]
    )
    with pytest.raises(Killed):
        runner.train()
    assert find_good_checkpoint(tmp_path) == str(tmp_path / "iter_3.pth")


@pytest.mark.parametrize(("interval", "steps"), [("7it", 7), ("0.5ep", 5)])
def test_the_interval_may_have_a_unit(tmp_path, interval, steps):
    hook = NonFiniteHook(interval=interval)
    runner, recorder = run(tmp_path, Spoilt({2: INF}), hook)
    with pytest.raises(NonFiniteError):
        runner.train()
    assert hook.interval == steps and len(recorder.losses) == steps - 1


def test_rollback_without_a_checkpoint_of_this_run_says_so(tmp_path):
    for _ in range(2):  # the second time the folder holds the checkpoint of another run
        runner, _ = run(tmp_path, Spoilt({2: NAN}), NonFiniteHook("rollback"), log=2, save=5)
        with pytest.raises(NonFiniteError, match=r"step 2: loss is nan, .*no checkpoint of this run in .*Save earlier"):
            runner.train()
        other, _ = run(tmp_path, Spoilt({}), None, save=5)
        other.train()


def test_a_resumed_run_may_go_back_to_what_it_resumed_from(tmp_path):
    first, _ = run(tmp_path, Spoilt({}), NonFiniteHook("rollback"), save=4, steps=4)
    first.train()
    runner, _ = run(tmp_path, ByIteration({6: NAN}), NonFiniteHook("rollback"), log=2, hooks=[Tell()], resume=True)
    runner.train()
    assert runner.optim_wrapper.updates == STEPS - 1


def test_going_back_has_an_end(tmp_path):
    class Never(ToyNet):
        def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
            result = super().forward(*args, mode=mode, **kwargs)
            if mode == "loss" and self.iteration > 4:
                return {"loss": result["loss_ce"], "loss_other": result["loss_ce"].detach() * NAN}
            return result

    model = Never()
    hook = NonFiniteHook("rollback", max_rollbacks=2, watch="loss_other", max_skips=100)
    runner, _ = run(tmp_path, model, hook, log=2, save=2, hooks=[Tell()], steps=60)
    with pytest.raises(NonFiniteError, match="went back 2 times already"):
        runner.train()
    assert hook.rollbacks == 3


def test_float16_may_overflow_in_its_scale_but_not_in_its_loss(tmp_path):
    wrapper = {
        "type": "AmpOptimWrapper", "dtype": "float16", "optimizer": {"type": "SGD", "lr": 0.1},
        "clip_grad": {"max_norm": 1.0}, "loss_scale": {"init_scale": 2.0**40},
    }  # fmt: skip
    runner, _ = run(tmp_path / "scale", Spoilt({}), NonFiniteHook(), log=1, optim_wrapper=wrapper, steps=40)
    runner.train()
    assert runner.message_hub.get_scalar("train/skipped_steps").current() > 5
    assert runner.optim_wrapper.updates > 0
    runner, _ = run(tmp_path / "loss", Spoilt({3: INF}), NonFiniteHook(), log=1, optim_wrapper=wrapper)
    with pytest.raises(NonFiniteError, match="step 3: loss is inf"):
        runner.train()


def test_a_bad_value_is_in_the_scalars_that_are_logged(tmp_path):
    runner, _ = run(tmp_path, Spoilt({3: NAN}), None, log=3, steps=3)
    runner.train()
    scalars = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    assert json.loads(scalars[-1])["loss"] != json.loads(scalars[-1])["loss"]


def test_looking_reads_nothing_between_log_points(tmp_path):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func._schema.name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal")
            return func(*args, **(kwargs or {}))

    class Watch(Hook):
        mode = Reads()

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.iter == 1:
                self.mode.__enter__()
            if runner.iter == STEPS - 1:
                self.mode.__exit__(None, None, None)

    data = [{"inputs": torch.randn(4, 3, 6, 6), "labels": torch.randint(4, (4,))} for _ in range(STEPS)]
    batches = torch.utils.data.DataLoader(data, batch_size=None)
    watch = Watch()
    for policy, reads in (("raise", 0), ("rollback", 0), ("skip", STEPS - 2)):
        Reads.count = watch.mode.count = 0
        runner, _ = run(tmp_path, Spoilt({}), NonFiniteHook(policy), train_dataloader=batches)
        runner._hook_table.hooks.pop(next(i for i, h in enumerate(runner.hooks) if isinstance(h, Recorder)))
        runner.register_hook(watch)
        runner.train()
        assert watch.mode.count == reads
        runner.hooks.remove(watch)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": "rase"}, ArgumentError, "'rollback\\(n\\)', got 'rase'. Did you mean 'raise'"),
        ({"policy": "rollback(0)"}, ArgumentError, "got 'rollback\\(0\\)'"),
        ({"interval": "10min"}, ArgumentError, "'10min' is a time, and here steps count"),
        ({"interval": 0}, ArgumentError, "interval takes a number of at least 1, got 0"),
        ({"max_skips": 1.5}, ArgumentTypeError, "max_skips takes a whole number, got 1.5"),
        ({"max_rollbacks": 0}, ArgumentError, "max_rollbacks"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        NonFiniteHook(**arguments)


def test_a_resume_keeps_the_count_of_going_back():
    hook = NonFiniteHook("rollback")
    hook.rollbacks = 2
    hook.load_state_dict({"rollbacks": 1})
    assert hook.state_dict() == {"rollbacks": 2}
