"""Batch augmentation inside ImgDataPreprocessor: where it finds targets, when it runs, what it is told of sizes."""

from __future__ import annotations

import pytest
import torch

from drivetrain.errors import BatchError
from drivetrain.model import BatchAugments, BatchMixUp, BatchRandomFlip, ImgDataPreprocessor
from drivetrain.registry import MODELS
from drivetrain.structures import BaseDataElement, InstanceData

FLIP = {"type": "BatchRandomFlip", "horizontal": 1.0}


def images(*sizes):
    return [torch.randint(256, (3, *size), dtype=torch.uint8) for size in sizes]


def test_training_batches_are_augmented_after_they_are_normalised_and_others_are_not():
    preprocessor = MODELS.build(
        {"type": "ImgDataPreprocessor", "mean": [100.0], "std": [50.0], "batch_augments": [FLIP]}
    )
    batch = {"inputs": torch.stack(images((4, 5), (4, 5)))}
    normal = (batch["inputs"].float() - 100) / 50
    assert torch.equal(preprocessor(batch, True)["inputs"], normal.flip(-1))
    assert torch.equal(preprocessor(batch, False)["inputs"], normal)
    assert torch.equal(preprocessor(batch)["inputs"], normal)


def test_unequal_images_are_mirrored_within_what_they_fill():
    preprocessor = ImgDataPreprocessor(batch_augments=FLIP, pad_size_divisor=8)
    listed = images((4, 5), (6, 3))
    boxes = [torch.tensor([[0.0, 0, 2, 2]]), torch.zeros(0, 4)]
    samples = [BaseDataElement(gt_instances=InstanceData(bboxes=box)) for box in boxes]
    new = preprocessor({"inputs": listed, "data_samples": samples}, True)
    assert new["inputs"].shape == (2, 3, 8, 8)
    assert torch.equal(new["inputs"][0, :, :4, :5], listed[0].flip(-1).float()) and not new["inputs"][0, :, 4:].any()
    assert torch.equal(new["inputs"][1, :, :6, :3], listed[1].flip(-1).float()) and not new["inputs"][1, :, :, 3:].any()
    assert new["data_samples"][0].gt_instances.bboxes.tolist() == [[3, 0, 5, 2]]
    assert samples[0].gt_instances.bboxes.tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("name", ["data_samples", "labels", "label", "targets", "target", "gt_label"])
def test_labels_are_found_by_their_usual_names(name):
    preprocessor = ImgDataPreprocessor(batch_augments={"type": "BatchMixUp", "num_classes": 3})
    batch = {"inputs": torch.zeros(2, 3, 4, 4), name: torch.tensor([0, 2]), "id": "a"}
    new = preprocessor(batch, True)
    assert new[name].shape == (2, 3) and new["id"] == "a" and batch[name].tolist() == [0, 2]


def test_two_kinds_of_targets_are_refused():
    preprocessor = ImgDataPreprocessor(batch_augments=FLIP)
    batch = {"inputs": torch.zeros(2, 3, 4, 4), "labels": torch.tensor([0, 2]), "target": torch.tensor([0, 2])}
    with pytest.raises(BatchError, match="under 'labels' and 'target'"):
        preprocessor(batch, True)


def test_an_object_a_config_and_lists_of_them_are_taken():
    flip, mix = BatchRandomFlip(1.0), BatchMixUp(num_classes=2)
    assert ImgDataPreprocessor(batch_augments=flip)._batch_augment is flip
    assert ImgDataPreprocessor(batch_augments=[flip])._batch_augment is flip
    both = ImgDataPreprocessor(batch_augments=[flip, mix, FLIP])._batch_augment
    assert type(both) is BatchAugments and both.parts[:2] == (flip, mix)
    assert ImgDataPreprocessor()._batch_augment is None


def test_weights_have_the_same_names_with_and_without():
    assert ImgDataPreprocessor(batch_augments=[FLIP]).state_dict().keys() == ImgDataPreprocessor().state_dict().keys()


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_output_in_half_precision_and_channels_last_stays_so(dtype):
    preprocessor = ImgDataPreprocessor(
        mean=[1.0],
        std=[2.0],
        output_dtype=dtype,
        channels_last=True,
        batch_augments=[FLIP, {"type": "BatchRandomErase"}],
    )
    new = preprocessor({"inputs": torch.stack(images((4, 5), (4, 5)))}, True)["inputs"]
    assert new.dtype in (torch.bfloat16, torch.float16) and new.is_contiguous(memory_format=torch.channels_last)


def test_a_preprocessor_of_ones_own_calls_an_augmentation_in_one_line():
    class Own(ImgDataPreprocessor):
        def __init__(self):
            super().__init__(mean=[1.0], std=[2.0])
            # As mmdet's preprocessor keeps its own under this name: ours must not run them a second time.
            self.batch_augments = torch.nn.ModuleList([BatchRandomFlip(1.0)])

        def forward(self, data, training=False):
            data = super().forward(data, training)
            for augment in self.batch_augments if training else ():
                data["inputs"], data["data_samples"] = augment(data["inputs"], data["data_samples"])
            return data

    batch = {"inputs": torch.stack(images((4, 5), (4, 5)))}
    assert torch.equal(Own()(batch, True)["inputs"], ((batch["inputs"].float() - 1) / 2).flip(-1))
