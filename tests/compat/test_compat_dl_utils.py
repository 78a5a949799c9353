"""`mmengine.utils.dl_utils`: the helpers that live in `compat`."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from drivetrain.compat import _config, _dl_utils, _parrots
from drivetrain.compat._dl_utils import TimeCounter, load_url, set_multi_processing, tensor2imgs, torch_meshgrid
from drivetrain.errors import ArgumentError, CheckpointError


@pytest.fixture(autouse=True)
def no_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeCounter, "instance_dict", {})


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(_dl_utils, "print_log", lambda message, logger=None: said.append(message))
    return said


def test_images_come_back_in_their_range_and_in_bgr() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5)).float()
    mean, std = (123.0, 116.0, 103.0), (58.0, 57.0, 56.0)
    normal = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    first, second = tensor2imgs(normal, mean, std)
    np.testing.assert_allclose(second, images[1].permute(1, 2, 0).flip(2).numpy(), atol=1e-4)
    assert first.shape == (4, 5, 3) and first.dtype == np.float32 and first.flags.c_contiguous


def test_bytes_stay_bytes_and_grey_stays_grey() -> None:
    grey = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    one = tensor2imgs(grey, to_bgr=False)[1]
    assert one.dtype == np.uint8 and one[..., 0].tolist() == [[4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 2, 2), {}, r"\(N, 1 or 3, H, W\)"),
        ((1, 2, 2, 2), {}, r"shape \(1, 2, 2, 2\)"),
        ((1, 3, 2, 2), {"mean": (1.0,)}, "mean must have a value for each of the 3 channels"),
        ((1, 1, 2, 2), {}, "give to_bgr=False"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], options: dict[str, tuple[float]], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        tensor2imgs(torch.zeros(shape), **options)  # type: ignore[arg-type]


def test_meshgrid_runs_along_rows_first() -> None:
    rows, columns = torch_meshgrid(torch.arange(2), torch.arange(3))
    assert rows.tolist() == [[0, 0, 0], [1, 1, 1]] and columns.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_tracing_is_seen_inside_a_trace_only() -> None:
    seen: list[bool] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append(_dl_utils.is_jit_tracing())
        return x + 1

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated
        torch.jit.trace(forward, torch.zeros(1))
    assert seen[0] is True and _dl_utils.is_jit_tracing() is False


def test_time_of_a_block_is_averaged_over_runs_after_the_warmup(
    reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 9.0, 10.0, 10.002, 20.0, 20.004])
    monkeypatch.setattr(_dl_utils.time, "perf_counter", lambda: next(clock))
    for _ in range(3):
        with TimeCounter(warmup_interval=2, tag="nms"):
            pass
    assert reports == [
        "[nms]-time per run averaged in the past 2 runs: 2.0 ms",
        "[nms]-time per run averaged in the past 3 runs: 3.0 ms",
    ]


def test_decorated_function_keeps_its_name_and_value_and_reports_at_the_interval(reports: list[str]) -> None:
    @TimeCounter(log_interval=2)
    def double(x: int) -> int:
        return 2 * x

    assert [double(x) for x in range(5)] == [0, 2, 4, 6, 8] and double.__name__ == "double"
    assert len(reports) == 2 and reports[1].startswith("[double]-time per run averaged in the past 4 runs: ")


def test_counters_of_one_tag_are_one_and_a_block_needs_a_tag() -> None:
    assert TimeCounter(tag="a") is TimeCounter(tag="a", log_interval=7)
    with pytest.raises(ArgumentError, match=r"give TimeCounter\(tag=...\)"), TimeCounter():
        pass
    with pytest.raises(ArgumentError, match="1 or more, got 0"):
        TimeCounter(warmup_interval=0)


def test_report_goes_to_the_logger_that_was_given(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("counted")
    with caplog.at_level(logging.INFO), TimeCounter(tag="b", logger=logger):  # type: ignore[arg-type]
        pass
    assert "[b]-time per run" in caplog.text


def test_weights_are_downloaded_once_checked_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source.pth"
    torch.save({"w": torch.ones(2)}, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    source = source.rename(tmp_path / f"net-{digest}.pth")
    kept = tmp_path / "kept"
    loaded = load_url(source.as_uri(), str(kept), progress=False, check_hash=True)
    assert loaded["w"].tolist() == [1, 1]
    source.unlink()
    assert load_url(source.as_uri(), str(kept))["w"].tolist() == [1, 1]
    wrong = tmp_path / "net-deadbeef.pth"
    torch.save({}, wrong)
    with pytest.raises(RuntimeError, match="hash"):
        load_url(wrong.as_uri(), str(kept), progress=False, check_hash=True)
    evil = tmp_path / "evil.pth"
    torch.save({"x": os.system}, evil)
    with pytest.raises(CheckpointError):
        load_url(evil.as_uri(), str(kept), progress=False)


def test_distributed_processes_get_one_thread_unless_the_environment_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.multiprocessing, "get_start_method", lambda allow_none: "fork")
    monkeypatch.setattr(torch.multiprocessing, "set_start_method", lambda method, force: asked.append(method))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("MKL_NUM_THREADS", "")
    monkeypatch.delenv("MKL_NUM_THREADS")
    set_multi_processing("fork", distributed=True)
    set_multi_processing("spawn")
    assert asked == ["spawn"]
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("4", "1")


def test_mmcv_is_full_with_its_compiled_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _dl_utils.mmcv_full_available() is False
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text("")
    importlib_caches()
    assert _dl_utils.mmcv_full_available() is False
    (tmp_path / "mmcv" / "_ext.py").write_text("")
    importlib_caches()
    assert _dl_utils.mmcv_full_available() is True
    import sys

    sys.modules.pop("mmcv", None)


def importlib_caches() -> None:
    import importlib

    importlib.invalidate_caches()


def test_base_classes_of_layers_hold_their_layers() -> None:
    nn = torch.nn
    assert issubclass(nn.ConvTranspose2d, _parrots._ConvTransposeMixin)
    assert issubclass(nn.AdaptiveAvgPool2d, _parrots._AdaptiveAvgPoolNd)
    assert issubclass(nn.MaxPool3d, _parrots._MaxPoolNd)
    assert _parrots.SyncBatchNorm_ is nn.SyncBatchNorm
    assert _parrots.is_rocm_pytorch() is (torch.version.hip is not None)
    assert "PyTorch" in _parrots.get_build_config()


def test_options_are_added_for_each_value_of_a_config() -> None:
    import argparse

    cfg = {"lr": 0.1, "name": "x", "deep": {"n": 3, "flag": False}, "sizes": [1, 2], "none": None, "empty": []}
    parser = _config.add_args(argparse.ArgumentParser(), cfg)
    given = parser.parse_args(["--lr", "0.5", "--deep.n", "4", "--deep.flag", "--sizes", "3", "4"])
    assert vars(given) == {"lr": 0.5, "name": None, "deep.n": 4, "deep.flag": True, "sizes": [3, 4]}
