"""Files that a config names: whether they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, TypeGuard

from drivetrain.config import ConfigDict
from drivetrain.errors import did_you_mean

from ._fault import FILE, Place, Report


def check_data_files(place: Place, report: Report) -> None:
    """Check `data_root` and `ann_file` of a dataset.

    Where the whole folder is missing the data may come later, or be elsewhere: that is a note.
    """
    root = dict.get(place.value, "data_root")
    ann_file = dict.get(place.value, "ann_file")
    if _is_local(root) and not os.path.exists(root):
        text = f"the folder {root!r} is not there{_from_here(root)}."
        if all(fault.text != text for fault in report.faults):  # the loaders of a run mostly share it
            report.note(place.at("data_root"), text, FILE)
        return
    if _is_local(ann_file):
        check_file(place.at("ann_file"), report, root if _is_local(root) else "")


def check_file(place: Place, report: Report, root: str = "", *, must: bool = False) -> None:
    """Check that a local file or folder exists.

    Args:
        place: its path.
        report: takes the fault; it is a note where the folder around it is missing too.
        root: folder that a relative path starts from.
        must: whether it is a fault in any case.
    """
    if not _is_local(place.value):
        return
    path = os.path.join(root, place.value)
    if os.path.exists(path):
        return
    folder = os.path.dirname(os.path.abspath(path))
    there = os.path.isdir(folder)
    near = did_you_mean(os.path.basename(path), os.listdir(folder)) if there else ""
    hint = near or ("" if there else f" Nor is there its folder {os.path.dirname(path)!r}.")
    text = f"there is no file {path!r}{_from_here(path)}.{hint}"
    is_fault = must or (there and bool(near or root))
    report.fault(place, text, FILE, note=not is_fault)


def check_checkpoints(place: Place, report: Report) -> None:
    """Check the files that `init_cfg=dict(type='Pretrained', checkpoint=...)` names, anywhere below."""
    for found in _pretrained(place):
        check_file(found.at("checkpoint"), report)


def _pretrained(place: Place) -> Iterator[Place]:
    cfg = place.value if type(place.value) is ConfigDict else {}
    kind = str(dict.get(cfg, "type")).rpartition(".")[2]
    if kind in ("Pretrained", "PretrainedInit") and type(dict.get(cfg, "checkpoint")) is str:
        yield place
    for item in place.items():
        yield from _pretrained(item)


def _is_local(path: Any) -> TypeGuard[str]:
    """Whether a value is a path on this machine: no address, and no model zoo's name such as `open-mmlab://resnet50`."""
    return type(path) is str and path != "" and "://" not in path and not path.startswith(("torchvision:", "mmcls:"))


def _from_here(path: str) -> str:
    return "" if os.path.isabs(path) else f", seen from {os.getcwd()}"
