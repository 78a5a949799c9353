"""Fashion-MNIST with MixUp, CutMix and flips on the device: batches are mixed where they are normalised.

    python examples/fashion_mnist_mix.py --data-root path/to/fashion-mnist
    python examples/fashion_mnist_mix.py --data-root path/to/fashion-mnist --plain   # the same run without mixing

The dataset gives bytes and whole labels. The data preprocessor moves the bytes, normalises them and then augments the
batch: every sample is mirrored by its own chance, and each batch is either mixed up, cut and mixed, or left alone. For
the last epoch the mixing stops by itself (`close_at`), so that the network ends on images as they are.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from fashion_mnist import CLASSES, Accuracy, FashionMNIST, SmallResNet

from drivetrain.runner import Runner


def augmentations(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Flips throughout; MixUp or CutMix until the last epoch."""
    flips = {"type": "BatchRandomFlip", "horizontal": 0.5}
    if options.plain:
        return [flips]
    mixing = {
        "type": "BatchAugmentChoice",
        "augments": [
            {"type": "BatchMixUp", "alpha": 0.2, "num_classes": len(CLASSES)},
            {"type": "BatchCutMix", "alpha": 1.0, "num_classes": len(CLASSES)},
        ],
        "probs": [0.3, 0.3],
    }
    return [flips, {"type": "BatchAugments", "augments": [mixing], "close_at": f"{options.epochs - 1}ep"}]


class MixedResNet(SmallResNet):
    """The small ResNet with a preprocessor that augments; `cross_entropy` takes soft labels as it takes whole ones."""

    def __init__(self, batch_augments: Any) -> None:
        super().__init__()
        self.data_preprocessor = type(self.data_preprocessor)(mean=[72.9], std=[90.0], batch_augments=batch_augments)


def build_runner(options: argparse.Namespace) -> Runner:
    def loader(train: bool) -> dict[str, Any]:
        return {
            "dataset": FashionMNIST(options.data_root, train, flip=False),
            "sampler": {"type": "DefaultSampler", "shuffle": train},
            "batch_size": 128 if train else 500,
            "num_workers": options.workers,
            "persistent_workers": options.workers > 0,
            "collate_fn": {"type": "default_collate"},
        }

    return Runner(
        model={"type": MixedResNet, "batch_augments": augmentations(options)},
        work_dir=options.work_dir,
        train_dataloader=loader(train=True),
        val_dataloader=loader(train=False),
        train_cfg={"by_epoch": True, "max_epochs": options.epochs},
        val_cfg={},
        val_evaluator=Accuracy(),
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
        },
        param_scheduler=[
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 200},
            {"type": "CosineAnnealingLR", "by_epoch": True, "convert_to_iter_based": True},
        ],
        default_hooks={"logger": {"type": "LoggerHook", "interval": 100}},
        randomness={"seed": options.seed},
        experiment_name="fashion_mnist_plain" if options.plain else "fashion_mnist_mix",
    )


def main(arguments: list[str] | None = None) -> float:
    """Train; returns the test accuracy in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True, help="folder with the four files of Fashion-MNIST")
    parser.add_argument("--work-dir", default="work_dirs/fashion_mnist_mix")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="flips alone, to compare with")
    options = parser.parse_args(arguments)
    runner = build_runner(options)
    start = time.perf_counter()
    runner.train()
    accuracy = float(runner.message_hub.get_scalar("val/accuracy").current())
    name = "flips" if options.plain else "MixUp, CutMix, flips"
    took = f"{options.epochs} epochs, {time.perf_counter() - start:.0f} s"
    print(f"{name}, seed {options.seed}: {accuracy:.2f} % after {took}")
    return accuracy


if __name__ == "__main__":
    main()
