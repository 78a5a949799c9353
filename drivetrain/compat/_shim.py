"""The tiny real package `mmengine`: on `sys.path` for child processes, or written into an environment.

A finder is enough for one process. A spawned worker, `pip` and `importlib.metadata` need something on disk.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from drivetrain.errors import AliasError
from drivetrain.version import CONTRACT_VERSION

SHIM = Path(__file__).resolve().parent / "shim"
"""Folder that holds the package and its metadata, as they are put on `sys.path` for child processes."""

_PACKAGE = "mmengine"
_DIST_INFO = f"mmengine-{CONTRACT_VERSION}.dist-info"
_MARK = "__drivetrain_shim__"
"""A line of the package, which tells it from MMEngine's."""


def install_shim(target: Path | None = None, *, force: bool = False) -> str:
    """Write the package into an environment, unless it stands there already.

    Args:
        target: a site-packages folder; by default that of the running Python.
        force: write it anew, and over a folder `mmengine` that no installed distribution owns.

    Returns:
        A sentence that says what was done.

    Raises:
        AliasError: MMEngine itself is installed, or `force` is needed.
    """
    folder = _folder(target)
    _refuse_mmengine(folder)
    present = folder / _PACKAGE
    if _is_ours(present) and _is_whole(folder) and not force:
        return f"{present} stands there already."
    if present.exists() and not _is_ours(present) and not force:
        raise AliasError(f"{present} is in the way, and no installed package owns it. Remove it, or give --force.")
    _write(folder)
    return f"Wrote {present}: programs of this environment now find drivetrain under the name mmengine."


def remove_shim(target: Path | None = None) -> str:
    """Take the package out of an environment; returns a sentence that says what was done.

    Raises:
        AliasError: what stands there is MMEngine itself.
    """
    folder = _folder(target)
    _refuse_mmengine(folder, "It stays as it is: remove-shim removes drivetrain's stand-in only.")
    found = [folder / _DIST_INFO, folder / _PACKAGE] if _is_ours(folder / _PACKAGE) else []
    for path in found:
        shutil.rmtree(path, ignore_errors=path.name == _DIST_INFO)
    return f"Removed {folder / _PACKAGE}." if found else f"Nothing to remove: {folder / _PACKAGE} is not there."


def _folder(target: Path | None) -> Path:
    return Path(sysconfig.get_paths()["purelib"] if target is None else target).resolve()


def _is_ours(package: Path) -> bool:
    init = package / "__init__.py"
    return init.is_file() and _MARK in init.read_text(encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    return all(path.is_file() and path.read_bytes() == content for path, content in _contents(folder))


def _refuse_mmengine(folder: Path, advice: str = "Remove it first: pip uninstall mmengine") -> None:
    """Raise if a distribution `mmengine` other than ours is installed in `folder` or anywhere Python looks."""
    found = [*importlib.metadata.distributions(name=_PACKAGE, path=[str(folder)])]
    found += importlib.metadata.distributions(name=_PACKAGE)
    for distribution in found:
        if "provided by drivetrain" not in (distribution.read_text("METADATA") or ""):
            where = distribution.locate_file("")
            raise AliasError(f"MMEngine {distribution.version} is installed in {where}. {advice}")


def _sources() -> Iterator[Path]:
    for part in (_PACKAGE, _DIST_INFO):
        yield from (path for path in sorted((SHIM / part).iterdir()) if path.is_file())


def _contents(folder: Path) -> list[tuple[Path, bytes]]:
    """Every file of the package in `folder` with what it holds; RECORD is what lets pip uninstall it."""
    files = [(path.relative_to(SHIM), path.read_bytes()) for path in _sources()]
    files.append((Path(_DIST_INFO, "INSTALLER"), b"drivetrain\n"))
    record = Path(_DIST_INFO, "RECORD")
    rows = [f"{path.as_posix()},{_digest(content)},{len(content)}\n" for path, content in files]
    files.append((record, "".join([*rows, f"{record.as_posix()},,\n"]).encode()))
    return [(folder / path, content) for path, content in files]


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _write(folder: Path) -> None:
    """Write all of it beside its place, then rename: a reader finds the old package or the new one, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".mmengine-", dir=folder))
    try:
        for path, content in _contents(draft):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        for part in (_PACKAGE, _DIST_INFO):
            if (folder / part).exists():
                os.replace(folder / part, draft / f"old-{part}")
            os.replace(draft / part, folder / part)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
