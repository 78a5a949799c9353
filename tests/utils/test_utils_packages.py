"""Installed packages, imports by name, needs of functions, old names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain import utils
from drivetrain.errors import ArgumentError, ArgumentTypeError, MissingPackageError, NotReadyError
from drivetrain.utils import (
    call_command,
    check_prerequisites,
    deprecated_api_warning,
    deprecated_function,
    get_installed_path,
    import_modules_from_strings,
    install_package,
    is_installed,
    package2module,
    requires_executable,
    requires_package,
)  # fmt: skip


def test_packages_are_known_by_distribution_and_by_module() -> None:
    assert all(map(is_installed, ["PyYAML", "pyyaml", "yaml", "numpy", "os"]))
    assert not is_installed("no-such-package") and not is_installed("no.such.package") and not is_installed("")


def test_module_of_a_distribution() -> None:
    assert (package2module("PyYAML"), package2module("numpy"), package2module("pytest")) == ("yaml", "numpy", "pytest")
    with pytest.raises(MissingPackageError, match='pip install "no-such-package"'):
        package2module("no-such-package")


def test_folder_of_a_package() -> None:
    assert Path(get_installed_path("PyYAML")).name == "yaml" == Path(get_installed_path("yaml")).name
    assert get_installed_path("typing_extensions").endswith("typing_extensions.py")
    assert Path(get_installed_path("os")).name == "os.py"
    with pytest.raises(ImportError, match="no-such-package"):
        get_installed_path("no-such-package")


def test_distribution_without_a_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "hollow_thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hollow-thing\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_installed("hollow-thing")
    with pytest.raises(ArgumentError, match="lists no module"):
        package2module("hollow-thing")
    (tmp_path / "hollow_thing.py").touch()
    assert package2module("hollow-thing") == "hollow_thing"


def test_packages_are_installed_with_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(utils.packages, "call_command", commands.append)
    install_package("numpy")
    install_package("no-such-package")
    assert commands == [[sys.executable, "-m", "pip", "install", "no-such-package"]]


def test_failed_command_is_an_error() -> None:
    call_command([sys.executable, "-c", ""])
    with pytest.raises(subprocess.CalledProcessError):
        call_command([sys.executable, "-c", "raise SystemExit(3)"])


def test_modules_are_imported_by_name() -> None:
    assert import_modules_from_strings("os.path").__name__.endswith("path")
    assert import_modules_from_strings(["os", "sys"])[1] is sys
    assert import_modules_from_strings([]) is None and import_modules_from_strings(None) is None


def test_failed_import_is_named_or_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_module_inside")
    (tmp_path / "broken_inside.py").write_text("raise ValueError('x')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=r"Failed to import needs_more: .*no_such_module_inside"):
        import_modules_from_strings(["os", "needs_more"])
    with pytest.warns(UserWarning, match="needs_more failed to import and is ignored"):
        assert import_modules_from_strings(["sys", "needs_more"], allow_failed_imports=True) == [sys, None]
    with pytest.raises(ValueError, match="x"):
        import_modules_from_strings("broken_inside", allow_failed_imports=True)
    with pytest.raises(ArgumentTypeError, match="got 1"):
        import_modules_from_strings(1)
    with pytest.raises(ArgumentTypeError, match=r"got 1 \(int\) in \['os', 1\]"):
        import_modules_from_strings(["os", 1])


def test_needs_are_checked_at_the_call() -> None:
    @check_prerequisites(["a", "b"], lambda name: name == "b", "{} for {}")
    def act() -> int:
        """Document me."""
        return 1

    assert act.__doc__ == "Document me."
    with pytest.raises(NotReadyError, match=r"^a for act$"):
        act()
    assert requires_package("numpy")(lambda: 1)() == 1 and requires_executable(sys.executable)(lambda: 1)() == 1
    with pytest.raises(RuntimeError, match='"no_module, no_other" are required in method "draw"'):

        @requires_package(["no_module", "os", "no_other"])
        def draw() -> None: ...

        draw()
    with pytest.raises(RuntimeError, match="no-such-command"):
        requires_executable("no-such-command")(lambda: 1)()


def test_old_argument_names_work_and_warn() -> None:
    @deprecated_api_warning({"old": "new"}, cls_name="Box")
    def put(new: int = 0, other: int = 2) -> tuple[int, int]:
        return new, other

    assert put(1) == (1, 2) == put(new=1)
    with pytest.warns(DeprecationWarning, match='"old" is deprecated in `Box.put`, please use "new" instead') as seen:
        assert put(old=5) == (5, 2)
    assert seen[0].filename == __file__
    with pytest.raises(ArgumentTypeError, match="got 'old' and 'new', which are one argument"):
        put(old=1, new=2)


def test_old_functions_work_and_warn() -> None:
    @deprecated_function("1.0", "2.0", "use g")
    def act(x: int) -> int:
        """Act on x."""
        return x

    with pytest.warns(
        DeprecationWarning, match=r"act' is deprecated in version 1.0 and will be removed .*Please use g"
    ):
        assert act(3) == 3
    assert act.__name__ == "act" and (act.__doc__ or "").startswith(".. deprecated:: 1.0\n")
    assert (act.__doc__ or "").endswith("Act on x.")


def test_import_of_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, drivetrain.utils\n"
        "heavy = {'numpy', 'rich', 'yaml', 'torch', 'multiprocessing', 'subprocess', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
