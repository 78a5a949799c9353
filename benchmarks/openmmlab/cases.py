"""The models of the comparison: each one a config file shipped in a package's wheel, and what is changed in it.

A case keeps the shipped model, losses, optimizer, schedules, hooks, pipelines and evaluators. Changed are: the data
(`data.py`), image sizes (`shrink`), batch size 2, 20 training steps, the seed, pretrained weights (none), a detector's
score threshold (0), the lengths of schedules as that of the run, and the epoch at which YOLOX and RTMDet switch their
pipelines, to lie within the 20 steps, and what single cases name in `change`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STEPS = 20
BATCH = 2


@dataclass(frozen=True)
class Case:
    """One model of one package.

    Attributes:
        package: "mmpretrain", "mmseg" or "mmdet".
        config: the shipped file, below the package's ``.mim/configs``.
        kind: "conv" or "transformer", for the table.
        shrink: image sizes of the config are divided by this.
        data_root: the folder of `data.py` that takes the place of the config's.
        workers: worker processes of the training loader.
        change: further changes to the config, in place.
    """

    package: str
    config: str
    kind: str
    shrink: int = 1
    data_root: str = "imagenet"
    workers: int = 0
    change: Callable[[Any], None] = lambda cfg: None


def adapt(cfg: Any, case: Case, data: str) -> None:
    """Change the loaded config `cfg` in place into the one that runs; `data` is the folder of the generated sets."""
    root = f"{data}/{case.data_root}/"
    _walk(cfg, lambda node: _without_pretrained(node))
    if case.shrink > 1:
        for key in ("model", "train_dataloader", "val_dataloader", "test_dataloader", "custom_hooks"):
            _walk(cfg.get(key) or {}, lambda node: _shrink(node, case.shrink))
    for name in ("train", "val", "test"):
        loader = cfg[f"{name}_dataloader"]
        loader.batch_size = BATCH if name == "train" else min(loader.batch_size, BATCH)
        loader.num_workers = case.workers if name == "train" else 0
        loader.persistent_workers = name == "train" and case.workers > 0
        _walk(loader, lambda node: _point_to(node, root))
    for name in ("val_evaluator", "test_evaluator"):
        _walk(cfg[name], lambda node: _point_to_annotations(node, root))
    _shorten(cfg)
    cfg.load_from, cfg.resume = None, False
    cfg.randomness = dict(cfg.get("randomness") or {}, seed=0)
    cfg.custom_imports = dict(imports=["parity_hook"], allow_failed_imports=False)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="ParityHook")]
    if case.package == "mmdet":
        _walk(cfg.model, _keep_faint_boxes)
    case.change(cfg)


def _walk(node: Any, visit: Callable[[Any], None]) -> None:
    """Call `visit` with every dict inside `node`, outer ones first."""
    if hasattr(node, "items"):
        visit(node)
        for value in list(node.values()):
            _walk(value, visit)
    elif type(node) in (list, tuple):
        for value in node:
            _walk(value, visit)


def _without_pretrained(node: Any) -> None:
    if node.get("pretrained"):
        node["pretrained"] = None
    init = node.get("init_cfg")
    if hasattr(init, "get") and init.get("type") == "Pretrained":
        node["init_cfg"] = None


_SIZES = ("scale", "scales", "img_scale", "crop_size", "size", "border", "random_size_range", "img_size")


def _shrink(node: Any, factor: int) -> None:
    if node.get("type") in ("RandomFlip", "AnchorGenerator", "SSDAnchorGenerator"):
        return
    for key in _SIZES:
        if key in node and type(node[key]) in (int, list, tuple):
            node[key] = _divided(node[key], factor)


def _divided(value: Any, factor: int) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_divided(v, factor) for v in value)
    return value // factor if type(value) is int and abs(value) >= 32 else value


def _point_to(node: Any, root: str) -> None:
    if "data_root" in node:
        node["data_root"] = root
    for key in ("ann_file",):
        if "data/" in str(node.get(key) or ""):
            node[key] = root + str(node[key]).split("coco/")[-1]


def _point_to_annotations(node: Any, root: str) -> None:
    if "ann_file" in node:
        node["ann_file"] = root + "annotations/instances_val2017.json"


def _keep_faint_boxes(node: Any) -> None:
    """After 20 steps hardly a box is above a shipped threshold: without it there is something to evaluate."""
    if "score_thr" in node:
        node["score_thr"] = 0.0


def _shorten(cfg: Any) -> None:
    loop = cfg.train_cfg
    loop.pop("dynamic_intervals", None)
    by_epoch = "max_iters" not in loop
    whole = loop.get("max_epochs") or loop.max_iters
    for schedule in _listed(cfg.param_scheduler):
        _squeeze(schedule, (2 if by_epoch else STEPS) / whole, by_epoch)
    if by_epoch:
        loop.max_epochs, loop.val_interval = 2, 1
    else:
        loop.max_iters, loop.val_interval = STEPS, STEPS // 2
    hooks = cfg.default_hooks
    hooks.checkpoint.interval = 1 if by_epoch else STEPS // 2
    hooks.checkpoint.pop("max_keep_ckpts", None)
    hooks.logger.interval = 4


def _listed(value: Any) -> list[Any]:
    return list(value) if type(value) in (list, tuple) else [value]


def _squeeze(schedule: Any, factor: float, by_epoch: bool) -> None:
    """Shorten a schedule as the run is shortened; of warm-ups an epoch or five steps stay."""
    if by_epoch and not schedule.get("by_epoch", True):
        schedule["end"] = min(schedule["end"], STEPS // 2)
        return
    if schedule.get("begin"):
        schedule["begin"] = max(0 if by_epoch else 5, math.floor(schedule["begin"] * factor))
    for key in ("end", "T_max"):
        if key in schedule:
            schedule[key] = max(1 if by_epoch else 5, math.ceil(schedule[key] * factor))
    if "milestones" in schedule:
        schedule["milestones"] = [max(1, math.ceil(m * factor)) for m in schedule["milestones"]]


def switch_after_one_epoch(cfg: Any) -> None:
    """The hooks that change the pipeline late in a run do it at its second epoch."""
    for hook in cfg.custom_hooks:
        if hook["type"] == "YOLOXModeSwitchHook":
            hook["num_last_epochs"] = 1
        if hook["type"] == "PipelineSwitchHook":
            hook["switch_epoch"] = 1


def accumulate(count: int) -> Callable[[Any], None]:
    """Gradients of `count` batches to one update."""

    def change(cfg: Any) -> None:
        cfg.optim_wrapper.accumulative_counts = count

    return change


def small_drive_images(cfg: Any) -> None:
    """DRIVE's crops are small already; the whole images that sliding validation goes over are not."""
    for name in ("train", "val", "test"):
        _walk(cfg[f"{name}_dataloader"], lambda node: node.update(scale=(146, 141)) if "scale" in node else None)


