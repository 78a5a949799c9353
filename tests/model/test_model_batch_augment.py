"""Batch augmentation: images, labels, boxes, masks and maps against a reference in NumPy, sample by sample."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.errors import ArgumentError, ArgumentTypeError, BatchError
from drivetrain.model import (
    BatchAugmentChoice,
    BatchAugments,
    BatchCutMix,
    BatchMixUp,
    BatchMosaic,
    BatchRandomErase,
    BatchRandomFlip,
    BatchRandomResize,
)
from drivetrain.model.batch_augment import _mosaic
from drivetrain.structures import BaseDataElement, InstanceData, PixelData
from drivetrain.tensors import PackedList


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(11)


drawn = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def run(augment, images, targets=None, **more):
    """The result, and the numbers that were drawn for each step."""
    steps: list[Any] = []
    plan = augment.plan

    def keeping(layout, draw, moment, found, kinds):
        result = plan(layout, draw, moment, found, kinds)
        steps.extend(found)
        return result

    object.__setattr__(augment, "plan", keeping)
    try:
        return (*augment(images, targets, **more), [step.numbers for step in steps])
    finally:
        object.__delattr__(augment, "plan")


@st.composite
def batches(draw, channels=(1, 3), sides=(4, 14), batch=(1, 5)):
    """Images, one element a sample with boxes, masks and a map, and what each fills of its canvas; some have nothing."""
    torch.manual_seed(draw(seeds))
    number = draw(st.integers(*batch))
    height, width = draw(st.integers(*sides)), draw(st.integers(*sides))
    images = torch.randn(number, draw(st.sampled_from(channels)), height, width)
    samples = []
    for _ in range(number):
        size = (draw(st.integers(2, height)), draw(st.integers(2, width)))
        samples.append(element(draw(st.integers(0, 3)), size))
        images[len(samples) - 1, :, size[0] :] = 0
        images[len(samples) - 1, :, :, size[1] :] = 0
    return images, samples


def element(count, size):
    height, width = size
    corners = torch.rand(count, 4) * torch.tensor([width, height, width, height])
    boxes = torch.cat([torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])], 1)
    sample = BaseDataElement(metainfo={"img_shape": size, "flip": False, "scale_factor": (1.0, 1.0), "img_id": 3})
    sample.gt_instances = InstanceData(
        bboxes=boxes,
        labels=torch.randint(9, (count,)),
        masks=torch.rand(count, height, width) < 0.5,
        names=[f"thing {i}" for i in range(count)],
    )
    sample.gt_sem_seg = PixelData(data=torch.randint(9, (1, height, width), dtype=torch.uint8))
    return sample


def on_canvas(values, height, width, fill):
    values = np.asarray(values)
    canvas = np.full((*values.shape[:-2], height, width), fill, values.dtype)
    canvas[..., : values.shape[-2], : values.shape[-1]] = values
    return canvas


def reference_of(images, samples):
    """NumPy copies of all that a batch holds, masks and maps padded to the canvas."""
    height, width = images.shape[-2:]
    return {
        "images": images.numpy().copy(),
        "boxes": [sample.gt_instances.bboxes.numpy().copy() for sample in samples],
        "masks": [on_canvas(sample.gt_instances.masks, height, width, False) for sample in samples],
        "maps": [on_canvas(sample.gt_sem_seg.data, height, width, 255) for sample in samples],
    }


def check(images, samples, wanted, tolerance=1e-5):
    np.testing.assert_allclose(images.numpy(), wanted["images"], atol=tolerance)
    for number, sample in enumerate(samples):
        np.testing.assert_allclose(sample.gt_instances.bboxes.numpy(), wanted["boxes"][number], atol=1e-4)
        np.testing.assert_array_equal(sample.gt_instances.masks.numpy(), wanted["masks"][number])
        np.testing.assert_array_equal(sample.gt_sem_seg.data.numpy(), wanted["maps"][number])


def frozen(images, samples):
    return images.clone(), copy.deepcopy(samples)


def assert_untouched(images, samples, before):
    assert torch.equal(images, before[0])
    for now, then in zip(samples, before[1], strict=True):
        assert now.metainfo == then.metainfo and now.keys() == then.keys()
        assert now.gt_instances.keys() == then.gt_instances.keys()
        assert torch.equal(now.gt_instances.bboxes, then.gt_instances.bboxes)
        assert torch.equal(now.gt_instances.masks, then.gt_instances.masks)
        assert torch.equal(now.gt_sem_seg.data, then.gt_sem_seg.data)


@drawn
@given(seeds, st.integers(1, 7), st.floats(0.1, 4), st.sampled_from(["sample", "batch"]), st.sampled_from([0.5, 1.0]))
def test_mixup_is_the_weighted_mean_of_images_and_labels(seed, batch, alpha, per, prob):
    torch.manual_seed(seed)
    images, labels = torch.randn(batch, 3, 5, 4), torch.randint(6, (batch,))
    mixed, soft, (numbers,) = run(BatchMixUp(alpha, prob, num_classes=6, per=per), images, labels)
    share, other = 1 - numbers["given"], numbers["other"]
    assert sorted(other) == list(range(batch)) and ((share >= 0) & (share <= 1)).all()
    for i in range(batch):
        wanted = share[i] * images[i].numpy() + (1 - share[i]) * images[other[i]].numpy()
        np.testing.assert_allclose(mixed[i].numpy(), wanted, atol=1e-5)
        hot = share[i] * np.eye(6)[labels[i]] + (1 - share[i]) * np.eye(6)[labels[other[i]]]
        np.testing.assert_allclose(soft[i].numpy(), hot, atol=1e-6)
    if per == "batch":
        assert len(set(share)) == 1


@drawn
@given(seeds, st.integers(1, 6), st.integers(2, 12), st.integers(2, 12), st.floats(0.1, 4))
def test_cutmix_pastes_a_box_and_mixes_labels_by_the_pixels_really_pasted(seed, batch, height, width, alpha):
    torch.manual_seed(seed)
    images, soft = torch.randn(batch, 3, height, width), torch.rand(batch, 5)
    cut, labels, (numbers,) = run(BatchCutMix(alpha), images, soft)
    for i in range(batch):
        wanted, j = images[i].numpy().copy(), numbers["other"][i]
        x1, y1, x2, y2 = numbers["box"][i]
        wanted[:, y1:y2, x1:x2] = images[j].numpy()[:, y1:y2, x1:x2]
        np.testing.assert_array_equal(cut[i].numpy(), wanted)
        pasted = (x2 - x1) * (y2 - y1) / (height * width)
        np.testing.assert_allclose(labels[i], (1 - pasted) * soft[i] + pasted * soft[j], atol=1e-6)


def test_cutmix_cuts_a_class_for_each_pixel_along_with_the_image():
    images, classes = torch.randn(4, 3, 8, 9), torch.randint(5, (4, 8, 9))
    _, new, (numbers,) = run(BatchCutMix(), images, classes)
    assert new.dtype == torch.int64
    for i in range(4):
        x1, y1, x2, y2 = numbers["box"][i]
        wanted = classes[i].clone()
        wanted[y1:y2, x1:x2] = classes[numbers["other"][i], y1:y2, x1:x2]
        assert torch.equal(new[i], wanted)


@pytest.mark.parametrize("kind", [BatchMixUp, BatchCutMix])
def test_samples_that_are_not_mixed_stay_as_they_are(kind):
    images, labels = torch.randn(64, 3, 6, 6), torch.arange(64) % 4
    same, soft = kind(prob=0.0, num_classes=4)(images, labels)
    assert torch.equal(same, images) and torch.equal(soft.argmax(1), labels) and bool(((soft == 0) | (soft == 1)).all())
    some, _ = kind(prob=0.5, num_classes=4)(images, labels)
    left = (some == images).flatten(1).all(1).sum()
    assert 18 <= int(left) <= 46


def test_boxes_of_cutmix_differ_from_sample_to_sample_and_agree_by_batch_on_request():
    images, labels = torch.randn(32, 1, 32, 32), torch.zeros(32, dtype=torch.int64)
    *_, (numbers,) = run(BatchCutMix(num_classes=2), images, labels)
    assert len({tuple(box) for box in numbers["box"]}) > 24
    *_, (numbers,) = run(BatchCutMix(num_classes=2, per="batch"), images, labels)
    assert len({tuple(box) for box in numbers["box"]}) == 1


@drawn
@given(batches(), st.sampled_from([(0.5, 0.0), (0.5, 0.5), (0.0, 1.0)]))
def test_flips_mirror_each_sample_within_what_it_fills(batch, chances):
    images, samples = batch
    before = frozen(images, samples)
    new, targets, (numbers,) = run(BatchRandomFlip(*chances), images, samples)
    wanted = reference_of(images, samples)
    for i, sample in enumerate(samples):
        height, width = sample.img_shape
        for axis, flag in ((-1, numbers["flips"][i][0]), (-2, numbers["flips"][i][1])):
            if not flag:
                continue
            for values in (wanted["images"][i], wanted["masks"][i], wanted["maps"][i]):
                values[..., :height, :width] = np.flip(values[..., :height, :width], axis).copy()
            boxes, (low, high), side = (
                wanted["boxes"][i],
                ((0, 2) if axis == -1 else (1, 3)),
                (width if axis == -1 else height),
            )
            boxes[:, [low, high]] = side - boxes[:, [high, low]]
        flips = [bool(flag) for flag in numbers["flips"][i]]
        direction = {(True, False): "horizontal", (False, True): "vertical", (True, True): "diagonal"}.get(tuple(flips))
        assert targets[i].flip is any(flips) and targets[i].get("flip_direction") is None
        assert targets[i].img_shape == sample.img_shape and direction is not False
    check(new, targets, wanted)
    assert_untouched(images, samples, before)


@drawn
@given(batches(), st.floats(0, 1))
def test_erasing_wipes_a_rectangle_and_says_which_boxes_are_hidden(batch, prob):
    images, samples = batch
    before = frozen(images, samples)
    new, targets, (numbers,) = run(
        BatchRandomErase(prob, scale=(0.1, 0.9), value=7.0, min_visible=0.5), images, samples
    )
    wanted = reference_of(images, samples)
    for i, sample in enumerate(samples):
        x1, y1, x2, y2 = (int(side) for side in numbers["box"][i])
        height, width = sample.img_shape
        assert 0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height
        wanted["images"][i][:, y1:y2, x1:x2] = 7
        wanted["masks"][i][:, y1:y2, x1:x2] = False
        wanted["maps"][i][:, y1:y2, x1:x2] = 255
        for box, visible in zip(wanted["boxes"][i], targets[i].gt_instances.visible, strict=True):
            under = max(0, min(box[2], x2) - max(box[0], x1)) * max(0, min(box[3], y2) - max(box[1], y1))
            area = (box[2] - box[0]) * (box[3] - box[1])
            assert area == 0 or abs(under / area - 0.5) < 1e-5 or bool(visible) == (under / area <= 0.5)
    check(new, targets, wanted)
    assert_untouched(images, samples, before)


def test_the_area_and_the_ratio_of_what_is_erased_lie_in_their_ranges():
    images = torch.zeros(400, 1, 64, 64)
    *_, (numbers,) = run(BatchRandomErase(1.0, scale=(0.1, 0.2), ratio=(0.5, 2.0)), images)
    sides = (numbers["box"][:, 2:] - numbers["box"][:, :2]).astype(float)
    share, ratio = sides.prod(1) / 64**2, sides[:, 1] / sides[:, 0]
    assert 0.09 < share.min() < 0.12 and 0.18 < share.max() < 0.21
    assert 0.47 < ratio.min() < 0.7 and 1.5 < ratio.max() < 2.15


def test_noise_is_the_same_for_the_same_step_and_normal():
    images = torch.zeros(8, 3, 16, 16)
    torch.manual_seed(3)
    first, _ = BatchRandomErase(1.0, value="noise")(images)
    torch.rand(9)
    torch.manual_seed(3)
    second, _ = BatchRandomErase(1.0, value="noise")(images)
    assert torch.equal(first, second)
    inside = first[first != 0]
    assert abs(float(inside.mean())) < 0.2 and 0.8 < float(inside.std()) < 1.2


@drawn
@given(batches(), st.sampled_from([(4, 8), (12, 5), (20, 20), (3, 3)]))
def test_resizing_scales_all_and_takes_the_nearest_pixel_of_masks(batch, size):
    from torchvision.transforms.v2 import functional

    images, samples = batch
    before = frozen(images, samples)
    new, targets, _ = run(BatchRandomResize([size], divisor=1), images, samples)
    wanted = reference_of(images, samples)
    height, width = images.shape[-2:]
    down, across = size[0] / height, size[1] / width
    rows = [min(int((y + 0.5) * height / size[0]), height - 1) for y in range(size[0])]
    columns = [min(int((x + 0.5) * width / size[1]), width - 1) for x in range(size[1])]
    wanted["images"] = functional.resize(images, list(size), antialias=False).numpy()
    for i, sample in enumerate(samples):
        wanted["boxes"][i] = wanted["boxes"][i] * np.array([across, down, across, down], np.float32)
        wanted["masks"][i] = wanted["masks"][i][:, rows][:, :, columns]
        wanted["maps"][i] = wanted["maps"][i][:, rows][:, :, columns]
        old = sample.img_shape
        assert targets[i].img_shape == (max(1, round(old[0] * down)), max(1, round(old[1] * across)))
        assert targets[i].scale_factor == pytest.approx((across, down))
    check(new, targets, wanted)
    assert_untouched(images, samples, before)


def mosaic_reference(images, samples, around, scaled, size):
    """One canvas pixel after the other: which quarter, which image, which of its pixels."""
    (centre, source, sizes, (height, width)), (rows, columns) = around, scaled
    small = torch.nn.functional.interpolate(images, size=size, mode="bilinear", align_corners=False).numpy()
    before = reference_of(images, samples)
    masks = [values[:, rows][:, :, columns] for values in before["masks"]]
    maps = [values[:, rows][:, :, columns] for values in before["maps"]]
    wanted: dict[str, Any] = {
        "images": np.zeros_like(before["images"]),
        "boxes": [],
        "masks": [],
        "maps": [],
        "share": [],
    }
    ratio = np.array([size[1] / width, size[0] / height] * 2)
    for n in range(len(images)):
        canvas_map = np.full((1, height, width), 255, np.uint8)
        canvas_masks = [np.zeros((len(masks[s]), height, width), bool) for s in source[n]]
        boxes, shares = [], []
        for y in range(height):
            for x in range(width):
                quarter = 2 * (y >= centre[n][1]) + (x >= centre[n][0])
                s = source[n][quarter]
                top = centre[n][1] - (sizes[s][0] if quarter < 2 else 0)
                left = centre[n][0] - (sizes[s][1] if quarter % 2 == 0 else 0)
                if 0 <= y - top < sizes[s][0] and 0 <= x - left < sizes[s][1]:
                    wanted["images"][n, :, y, x] = small[s, :, y - top, x - left]
                    canvas_map[:, y, x] = maps[s][:, y - top, x - left]
                    canvas_masks[quarter][:, y, x] = masks[s][:, y - top, x - left]
        for quarter, s in enumerate(source[n]):
            top = centre[n][1] - (sizes[s][0] if quarter < 2 else 0)
            left = centre[n][0] - (sizes[s][1] if quarter % 2 == 0 else 0)
            x_low, x_high = (
                (max(left, 0), centre[n][0]) if quarter % 2 == 0 else (centre[n][0], min(left + sizes[s][1], width))
            )
            y_low, y_high = (
                (max(top, 0), centre[n][1]) if quarter < 2 else (centre[n][1], min(top + sizes[s][0], height))
            )
            for box in before["boxes"][s].astype(float) * ratio + [left, top, left, top]:
                cut = np.array([*np.clip(box[[0, 1]], [x_low, y_low], [x_high, y_high]),
                                *np.clip(box[[2, 3]], [x_low, y_low], [x_high, y_high])])  # fmt: skip
                area = (box[2] - box[0]) * (box[3] - box[1])
                boxes.append(cut)
                shares.append((cut[2] - cut[0]) * (cut[3] - cut[1]) / area if area else 0)
        wanted["boxes"].append(np.array(boxes).reshape(-1, 4))
        wanted["masks"].append(np.concatenate(canvas_masks))
        wanted["maps"].append(canvas_map)
        wanted["share"].append(shares)
    return wanted


@drawn
@given(batches(batch=(1, 5)), st.sampled_from([(0.5, 0.5), (0.4, 1.0), (1.0, 1.3)]))
def test_mosaic_lays_four_images_with_boxes_masks_and_maps_around_a_point(batch, scale):
    images, samples = batch
    before, seen = frozen(images, samples), []
    original = _mosaic._Tiling.around.__func__

    class Seen(_mosaic._Tiling):
        @classmethod
        def around(cls, *args):
            seen.append(args)
            return original(cls, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mosaic, "_Tiling", Seen)
        new, targets, (numbers,) = run(BatchMosaic(scale=scale), images, samples)
    (around,), scaled = seen, (numbers["rows"], numbers["columns"])
    wanted = mosaic_reference(images, samples, around, scaled, (len(scaled[0]), len(scaled[1])))
    check(new, targets, wanted)
    for n, target in enumerate(targets):
        assert target.img_shape == tuple(images.shape[-2:])
        names = [name for s in around[1][n] for name in samples[s].gt_instances.names]
        labels = torch.cat([samples[s].gt_instances.labels for s in around[1][n]])
        assert target.gt_instances.names == names and torch.equal(target.gt_instances.labels, labels)
        for share, visible in zip(wanted["share"][n], target.gt_instances.visible, strict=True):
            assert abs(share - 0.1) < 1e-4 or bool(visible) == (share >= 0.1)
    assert_untouched(images, samples, before)


@drawn
@given(batches(batch=(2, 4)))
def test_samples_that_are_no_mosaic_stay_as_they_are(batch):
    images, samples = batch
    new, targets, (numbers,) = run(BatchMosaic(prob=0.5), images, samples)
    wanted = reference_of(images, samples)
    for i in np.flatnonzero(~numbers["chosen"]):
        assert torch.equal(new[i], images[i])
        assert torch.equal(targets[i].gt_instances.bboxes, samples[i].gt_instances.bboxes)
        assert bool(targets[i].gt_instances.visible.all()) and targets[i].metainfo == samples[i].metainfo
        np.testing.assert_array_equal(targets[i].gt_instances.masks.numpy(), wanted["masks"][i])


@drawn
@given(batches(batch=(1, 4)))
def test_hidden_instances_are_dropped_on_request(batch):
    images, samples = batch
    torch.manual_seed(5)
    _, marked = BatchMosaic()(images, samples)
    torch.manual_seed(5)
    _, dropped = BatchMosaic(drop_hidden=True)(images, samples)
    for all_of_them, left in zip(marked, dropped, strict=True):
        keep = all_of_them.gt_instances.visible
        assert bool(left.gt_instances.visible.all()) and len(left.gt_instances) == int(keep.sum())
        for name in ("bboxes", "labels", "masks"):
            assert torch.equal(all_of_them.gt_instances[name][keep], left.gt_instances[name])
        assert [
            name for name, there in zip(all_of_them.gt_instances.names, keep, strict=True) if there
        ] == left.gt_instances.names


def test_dicts_of_boxes_are_treated_as_elements_are():
    torch.manual_seed(2)
    images, samples = torch.randn(3, 3, 12, 10), [element(n, (12, 10)) for n in (2, 0, 3)]
    dicts = [
        {
            "boxes": sample.gt_instances.bboxes,
            "labels": sample.gt_instances.labels,
            "masks": list(sample.gt_instances.masks),
            "area": torch.ones(len(sample.gt_instances)),
            "image_id": 7,
        }
        for sample in samples
    ]
    for augment in (BatchRandomFlip(1.0), BatchRandomErase(1.0), BatchMosaic(), BatchRandomResize([24], divisor=1)):
        torch.manual_seed(4)
        augment._clock = type(augment._clock)()
        one, elements = augment(images, samples)
        augment._clock = type(augment._clock)()
        two, found = augment(images, dicts)
        assert torch.equal(one, two)
        for sample, target in zip(elements, found, strict=True):
            assert torch.equal(sample.gt_instances.bboxes, target["boxes"]) and target["image_id"] == 7
            assert torch.equal(sample.gt_instances.labels, target["labels"]) and type(target["masks"]) is list
            assert all(map(torch.equal, sample.gt_instances.masks, target["masks"]))
    factor = 24 / 12 * 24 / 10
    assert torch.allclose(found[0]["area"], torch.full((2,), factor)) and "visible" not in dicts[0]


def test_boxes_in_an_object_of_their_own_come_back_in_one():
    class Boxes:
        def __init__(self, tensor):
            self.tensor, self.kind = tensor, "own"

        def __len__(self):
            return len(self.tensor)

    sample = BaseDataElement()
    sample.gt_instances = InstanceData(bboxes=Boxes(torch.tensor([[1.0, 2, 4, 6]])), labels=torch.tensor([1]))
    _, (new,) = BatchRandomFlip(1.0)(torch.zeros(1, 3, 10, 12), [sample])
    assert type(new.gt_instances.bboxes) is Boxes and new.gt_instances.bboxes.kind == "own"
    assert new.gt_instances.bboxes.tensor.tolist() == [[8, 2, 11, 6]]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[1, 2, 4, 6]]


def test_labels_of_elements_become_scores():
    samples = [BaseDataElement(gt_label=torch.tensor([i]), metainfo={"num_classes": 3}) for i in range(3)]
    _, new = BatchMixUp()(torch.randn(3, 3, 4, 4), samples)
    assert all(sample.gt_score.shape == (3,) and float(sample.gt_score.sum()) == pytest.approx(1) for sample in new)
    assert all("gt_score" not in sample for sample in samples)
    again = BatchMixUp()(torch.randn(3, 3, 4, 4), new)[1]
    assert float(torch.stack([sample.gt_score for sample in again]).sum()) == pytest.approx(3)


def test_labels_in_a_list_as_pseudo_collate_leaves_them_are_labels():
    images = torch.randn(2, 3, 4, 4)
    for labels in ([1, 0], [torch.tensor(1), torch.tensor(0)], PackedList.pack([torch.tensor(1), torch.tensor(0)])):
        assert BatchMixUp(num_classes=2)(images, labels)[1].shape == (2, 2)
    assert BatchRandomFlip()(images, [1, 0])[1].tolist() == [1, 0]


def test_two_flips_of_a_sample_are_none_in_its_meta_information():
    sample = BaseDataElement(metainfo={"flip": True, "flip_direction": "vertical", "img_shape": (4, 4)})
    _, (new,) = BatchRandomFlip(1.0, 1.0)(torch.zeros(1, 1, 4, 4), [sample])
    assert (new.flip, new.flip_direction) == (True, "horizontal")
    _, (new,) = BatchRandomFlip(0.0, 1.0)(torch.zeros(1, 1, 4, 4), [sample])
    assert (new.flip, new.flip_direction) == (False, None)


def test_a_canvas_of_another_size_is_in_the_meta_information():
    sample = BaseDataElement(metainfo={"img_shape": (4, 6, 3), "pad_shape": (8, 8), "batch_input_shape": (8, 8)})
    _, (new,) = BatchRandomResize([32])(torch.zeros(1, 1, 8, 8), [sample])
    assert new.metainfo == {"img_shape": (16, 24, 3), "pad_shape": (32, 32), "batch_input_shape": (32, 32)}


def test_a_batch_that_is_channels_last_stays_so():
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for augment in (BatchMixUp(num_classes=2), BatchCutMix(num_classes=2), BatchRandomFlip(), BatchRandomResize([32])):
        new, _ = augment(images, torch.zeros(4, dtype=torch.int64))
        assert new.is_contiguous(memory_format=torch.channels_last)
        assert augment(images.contiguous(), torch.zeros(4, dtype=torch.int64))[0].is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_images_of_half_precision_keep_it(dtype):
    images, samples = torch.randn(3, 3, 8, 8).to(dtype), [element(2, (8, 8)) for _ in range(3)]
    for augment in (BatchRandomFlip(), BatchRandomErase(), BatchMosaic(), BatchRandomResize([32])):
        assert augment(images, samples)[0].dtype == dtype
    mixed, soft = BatchMixUp(num_classes=3)(images, torch.zeros(3, dtype=torch.int64))
    assert mixed.dtype == dtype and soft.dtype == torch.float32


def test_an_empty_batch_passes():
    assert BatchRandomFlip()(torch.zeros(0, 3, 4, 4))[0].shape == (0, 3, 4, 4)
    assert BatchMixUp(num_classes=2)(torch.zeros(0, 3, 4, 4), torch.zeros(0, dtype=torch.int64))[1].shape == (0, 2)


def test_a_sequence_plans_each_part_for_what_the_one_before_leaves():
    torch.manual_seed(1)
    images, samples = torch.randn(3, 3, 8, 8), [element(2, (8, 6)) for _ in range(3)]
    parts = [BatchMosaic(), BatchRandomResize([16], divisor=1), BatchRandomFlip(1.0)]
    new, targets, steps = run(BatchAugments(parts), images, samples)
    assert len(steps) == 3 and new.shape[-2:] == (16, 16) and targets[0].img_shape == (16, 16)
    assert targets[0].gt_instances.masks.shape == (8, 16, 16)
    boxes = targets[0].gt_instances.bboxes
    assert bool(((boxes >= 0) & (boxes <= 16)).all())


def test_one_of_several_is_drawn_for_each_batch_by_its_chance():
    choice = BatchAugmentChoice([BatchMixUp(num_classes=2), BatchCutMix(num_classes=2)], probs=[0.25, 0.5])
    images, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    counts = {"mixup": 0, "cutmix": 0, "none": 0}
    for _ in range(400):
        _, soft, steps = run(choice, images, labels)
        assert soft.shape == (2, 2)
        counts["none" if not steps else "cutmix" if "box" in steps[0] else "mixup"] += 1
    assert 70 <= counts["mixup"] <= 130 and 165 <= counts["cutmix"] <= 235 and 70 <= counts["none"] <= 130


def test_a_size_lasts_for_its_interval_and_is_a_multiple_of_the_divisor():
    resize = BatchRandomResize(between=(20, 200), divisor=32, interval=5)
    sizes = [resize(torch.zeros(1, 1, 8, 8))[0].shape[-1] for _ in range(300)]
    assert all(len(set(sizes[i : i + 5])) == 1 for i in range(0, 300, 5))
    assert set(sizes) == {32, 64, 96, 128, 160, 192}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchMixUp(alpha=0), "alpha must be a number above 0, got 0"),
        (lambda: BatchMixUp(prob=2), r"prob must lie in \[0, 1\], got 2"),
        (lambda: BatchCutMix(per="smaple"), "Did you mean 'sample'"),
        (lambda: BatchRandomFlip(horizontal=-1), "horizontal is a chance"),
        (lambda: BatchRandomErase(value="nose"), "a number or 'noise', got 'nose'"),
        (lambda: BatchRandomErase(scale=(0.5, 0.1)), "scale is the least and the greatest share"),
        (lambda: BatchRandomResize(), "give one of sizes"),
        (lambda: BatchRandomResize([33]), "multiples of divisor=32"),
        (lambda: BatchRandomResize(between=(33, 40)), "no multiple of divisor=32"),
        (lambda: BatchMosaic(centre=(0.7, 0.3)), "centre is the least and the greatest"),
        (lambda: BatchAugments([BatchMixUp(), BatchMosaic()]), "BatchMixUp and BatchMosaic do not go together"),
        (lambda: BatchAugments([torch.nn.Identity()]), "takes batch augmentations"),
        (lambda: BatchAugments([BatchRandomFlip()], close_at="10min"), "is a time"),
        (lambda: BatchAugmentChoice([BatchRandomFlip()], probs=[0.5, 0.5]), "each of the 1 augmentations"),
        (lambda: BatchAugmentChoice([BatchRandomFlip()], probs=[1.5]), "together at most 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_at_construction(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_list_is_needed():
    with pytest.raises(ArgumentTypeError, match="takes a list of augmentations"):
        BatchAugments([])


@pytest.mark.parametrize(
    ("augment", "targets", "message"),
    [
        (BatchMixUp(num_classes=2), "boxes", "BatchMixUp cannot follow with boxes"),
        (BatchMosaic(), torch.tensor([0, 1]), "BatchMosaic cannot follow with labels.*Use BatchMixUp"),
        (BatchMixUp(num_classes=2), None, "BatchMixUp needs labels in the targets, and they hold none"),
        (BatchRandomFlip(), torch.tensor([1]), "1 targets for 2 images"),
        (BatchRandomFlip(), [1.5, "a"], "targets of a batch are"),
        (BatchRandomFlip(), torch.zeros(2, 3, dtype=torch.int64), "labels are whole numbers"),
        (BatchRandomFlip(), [{"boxes": torch.zeros(1, 4), "keypoints": torch.zeros(1, 2)}] * 2, "'keypoints'"),
        (BatchRandomFlip(), [{"boxes": torch.zeros(4)}] * 2, r"must be \(n, 4\)"),
        (BatchRandomFlip(), [{"boxes": torch.zeros(1, 4), "masks": torch.zeros(1, 99, 9)}] * 2, "do not fit the images"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_for_a_batch_is_refused_with_it(augment, targets, message):
    if type(targets) is str:
        targets = [{"boxes": torch.zeros(1, 4)}] * 2
    with pytest.raises(BatchError, match=message):
        augment(torch.zeros(2, 3, 8, 8), targets)


def test_images_have_to_be_normalised_and_stacked():
    with pytest.raises(BatchError, match=r"mixes normalised images, got torch\.uint8"):
        BatchRandomFlip()(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(BatchError, match=r"one tensor of images \(N, C, H, W\), got list"):
        BatchRandomFlip()([torch.zeros(3, 4, 4)])


def test_the_number_of_classes_has_to_be_known():
    with pytest.raises(ArgumentError, match="does not know the number of classes"):
        BatchMixUp()(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))
