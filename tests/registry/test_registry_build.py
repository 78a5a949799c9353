"""Building: arguments, scopes, managed instances, inherited build functions, errors of constructors."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from drivetrain.config import Config
from drivetrain.errors import ArgumentTypeError, NotFoundError
from drivetrain.registry import DefaultScope, Registry, build_from_cfg
from drivetrain.utils import ManagerMixin


class Box:
    def __init__(self, side: int, colour: str = "red") -> None:
        self.side, self.colour = side, colour
        scope = DefaultScope.get_current_instance()
        self.scope = scope and scope.scope_name


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape", scope="s")
    registry.register_module(module=Box)
    return registry


def test_build_leaves_the_config_as_it_was(shapes: Registry) -> None:
    cfg = dict(type="Box", side=1, _scope_="s")
    box = shapes.build(cfg)
    assert (box.side, box.colour, box.scope) == (1, "red", "s")
    assert cfg == dict(type="Box", side=1, _scope_="s")


def test_default_args_fill_what_the_config_lacks(shapes: Registry) -> None:
    box = build_from_cfg(dict(side=1), shapes, dict(type="Box", side=5, colour="blue"))
    assert (box.side, box.colour) == (1, "blue")
    assert shapes.build(dict(type="Box"), default_args=dict(side=5)).side == 5


@pytest.mark.parametrize("kind", [Box, "Box", "s.Box", f"{__name__}.Box", functools.partial(Box, colour="red")])
def test_type_may_be_a_name_a_path_a_class_or_a_callable(shapes: Registry, kind: object) -> None:
    assert shapes.build(dict(type=kind, side=2)).side == 2


def test_a_registered_function_is_called(shapes: Registry) -> None:
    shapes.register_module(name="twice", module=lambda x: 2 * x)
    assert shapes.build(dict(type="twice", x=4)) == 8


def test_any_mapping_is_a_config(shapes: Registry) -> None:
    import types

    assert shapes.build(types.MappingProxyType(dict(type="Box", side=3))).side == 3


def test_scope_key_switches_registry_and_default_scope_while_building(shapes: Registry) -> None:
    child = Registry("shape", parent=shapes, scope="child")

    @child.register_module(name="Box")
    class Other:
        def __init__(self, inner: dict[str, Any]) -> None:
            self.inner = shapes.build(inner)

    nested = shapes.build(dict(type="Box", _scope_="child", inner=dict(type="s.Box", side=1)))
    assert type(nested) is Other and nested.inner.scope == "child"
    assert DefaultScope.get_current_instance() is None


def test_a_class_with_named_instances_is_asked_for_its_instance(shapes: Registry) -> None:
    @shapes.register_module()
    class Hub(ManagerMixin):
        def __init__(self, name: str, size: int = 1) -> None:
            super().__init__(name)
            self.size = size

    first = shapes.build(dict(type="Hub", name="a", size=3))
    assert shapes.build(dict(type="Hub", name="a")) is first is Hub.get_instance("a")
    with pytest.raises(ArgumentTypeError, match="needs 'name'"):
        shapes.build(dict(type=Hub))
    with pytest.raises(ArgumentTypeError, match=r"no argument 'sise'. Did you mean 'size'"):
        shapes.build(dict(type=Hub, name="a", sise=3))


def test_build_function_is_inherited_also_when_set_later() -> None:
    root = Registry("x", scope="a")
    leaf = Registry("x", parent=Registry("x", parent=root, scope="b"), scope="c")
    assert leaf.build_func is build_from_cfg
    root.build_func = lambda cfg, registry, extra=0: (cfg, registry, extra)
    assert leaf.build(5, extra=1) == (5, leaf, 1)
    own = Registry("x", parent=root, scope="d", build_func=lambda cfg, registry: "own")
    assert own.build(5) == "own"


@pytest.mark.parametrize("cfg", [None, "Box", 3, [dict(type="Box")]])
def test_a_config_must_be_a_mapping(shapes: Registry, cfg: object) -> None:
    with pytest.raises(ArgumentTypeError, match="config of a shape must be a dict or a config"):
        shapes.build(cfg)


def test_default_args_must_be_a_mapping(shapes: Registry) -> None:
    with pytest.raises(ArgumentTypeError, match="default_args of a shape must be a dict"):
        shapes.build(dict(type="Box"), default_args=3)


def test_registry_argument_must_be_a_registry() -> None:
    with pytest.raises(ArgumentTypeError, match="registry must be a Registry, got str"):
        build_from_cfg(dict(type=Box), "shapes")  # type: ignore[arg-type]


def test_no_type_is_a_key_error_that_shows_the_config(shapes: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"no key 'type'.*\{'side': 1\}.*dict\(type=") as raised:
        shapes.build(dict(side=1))
    assert isinstance(raised.value, KeyError)


@pytest.mark.parametrize("kind", [3, None, dict(type="Box")])
def test_type_must_be_a_name_or_callable(shapes: Registry, kind: object) -> None:
    with pytest.raises(ArgumentTypeError, match=r"'type' of a shape must be .* cannot be called"):
        shapes.build(dict(type=kind, side=1))


def test_a_path_to_a_module_cannot_be_built(shapes: Registry) -> None:
    with pytest.raises(ArgumentTypeError, match=r"'os.path' is a module"):
        shapes.build(dict(type="os.path"))


def test_unknown_argument_names_class_argument_nearest_and_signature(shapes: Registry) -> None:
    with pytest.raises(ArgumentTypeError) as raised:
        shapes.build(dict(type="Box", side=1, color="blue"))
    assert isinstance(raised.value, TypeError)
    for part in (f"{__name__}.Box", "no argument 'color'", "Did you mean 'colour'?", "Box(side, colour='red')"):
        assert part in str(raised.value)
    assert "needs" not in str(raised.value)


def test_missing_argument_is_named(shapes: Registry) -> None:
    with pytest.raises(ArgumentTypeError, match=r"needs 'side'.*Box\(side, colour='red'\)") as raised:
        shapes.build(dict(type="Box", colour="blue"))
    assert "no argument" not in str(raised.value)


def test_wrong_arguments_show_before_the_constructor_runs(shapes: Registry) -> None:
    ran: list[int] = []
    with pytest.raises(ArgumentTypeError):
        shapes.build(dict(type=lambda x: ran.append(x), y=1))
    assert ran == []


def test_open_ended_constructors_take_anything(shapes: Registry) -> None:
    assert shapes.build(dict(type=dict, a=1)) == {"a": 1}
    assert shapes.build(dict(type=lambda a, **rest: (a, rest), a=1, b=2)) == (1, {"b": 2})


def renamed(function: Any) -> Any:
    """A decorator that takes an old argument name, as deprecation helpers do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "old_side" in kwargs:
            kwargs["side"] = kwargs.pop("old_side")
        return function(*args, **kwargs)

    return wrapper