def few_regions(cfg: Any) -> None:
    """Second stages see tens of regions, not hundreds: most of a step's time on a CPU is theirs."""
    cfg.model.train_cfg.rpn_proposal.max_per_img = cfg.model.test_cfg.rpn.max_per_img = 60
    cfg.model.train_cfg.rcnn.sampler.num = 60


def _cls(config: str, kind: str, **options: Any) -> Case:
    return Case("mmpretrain", config, kind, **options)


def _seg(config: str, kind: str, **options: Any) -> Case:
    return Case("mmseg", config, kind, **options)


def _det(config: str, kind: str, **options: Any) -> Case:
    return Case("mmdet", config, kind, **{"data_root": "coco", **options})


CASES = {
    "resnet18": _cls("resnet/resnet18_8xb32_in1k.py", "conv", workers=2),
    "mobilenet_v2": _cls("mobilenet_v2/mobilenet-v2_8xb32_in1k.py", "conv"),
    "mobilenet_v3": _cls("mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py", "conv"),
    "convnext_tiny": _cls("convnext/convnext-tiny_32xb128_in1k.py", "conv", shrink=2),
    "deit_tiny": _cls("deit/deit-tiny_4xb256_in1k.py", "transformer"),
    "swin_tiny": _cls("swin_transformer/swin-tiny_16xb64_in1k.py", "transformer", change=accumulate(3)),
    "fcn_unet": _seg(
        "unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py", "conv", data_root="drive", change=small_drive_images
    ),
    "fast_scnn": _seg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py", "conv", shrink=4, data_root="cityscapes"),
    "bisenetv1_r18": _seg(
        "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py", "conv", shrink=8, data_root="cityscapes"
    ),
    "segformer_b0": _seg(
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "transformer", shrink=4, data_root="ade", workers=2
    ),
    "segmenter_vit_t": _seg(
        "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py", "transformer", shrink=4, data_root="ade"
    ),
    "retinanet_r18": _det("retinanet/retinanet_r18_fpn_1x_coco.py", "conv", shrink=8),
    "faster_rcnn_r50": _det(
        "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "conv", shrink=8, workers=2, change=few_regions
    ),
    "fcos_r50": _det("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", "conv", shrink=8),
    "yolox_tiny": _det("yolox/yolox_tiny_8xb8-300e_coco.py", "conv", shrink=4, change=switch_after_one_epoch),
    "rtmdet_tiny": _det("rtmdet/rtmdet_tiny_8xb32-300e_coco.py", "conv", shrink=5, change=switch_after_one_epoch),
    "detr_r18": _det("detr/detr_r18_8xb2-500e_coco.py", "transformer", shrink=6),
    "mask_rcnn_swin_t": _det("swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py", "transformer", shrink=8, change=few_regions),
}
