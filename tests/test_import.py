"""What importing costs, and which names are there."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import drivetrain

HEAVY = {"torch", "numpy", "rich", "fsspec", "yaml", "matplotlib"}


def run(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)


def loaded_by(statement: str) -> set[str]:
    done = run(
        f"{statement}; import sys; print(*({HEAVY!r} & sys.modules.keys()))".replace(repr(HEAVY), repr(set(HEAVY)))
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_package_alone_loads_nothing_heavy_and_no_room() -> None:
    assert loaded_by("import drivetrain") == set()
    done = run("import sys, drivetrain; print(sorted(m for m in sys.modules if m.startswith('drivetrain.')))")
    assert done.stdout == "['drivetrain.version']\n"


@pytest.mark.parametrize("room", ["registry", "logging", "fileio", "config", "utils", "errors", "typing"])
def test_lower_rooms_load_no_torch(room: str) -> None:
    assert "torch" not in loaded_by(f"import drivetrain.{room}")


def test_lazy_names_of_lower_rooms_load_no_torch() -> None:
    assert "torch" not in loaded_by(
        "import drivetrain as d; d.MODELS, d.MMLogger, d.dump, d.is_list_of, d.build_from_cfg"
    )


def test_runner_imports_silently_with_warnings_as_errors() -> None:
    done = run("import drivetrain.runner", "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [*drivetrain.__all__, *drivetrain._SUBMODULES])
def test_each_name_is_there(name: str) -> None:
    value = getattr(drivetrain, name)
    assert getattr(drivetrain, name) is value is not None
    room = drivetrain._ROOM_OF.get(name)
    if room is not None:
        assert value is getattr(importlib.import_module(f"drivetrain.{room}"), name)
    assert name in dir(drivetrain)


def test_star_import_hides_no_module_of_the_standard_library() -> None:
    assert not {"logging", "typing"} & set(drivetrain.__all__)


def test_every_room_is_reachable() -> None:
    root = Path(drivetrain.__file__).parent
    rooms = {path.parent.name for path in root.glob("*/__init__.py")} | {path.stem for path in root.glob("[!_]*.py")}
    assert rooms == set(drivetrain._SUBMODULES)


def test_stub_and_table_hold_the_same_names() -> None:
    tree = ast.parse(Path(drivetrain.__file__).with_suffix(".pyi").read_text())
    in_stub = {}
    for statement in tree.body:
        if type(statement) is ast.ImportFrom:
            for alias in statement.names:
                assert alias.asname == alias.name, f"{alias.name} is not exported to type checkers"
                in_stub[alias.name] = statement.module
    expected = {
        **dict.fromkeys(drivetrain._SUBMODULES, None),
        **drivetrain._ROOM_OF,
        "__version__": "version",
        "version_info": "version",
    }
    assert in_stub == expected


def test_unknown_name_is_an_attribute_error_with_the_nearest() -> None:
    with pytest.raises(
        AttributeError, match=r"module 'drivetrain' has no attribute 'BaseModl'. Did you mean 'BaseModel'"
    ):
        _ = drivetrain.BaseModl
    assert not hasattr(drivetrain, "_private")
    done = run("from drivetrain import Runer")
    assert done.returncode == 1 and "ImportError" in done.stderr


def test_version_is_one_number_in_two_forms() -> None:
    assert drivetrain.__version__ == ".".join(map(str, drivetrain.version_info))
