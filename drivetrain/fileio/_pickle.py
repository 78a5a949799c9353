"""Read a pickle without running what it names.

A pickle is a program: it may import any module and call anything in it. Here it gets the containers, numbers, arrays
and tensors below, and nothing else; a file that asks for more is refused before the thing it asked for is imported.

NumPy believes what a pickle says of an array: a forged one makes it take plain bytes for the addresses of objects. So a
file that holds arrays is read twice, first with inert stand-ins that check every dtype and array (see `_rehearsal`).
"""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Callable
from typing import IO, Any

from drivetrain.errors import UntrustedFileError

from ._rehearsal import STAND_INS, inert, refused
from ._trust import HOW_TO_TRUST

_NUMPY_TYPES = (
    "ndarray dtype bool bool_ str_ bytes_ void datetime64 timedelta64 int8 int16 int32 int64 intc longlong uint8 "
    "uint16 uint32 uint64 uintc ulonglong float16 float32 float64 longdouble complex64 complex128 clongdouble"
)
_TORCH_NAMES = (
    "Size device bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex32 "
    "complex64 complex128 float8_e4m3fn float8_e5m2 contiguous_format channels_last preserve_format strided"
)
_PATHS = "Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath"
_PLAIN: dict[str, str] = {
    "builtins": "bool int float complex str bytes bytearray list tuple dict set frozenset range slice",
    "collections": "OrderedDict defaultdict Counter deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,
    "_codecs": "encode",
    "numpy": _NUMPY_TYPES,
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "torch": _TORCH_NAMES,
    "torch._utils": "_rebuild_tensor_v2 _rebuild_parameter",
    "torch.serialization": "_get_layout",
    "torch.storage": "_load_from_bytes",
}
ALLOWED = frozenset((module, name) for module, names in _PLAIN.items() for name in names.split())
"""What a pickle may name, as (module, name)."""

_RENAMED = {
    ("__builtin__", "unicode"): ("builtins", "str"),
    ("__builtin__", "long"): ("builtins", "int"),
    ("__builtin__", "xrange"): ("builtins", "range"),
}
_MOVED = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}


def load_plain(file: IO[bytes], **kwargs: Any) -> Any:
    """Read a pickle that holds plain values.

    Args:
        file: opened for reading bytes.
        kwargs: those of `pickle.load`.

    Raises:
        UntrustedFileError: it names something else.
    """
    if not file.seekable():
        file = io.BytesIO(file.read())
    if kwargs.get("buffers") is not None:
        kwargs["buffers"] = list(kwargs["buffers"])
    start = file.tell()
    rehearsal = _Rehearsal(file, **kwargs)
    found = rehearsal.load()
    if not rehearsal.needed:
        return found
    file.seek(start)
    return _PlainUnpickler(file, **kwargs).load()


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain values and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """The object that a pickle names."""
        module, name = _RENAMED.get((module, name), (_MOVED.get(module, module), name))
        if (module, name) not in ALLOWED:
            raise UntrustedFileError(
                f"this pickle was not read: it would import and run {module}.{name}, and a data file should hold "
                f"containers, numbers, strings and arrays alone. {HOW_TO_TRUST}"
            )
        return self._resolve(module, name)

    def _resolve(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage_from_bytes
        return getattr(_module(module), name)


class _Rehearsal(_PlainUnpickler):
    """Builds plain Python values, and stand-ins for arrays and tensors."""

    needed = False
    """Whether the file holds something that has a stand-in."""

    def _resolve(self, module: str, name: str) -> Any:
        package = module.partition(".")[0]
        if package not in ("numpy", "torch"):
            return super()._resolve(module, name)
        self.needed = True
        return STAND_INS.get((module, name), inert if package == "torch" else refused)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        # NumPy 1 kept under `numpy.core` what NumPy 2 has under `numpy._core`.
        return importlib.import_module(name.replace("numpy._core", "numpy.core"))


def _storage_from_bytes(content: bytes) -> Any:
    """What a pickled tensor calls; torch's own function would unpickle anything."""
    load: Callable[..., Any] = importlib.import_module("torch").load
    try:
        return load(io.BytesIO(content), weights_only=True)
    except pickle.UnpicklingError as error:
        raise UntrustedFileError(
            f"this pickle was not read: a tensor in it holds more than numbers. {HOW_TO_TRUST}"
        ) from error
