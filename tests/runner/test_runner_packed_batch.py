"""Where a run packs its batches by itself, and that nobody notices but the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset
from toy import Recorder, ToyData, ToyNet, build, loader, only_training

from drivetrain.dataset import default_collate, pack_collate, pseudo_collate
from drivetrain.errors import BatchError
from drivetrain.model import BaseDataPreprocessor, BaseModel, ImgDataPreprocessor, stack_batch
from drivetrain.runner import load_capsule
from drivetrain.runner._capsule_batch import pack, unpack
from drivetrain.runner._static_batch import take_apart
from drivetrain.structures import BaseDataElement, InstanceData
from drivetrain.tensors import PackedList, cast, packed_of


class Stacking(ImgDataPreprocessor):
    """Stacks labels too."""

    def forward(self, data: Any, training: bool = False) -> Any:
        batch = super().forward(data, training)
        batch.pop("data_samples")
        return {**batch, "labels": torch.stack(list(batch["labels"]))}


class Seeing(Recorder):
    """Notes of what kind the images of a batch are."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[Any] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self.kinds.append((type(data_batch["inputs"]), packed_of(data_batch["inputs"]) is not None))


def trained(folder: Path, preprocessor: Any = None, **changes: Any) -> Seeing:
    seeing = Seeing()
    model = ToyNet(dropout=0.0, data_preprocessor=Stacking() if preprocessor is None else preprocessor)
    cfg = loader(**{"num_workers": 1, "collate_fn": {"type": "pseudo_collate"}, **changes})
    build(folder, model=model, custom_hooks=[seeing], train_dataloader=cfg, **_without_loader()).train()
    return seeing


def _without_loader() -> dict[str, Any]:
    return {name: value for name, value in only_training().items() if name != "train_dataloader"}


