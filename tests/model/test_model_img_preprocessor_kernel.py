"""The kernel for packed images, run by Triton's interpreter on the CPU, against the plain operations."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = """
import torch
from drivetrain.model import ImgDataPreprocessor
from drivetrain.model.base_model._image_kernel import launch
from drivetrain.model.base_model._image_recipe import compose

generator = torch.Generator().manual_seed(0)
count = 0

def drawn(*shape, dtype=torch.uint8):
    return torch.randint(0, 256, shape, generator=generator).to(dtype)

def steps(one, other):
    whole = {4: torch.int32, 2: torch.int16}[one.element_size()]
    places = [t.contiguous().view(whole).to(torch.int64) for t in (one, other)]
    low = torch.iinfo(whole).min
    ordered = [torch.where(p < 0, low - p, p) for p in places]
    return int((ordered[0] - ordered[1]).abs().max())

def check(images, dtype, channels_last, **given):
    global count
    recipe = ImgDataPreprocessor(**given, output_dtype=dtype, channels_last=channels_last)._recipe()
    expected = compose(images, recipe)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    out = torch.full(expected.shape, 99.0, dtype=expected.dtype).contiguous(memory_format=memory)
    launch(images, recipe, out)
    # The interpreter cuts bfloat16 off where hardware rounds.
    allowed = 1 if dtype == "bf16" else 0
    assert steps(out, expected) <= allowed, (dtype, channels_last, given)
    count += 1

mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
numbers = [dict(mean=mean, std=std), dict(mean=mean[:1], std=std), dict(mean=mean, std=std[:1]), dict()]
for given in numbers:
    for swap in (False, True):
        for dtype in ("fp32", "bf16", "fp16"):
            for channels_last in (False, True):
                more = dict(given, bgr_to_rgb=swap, pad_size_divisor=4, pad_value=-2.5)
                check([drawn(3, 5, 7), drawn(3, 9, 3), drawn(3, 1, 1)], dtype, channels_last, **more)
                check(drawn(2, 3, 5, 6), dtype, channels_last, **more)
for kind in (torch.float32, torch.float64, torch.int32, torch.int64, torch.float16):
    check([drawn(3, 5, 7, dtype=kind), drawn(3, 2, 8, dtype=kind)], "fp32", False, mean=mean, std=std)
grey = [drawn(1, 5, 7), drawn(1, 2, 8)]
check(grey, "fp32", False, mean=mean, std=std)
check(grey, "fp32", True, mean=[127.5], std=[1.7])
check([drawn(1, 5, 7), drawn(3, 2, 8)], "fp32", False, mean=mean, std=std)
check([drawn(5, 7, 3).permute(2, 0, 1), drawn(4, 4, 3).permute(2, 0, 1)], "bf16", True, mean=mean, std=std)
check(drawn(2, 5, 7, 3).permute(0, 3, 1, 2), "fp32", False, mean=mean, std=std, rgb_to_bgr=True)
check(drawn(1, 3, 3, 2100), "fp32", False, mean=mean, std=std, pad_size_divisor=7)
print("checked", count)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="torch came without Triton")
def test_the_kernel_gives_the_values_of_the_plain_operations(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text(CHECK)
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "checked 107"
