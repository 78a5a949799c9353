"""MMEngine's files load through a fixed list of names, of which none is called, and runs go on from them."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import foreign_runs
import numpy as np
import pytest
import torch

from drivetrain.checkpoint import _load_checkpoint, save_checkpoint
from drivetrain.checkpoint._foreign import FIXED_LIST, fixed_list_allowed
from drivetrain.errors import CheckpointError
from drivetrain.logging import HistoryBuffer
from drivetrain.optim import AmpOptimWrapper, OneCycleLR

DATA = Path(__file__).parent / "data"


def load(name: str) -> Any:
    return _load_checkpoint(DATA / f"{name}.pth", logger="silent")


@pytest.mark.parametrize("name", foreign_runs.CASES)
def test_a_file_of_mmengine_holds_plain_values_after_loading(name: str) -> None:
    checkpoint = load(name)
    hub = checkpoint["message_hub"]
    assert set(hub) == {"log_scalars", "runtime_info", "resumed_keys"}
    assert {type(series) for series in hub["log_scalars"].values()} == {HistoryBuffer}
    assert type(hub["runtime_info"]["eta"]) is np.float64
    assert checkpoint["meta"]["mmengine_version"] == "0.10.7"
    assert checkpoint["meta"]["dataset_meta"] == {"classes": ("a", "b", "c")}
    assert checkpoint["state_dict"]["body.weight"].shape == (5, 4)


def test_histories_come_over_entry_by_entry() -> None:
    expected = json.loads((DATA / "amp.json").read_text())
    values, counts = load("amp")["message_hub"]["log_scalars"]["train/loss"].data
    assert values.shape == (8,) and values.dtype == np.float64 and counts.tolist() == [1] * 8
    assert expected["numpy"].startswith("2.")
    assert json.loads((DATA / "epochs.json").read_text())["numpy"].startswith("1.26")
    assert load("epochs")["message_hub"]["log_scalars"]["val/accuracy"].current() == pytest.approx(7 / 24)


def test_a_loaded_file_is_saved_again_without_a_foreign_name(tmp_path: Path) -> None:
    for name in foreign_runs.CASES:
        save_checkpoint(load(name), tmp_path / "again.pth")
        assert not torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "again.pth")


@pytest.mark.parametrize("name", foreign_runs.CASES)
def test_a_run_goes_on_from_it_as_mmengine_does(tmp_path: Path, name: str) -> None:
    expected = json.loads((DATA / f"{name}.json").read_text())
    runner, rows = foreign_runs.train("drivetrain", name, str(tmp_path), str(DATA / f"{name}.pth"))
    assert [str(step) for step in rows] == list(expected["rows"])
    for step, row in rows.items():
        assert row == pytest.approx(expected["rows"][str(step)], rel=1e-5), step
    weights = foreign_runs.weights_of(runner)
    assert weights.keys() == expected["weights"].keys()
    for key, value in expected["weights"].items():
        # Batch norm takes the bias out again: its gradient is rounding alone, which AdamW makes whole steps of.
        if key.endswith(("body.bias", "norm.running_mean")):
            continue
        torch.testing.assert_close(weights[key], torch.tensor(value, dtype=weights[key].dtype), rtol=1e-4, atol=1e-6)


def test_averages_hub_and_best_score_go_on(tmp_path: Path) -> None:
    runner, _ = foreign_runs.train("drivetrain", "epochs", str(tmp_path), str(DATA / "epochs.pth"))
    hub = runner.message_hub
    assert len(hub.get_scalar("train/loss").data[0]) == 16
    assert hub.get_scalar("train/loss").data[0][:8].tolist() == pytest.approx(
        load("epochs")["message_hub"]["log_scalars"]["train/loss"].data[0].tolist()
    )
    assert hub.get_info("best_score") >= load("epochs")["message_hub"]["runtime_info"]["best_score"]
    ema = _load_checkpoint(tmp_path / "epoch_4.pth", logger="silent")["ema_state_dict"]
    assert ema["steps"] == 16


def test_a_loss_scale_goes_on(tmp_path: Path) -> None:
    model = foreign_runs.make_parts("drivetrain")["Net"]()
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), loss_scale="dynamic", dtype="float16"
    )
    state = load("amp")["optimizer"]
    wrapper.load_state_dict(state)
    assert wrapper.loss_scaler.state_dict()["_growth_tracker"] == state["loss_scaler"]["_growth_tracker"]
    assert wrapper.loss_scaler.get_scale() == state["loss_scaler"]["scale"] == 512.0


def test_ends_of_a_cycle_stand_where_others_look_for_them() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    OneCycleLR(optimizer, eta_max=0.2, total_steps=16, by_epoch=False)
    theirs = load("amp")["optimizer"]["param_groups"][0]
    names = ("initial_lr", "max_lr", "min_lr")
    assert [optimizer.param_groups[0][name] for name in names] == [theirs[name] for name in names]


# --- files made by hand: what a name stands for, and what is refused -------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def call(name: str, *arguments: bytes) -> bytes:
    """The pickle of a call of `name`, 'module.name', with pickled arguments."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def name_of(path: str) -> bytes:
    module, _, function = path.rpartition(".")
    return f"c{module}\n{function}\n".encode()


