"""MosaicDataset: against a reference pixel by pixel, the same for any workers, closed at its pass."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset
from toy import ToyNet, build, only_training

from drivetrain.dataset import DataLoader, MosaicDataset, current_pass
from drivetrain.dataset import _mosaic as module
from drivetrain.errors import ArgumentError, ArgumentTypeError, NotSupportedError, SampleError
from drivetrain.hooks import Hook
from drivetrain.logging import MessageHub
from drivetrain.registry import DATASETS
from drivetrain.structures import BaseDataElement, InstanceData, PixelData

SIZES = [(9, 14), (12, 7), (20, 20), (5, 5), (16, 11), (8, 8)]


class Things(Dataset[Any]):
    """Images of different sizes with 0 to 3 boxes, in one of several forms."""

    metainfo = {"classes": ("a", "b")}

    def __init__(self, form="dict", size=6, channels=3):
        self.form, self.size, self.channels = form, size, channels

    def __len__(self):
        return self.size

    def parts(self, index):
        generator = torch.Generator().manual_seed(int(index))
        height, width = SIZES[index % len(SIZES)]
        image = torch.randint(256, (self.channels, height, width), generator=generator, dtype=torch.uint8)
        count = index % 4
        corners = torch.rand(count, 2, 2, generator=generator).sort(1)[0] * torch.tensor([width, height])
        masks = torch.rand(count, height, width, generator=generator) < 0.5
        return image, corners.flatten(1), torch.full((count,), int(index)), masks

    def __getitem__(self, index):
        image, boxes, labels, masks = self.parts(index)
        fields = {"boxes": boxes, "labels": labels, "masks": masks, "area": (boxes[:, 2:] - boxes[:, :2]).prod(1)}
        if self.form == "dict":
            return {"inputs": image, **fields, "id": int(index)}
        if self.form == "tuple":
            return image, {**fields, "image_id": int(index)}
        if self.form == "array":
            return {"img": image.permute(1, 2, 0).numpy(), "target": {**fields, "masks": list(masks)}}
        sample = BaseDataElement(metainfo={"img_shape": tuple(image.shape[1:]), "scale_factor": (1.0, 1.0)})
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels, masks=masks) if len(boxes) else InstanceData()
        sample.gt_sem_seg = PixelData(data=image[:1])
        return {"inputs": image, "data_samples": sample}


def seen_places(dataset, index, seed):
    """The sample, and for each of the four its index and where it lies."""
    fetched, places = [], []
    inner, original = dataset.dataset, module.Placement.around.__func__

    class Seen:
        def __len__(self):
            return len(inner)

        def __getitem__(self, number):
            fetched.append(number)
            return inner[number]

    class Noted(module.Placement):
        @classmethod
        def around(cls, middle, quarter, size, canvas):
            places.append((middle, quarter, size))
            return original(cls, middle, quarter, size, canvas)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Placement", Noted)
        dataset.dataset = Seen()
        np.random.seed(seed)
        sample = dataset[index]
        dataset.dataset = inner
    return sample, fetched, places


@given(
    st.integers(0, 2**31),
    st.integers(0, 5),
    st.sampled_from([(16, 16), (9, 20)]),
    st.sampled_from([(0.5, 0.5), (0.8, 1.5)]),
)
def test_images_boxes_masks_and_labels_lie_where_a_reference_puts_them(seed, index, canvas, scale):
    data = Things()
    dataset = MosaicDataset(data, canvas, scale=scale, pad_value=114)
    sample, fetched, places = seen_places(dataset, index, seed)
    height, width = canvas
    image = np.full((3, height, width), 114, np.uint8)
    boxes, masks, labels = [], [], []
    for number, ((middle_y, middle_x), quarter, (h, w)) in zip(fetched, places, strict=True):
        own, own_boxes, own_labels, own_masks = data.parts(number)
        small = torch.nn.functional.interpolate(own[None], size=(h, w), mode="bilinear", antialias=True)[0].numpy()
        small = own.numpy() if tuple(own.shape[1:]) == (h, w) else small
        top, left = middle_y - (h if quarter < 2 else 0), middle_x - (w if quarter % 2 == 0 else 0)
        visible = np.zeros((height, width), bool)
        moved = np.zeros((len(own_masks), height, width), bool)
        for y in range(max(top, 0), min(top + h, height)):
            for x in range(max(left, 0), min(left + w, width)):
                image[:, y, x], visible[y, x] = small[:, y - top, x - left], True
                row = min(int((y - top + 0.5) * own.shape[1] / h), own.shape[1] - 1)
                column = min(int((x - left + 0.5) * own.shape[2] / w), own.shape[2] - 1)
                moved[:, y, x] = own_masks[:, row, column]
        for place, box in enumerate(own_boxes.numpy().astype(float)):
            whole = box * np.array([w / own.shape[2], h / own.shape[1]] * 2) + [left, top, left, top]
            low = [max(left, 0), max(top, 0)]
            high = [max(min(left + w, width), low[0]), max(min(top + h, height), low[1])]
            cut = np.concatenate([np.clip(whole[:2], low, high), np.clip(whole[2:], low, high)])
            before, after = (np.prod(b[2:] - b[:2]) for b in (whole, cut))
            if after > 0 and after >= 0.1 * before:
                boxes.append(cut)
                masks.append(moved[place])
                labels.append(int(own_labels[place]))
    np.testing.assert_array_equal(sample["inputs"].numpy(), image)
    np.testing.assert_allclose(sample["boxes"].numpy(), np.array(boxes).reshape(-1, 4), atol=1e-4)
    np.testing.assert_array_equal(sample["masks"].numpy(), np.array(masks, dtype=bool).reshape(-1, height, width))
    assert sample["labels"].tolist() == labels and sample["id"] == index and fetched[0] == index


def test_every_form_of_a_sample_gives_the_same_mosaic():
    results = {}
    for form in ("dict", "tuple", "array", "element"):
        np.random.seed(3)
        results[form] = MosaicDataset(Things(form), 24)[3]
    wanted = results["dict"]
    image, target = results["tuple"]
    assert torch.equal(image, wanted["inputs"]) and torch.equal(target["boxes"], wanted["boxes"])
    assert target["image_id"] == 3 and target.keys() == {"boxes", "labels", "masks", "area", "image_id"}
    array = results["array"]
    assert np.array_equal(array["img"].transpose(2, 0, 1), wanted["inputs"]) and type(array["target"]["masks"]) is list
    element = results["element"]["data_samples"]
    assert torch.equal(element.gt_instances.bboxes, wanted["boxes"])
    assert torch.equal(element.gt_instances.masks, wanted["masks"])
    assert element.img_shape == (24, 24) and element.gt_sem_seg.data.shape == (1, 24, 24)
    assert torch.allclose(target["area"], (wanted["boxes"][:, 2:] - wanted["boxes"][:, :2]).prod(1), rtol=1e-3)


def test_images_without_any_instance_make_a_mosaic_without_any():
    for form, read in (("dict", lambda s: s["boxes"]), ("element", lambda s: s["data_samples"].gt_instances)):
        data = Things(form, size=1)
        assert len(read(MosaicDataset(data, 16)[0])) == 0


def batches(workers, persistent=False, passes=2, **arguments):
    dataset = MosaicDataset(Things(), 16, prob=0.8, **arguments)
    loader = DataLoader(
        dataset, batch_size=2, shuffle=True, num_workers=workers, persistent_workers=persistent, collate_fn=list, seed=4
    )
    return [[sample for batch in loader for sample in batch] for _ in range(passes)]


def assert_same(one, other):
    assert [sample["id"] for sample in one] == [sample["id"] for sample in other]
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first["inputs"], second["inputs"]) and torch.equal(first["boxes"], second["boxes"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (2, True), (4, True)])
def test_mosaics_are_the_same_for_any_number_of_workers(workers, persistent):
    for one, other in zip(batches(0), batches(workers, persistent), strict=True):
        assert_same(one, other)


def test_mosaics_differ_from_pass_to_pass():
    first, second = batches(0)
    by_id = {sample["id"]: sample["inputs"] for sample in first}
    assert (
        sum(
            sample["inputs"].shape == by_id[sample["id"]].shape and torch.equal(sample["inputs"], by_id[sample["id"]])
            for sample in second
        )
        <= 1
    )


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, True)])
def test_mosaics_close_at_their_pass_in_running_workers(workers, persistent):
    data = Things()
    for number, samples in enumerate(batches(workers, persistent, passes=4, close_at="2ep")):
        plain = [torch.equal(sample["inputs"], data[sample["id"]]["inputs"]) for sample in samples]
        assert all(plain) if number >= 2 else sum(plain) < 6


def test_a_closed_mosaic_gives_what_the_dataset_alone_would():
    class Noisy(Things):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "noise": float(np.random.rand())}

    closed = DataLoader(
        MosaicDataset(Noisy(), 16, close_at="1ep"), batch_size=2, num_workers=0, collate_fn=list, seed=4
    )
    alone = DataLoader(Noisy(), batch_size=2, num_workers=0, collate_fn=list, seed=4)
    passes = [
        [[sample["noise"] for batch in loader for sample in batch] for _ in range(2)] for loader in (closed, alone)
    ]
    assert passes[0][0] != passes[1][0] and passes[0][1] == passes[1][1]


def test_workers_hear_of_a_switch_by_hand():
    dataset = MosaicDataset(Things(), 16)
    loader = DataLoader(dataset, batch_size=2, num_workers=1, persistent_workers=True, collate_fn=list, seed=4)
    sizes = []
    for on in (None, False, True):
        dataset.switch(on)
        sizes.append({tuple(sample["inputs"].shape[1:]) for batch in loader for sample in batch})
    assert sizes[0] == sizes[2] == {(16, 16)} and len(sizes[1]) > 1


class Net(ToyNet):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, inputs, labels, ids, mode="tensor"):
        self.seen.append((ids.tolist(), inputs.clone()))
        return super().forward(inputs.float(), labels, mode=mode)


class StopAt(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def collate(samples):
    inputs = torch.stack(
        [torch.nn.functional.interpolate(s["inputs"][None].float(), size=(16, 16))[0] for s in samples]
    )
    return {
        "inputs": inputs,
        "labels": torch.zeros(len(samples), dtype=torch.int64),
        "ids": torch.tensor([s["id"] for s in samples]),
    }


def run(work_dir, workers=2, stop=None, resume=False):
    torch.manual_seed(0)
    model = Net()
    runner = build(
        work_dir,
        model=model,
        train_dataloader={
            "dataset": MosaicDataset(Things(), 16, close_at="2ep"), "batch_size": 2, "num_workers": workers,
            "persistent_workers": workers > 0, "collate_fn": collate,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
        },
        train_cfg={"max_epochs": 4},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}},
        custom_hooks=[] if stop is None else [StopAt(stop)],
        resume=resume,
        **only_training(),
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    # Ends persistent workers now; where the garbage collector ends them, torch takes five seconds for each.
    runner.train_dataloader._iterator = None
    return model.seen


@pytest.mark.parametrize("stop", [3, 7])
def test_a_resumed_run_sees_the_mosaics_of_the_uninterrupted_one(tmp_path, stop):
    whole = run(tmp_path / "whole", workers=0)
    run(tmp_path / "cut", stop=stop)
    rest = run(tmp_path / "cut", resume=True)
    done = stop // 2 * 2
    assert [ids for ids, _ in rest] == [ids for ids, _ in whole[done:]]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(rest, whole[done:], strict=True))


def test_the_pass_is_known_while_a_sample_is_fetched_and_not_else():
    class Passes(Dataset[Any]):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return current_pass()

    for workers, persistent in ((0, False), (2, True)):
        loader = DataLoader(
            Passes(), batch_size=2, num_workers=workers, persistent_workers=persistent, collate_fn=list, seed=1
        )
        assert [[number for batch in loader for number in batch] for _ in range(3)] == [[0] * 4, [1] * 4, [2] * 4]
        assert current_pass() is None


def test_a_pass_that_nobody_tells_is_an_error_in_training():
    dataset = MosaicDataset(Things(), 16, close_at="2ep")
    assert dataset[0]["inputs"].shape == (3, 16, 16)
    MessageHub.get_current_instance().update_info("loop_stage", "train")
    with pytest.raises(NotSupportedError, match=r"streams='sample'.*switch\(False\)"):
        dataset[0]


def test_it_is_built_from_a_config():
    dataset = DATASETS.build({"type": "MosaicDataset", "dataset": Things(), "size": [16, 20]})
    assert dataset[0]["inputs"].shape == (3, 16, 20) and len(dataset) == 6 and dataset.metainfo == Things.metainfo


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": 3, "size": 8}, ArgumentTypeError, "wraps a dataset with a length"),
        ({"size": 1}, ArgumentError, "at least 2 pixels"),
        ({"size": 8, "prob": 3}, ArgumentError, "prob and centre lie in"),
        ({"size": 8, "close_at": "500it"}, ArgumentError, "knows its pass and not its step"),
        ({"size": 8, "close_at": "0.5ep"}, ArgumentError, "whole epochs"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        MosaicDataset(**{"dataset": Things(), **arguments})


def test_samples_of_another_form_are_refused_with_what_was_expected():
    with pytest.raises(SampleError, match="image under 'inputs'"):
        MosaicDataset([torch.zeros(3, 4, 4)] * 4, 8)[0]
    with pytest.raises(SampleError, match="needs boxes"):
        MosaicDataset([{"inputs": torch.zeros(3, 4, 4), "labels": torch.zeros(1)}] * 4, 8)[0]
