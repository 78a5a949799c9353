"""The table itself: registering, looking up, scopes, locations."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drivetrain import registry as room
from drivetrain.errors import ArgumentTypeError, BuildError, DuplicateError, MissingPackageError
from drivetrain.registry import DefaultScope, Registry


@pytest.fixture
def family() -> dict[str, Registry]:
    """A root with a child and a grandchild, one class in each."""
    root = Registry("animal", scope="zoo")
    child = Registry("animal", parent=root, scope="farm")
    grandchild = Registry("animal", parent=child, scope="barn")
    for registry, name in ((root, "Lion"), (child, "Cow"), (grandchild, "Owl")):
        registry.register_module(module=type(name, (), {}))
    return {"zoo": root, "farm": child, "barn": grandchild}


def write_package(folder: Path, **files: str) -> None:
    """Write a package: `a__b="code"` becomes a/b.py."""
    for name, code in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(code)


def test_import_loads_no_torch_and_no_room() -> None:
    code = (
        "import sys, drivetrain.registry as r; r.HOOKS.register_module(name='X', module=len); r.HOOKS.get('X');"
        "print([m for m in ('torch', 'rich', 'numpy', 'drivetrain.hooks', 'drivetrain.runner') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_23_roots_have_the_names_of_the_contract() -> None:
    names = {
        "RUNNERS": "runner",
        "RUNNER_CONSTRUCTORS": "runner constructor",
        "LOOPS": "loop",
        "HOOKS": "hook",
        "STRATEGIES": "strategy",
        "DATASETS": "dataset",
        "DATA_SAMPLERS": "data sampler",
        "TRANSFORMS": "transform",
        "MODELS": "model",
        "MODEL_WRAPPERS": "model_wrapper",
        "WEIGHT_INITIALIZERS": "weight initializer",
        "OPTIMIZERS": "optimizer",
        "OPTIM_WRAPPERS": "optim_wrapper",
        "OPTIM_WRAPPER_CONSTRUCTORS": "optimizer wrapper constructor",
        "PARAM_SCHEDULERS": "parameter scheduler",
        "METRICS": "metric",
        "EVALUATOR": "evaluator",
        "TASK_UTILS": "task util",
        "VISUALIZERS": "visualizer",
        "VISBACKENDS": "vis_backend",
        "LOG_PROCESSORS": "log_processor",
        "INFERENCERS": "inferencer",
        "FUNCTIONS": "function",
    }
    roots = {name: value for name, value in vars(room).items() if isinstance(value, Registry)}
    assert {name: root.name for name, root in roots.items()} == names
    assert {root.scope for root in roots.values()} == {"mmengine"}
    assert all(root.parent is None for root in roots.values())


def test_register_as_decorator_keeps_the_class() -> None:
    shapes = Registry("shape", scope="s")

    @shapes.register_module()
    class Square:
        pass

    @shapes.register_module(name=["Round", "Disc"])
    def circle() -> None:
        """Any callable may be registered."""

    assert shapes.module_dict == {"Square": Square, "Round": circle, "Disc": circle}
    assert len(shapes) == 3
    assert "Square" in shapes and "square" not in shapes


def test_register_as_call_returns_the_module() -> None:
    shapes = Registry("shape", scope="s")
    assert shapes.register_module("sum", False, sum) is sum
    assert shapes.register_module(module=len) is len
    assert set(shapes.module_dict) == {"sum", "len"}


def test_a_taken_name_raises_and_says_who_has_it() -> None:
    shapes = Registry("shape", scope="s")
    shapes.register_module(name="x", module=len)
    with pytest.raises(DuplicateError, match=r"'x' is already registered .* by builtins\.len") as raised:
        shapes.register_module(name=["y", "x"], module=sum)
    assert isinstance(raised.value, KeyError)
    assert set(shapes.module_dict) == {"x"}, "nothing is registered when one of several names is taken"
    shapes.register_module(name="x", module=sum, force=True)
    assert shapes.get("x") is sum


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(module=3), "only classes and functions"),
        (dict(name=3, module=len), "name must be a str or a list of str"),
        (dict(name=["a", 3], module=len), "name must be a str or a list of str"),
        (dict(force=1, module=len), "force must be True or False, got 1"),
    ],
)
def test_register_refuses_wrong_arguments(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        Registry("shape", scope="s").register_module(**kwargs)  # type: ignore[call-overload]


def test_decorator_without_parentheses_says_so() -> None:
    shapes = Registry("shape", scope="s")
    with pytest.raises(TypeError, match=r"needs parentheses.*above 'Square'"):

        @shapes.register_module
        class Square:
            pass


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(name=3), "name of a registry must be a str"),
        (dict(name="a", build_func=3), "build_func must be callable"),
        (dict(name="a", parent="b"), "parent must be a Registry"),
        (dict(name="a", scope=3), "scope must be a str"),
    ],
)
def test_registry_refuses_wrong_arguments(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        Registry(**kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "key", "found"),
    [
        ("farm", "Cow", "Cow"),
        ("farm", "Lion", "Lion"),
        ("barn", "Lion", "Lion"),
        ("zoo", "Cow", None),
        ("farm", "Owl", None),
        ("zoo", "farm.Cow", "Cow"),
        ("zoo", "farm.barn.Owl", "Owl"),
        ("farm", "zoo.Lion", "Lion"),
        ("farm", "barn.Owl", "Owl"),
        ("barn", "farm.Cow", "Cow"),
        ("zoo", "barn.Owl", "Owl"),
        ("farm", "farm.Lion", None),
        ("farm", "farm.Cow", "Cow"),
    ],
)
def test_look_up_goes_up_and_scopes_go_anywhere(
    family: dict[str, Registry], asked: str, key: str, found: str | None
) -> None:
    hit = family[asked].get(key)
    assert (hit and hit.__name__) == found
    assert (key in family[asked]) is (found is not None)


def test_the_package_name_is_an_alias_of_the_root_scope() -> None:
    import torch

    child = Registry("model", parent=room.MODELS, scope="alias_test")
    try:
        room.MODELS.register_module(name="AliasTest", module=torch.nn.Identity)
        for key in ("AliasTest", "mmengine.AliasTest", "drivetrain.AliasTest"):
            assert room.MODELS.get(key) is child.get(key) is torch.nn.Identity
        assert Registry("x", scope="drivetrain").scope == "mmengine"
        with child.switch_scope_and_registry("drivetrain") as switched:
            assert switched is room.MODELS
    finally:
        del room.MODELS.module_dict["AliasTest"], room.MODELS.children["alias_test"]


def test_import_paths_are_found() -> None:
    import math

    shapes = Registry("shape", scope="s")
    assert shapes.get("math.sqrt") is math.sqrt
    assert shapes.get("mmengine.errors.BuildError") is BuildError, "paths of the contract's package mean this one"
    assert shapes.get("math.nothing") is None
    assert shapes.get("no_such_package_here.x.y") is None


def test_a_plain_name_is_never_imported() -> None:
    assert Registry("shape", scope="s").get("antigravity") is None
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("key", [None, 3, len])
def test_get_refuses_what_is_no_name(key: object) -> None:
    with pytest.raises(ArgumentTypeError, match="asked by name"):
        Registry("shape", scope="s").get(key)  # type: ignore[arg-type]


def test_scope_comes_from_the_calling_module() -> None:
    scope: dict[str, object] = {"__name__": "my_package.things.registry"}
    exec("from drivetrain.registry import Registry\nr = Registry('x')\ns = Registry.infer_scope()", scope)
    assert scope["r"].scope == scope["s"] == "my_package"  # type: ignore[attr-defined]
    inside: dict[str, object] = {"__name__": "drivetrain.hooks._x"}
    exec("from drivetrain.registry import Registry\nr = Registry('x')", inside)
    assert inside["r"].scope == "mmengine"  # type: ignore[attr-defined]


def test_split_scope_key_splits_at_the_first_dot() -> None:
    assert Registry.split_scope_key("a.b.c") == ("a", "b.c")
    assert Registry.split_scope_key("a") == (None, "a")


def test_a_parent_holds_one_child_per_scope(family: dict[str, Registry]) -> None:
    with pytest.raises(DuplicateError, match="'animal' has a child of scope 'farm' already"):
        Registry("animal", parent=family["zoo"], scope="farm")
    assert family["zoo"].children == {"farm": family["farm"]}
    assert family["barn"].root is family["zoo"]


def test_locations_are_imported_on_first_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(
        tmp_path,
        loc_pkg__registry="from drivetrain.registry import Registry\nR = Registry('thing',"
        " locations=['loc_pkg.things'])\n",
        loc_pkg__things="from .registry import R\nassert R.get('later') is None\n"
        "@R.register_module()\nclass Thing: pass\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    from loc_pkg.registry import R  # type: ignore[import-not-found]

    assert "loc_pkg.things" not in sys.modules and len(R) == 0
    assert R.get("Thing").__name__ == "Thing"
    assert R.scope == "loc_pkg"


def test_locations_are_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, once_pkg__things="")
    monkeypatch.syspath_prepend(tmp_path)
    things = Registry("thing", scope="once", locations=["once_pkg.things"])
    assert things.get("a") is None
    sys.modules.pop("once_pkg.things")
    assert things.get("a") is None
    assert "once_pkg.things" not in sys.modules


def test_a_missing_location_names_the_package_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    things = Registry("thing", scope="t", locations=["late_pkg.things"])
    for _ in range(2):
        with pytest.raises(
            MissingPackageError, match=r"importing 'late_pkg.things', and there is no such module .*'late_pkg'"
        ):
            things.get("Thing")
    write_package(tmp_path, late_pkg__things="")
    monkeypatch.syspath_prepend(tmp_path)
    assert things.get("Thing") is None


@pytest.mark.parametrize(("code", "cause"), [("1 / 0", ZeroDivisionError), ("import no_such_mmcv", ImportError)])
def test_a_location_that_raises_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, cause: type[Exception]
) -> None:
    name = f"bad_{cause.__name__.lower()}"
    write_package(tmp_path, **{f"{name}__things": code})
    monkeypatch.syspath_prepend(tmp_path)
    things = Registry("thing", scope="t", locations=[f"{name}.things"])
    with pytest.raises(BuildError, match=rf"importing '{name}\.things' .* raised") as raised:
        things.get("Thing")
    assert isinstance(raised.value.__cause__, cause)


def test_a_foreign_scope_imports_its_registry_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(
        tmp_path,
        scoped_pkg__registry="from drivetrain.registry import HOOKS as ROOT, Registry\n"
        "HOOKS = Registry('hook', parent=ROOT, locations=['scoped_pkg.hooks'])\n",
        scoped_pkg__hooks="from .registry import HOOKS\n@HOOKS.register_module()\nclass Mine: pass\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert room.HOOKS.get("scoped_pkg.Mine").__module__ == "scoped_pkg.hooks"
        with room.HOOKS.switch_scope_and_registry("scoped_pkg") as switched:
            assert switched.scope == "scoped_pkg"
            assert DefaultScope.get_current_instance().scope_name == "scoped_pkg"  # type: ignore[union-attr]
    finally:
        room.HOOKS.children.pop("scoped_pkg", None)


def test_a_scope_whose_registry_module_raises_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, broken_scope__registry="raise ValueError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BuildError, match=r"'broken_scope\.registry' .*raised ValueError: boom"):
        room.TASK_UTILS.get("broken_scope.Thing")


def test_openmmlab_packages_without_locations_register_all_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(
        tmp_path,
        mmrotate__utils="from .registry import R\ndef register_all_modules(init_default_scope=True):\n"
        "    R.register_module(name=f'with {init_default_scope}', module=len)\n",
        mmrotate__registry="from drivetrain.registry import Registry\nR = Registry('thing')\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    from mmrotate.registry import R  # type: ignore[import-not-found]

    assert R.get("with False") is len


def test_switch_without_a_default_scope_keeps_the_registry(family: dict[str, Registry]) -> None:
    with family["farm"].switch_scope_and_registry(None) as registry:
        assert registry is family["farm"]


def test_switch_follows_the_default_scope(family: dict[str, Registry]) -> None:
    with DefaultScope.overwrite_default_scope("farm"), family["zoo"].switch_scope_and_registry(None) as registry:
        assert registry is family["farm"]
    with family["barn"].switch_scope_and_registry("zoo") as registry:
        assert registry is family["zoo"]
    assert DefaultScope.get_current_instance() is None


def test_switch_to_an_unknown_scope_warns_once_and_stays(
    family: dict[str, Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    from drivetrain.registry import _registry

    said: list[str] = []
    monkeypatch.setattr(_registry, "warn", said.append)
    for _ in range(2):
        with family["zoo"].switch_scope_and_registry("no_such_scope") as registry:
            assert registry is family["zoo"]
    assert len(said) == 1 and "no child of scope 'no_such_scope'" in said[0]


def test_a_scope_whose_registry_is_still_empty_is_switched_to(family: dict[str, Registry]) -> None:
    empty = Registry("animal", parent=family["zoo"], scope="empty_scope")
    with family["zoo"].switch_scope_and_registry("empty_scope") as registry:
        assert registry is empty


def test_a_foreign_tree_is_quiet_under_the_root_scope(
    family: dict[str, Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    from drivetrain.registry import _registry

    said: list[str] = []
    monkeypatch.setattr(_registry, "warn", said.append)
    with family["zoo"].switch_scope_and_registry("mmengine") as registry:
        assert registry is family["zoo"]
    assert not said


def test_repr_is_a_table(family: dict[str, Registry]) -> None:
    text = repr(family["zoo"])
    assert "Registry of animal" in text and "Lion" in text and "Cow" not in text


def test_concurrent_registration_gives_a_name_once() -> None:
    shapes = Registry("shape", scope="s")
    taken: list[int] = []

    def register(number: int) -> None:
        try:
            shapes.register_module(name="same", module=lambda: number)
        except KeyError:
            taken.append(number)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 15


def test_a_dropped_registry_is_forgotten() -> None:
    from drivetrain.registry._registry import root_registries

    registry = Registry("passing", scope="s")
    assert registry in root_registries()
    name = registry.name
    del registry
    assert name not in [root.name for root in root_registries()]
