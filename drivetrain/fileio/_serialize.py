"""Load and dump objects, the format told by the file's ending."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from drivetrain.errors import ArgumentError, ArgumentTypeError, UntrustedFileError, did_you_mean

from ._atomic import atomic_write
from ._backend import Storage, chain_of, local_path, scheme_of
from ._choice import backend_for
from ._handlers import BaseFileHandler, file_handlers
from ._local import LOCAL
from ._remote import FsspecBackend
from ._trust import HOW_TO_TRUST, all_pickles_trusted


def load(
    file: str | Path | IO[Any],
    file_format: str | None = None,
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
    *,
    trusted: bool = False,
    **kwargs: Any,
) -> Any:
    """Load an object from a JSON, YAML or pickle file.

    Args:
        file: a local path, a URL or an open file.
        file_format: 'json', 'yaml', 'yml', 'pickle' or 'pkl'; by default the file's ending. An open file needs it.
        file_client_args: the older name of `backend_args`.
        backend_args: options of the remote storage.
        trusted: read a file that can run code: a pickle from remote storage, or one that names more than containers,
            numbers, strings, arrays and tensors; a YAML that names Python objects.
        kwargs: passed to the reader (`json.load`, `yaml.load`, `pickle.load`).

    Returns:
        The object.

    Raises:
        ArgumentTypeError: the format is unknown.
        UntrustedFileError: the file would or could run code and is not `trusted`.
        MissingFileError: no such file.
    """
    handler = _handler(file, file_format)
    options = merge_backend_args(file_client_args, backend_args)
    trusted = trusted or (handler.runs_code and all_pickles_trusted())
    if trusted:
        handler = handler.for_trusted_files()
    if hasattr(file, "read"):
        return handler.load_from_fileobj(cast("IO[Any]", file), **kwargs)
    backend = backend_for(file, options)
    if isinstance(backend, FsspecBackend) and handler.runs_code and not trusted:
        raise UntrustedFileError(
            f"a pickle can run any code, and {os.fspath(file)!r} comes from remote storage. {HOW_TO_TRUST}"
        )
    try:
        with _opened(backend, file, handler.str_like) as stream:
            return handler.load_from_fileobj(stream, **kwargs)
    except UntrustedFileError as error:
        raise UntrustedFileError(f"{os.fspath(file)!r}: {error}") from None


def _opened(backend: Storage, file: str | Path, as_text: bool) -> IO[Any]:
    """A file opened for a handler; only the local disk is read piece by piece."""
    if backend is LOCAL:
        raw = LOCAL.open_to_read(file)
        return io.TextIOWrapper(raw, encoding="utf-8") if as_text else raw
    return io.StringIO(backend.get_text(file)) if as_text else io.BytesIO(backend.get(file))


def dump(
    obj: Any,
    file: str | Path | IO[Any] | None = None,
    file_format: str | None = None,
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Write an object to a JSON, YAML or pickle file, or return it as a string.

    A local file is replaced whole (see `atomic_write`), and folders above it are created. In JSON, sets, ranges and
    NumPy arrays become lists, NumPy scalars become numbers.

    Args:
        obj: the object.
        file: a local path, a URL, an open file, or None to return a string (bytes for pickle).
        file_format: 'json', 'yaml', 'yml', 'pickle' or 'pkl'; by default the file's ending.
        file_client_args: the older name of `backend_args`.
        backend_args: options of the remote storage.
        kwargs: passed to the writer (`json.dumps`, `yaml.dump`, `pickle.dump`): `indent=2`, `sort_keys=True` ...

    Returns:
        The text or bytes where `file` is None, else None.

    Raises:
        ArgumentError: neither `file` nor `file_format` is given.
        ArgumentTypeError: the format is unknown, or cannot hold `obj`.
    """
    handler = _handler(file, file_format)
    options = merge_backend_args(file_client_args, backend_args)
    if file is None:
        return handler.dump_to_str(obj, **kwargs)
    if hasattr(file, "write"):
        handler.dump_to_fileobj(obj, cast("IO[Any]", file), **kwargs)
        return None
    backend = backend_for(file, options)
    if backend is LOCAL:
        with atomic_write(local_path(file), "w" if handler.str_like else "wb") as stream:
            handler.dump_to_fileobj(obj, stream, **kwargs)
        return None
    if handler.str_like:
        text = io.StringIO()
        handler.dump_to_fileobj(obj, text, **kwargs)
        backend.put_text(text.getvalue(), file)
    else:
        content = io.BytesIO()
        handler.dump_to_fileobj(obj, content, **kwargs)
        backend.put(content.getvalue(), file)
    return None


def merge_backend_args(
    file_client_args: dict[str, Any] | None, backend_args: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The storage options from the new argument or from the old one, which warns.

    Raises:
        ArgumentError: both are given.
    """
    if file_client_args is None:
        return backend_args
    if backend_args is not None:
        raise ArgumentError("file_client_args is the old name of backend_args: give backend_args only.")
    warnings.warn("file_client_args is the old name of backend_args.", DeprecationWarning, stacklevel=3)
    return file_client_args


def _handler(file: Any, file_format: str | None) -> BaseFileHandler:
    """The handler for a format, or for the ending of a path."""
    if file_format is None:
        if file is None or hasattr(file, "read") or hasattr(file, "write"):
            where = "without a file" if file is None else "with an open file"
            raise _unknown(file)(f"load and dump {where} need file_format, one of {', '.join(file_handlers)}.")
        file_format = _ending(file)
    try:
        return file_handlers[file_format]
    except KeyError:
        raise ArgumentTypeError(
            f"no reader or writer for the format {file_format!r}{'' if file is None else f' of {file!r}'}; "
            f"there are {', '.join(file_handlers)}.{did_you_mean(file_format, file_handlers)}"
        ) from None


def _unknown(file: Any) -> type[ArgumentError] | type[ArgumentTypeError]:
    return ArgumentError if file is None else ArgumentTypeError


def _ending(path: str | Path) -> str:
    text = os.fspath(path)
    if scheme_of(text):
        text = chain_of(text)[1].split("?", 1)[0]
    return PurePosixPath(text).suffix.lstrip(".").lower()