def file_with(pickled: bytes) -> bytes:
    """A PyTorch file whose pickle is a dict with `pickled` under 'x'."""
    whole, crafted = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.ones(2)}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(crafted, "w") as target:
        for part in source.namelist():
            content = b"\x80\x02}" + text("x") + pickled + b"s." if part.endswith("data.pkl") else source.read(part)
            target.writestr(part, content)
    return crafted.getvalue()


def read(tmp_path: Path, pickled: bytes) -> Any:
    (tmp_path / "crafted.pth").write_bytes(file_with(pickled))
    return _load_checkpoint(tmp_path / "crafted.pth", logger="silent")["x"]


NDARRAY, DTYPE = "numpy.ndarray", "numpy.dtype"
HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
LATIN = text("latin1")


def raw(content: bytes) -> bytes:
    return call("_codecs.encode", text(content.decode("latin1")), LATIN)


def dtype(code: str, order: str = "<") -> bytes:
    state = b"(" + number(3) + text(order) + b"NNN" + number(-1) + number(-1) + number(0) + b"t"
    return call(DTYPE, text(code), b"\x89", b"\x88") + state + b"b"


def array(
    shape: tuple[int, ...], kind: bytes, content: bytes, core: str = "numpy.core", fortran: bool = False
) -> bytes:
    made = call(f"{core}.multiarray._reconstruct", name_of(NDARRAY), b"(" + number(0) + b"t", raw(b"b"))
    sizes = b"(" + b"".join(map(number, shape)) + b"t"
    return made + b"(" + number(1) + sizes + kind + (b"\x88" if fortran else b"\x89") + content + b"tb"


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_of_both_numpys_come_back(tmp_path: Path, core: str) -> None:
    given = np.arange(6.0).reshape(2, 3)
    there = read(tmp_path, array((2, 3), dtype("f8"), raw(given.tobytes()), core))
    assert np.array_equal(there, given) and there.flags.writeable
    turned = read(tmp_path, array((2, 3), dtype("f8"), raw(given.tobytes(order="F")), core, fortran=True))
    assert np.array_equal(turned, given) and turned.flags.f_contiguous
    swapped = read(tmp_path, array((3,), dtype("i4", ">"), raw(np.arange(3, dtype=">i4").tobytes()), core))
    assert swapped.dtype == np.dtype(">i4") and swapped.tolist() == [0, 1, 2]
    words = read(tmp_path, array((2,), dtype("U2"), raw(np.array(["a", "bc"]).tobytes()), core))
    assert words.tolist() == ["a", "bc"]
    objects = read(tmp_path, array((2,), dtype("O8", "|"), b"](" + number(7) + text("a") + b"e", core))
    assert objects.tolist() == [7, "a"]
    assert read(tmp_path, array((0,), dtype("f8"), call("builtins.bytes"), core)).shape == (0,)


def test_numpy_numbers_may_be_keys(tmp_path: Path) -> None:
    key = call("numpy.core.multiarray.scalar", dtype("i8"), raw((5).to_bytes(8, "little")))
    there = read(tmp_path, b"}" + key + text("five") + b"s")
    assert there == {5: "five"} and type(next(iter(there))) is np.int64


