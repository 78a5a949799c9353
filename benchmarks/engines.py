"""One small training run under each engine, for `overhead.py`: the same model, data, optimizer and log every 50 steps.

    python benchmarks/engines.py --engine drivetrain --steps 2000 --out result.json

An engine is imported only when it is asked for, so any interpreter that has torch and that engine can run its part.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, SequentialSampler

WINDOW = 100
LOG_EVERY = 50
BATCH, FEATURES, HIDDEN, CLASSES = 32, 64, 128, 10
LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Clock(Dataset):
    """One batch over and over; notes the time at every WINDOW-th fetch.

    On the CPU that is process time, which other processes on the machine disturb least; on a GPU wall time after a
    synchronisation, which all engines pay alike: one in WINDOW steps.
    """

    def __init__(self, steps: int, device: str) -> None:
        generator = torch.Generator().manual_seed(1)
        self.batch = (
            torch.randn(BATCH, FEATURES, generator=generator),
            torch.randint(CLASSES, (BATCH,), generator=generator),
        )
        self.steps, self.device = steps, device
        self.marks: list[float] = []

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if index % WINDOW == 0:
            self.marks.append(self.now())
        return self.batch

    def now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def windows(self) -> list[float]:
        """Microseconds a step in each window but the first, which warms up."""
        return [1e6 * (end - begin) / WINDOW for begin, end in zip(self.marks[1:], self.marks[2:], strict=False)]


class Samples(Dataset):
    """The rows of the clock's batch, one by one; the default collate function stacks them again."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __len__(self) -> int:
        return BATCH * len(self.clock)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        step, row = divmod(index, BATCH)
        batch = self.clock[step] if row == 0 else self.clock.batch
        return batch[0][row], batch[1][row]


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)
    )


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)


def bare(clock: Clock, folder: str) -> None:
    """The loop one would write by hand; it logs nothing."""
    model = layers().to(clock.device)
    optimizer = sgd(model)
    model.train()
    for inputs, labels in DataLoader(clock, batch_size=None):
        inputs, labels = inputs.to(clock.device), labels.to(clock.device)
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def drivetrain_sample(clock: Clock, folder: str) -> None:
    """With a random stream for each sample: drivetrain's default."""
    _run_contract("drivetrain", clock, folder, {"seed": 1, "streams": "sample"})


def drivetrain_worker(clock: Clock, folder: str) -> None:
    """With random streams as MMEngine has them."""
    _run_contract("drivetrain", clock, folder, {"seed": 1, "streams": "worker"})


def samples_sample(clock: Clock, folder: str) -> None:
    """Batches of BATCH samples, a random stream for each of them."""
    _run_contract("drivetrain", clock, folder, {"seed": 1, "streams": "sample"}, DataLoader(Samples(clock), BATCH))


def samples_worker(clock: Clock, folder: str) -> None:
    """The same batches without."""
    _run_contract("drivetrain", clock, folder, {"seed": 1, "streams": "worker"}, DataLoader(Samples(clock), BATCH))


def mmengine(clock: Clock, folder: str) -> None:
    class Sampler(SequentialSampler):
        def set_epoch(self, epoch: int) -> None:
            """Its DistSamplerSeedHook fails on a loader without batch sampler unless the sampler has this."""

    loader = DataLoader(clock, batch_size=None, sampler=Sampler(clock))
    _run_contract("mmengine", clock, folder, {"seed": 1}, loader)


def _run_contract(engine: str, clock: Clock, folder: str, randomness: dict, loader: DataLoader | None = None) -> None:
    """Under an engine with MMEngine's contract; all default hooks are on."""
    base = importlib.import_module(f"{engine}.model").BaseModel

    class Net(base):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers()

        def forward(self, inputs, labels, mode="tensor"):
            logits = self.layers(inputs)
            return {"loss": functional.cross_entropy(logits, labels)} if mode == "loss" else logits

    runner = importlib.import_module(f"{engine}.runner").Runner(
        model=Net(),
        work_dir=folder,
        train_dataloader=DataLoader(clock, batch_size=None) if loader is None else loader,
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": LEARNING_RATE, "momentum": MOMENTUM}},
        default_hooks={"logger": {"type": "LoggerHook", "interval": LOG_EVERY}},
        randomness=randomness,
    )
    runner.train()


