"""Pickles: plain data is read, and nothing that a file names is run."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import io
import os
import pathlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain import fileio
from drivetrain.errors import UntrustedFileError
from drivetrain.fileio import PickleHandler, dump, load

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


def read(content: bytes, **options: Any) -> Any:
    return load(io.BytesIO(content), file_format="pkl", **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickle_that_calls_os_system_is_refused_and_nothing_runs(protocol: int, tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    content = pickle.dumps({"boxes": [Calls(os.system, f"touch {sentinel}")]}, protocol=protocol)
    path = tmp_path / "data.pkl"
    path.write_bytes(content)
    with pytest.raises(
        UntrustedFileError, match=r"data.pkl': this pickle was not read: .* run posix.system.*trusted=True"
    ):
        load(path)
    for attempt in (read, PickleHandler().load_from_fileobj):
        with pytest.raises(UntrustedFileError):
            attempt(content if attempt is read else io.BytesIO(content))
    with pytest.raises(UntrustedFileError):
        PickleHandler().load_from_path(path)
    assert not sentinel.exists()
    load(path, trusted=True)
    assert sentinel.exists()


@pytest.mark.parametrize(
    "call",
    [
        (eval, "1"), (exec, "1"), (getattr, "a", "b"), (__import__, "os"), (open, "/dev/null"), (subprocess.call, ["true"]),
        (np.load, "a.npy"), (np.ndarray.tofile, 1), (np.fromfile, "x"), (torch.load, "x"), (torch.hub.load, "x"),
        (pickle.loads, b""), (Path.touch, Path("x")), (collections.namedtuple, "A", "b"), (compile, "1", "", "eval"),
    ],
    ids=lambda call: getattr(call[0], "__qualname__", "?"),
)  # fmt: skip
def test_what_could_run_code_is_not_named(call: Any) -> None:
    with pytest.raises(UntrustedFileError):
        read(pickle.dumps(Calls(*call)))


def test_refused_module_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "side_effect.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UntrustedFileError, match=r"side_effect\.Thing"):
        read(b"cside_effect\nThing\n.")


def test_tensor_inside_does_not_smuggle_a_pickle(tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    inner = io.BytesIO()
    torch.save(Calls(os.system, f"touch {sentinel}"), inner, _use_new_zipfile_serialization=False)
    bomb = Calls(torch.storage._load_from_bytes, inner.getvalue())
    with pytest.raises(UntrustedFileError, match="a tensor in it holds more than numbers"):
        read(pickle.dumps(bomb))
    assert not sentinel.exists()


def test_environment_variable_trusts_every_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump(Calls(os.getpid), tmp_path / "a.pkl")
    fileio.put(pickle.dumps([1]), "memory://pickles/a.pkl")
    monkeypatch.setenv("DRIVETRAIN_TRUST_PICKLES", "1")
    assert load(tmp_path / "a.pkl") == os.getpid() and load("memory://pickles/a.pkl") == [1]
    monkeypatch.setenv("DRIVETRAIN_TRUST_PICKLES", "0")
    with pytest.raises(UntrustedFileError):
        load(tmp_path / "a.pkl")


PLAIN: dict[str, Any] = {
    "floats": np.linspace(0, 1, 5), "scalar": np.float32(1.5), "flag": np.bool_(True), "text": np.array(["ab", "c"]),
    "bytes": np.array([b"a", b"bcd"]), "objects": np.array(["a", None, {"x": 1}], dtype=object), "empty": np.zeros((0, 4)),
    "days": np.array(["2020-01-01"], dtype="M8[D]"), "column-major": np.asfortranarray(np.ones((2, 3), dtype=np.int16)),
    "big-endian": np.arange(3, dtype=">i4"), "0-d": np.array(3), "dtype": np.dtype("f4"), "type": np.float32,
    "string": np.str_("x"), "complex": np.ones(2, dtype=complex), "void": np.zeros(2, dtype="V3"),
    "containers": {"a": (1, [2.5, None]), "b": {1, "x"}, "c": frozenset({2}), "d": b"\xff", "e": bytearray(b"a")},
    "numbers": [2**100, -1, True, 1j, float("inf")], "range": range(3), "slice": slice(1, 2),
    "ordered": collections.OrderedDict(b=1, a=2), "default": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("aab"), "deque": collections.deque([1], maxlen=3),
    "time": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), "decimal": decimal.Decimal("1.20"),
    "fraction": fractions.Fraction(1, 3), "path": pathlib.PurePosixPath("a/b"),
    "tensor": torch.arange(4.0), "half": torch.ones(2, dtype=torch.bfloat16), "parameter": torch.nn.Parameter(torch.ones(2)),
    "strided": torch.arange(6)[::2], "size": torch.Size([1, 2]), "device": torch.device("cpu"), "torch dtype": torch.int8,
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
def test_plain_data_survives(name: str, protocol: int) -> None:
    value = PLAIN[name]
    content = pickle.dumps(value, protocol=protocol)
    back, expected = read(content), pickle.loads(content)
    assert type(back) is type(value) and repr(back) == repr(expected)
    assert getattr(back, "dtype", None) == getattr(expected, "dtype", None)


def test_annotations_with_everything_survive_on_disk(tmp_path: Path) -> None:
    record = {"boxes": np.ones((2, 4), np.float32), "path": "a.jpg", "score": torch.tensor([0.5])}
    shared = np.arange(3)
    dump({"data_list": [record, dict(record)], "same": [shared, shared]}, tmp_path / "a.pkl")
    back = load(tmp_path / "a.pkl")
    assert np.array_equal(back["data_list"][1]["boxes"], record["boxes"]) and back["same"][0] is back["same"][1]


def test_names_of_numpy_1_and_of_python_2_are_known() -> None:
    content = pickle.dumps([np.arange(3), np.float64(2)], protocol=2)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    new = old.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert old != new and repr(read(old)) == repr(read(new)) == repr([np.arange(3), np.float64(2)])
    assert read(b"c__builtin__\nset\n((lp0\nI1\natR.") == {1}
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\n"
    array += b"tR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\xe9'\ntb."
    assert read(array, encoding="latin1").tolist() == [1, 0xE9]


@given(st.lists(st.integers(0, 3), max_size=3), st.sampled_from(["f4", "i8", "?", "U2", "O", "c16"]))
def test_arrays_of_any_shape_and_type_survive(shape: list[int], dtype: str) -> None:
    array = np.zeros(shape, dtype=dtype)
    back = read(pickle.dumps([array, array.T]))
    assert back[0].dtype == array.dtype and back[0].shape == array.shape and np.array_equal(back[1], array.T)


def forged(dtype_state: Any, shape: tuple[int, ...], content: Any, spec: str = "f8") -> bytes:
    """The pickle of an array of which the state says something else than its type."""
    reconstruct = np.zeros(1).__reduce__()[0]
    dtype = Calls(np.dtype, spec, False, True, state=dtype_state)
    return pickle.dumps(Calls(reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, content)))


SIMPLE = (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Calls(np.ndarray, (1,), np.dtype("O"), bytearray(8))),
        pickle.dumps(Calls(np.void, b"12345678", [("a", "O")])),
        forged((3, "|", None, None, None, -1, -1, 0), (1,), b"AAAAAAAA", "O8"),
        forged((3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 0), (1,), b"AAAAAAAA", "V8"),
        forged((3, "<", None, None, None, -1, -1, 63), (1,), [1.0]),
        forged((3, "|", None, None, None, 9, 1, 0), (1,), b"AAAAAAAA", "V8"),
        forged(SIMPLE, (2,), b"AAAAAAAA"),
        forged(SIMPLE, (2**62, 4), b""),
        forged(SIMPLE, (-1,), b"AAAAAAAA"),
        forged(SIMPLE, (1,), [1.0]),
        forged(SIMPLE, (1,), b"AAAAAAAA", "O1"),
        forged(SIMPLE, (1,), b"AAAAAAAA", "f8,O"),
        pickle.dumps(Calls(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0))),
        pickle.dumps(Calls(np.dtype, "f8", False, True, state=(3, "<", None, None, None, -1, -1, 63))),
        pickle.dumps(Calls(np.zeros(1).__reduce__()[0], np.matrix, (0,), b"b")),
        pickle.dumps(Calls(np.float64(1).__reduce__()[0], np.dtype("O"), b"AAAAAAAA")),
    ],
)  # fmt: skip
def test_forged_array_is_refused_before_numpy_sees_it(content: bytes) -> None:
    with pytest.raises(UntrustedFileError):
        read(content)


def test_honest_array_of_the_same_build_is_read() -> None:
    assert read(forged(SIMPLE, (1,), np.float64(3).tobytes())).tolist() == [3.0]


def test_structured_arrays_need_trust() -> None:
    array = np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    with pytest.raises(UntrustedFileError, match=r"structured array.*DRIVETRAIN_TRUST_PICKLES"):
        read(pickle.dumps(array))
    assert read(pickle.dumps(array), trusted=True).dtype == array.dtype


def test_buffers_out_of_band_are_read() -> None:
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(np.arange(5), protocol=5, buffer_callback=buffers.append)
    assert read(content, buffers=iter(buffers)).tolist() == [0, 1, 2, 3, 4]


def test_file_is_read_from_where_it_stands_to_the_end_of_the_pickle() -> None:
    stream = io.BytesIO(b"head" + pickle.dumps(np.arange(2)) + pickle.dumps("next"))
    stream.seek(4)
    assert load(stream, file_format="pkl").tolist() == [0, 1] and load(stream, file_format="pkl") == "next"


def test_damaged_pickle_is_an_error_of_pickle() -> None:
    with pytest.raises(EOFError):
        read(b"")
    with pytest.raises(pickle.UnpicklingError):
        read(pickle.dumps([1, 2, "x"])[:-3])


def test_plain_pickles_load_no_numpy_and_no_torch(tmp_path: Path) -> None:
    dump({"a": [1, {2}]}, tmp_path / "a.pkl")
    code = (
        f"import sys; from drivetrain.fileio import load; load({str(tmp_path / 'a.pkl')!r})\n"
        "print(sorted({'torch', 'fsspec', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
