"""Order, planning and errors of hooks."""

import pytest

from drivetrain.hooks import Hook
from drivetrain.registry import HOOKS
from drivetrain.runner._hook_table import HookTable


class Named(Hook):
    def __init__(self, name, calls, priority=None):
        self.name, self.calls = name, calls
        if priority is not None:
            self.priority = priority

    def before_run(self, runner):
        self.calls.append(self.name)


def table_of(*hooks):
    table = HookTable()
    for hook in hooks:
        table.register(hook)
    return table


def test_lower_priority_runs_first_and_equal_priority_keeps_the_order_of_registration():
    calls = []
    table = table_of(
        Named("b", calls),
        Named("d", calls, "LOW"),
        Named("c", calls),
        Named("a", calls, "HIGHEST"),
        Named("e", calls, 71),
    )
    table.call("before_run", None, {})
    assert calls == ["a", "b", "c", "d", "e"]


def test_a_priority_given_at_registration_overrides_that_of_the_class():
    calls = []
    table = table_of(Named("first", calls))
    table.register(Named("earlier", calls), priority="VERY_HIGH")
    table.call("before_run", None, {})
    assert calls == ["earlier", "first"]


def test_a_priority_in_a_config_overrides_that_of_the_class():
    @HOOKS.register_module(name="PriorityFromConfig", force=True)
    class FromConfig(Hook):
        pass

    table = HookTable()
    assert table.register({"type": "PriorityFromConfig", "priority": "LOWEST"}).priority == "LOWEST"
    assert table.register({"type": "PriorityFromConfig", "priority": 33}).priority == 33


def test_a_point_that_no_hook_overrides_plans_nothing():
    table = table_of(Hook(), Named("a", []))
    assert table._methods_of("after_train_iter") == ()
    assert len(table._methods_of("before_run")) == 1


def test_a_hook_that_overrides_the_shared_method_is_planned_for_all_three_points():
    class Shared(Hook):
        def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
            modes.append(mode)

    modes = []
    table = table_of(Shared())
    for mode in ("train", "val", "test"):
        table.call(f"before_{mode}_iter", None, {"batch_idx": 0, "data_batch": None})
    assert modes == ["train", "val", "test"]
    assert table._methods_of("after_train_iter") == ()


def test_a_method_patched_onto_the_instance_is_planned():
    calls = []
    hook = Hook()
    hook.before_val = lambda runner: calls.append("patched")
    table_of(hook).call("before_val", None, {})
    assert calls == ["patched"]


def test_registering_a_hook_after_a_call_plans_anew():
    calls = []
    table = table_of(Named("a", calls))
    table.call("before_run", None, {})
    table.register(Named("b", calls))
    table.call("before_run", None, {})
    assert calls == ["a", "a", "b"]


def test_an_unknown_point_is_an_error_with_the_nearest_name():
    with pytest.raises(TypeError, match="after_train_iter"):
        table_of(Hook()).call("after_trian_iter", None, {})


def test_a_point_of_the_users_own_is_called_where_a_hook_defines_it():
    class Custom(Hook):
        def after_distillation(self, runner, value):
            seen.append(value)

    seen = []
    table_of(Custom(), Hook()).call("after_distillation", None, {"value": 3})
    assert seen == [3]


def test_a_hook_with_wrong_parameters_is_named_with_the_right_ones():
    class Wrong(Hook):
        def after_train_iter(self, runner):
            pass

    with pytest.raises(TypeError, match=r"Wrong\.after_train_iter takes \(runner\).*batch_idx.*outputs"):
        table_of(Wrong()).call("after_train_iter", None, {"batch_idx": 0, "data_batch": None, "outputs": None})


def test_a_type_error_inside_a_hook_passes_as_it_is():
    class Broken(Hook):
        def before_run(self, runner):
            return 1 + "2"

    with pytest.raises(TypeError, match="unsupported operand"):
        table_of(Broken()).call("before_run", None, {})


@pytest.mark.parametrize("wrong", [3, "CheckpointHook", Hook])
def test_something_that_is_no_hook_is_refused(wrong):
    with pytest.raises(TypeError, match="must be a Hook"):
        HookTable().register(wrong)


def test_the_description_lists_points_with_priority_and_class():
    text = table_of(Named("a", [], "VERY_LOW")).describe()
    assert text.startswith("before_run:\n(VERY_LOW    ) Named")
