"""Copy files and folders within a storage and between two."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ._backend import Storage, scheme_of
from ._choice import backend_for
from ._local import LOCAL


def copyfile(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a file, also between storages; folders above `dst` are created.

    Args:
        src: the file.
        dst: the new file, or an existing folder to put it in.
        backend_args: options of the remote storage at either end.

    Returns:
        The path of the copy.

    Raises:
        MissingFileError: there is no `src`.
    """
    source, target = _end_of_copy(src, backend_args), _end_of_copy(dst, backend_args)
    if source is target:
        return source.copyfile(src, dst)
    if target is LOCAL:
        return source.copyfile_to_local(src, dst)
    if source is LOCAL:
        return target.copyfile_from_local(src, dst)
    dst = target.join_path(dst, os.path.basename(os.fspath(src))) if target.isdir(dst) else dst
    target.put(source.get(src), dst)
    return dst


def copytree(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a folder with all that is in it, also between storages.

    Args:
        src: the folder.
        dst: the new folder.
        backend_args: options of the remote storage at either end.

    Returns:
        `dst`.

    Raises:
        FileExistsError: `dst` is there.
        MissingFileError: there is no `src`.
    """
    source, target = _end_of_copy(src, backend_args), _end_of_copy(dst, backend_args)
    if source is target:
        return source.copytree(src, dst)
    if target is LOCAL:
        return source.copytree_to_local(src, dst)
    if source is LOCAL:
        return target.copytree_from_local(src, dst)
    if target.exists(dst):
        raise FileExistsError(f"copytree makes a new folder, and {os.fspath(dst)!r} is there.")
    for name in source.list_dir_or_file(src, list_dir=False, recursive=True):
        target.put(source.get(source.join_path(src, name)), target.join_path(dst, name))
    return dst


def copyfile_from_local(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a local file to the storage of `dst`.

    Args:
        src: the local file.
        dst: the new file, or an existing folder to put it in.
        backend_args: options of the storage of `dst`.

    Returns:
        The path of the copy.
    """
    return backend_for(dst, backend_args).copyfile_from_local(src, dst)


def copytree_from_local(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a local folder to the storage of `dst`.

    Args:
        src: the local folder.
        dst: the new folder; a `FileExistsError` if there is one.
        backend_args: options of the storage of `dst`.

    Returns:
        `dst`.
    """
    return backend_for(dst, backend_args).copytree_from_local(src, dst)


def copyfile_to_local(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a file from its storage to the local disk.

    Args:
        src: the file.
        dst: the new local file, or an existing folder to put it in.
        backend_args: options of the storage of `src`.

    Returns:
        The path of the copy.
    """
    return backend_for(src, backend_args).copyfile_to_local(src, dst)


def copytree_to_local(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> str | Path:
    """Copy a folder from its storage to the local disk.

    Args:
        src: the folder.
        dst: the new local folder; a `FileExistsError` if there is one.
        backend_args: options of the storage of `src`.

    Returns:
        `dst`.
    """
    return backend_for(src, backend_args).copytree_to_local(src, dst)


def copy_if_symlink_fails(src: str | Path, dst: str | Path, backend_args: dict[str, Any] | None = None) -> bool:
    """Make `dst` a symbolic link to a file or folder, or where the storage knows no links, a copy.

    Args:
        src: the file or folder.
        dst: the link; a link that stands there is replaced.
        backend_args: options of the storage.

    Returns:
        Whether it is a link.
    """
    return backend_for(src, backend_args).copy_if_symlink_fails(src, dst)


def _end_of_copy(path: str | Path, backend_args: dict[str, Any] | None) -> Storage:
    """The storage of one end; options meant for a remote end are not forced on a local one."""
    remote = scheme_of(path) is not None or "backend" in (backend_args or {})
    return backend_for(path, backend_args if remote else None)