def ignite(clock: Clock, folder: str) -> None:
    from ignite.engine import Events, create_supervised_trainer

    model = layers().to(clock.device)
    trainer = create_supervised_trainer(model, sgd(model), functional.cross_entropy, device=clock.device)
    log = _file_logger(folder)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(every=LOG_EVERY),
        lambda engine: log.info("step %d loss %.4f", engine.state.iteration, engine.state.output),
    )
    trainer.run(DataLoader(clock, batch_size=None), max_epochs=1)


def fabric(clock: Clock, folder: str) -> None:
    from lightning.fabric import Fabric
    from lightning.fabric.loggers import CSVLogger

    engine = Fabric(accelerator=clock.device, devices=1, loggers=CSVLogger(folder, flush_logs_every_n_steps=1))
    model = layers()
    model, optimizer = engine.setup(model, sgd(model))
    loader = engine.setup_dataloaders(DataLoader(clock, batch_size=None))
    model.train()
    for step, (inputs, labels) in enumerate(loader):
        loss = functional.cross_entropy(model(inputs), labels)
        engine.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % LOG_EVERY == 0:
            engine.log("loss", loss.item(), step)


def lightning(clock: Clock, folder: str) -> None:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    class Net(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers()

        def training_step(self, batch, batch_idx):
            inputs, labels = batch
            loss = functional.cross_entropy(self.layers(inputs), labels)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return sgd(self)

    trainer = Trainer(
        accelerator=clock.device, devices=1, max_epochs=1, log_every_n_steps=LOG_EVERY,
        logger=CSVLogger(folder, flush_logs_every_n_steps=LOG_EVERY), enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Net(), DataLoader(clock, batch_size=None))


def accelerate(clock: Clock, folder: str) -> None:
    from accelerate import Accelerator

    engine = Accelerator(cpu=clock.device == "cpu")
    model = layers()
    model, optimizer, loader = engine.prepare(model, sgd(model), DataLoader(clock, batch_size=None))
    log = _file_logger(folder)
    model.train()
    for step, (inputs, labels) in enumerate(loader):
        with engine.accumulate(model):
            loss = functional.cross_entropy(model(inputs), labels)
            engine.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % LOG_EVERY == 0:
            log.info("step %d loss %.4f", step + 1, loss.item())


def _file_logger(folder: str) -> logging.Logger:
    log = logging.getLogger("overhead")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(logging.FileHandler(Path(folder) / "run.log"))
    return log


ENGINES: dict[str, Callable[[Clock, str], None]] = {
    "bare": bare,
    "drivetrain": drivetrain_worker,
    "drivetrain, stream per sample": drivetrain_sample,
    "samples": samples_worker,
    "samples, stream per sample": samples_sample,
    "ignite": ignite,
    "mmengine": mmengine,
    "fabric": fabric,
    "accelerate": accelerate,
    "lightning": lightning,
}
PACKAGES = {"ignite": "pytorch-ignite", "mmengine": "mmengine", "fabric": "lightning", "accelerate": "accelerate",
            "lightning": "lightning"}  # fmt: skip


def version_of(engine: str) -> str:
    return importlib.metadata.version(PACKAGES[engine]) if engine in PACKAGES else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=list(ENGINES), required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    clock = Clock(options.steps + 1, options.device)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            version = version_of(options.engine)
            ENGINES[options.engine](clock, folder)
            result = {"windows": clock.windows(), "version": version, "torch": torch.__version__}
        except (ImportError, importlib.metadata.PackageNotFoundError) as error:
            result = {"missing": str(error)}
        logging.shutdown()
        os.chdir(Path(options.out).parent)
    Path(options.out).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