def test_a_run_with_our_image_preprocessor_and_workers_trains_on_packed_batches_to_the_same_losses(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    packed = trained(tmp_path / "packed")
    torch.manual_seed(0)
    plain = trained(tmp_path / "plain", collate_fn=pseudo_collate)
    assert set(packed.kinds) == {(PackedList, True)}
    assert set(plain.kinds) == {(list, False)}
    assert packed.ids == plain.ids and len(packed.losses) > 4
    assert all(map(torch.equal, packed.losses, plain.losses))


def chosen(tmp_path: Path, preprocessor: Any, **changes: Any) -> Any:
    cfg = loader(**changes)
    if changes.get("collate_fn") == "none":
        cfg.pop("collate_fn")
    runner = build(tmp_path, model=ToyNet(data_preprocessor=preprocessor), train_dataloader=cfg, **_without_loader())
    return runner.train_dataloader.collate_fn


PSEUDO = {"type": "pseudo_collate"}


@pytest.mark.parametrize(
    ("preprocessor", "changes", "expected"),
    [
        (ImgDataPreprocessor, {"num_workers": 2, "collate_fn": PSEUDO}, pack_collate),
        (Stacking, {"num_workers": 2, "collate_fn": {"type": pseudo_collate}}, pack_collate),
        (ImgDataPreprocessor, {"num_workers": 2, "collate_fn": "none"}, pack_collate),
        (ImgDataPreprocessor, {"num_workers": 0, "pin_memory": True, "collate_fn": PSEUDO}, pack_collate),
        (ImgDataPreprocessor, {"num_workers": 0, "pin_memory": False, "collate_fn": PSEUDO}, pseudo_collate),
        (ImgDataPreprocessor, {"num_workers": 2, "collate_fn": pseudo_collate}, pseudo_collate),
        (ImgDataPreprocessor, {"num_workers": 2, "collate_fn": {"type": "default_collate"}}, default_collate),
        (BaseDataPreprocessor, {"num_workers": 2, "collate_fn": PSEUDO}, pseudo_collate),
        (BaseDataPreprocessor, {"num_workers": 0, "collate_fn": {"type": "pack_collate"}}, pack_collate),
    ],
)
def test_which_collate_function_a_run_takes(tmp_path: Path, preprocessor: Any, changes: Any, expected: Any) -> None:
    assert chosen(tmp_path, preprocessor(), **changes) is expected


def test_a_loader_of_the_users_is_left_alone(tmp_path: Path) -> None:
    given = TorchDataLoader(ToyData(), batch_size=4, num_workers=1, collate_fn=pseudo_collate)
    model = ToyNet(data_preprocessor=Stacking())
    runner = build(tmp_path, model=model, train_dataloader=given, **_without_loader())
    assert runner.train_dataloader.collate_fn is pseudo_collate


@pytest.mark.parametrize("workers", [0, 1])
def test_the_log_says_that_batches_are_packed(tmp_path: Path, workers: int) -> None:
    cfg = loader(num_workers=workers, pin_memory=False, collate_fn=PSEUDO)
    model = ToyNet(data_preprocessor=ImgDataPreprocessor())
    runner = build(tmp_path, model=model, train_dataloader=cfg, log_level="INFO", **_without_loader())
    _ = runner.train_dataloader
    (log,) = tmp_path.rglob("*.log")
    assert ("Batches are packed" in log.read_text()) == (workers == 1)


def test_a_capsule_holds_a_packed_list_as_a_list_of_tensors() -> None:
    left_out: list[str] = []
    batch = {"inputs": PackedList.pack([torch.ones(3, 4, 4), torch.zeros(3, 5, 4)])}
    content = pack(batch, left_out)
    assert type(content["inputs"]) is list and not left_out
    again = unpack(content)
    assert type(again["inputs"]) is list
    assert all(map(torch.equal, again["inputs"], batch["inputs"]))


class FailingNet(ToyNet):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("at once")


def test_a_run_that_fails_on_a_packed_batch_leaves_a_capsule_with_it(tmp_path: Path) -> None:
    cfg = loader(num_workers=1, collate_fn=PSEUDO)
    runner = build(tmp_path, model=FailingNet(data_preprocessor=Stacking()), train_dataloader=cfg, **_without_loader())
    with pytest.raises(ValueError, match="at once"):
        runner.train()
    (file,) = tmp_path.glob("*.capsule")
    content = load_capsule(file)
    assert content["capsule"]["left_out"] == []
    assert [image.shape for image in content["batch"]["inputs"]] == [(3, 6, 6)] * 4


def test_a_captured_step_sees_the_same_tensors_and_facts_in_every_packed_batch() -> None:
    batches = [{"inputs": PackedList.pack([torch.rand(3, 4), torch.rand(2, 4)])} for _ in range(2)]
    apart = [take_apart(batch, frozenset()) for batch in batches]
    assert apart[0][1] == apart[1][1]
    assert [len(tensors) for tensors, _ in apart] == [2, 2]


def test_functions_that_take_lists_take_packed_ones() -> None:
    packed = PackedList.pack([torch.ones(3, 2, 2), torch.ones(3, 1, 4)])
    assert torch.equal(stack_batch(packed, 4), stack_batch(list(packed), 4))


class Linear(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: Any, mode: str = "tensor") -> Any:
        return {"loss": self.layer(x).sum()}


def test_a_layer_that_meets_a_packed_list_is_explained_as_for_a_plain_one() -> None:
    with pytest.raises(BatchError, match="The batch holds lists under 'x'"):
        Linear()._run_forward({"x": PackedList.pack([torch.ones(2), torch.ones(2)])}, mode="loss")


class Crossing(TorchDispatchMode):
    """Counts the bytes and the copies that leave the host."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu" and out.device.type != "cpu":
            self.bytes += args[0].nbytes
            self.copies += 1
        return out


class Images(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.from_numpy(np.full((3, 60 + index, 80 - index), index, dtype=np.uint8))
        sample = BaseDataElement(metainfo={"img_shape": tuple(image.shape[1:])})
        sample.gt_instances = InstanceData(bboxes=torch.rand(3, 4), labels=torch.arange(3))
        return {"inputs": image, "data_samples": sample}


def crossed(collate: Any, convert: Any = None) -> tuple[Crossing, Tensor]:
    """What moves a batch of eight unequal images to a device, and the shape that comes of it."""
    data: Any = Images()
    samples = [data[index] for index in range(8)]
    if convert is not None:
        samples = [{**sample, "inputs": convert(sample["inputs"])} for sample in samples]
    batch = collate(samples)
    preprocessor = ImgDataPreprocessor(mean=[123.0] * 3, std=[58.0] * 3, bgr_to_rgb=True, pad_size_divisor=32)
    with Crossing() as crossing:
        moved = cast(batch, "meta")
    return crossing, preprocessor.to("meta")(moved)["inputs"]


def test_a_packed_batch_crosses_in_one_copy_and_a_quarter_of_the_bytes_of_float32() -> None:
    packed, out = crossed(pack_collate)
    as_float, _ = crossed(pseudo_collate, lambda image: (image.float() - 123.0) / 58.0)
    assert out.dtype == torch.float32 and out.shape == (8, 3, 96, 96)
    assert packed.bytes <= 0.26 * as_float.bytes
    # The boxes and labels of eight samples cross one by one.
    assert (packed.copies, as_float.copies) == (1 + 16, 8 + 16)
