"""Train a small GAN on Fashion-MNIST: two networks, two optimizers, one `train_step` of the model's own.

    python examples/gan_fashion_mnist.py --data-root path/to/fashion-mnist

`--data-root` holds the four original files (`train-images-idx3-ubyte.gz` and so on, packed or unpacked). On two CPU
cores this takes about two minutes. At the end of each epoch a grid of samples from a fixed draw is written into the
work directory, as `samples/epoch_<n>.png`; docs/figures/gan_samples.png is the last one of the default run.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drivetrain.hooks import Hook
from drivetrain.model import BaseModel
from drivetrain.optim import OptimWrapperDict
from drivetrain.runner import Runner

LATENT = 64


def read_idx(root: Path, name: str) -> Tensor:
    """One IDX file as a uint8 tensor: four bytes of magic (the last counts the dimensions), the sizes, the data."""
    packed = root / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else (root / name).read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=dimensions, offset=4)
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


class Images(Dataset[dict[str, Tensor]]):
    """Images uint8 (1, 28, 28), without labels: a GAN needs none."""

    def __init__(self, root: str) -> None:
        self.images = read_idx(Path(root), "train-images-idx3-ubyte").unsqueeze(1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.images[index]}


class Generator(nn.Module):
    """Noise (N, LATENT) to images (N, 1, 28, 28) in [-1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT, 2 * width * 7 * 7, bias=False),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.layers(noise)


class Discriminator(nn.Module):
    """Images (N, 1, 28, 28) in [-1, 1] to a score (N,): above 0 for "real"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * 7 * 7, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).squeeze(1)


class GAN(BaseModel):
    """The two networks in turn: first the discriminator learns, then the generator against it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__(
            data_preprocessor={"type": "ImgDataPreprocessor", "mean": [127.5], "std": [127.5]},
            init_cfg={"type": "Normal", "std": 0.02, "layer": ["Conv2d", "ConvTranspose2d", "Linear"]},
        )
        self.generator = Generator(width)
        self.discriminator = Discriminator(width)

    def train_step(self, data: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        real = self.data_preprocessor(data, True)["inputs"]
        losses = self.discriminator_step(real, optim_wrapper["discriminator"])
        losses.update(self.generator_step(len(real), optim_wrapper["generator"]))
        return losses

    def discriminator_step(self, real: Tensor, optimizer: Any) -> dict[str, Tensor]:
        with optimizer.optim_context(self.discriminator):
            with torch.no_grad():
                fake = self.generator(self.noise(len(real)))
            # Labels of 0.9 instead of 1 keep the discriminator from being too sure.
            on_real, on_fake = self.discriminator(real), self.discriminator(fake)
            loss_real = functional.binary_cross_entropy_with_logits(on_real, torch.full_like(on_real, 0.9))
            loss_fake = functional.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))
            loss, log_vars = self.parse_losses({"loss_real": loss_real, "loss_fake": loss_fake})
        optimizer.update_params(loss)
        return {"loss_discriminator": log_vars["loss"]}

    def generator_step(self, count: int, optimizer: Any) -> dict[str, Tensor]:
        self.discriminator.requires_grad_(False)  # gradients pass through it, and its weights need none
        with optimizer.optim_context(self.generator):
            score = self.discriminator(self.generator(self.noise(count)))
            loss = functional.binary_cross_entropy_with_logits(score, torch.ones_like(score))
        optimizer.update_params(loss)
        self.discriminator.requires_grad_(True)
        return {"loss_generator": loss.detach()}

    def noise(self, count: int) -> Tensor:
        return torch.randn(count, LATENT, device=next(self.parameters()).device)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Tensor:
        """As many new images as there are `inputs`; this model learns in `train_step` alone."""
        return self.generator(self.noise(len(inputs)))


class SampleGrid(Hook):
    """Writes images that the generator makes of the same noise at the end of each epoch."""

    def __init__(self, rows: int = 8, columns: int = 8) -> None:
        self.rows, self.columns = rows, columns
        self.noise = torch.randn(rows * columns, LATENT, generator=torch.Generator().manual_seed(1))

    def after_train_epoch(self, runner: Any) -> None:
        from PIL import Image

        generator = runner.model.generator.eval()
        with torch.no_grad():
            images = generator(self.noise.to(next(generator.parameters()).device))
        generator.train()
        grid = images.view(self.rows, self.columns, 28, 28).transpose(1, 2).reshape(self.rows * 28, self.columns * 28)
        folder = Path(runner.work_dir) / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (127.5 * (1 - grid)).round().to(torch.uint8).cpu().numpy()  # dark on white
        pixels = pixels.repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(pixels).save(folder / f"epoch_{runner.epoch + 1}.png", optimize=True)


def build_runner(options: argparse.Namespace) -> Runner:
    dataset: Any = Images(options.data_root)
    if options.images:
        dataset.images = dataset.images[: options.images]
    adam = {"type": "Adam", "betas": (0.5, 0.999)}
    cooling = {"type": "LinearLR", "start_factor": 1.0, "end_factor": 0.1, "convert_to_iter_based": True}
    return Runner(
        model={"type": GAN, "width": options.width},
        work_dir=options.work_dir,
        train_dataloader={
            "dataset": dataset,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_size": options.batch_size,
            "num_workers": 0,
            "drop_last": True,
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": options.epochs},
        # A config for each part of the model makes an OptimWrapperDict, and each has schedules of its own.
        optim_wrapper={
            "generator": {"optimizer": {**adam, "lr": 4e-4}},
            "discriminator": {"optimizer": {**adam, "lr": 2e-4}},
        },
        param_scheduler={
            "generator": [{**cooling, "begin": options.epochs // 2}],
            "discriminator": [{"type": "LinearLR", "start_factor": 0.5, "by_epoch": False, "end": 500}],
        },
        custom_hooks=[SampleGrid()],
        default_hooks={"logger": {"type": "LoggerHook", "interval": 50}},
        randomness={"seed": options.seed},
        experiment_name="gan_fashion_mnist",
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True, help="folder with the four files of Fashion-MNIST")
    parser.add_argument("--work-dir", default="work_dirs/gan_fashion_mnist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=24, help="channels of the widest image of a network")
    parser.add_argument("--images", type=int, default=0, help="train on so many images only; 0 takes all 60 000")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> Path:
    """Train; returns the picture of the last epoch."""
    options = parse(arguments)
    start = time.perf_counter()
    runner = build_runner(options)
    runner.train()
    picture = Path(options.work_dir) / "samples" / f"epoch_{options.epochs}.png"
    print(f"{picture}: {time.perf_counter() - start:.0f} s")
    return picture


if __name__ == "__main__":
    main()