def test_a_decorated_constructor_may_take_more_than_it_shows(shapes: Registry) -> None:
    class Late:
        @renamed
        def __init__(self, side: int) -> None:
            self.side = side

    assert shapes.build(dict(type=Late, old_side=3)).side == 3
    with pytest.raises(ArgumentTypeError, match=r"no argument 'sidee'. Did you mean 'side'\?"):
        shapes.build(dict(type=Late, sidee=3))


@pytest.mark.parametrize("error", [ValueError("inner"), TypeError("bad argument inside"), KeyError("k")])
def test_an_error_of_the_constructor_keeps_its_type_and_gets_a_note(shapes: Registry, error: Exception) -> None:
    @shapes.register_module(force=True)
    class Failing:
        def __init__(self, inner: Any = None) -> None:
            if inner is None:
                raise error
            shapes.build(inner)

    with pytest.raises(type(error)) as raised:
        shapes.build(dict(type="Failing", inner=dict(type="Failing")))
    assert raised.value is error
    if sys.version_info >= (3, 11):
        assert len(error.__notes__) == 2 and "Failing for the registry 'shape'" in error.__notes__[0]


def test_without_notes_the_context_is_chained() -> None:
    from drivetrain.registry._construct import _chain

    error = ValueError("x")
    error.__cause__ = cause = KeyError("y")
    _chain(error, "raised while building Box")
    assert error.__cause__ is cause
    assert str(cause.__cause__) == "raised while building Box"


def test_interrupts_pass_untouched(shapes: Registry) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapes.build(dict(type=stop))


def test_errors_name_the_line_of_the_config_file(shapes: Registry, tmp_path: Path) -> None:
    path = tmp_path / "c.py"
    path.write_text("box = dict(\n    type='Box',\n    sid=1)\nother = dict(\n    type='Boks')\n")
    cfg = Config.fromfile(path)
    with pytest.raises(ArgumentTypeError, match=r"'sid'.*This is set in .*c.py:2\.$"):
        shapes.build(cfg.box)
    with pytest.raises(NotFoundError, match=r"'Boks'.*This is set in .*c.py:5\.$"):
        shapes.build(cfg.other)
