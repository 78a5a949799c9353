"""The tiny package `mmengine` in an environment."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
from pathlib import Path

import pytest

from drivetrain.compat._main import main
from drivetrain.compat._shim import SHIM, install_shim, remove_shim
from drivetrain.errors import AliasError
from drivetrain.version import CONTRACT_VERSION


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def fake_mmengine(folder: Path) -> None:
    (folder / "mmengine").mkdir()
    (folder / "mmengine" / "__init__.py").write_text("__version__ = '0.10.4'\n")
    (folder / "mmengine-0.10.4.dist-info").mkdir()
    (folder / "mmengine-0.10.4.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mmengine\nVersion: 0.10.4\n"
    )


def test_shipped_metadata_has_the_version_of_the_contract() -> None:
    (distribution,) = importlib.metadata.distributions(name="mmengine", path=[str(SHIM)])
    assert distribution.version == CONTRACT_VERSION
    assert distribution.requires == ["drivetrain"]


def test_written_package_is_a_whole_distribution(tmp_path: Path) -> None:
    assert "Wrote" in install_shim(tmp_path)
    info = f"mmengine-{CONTRACT_VERSION}.dist-info"
    assert files(tmp_path) == {
        "mmengine/__init__.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/INSTALLER", f"{info}/RECORD",
    }  # fmt: skip
    (distribution,) = importlib.metadata.distributions(name="mmengine", path=[str(tmp_path)])
    assert distribution.version == CONTRACT_VERSION
    rows = list(csv.reader((distribution.read_text("RECORD") or "").splitlines()))
    assert {row[0] for row in rows} == files(tmp_path)
    for name, digest, size in rows:
        content = (tmp_path / name).read_bytes()
        if not name.endswith("RECORD"):
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={expected}", str(len(content)))


def test_any_program_of_the_environment_finds_drivetrain_under_the_name(run, tmp_path: Path) -> None:
    install_shim(tmp_path / "site")
    code = (
        "import importlib.metadata as m, mmengine, mmengine.fileio, drivetrain.fileio, sys, os\n"
        "print(mmengine.__version__, m.version('mmengine'), mmengine.fileio is drivetrain.fileio)\n"
        "from drivetrain.utils import is_alias_active\n"
        "print(is_alias_active(), sum('shim' in p for p in sys.path), 'shim' in os.environ['PYTHONPATH'])\n"
    )
    out = run("-c", code, path=str(tmp_path / "site"))
    assert out.splitlines() == ["0.10.7 0.10.7 True", "True 0 False"]


def test_without_drivetrain_the_package_says_what_to_do(run, tmp_path: Path) -> None:
    install_shim(tmp_path / "site")
    out = run("-S", "-c", "import mmengine", path=str(tmp_path / "site"), alone=True, code=1)
    assert "drivetrain is not installed. Install it (pip install drivetrain), or remove this stand-in" in out


def test_writing_twice_changes_nothing_and_force_repairs(tmp_path: Path) -> None:
    install_shim(tmp_path)
    before = (tmp_path / "mmengine").stat().st_mtime_ns
    assert "already" in install_shim(tmp_path)
    assert (tmp_path / "mmengine").stat().st_mtime_ns == before
    init = tmp_path / "mmengine" / "__init__.py"
    init.write_text(init.read_text() + "# changed\n")
    assert "Wrote" in install_shim(tmp_path)
    assert "# changed" not in init.read_text()
    assert "Wrote" in install_shim(tmp_path, force=True)
    assert [path.name for path in tmp_path.glob(".mmengine-*")] == []


def test_mmengine_itself_is_never_touched(tmp_path: Path) -> None:
    fake_mmengine(tmp_path)
    before = files(tmp_path)
    with pytest.raises(AliasError, match=r"MMEngine 0.10.4 is installed in .* pip uninstall mmengine"):
        install_shim(tmp_path, force=True)
    with pytest.raises(AliasError, match="It stays as it is"):
        remove_shim(tmp_path)
    assert files(tmp_path) == before


def test_folder_that_no_package_owns_needs_force(tmp_path: Path) -> None:
    (tmp_path / "mmengine").mkdir()
    (tmp_path / "mmengine" / "old.py").write_text("")
    with pytest.raises(AliasError, match=r"in the way, and no installed package owns it. Remove it, or give --force"):
        install_shim(tmp_path)
    install_shim(tmp_path, force=True)
    assert not (tmp_path / "mmengine" / "old.py").exists()


def test_remove_takes_all_of_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert "Nothing to remove" in remove_shim(tmp_path)
    install_shim(tmp_path)
    assert "Removed" in remove_shim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_failed_write_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("drivetrain.compat._shim.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        install_shim(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_commands_write_and_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-shim", "--target", str(tmp_path)]) == 0
    assert main(["install-shim", "--target", str(tmp_path)]) == 0
    assert main(["remove-shim", "--target", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(str(tmp_path)) == 3
    fake_mmengine(tmp_path)
    assert main(["install-shim", "--target", str(tmp_path)]) == 1
    assert "pip uninstall mmengine" in capsys.readouterr().err
