"""The examples run: on a handful of made-up images, for seconds."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with 40 training images in the IDX format."""
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = torch.randint(256, (40, 28, 28), dtype=torch.uint8).numpy().tobytes()
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 40, 28, 28) + pixels)
    return folder


def test_the_gan_updates_both_networks_and_writes_its_samples(images: Path, tmp_path: Path) -> None:
    from PIL import Image

    gan = example("gan_fashion_mnist")
    work = tmp_path / "work"
    arguments = f"--data-root {images} --work-dir {work} --epochs 2 --batch-size 8 --width 2".split()
    picture = gan.main(arguments)
    assert picture == work / "samples" / "epoch_2.png"
    with Image.open(picture) as last, Image.open(work / "samples" / "epoch_1.png") as first:
        assert last.size == (448, 448) and last.mode == "L"
        assert last.tobytes() != first.tobytes()
    log = next(work.glob("*/*.log")).read_text()
    assert "generator.lr" in log and "discriminator.lr" in log


def test_the_gan_trains_each_network_on_its_own_loss(images: Path, tmp_path: Path) -> None:
    gan = example("gan_fashion_mnist")
    options = f"--data-root {images} --work-dir {tmp_path} --epochs 1 --batch-size 8 --width 2 --images 16".split()
    runner = gan.build_runner(gan.parse(options))
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    for name, other in (("generator", "discriminator"), ("discriminator", "generator")):
        before = {key: weight.clone() for key, weight in runner.model.named_parameters()}
        if name == "generator":
            losses = runner.model.generator_step(8, wrapper[name])
        else:
            losses = runner.model.discriminator_step(torch.rand(8, 1, 28, 28), wrapper[name])
        moved = {key.split(".")[0] for key, weight in runner.model.named_parameters() if not weight.equal(before[key])}
        assert moved == {name} and list(losses) == [f"loss_{name}"]
        assert all(p.grad is None for p in getattr(runner.model, other).parameters())


@pytest.fixture
def labelled(images: Path) -> Path:
    """The four files: 40 labelled images to train on, 10 to test on."""
    for part, size in (("train", 40), ("t10k", 10)):
        labels = (torch.arange(size) % 10).byte().numpy().tobytes()
        (images / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, size) + labels)
    pixels = torch.randint(256, (10, 28, 28), dtype=torch.uint8).numpy().tobytes()
    (images / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 10, 28, 28) + pixels)
    return images


@pytest.mark.parametrize("more", [[], ["--plain"]])
def test_mixing_trains_and_validates_with_whole_labels(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    mix = example("fashion_mnist_mix")
    assert 0 <= mix.main([*f"--data-root {labelled} --work-dir {tmp_path / 'work'} --epochs 2".split(), *more]) <= 100