@pytest.mark.parametrize(
    ("pickled", "value"),
    [
        (call("builtins.slice", number(1), number(5), b"N"), slice(1, 5)),
        (call("builtins.range", number(1), number(5), number(2)), range(1, 5, 2)),
        (call("builtins.frozenset", b"](" + number(1) + number(2) + b"e"), frozenset({1, 2})),
        (call("collections.deque", b")", number(3)) + b"(" + number(1) + number(2) + b"e", [1, 2]),
        (dtype("f4"), np.dtype("f4")),
        (call("mmengine.config.config.ConfigDict", b"}" + text("a") + number(1) + b"s"), {"a": 1}),
    ],
)
def test_other_names_of_the_list_stand_for_plain_values(tmp_path: Path, pickled: bytes, value: Any) -> None:
    there = read(tmp_path, pickled)
    assert there == value and type(there) is type(value)


SERIES = array((2,), dtype("f8"), raw(np.ones(2).tobytes()))
COUNTS = array((2,), dtype("i8"), raw(np.ones(2, np.int64).tobytes()))


def history(
    values: bytes = SERIES, counts: bytes = COUNTS, length: bytes = b"M\x10\x27", statistic: str = "mean"
) -> bytes:
    found = call("builtins.getattr", name_of(HISTORY), text(statistic))
    state = b"}(" + b"".join(
        text(key) + value
        for key, value in {
            "max_length": length,
            "_log_history": values,
            "_count_history": counts,
            "_statistics_methods": b"}(" + text(statistic) + found + b"u",
        }.items()
    )
    return name_of(HISTORY) + b")\x81" + state + b"ub"


def test_a_history_has_the_statistics_of_this_package(tmp_path: Path) -> None:
    there = read(tmp_path, history())
    assert type(there) is HistoryBuffer and there.mean() == 1.0


def crashes(tmp_path: Path) -> dict[str, bytes]:
    ran = text(str(tmp_path / "ran"))
    system = call("os.system", text(f"touch {tmp_path / 'ran'}"))
    getter = call("builtins.getattr", name_of("os"[:2] + ".path"), text("join"))
    return {
        "os.system": system,
        "posix.system": call("posix.system", ran),
        "builtins.eval": call("builtins.eval", text(f"open({str(tmp_path / 'ran')!r}, 'w')")),
        "builtins.exec": call("__builtin__.exec", text(f"open({str(tmp_path / 'ran')!r}, 'w')")),
        "builtins.open": call("builtins.open", ran, text("w")),
        "os.path through getattr": getter,
        "a method that getattr may not give": call("builtins.getattr", name_of(HISTORY), text("__init__")),
        "a class through getattr": call("builtins.getattr", name_of(HISTORY), text("__class__")),
        "getattr of a module's function": call(
            "builtins.getattr", name_of("numpy.core.multiarray.scalar"), text("__globals__")
        ),
        "getattr of a text": call("builtins.getattr", text("x"), text("format")),
        "call of a statistic": call("builtins.getattr", name_of(HISTORY), text("mean"))[:-1] + b"R(" + ran + b"tR",
        "system inside a history": history(values=system),
        "system among the items of an array": array((1,), dtype("O8", "|"), b"](" + system + b"e"),
        "an array of another class": call(
            "numpy.core.multiarray._reconstruct", name_of("collections.OrderedDict"), b"(" + number(0) + b"t", raw(b"b")
        ),
        "a tensor whose storage is a call": call(
            "torch._utils._rebuild_tensor_v2",
            system,
            number(0),
            number(1) + b"\x85",
            number(1) + b"\x85",
            b"\x89",
            b"}",
        ),
        "numpy's loader": call("numpy.load", ran),
        "the real runstring": call("numpy.testing._private.utils.runstring", text("import os"), b"}"),
        "torch's hub": call("torch.hub.load", text("x"), text("y")),
        "MMEngine's own classes": call("mmengine.config.config.Config.fromfile", ran),
        "functools.partial": call("functools.partial", name_of("os.system"), ran),
        "copyreg": call("copyreg._reconstructor", name_of("os._wrap_close"), name_of("builtins.object"), b"N"),
    }


@pytest.mark.parametrize("what", list(crashes(Path("/tmp"))))
def test_a_malicious_file_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(os, "system", ran.append)
    with pytest.raises(CheckpointError):
        read(tmp_path, crashes(tmp_path)[what])
    assert not ran and not (tmp_path / "ran").exists()


