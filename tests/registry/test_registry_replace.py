"""Building on after a failure, and errors of configs that are built from a copy."""

from __future__ import annotations

import pytest

from drivetrain.config import ConfigDict, Origin
from drivetrain.config._dict import set_origins
from drivetrain.errors import ArgumentTypeError, NotFoundError
from drivetrain.registry import Registry, replace_failures, told_with_line

SHAPES = Registry("shape", scope="replace_shapes")


@SHAPES.register_module()
class Square:
    def __init__(self, side=1, inner=()):
        self.inner = [SHAPES.build(item) for item in inner]


def test_every_failure_inside_the_block_is_handed_over_and_replaced():
    failed = []

    def instead(error, cfg, default_args, registry):
        failed.append((type(error), cfg["type"], default_args, registry is SHAPES))
        return "replaced"

    parts = [dict(type="Sqare"), dict(type="Square", sied=2), dict(type="Square")]
    with replace_failures(instead):
        built = SHAPES.build(dict(type="Square", inner=parts))
    assert built.inner[:2] == ["replaced", "replaced"] and type(built.inner[2]) is Square
    assert failed == [(NotFoundError, "Sqare", None, True), (ArgumentTypeError, "Square", None, True)]


def test_failures_are_raised_again_after_the_block_and_in_a_block_of_none():
    with replace_failures(lambda *_: None):
        with replace_failures(None), pytest.raises(NotFoundError):
            SHAPES.build(dict(type="Sqare"))
        assert SHAPES.build(dict(type="Sqare")) is None
    with pytest.raises(NotFoundError):
        SHAPES.build(dict(type="Sqare"))


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Sqare", "misspelt name"),
        ("VeryOwnThing", "module not imported"),
        ("nopackage.Thing", "module not imported"),
        ("LoggerHook", "wrong scope or registry"),
    ],
)
def test_the_error_for_an_unknown_name_says_its_cause(name, cause):
    with pytest.raises(NotFoundError) as caught:
        SHAPES.build(dict(type=name))
    assert caught.value.cause == cause


def test_an_error_of_a_copy_names_the_line_of_what_was_written():
    written = ConfigDict(type="Sqare")
    set_origins(written, {"type": (Origin("shapes.py", 7),)})
    with pytest.raises(NotFoundError, match=r"This is set in shapes\.py:7\."):
        with told_with_line(written):
            SHAPES.build(dict(written))
