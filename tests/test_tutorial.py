"""The code of MMEngine's model tutorial runs under our import root.

Printed slips of the tutorial that had to be corrected here:

1.  Data flow, validation: a list or tuple is unpacked as `model(**data_batch, ...)`; it must be `*data_batch`.
2.  Equivalent `train_step`: `self.parse_losses()` is called without the losses (twice in the text).
3.  Equivalent `val_step` takes an `optim_wrapper` that no loop passes.
4.  Second pseudo-code: `train_step(data_batch)` lacks the optimizer wrapper; validation calls `test_step`, keeps the result
    as `preds` and hands `outputs`, which does not exist, to the evaluator.
5.  `MMResNet50.forward` has no default for `mode` and returns nothing for mode 'tensor'.
6.  `MMResNet50.train_step` calls `data_preprocessor(data)` without `True`, so a preprocessor that augments would not.
7.  `MixUpDataPreprocessor` does not call `super().__init__()`; reads `label` before it is assigned; gives `one_hot` no
    number of classes; mixes an undefined `batch_scores`; returns `tuple(img, label)`, which raises; and moves data with
    `.cuda()`, which a machine without CUDA lacks.
8.  One-hot labels are integers; mixed ones must be floats.
9.  `import torch`, `import torch.nn as nn` and `import numpy as np` are missing above the blocks that use them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from drivetrain.evaluator import BaseMetric, Evaluator
from drivetrain.model import BaseDataPreprocessor, BaseModel
from drivetrain.optim import OptimWrapper
from drivetrain.runner import Runner


class MMResNet50(BaseModel):
    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor)
        self.resnet = torchvision.models.resnet50(num_classes=10)

    def forward(self, imgs, labels, mode="tensor"):
        x = self.resnet(imgs)
        if mode == "loss":
            return {"loss": F.cross_entropy(x, labels)}
        if mode == "predict":
            return x, labels
        return x


class WrittenOut(MMResNet50):
    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        loss = self(*data, mode="loss")
        parsed_losses, log_vars = self.parse_losses(loss)
        optim_wrapper.update_params(parsed_losses)
        return log_vars

    def val_step(self, data):
        data = self.data_preprocessor(data, False)
        return self(*data, mode="predict")

    def test_step(self, data):
        data = self.data_preprocessor(data, False)
        return self(*data, mode="predict")


class Accuracy(BaseMetric):
    def process(self, data_batch, data_samples):
        score, gt = data_samples
        self.results.append({"batch_size": len(gt), "correct": (score.argmax(dim=1) == gt).sum().cpu()})

    def compute_metrics(self, results):
        total_correct = sum(item["correct"] for item in results)
        total_size = sum(item["batch_size"] for item in results)
        return {"accuracy": 100 * total_correct / total_size}


class MixUpDataPreprocessor(nn.Module):
    def __init__(self, num_class, alpha):
        super().__init__()
        self.num_class = num_class
        self.alpha = alpha

    def forward(self, data, training=True):
        img, label = tuple(data)
        if not training:
            return img, label
        label = F.one_hot(label, self.num_class).float()
        index = torch.randperm(len(label))
        lam = np.random.beta(self.alpha, self.alpha)
        img = lam * img + (1 - lam) * img[index, :]
        label = lam * label + (1 - lam) * label[index, :]
        return img, label


class DictToTuple(BaseDataPreprocessor):
    """The tutorial's third question: adapts what the loader yields to what the model takes."""

    def forward(self, data, training=False):
        data = super().forward(data, training)
        return data["picture"].float() / 255, data["class_id"]


def images(count=6):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 32, 32, generator=generator), torch.randint(10, (count,), generator=generator)


def run_tutorial(model, work_dir, data=None):
    loader = DataLoader(data or TensorDataset(*images()), batch_size=3)
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader,
        optim_wrapper={"optimizer": {"type": torch.optim.SGD, "lr": 0.001, "momentum": 0.9}},
        train_cfg={"by_epoch": True, "max_epochs": 1, "val_interval": 1},
        val_dataloader=loader,
        val_cfg={},
        val_evaluator={"type": Accuracy},
        randomness={"seed": 0},
        log_level="ERROR",
    )
    runner.train()
    return runner


def test_the_tutorials_job_trains_and_validates(tmp_path):
    runner = run_tutorial(MMResNet50(), tmp_path)
    assert 0 <= runner.message_hub.get_scalar("val/accuracy").current() <= 100
    assert (tmp_path / "epoch_1.pth").exists()


def test_the_steps_written_out_equal_the_inherited_ones(tmp_path):
    torch.manual_seed(3)
    inherited = MMResNet50()
    written = WrittenOut()
    written.load_state_dict(inherited.state_dict())
    first, second = run_tutorial(inherited, tmp_path / "a"), run_tutorial(written, tmp_path / "b")
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_data_flow_by_hand_is_what_the_steps_do():
    model = MMResNet50()
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.001))
    batch = images(3)
    data = model.data_preprocessor(batch, training=True)
    by_hand = model(*data, mode="loss")["loss"]
    model.zero_grad()
    model.eval()
    outputs = model.val_step(batch)
    evaluator = Evaluator(Accuracy())
    evaluator.process(data_samples=outputs, data_batch=batch)
    assert set(evaluator.evaluate(3)) == {"accuracy"}
    model.train()
    assert set(model.train_step(batch, optim_wrapper)) == {"loss"}
    assert by_hand.requires_grad


def test_the_default_preprocessor_is_there_and_moves_the_batch():
    model = MMResNet50()
    assert type(model.data_preprocessor) is BaseDataPreprocessor
    moved = model.data_preprocessor(images(2))
    assert all(part.device == model.data_preprocessor.device for part in moved)


def test_mixup_in_the_preprocessor_mixes_in_training_only(tmp_path):
    preprocessor = MixUpDataPreprocessor(num_class=10, alpha=0.2)
    _, labels = preprocessor(images(6), training=True)
    assert labels.shape == (6, 10)
    torch.testing.assert_close(labels.sum(1), torch.ones(6))
    plain, classes = preprocessor(images(6), training=False)
    assert torch.equal(plain, images(6)[0]) and classes.dtype == torch.int64
    run_tutorial(MMResNet50(data_preprocessor=preprocessor), tmp_path)


def test_a_preprocessor_adapts_the_loaders_format_to_the_models(tmp_path):
    pictures, classes = images(6)
    data = [
        {"picture": (picture * 40 + 128).clamp(0, 255).to(torch.uint8), "class_id": int(label)}
        for picture, label in zip(pictures, classes, strict=True)
    ]
    run_tutorial(MMResNet50(data_preprocessor=DictToTuple()), tmp_path, data=data)


@pytest.mark.parametrize("mode", ["loss", "predict", "tensor"])
def test_forward_has_the_three_modes(mode):
    with torch.no_grad():
        output = MMResNet50().eval()(*images(2), mode=mode)
    assert {"loss": dict, "predict": tuple, "tensor": torch.Tensor}[mode] is type(output)