def storage(key: str = "0", count: int = 2, location: str = "cpu") -> bytes:
    stored = b"(" + text("storage") + name_of("torch.FloatStorage") + text(key) + text(location) + number(count) + b"tQ"
    size = number(count) + b"\x85"
    return call("torch._utils._rebuild_tensor_v2", stored, number(0), size, number(1) + b"\x85", b"\x89", b"}")


STORAGES = {
    "path": storage(key="../../../etc/passwd"),
    "dots": storage(key="0/../0"),
    "count": storage(count=1 << 29),
    "place": storage(location="os:system"),
}


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
def test_a_storage_that_is_not_in_the_file_is_refused(tmp_path: Path, storage: bytes) -> None:
    if torch.__version__ < "2.14" and storage == STORAGES["count"]:
        pytest.skip("this torch does not compare a storage with its record")
    with pytest.raises(CheckpointError):
        read(tmp_path, storage)


@pytest.mark.parametrize(
    "pickled",
    [
        array((1 << 20, 1 << 20), dtype("f8"), raw(b"12345678")),
        array((2,), dtype("f8"), raw(b"123")),
        array((2,), dtype("f8"), b"N"),
        array((-1,), dtype("f8"), raw(b"")),
        array((2,), text("f8"), raw(b"1" * 16)),
        array((2,), dtype("O8", "|"), b"]"),
        array((1,), dtype("V8", "|"), raw(b"1" * 8)),
        array((1,), dtype("zz"), raw(b"1" * 8)),
        call("numpy.core.multiarray._reconstruct", name_of(NDARRAY), b"(" + number(0) + b"t", raw(b"b")),
        call("numpy.core.multiarray.scalar", dtype("f8"), raw(b"1")),
        call("numpy.core.multiarray.scalar", dtype("O8", "|"), text("x")),
        call(DTYPE, number(3)),
        call(DTYPE, text("f8")) + b"(" + number(3) + b"tb",
        call("builtins.bytes", number(2_000_000_000)),
        name_of(NDARRAY),
        name_of(HISTORY),
        name_of(HISTORY) + b")\x81",
        history(values=number(3)),
        history(counts=array((1,), dtype("f8"), raw(b"1" * 8))),
        history(length=number(-1)),
        history(statistic="std"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(CheckpointError):
        read(tmp_path, pickled)


def test_a_refusal_names_what_the_file_wanted_and_nothing_of_the_list(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"would run os\.system, and a checkpoint"):
        read(tmp_path, b"](" + history() + call("os.system", text("x")) + b"e")


def test_the_list_is_torchs_again_after_reading() -> None:
    before = torch.serialization.get_safe_globals()
    load("amp")
    assert set(torch.serialization.get_safe_globals()) == set(before)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(DATA / "amp.pth", weights_only=True)


def test_what_a_user_allowed_under_these_names_is_kept_and_does_not_mix() -> None:
    before = torch.serialization.get_safe_globals()
    own = [np.ndarray, np.dtype, (print, "numpy._core.multiarray.scalar"), Path]
    with torch.serialization.safe_globals(own):
        assert type(load("amp")["message_hub"]["runtime_info"]["eta"]) is np.float64
        assert set(torch.serialization.get_safe_globals()) == {*before, *own}


def test_threads_may_read_together() -> None:
    errors: list[BaseException] = []
    before = torch.serialization.get_safe_globals()

    def work() -> None:
        try:
            for _ in range(5):
                load("amp")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and set(torch.serialization.get_safe_globals()) == set(before)


def test_the_list_has_fifteen_names_and_no_function_of_another_package() -> None:
    assert len(FIXED_LIST) == 15
    assert {stand_in.__module__ for stand_in in FIXED_LIST.values()} == {"drivetrain.checkpoint._foreign"}
    before = torch.serialization.get_safe_globals()
    with fixed_list_allowed():
        assert len(torch.serialization.get_safe_globals()) == len(before) + 15


def test_the_docs_print_the_list() -> None:
    page = (Path(__file__).parents[2] / "docs" / "runner-from-a-config.md").read_text()
    table = page.split("| in the file | becomes |")[1].split("\n\n")[0]
    assert set(re.findall(r"`((?:mmengine|numpy|builtins|collections)\.[\w.]+)`", table)) == set(FIXED_LIST)
