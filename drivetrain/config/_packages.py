"""Packages that ship configs: where these lie."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from drivetrain.errors import MissingPackageError

MODULE2PACKAGE = {
    "mmcls": "mmcls",
    "mmdet": "mmdet",
    "mmdet3d": "mmdet3d",
    "mmseg": "mmsegmentation",
    "mmaction": "mmaction2",
    "mmtrack": "mmtrack",
    "mmpose": "mmpose",
    "mmedit": "mmedit",
    "mmocr": "mmocr",
    "mmgen": "mmgen",
    "mmfewshot": "mmfewshot",
    "mmrazor": "mmrazor",
    "mmflow": "mmflow",
    "mmhuman3d": "mmhuman3d",
    "mmrotate": "mmrotate",
    "mmselfsup": "mmselfsup",
    "mmyolo": "mmyolo",
    "mmpretrain": "mmpretrain",
    "mmagic": "mmagic",
}
"""The distribution that brings a module, by the module's name, which is also its scope."""


@functools.cache
def package_folder(module: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        MissingPackageError: it is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        package = MODULE2PACKAGE.get(module, module)
        raise MissingPackageError(
            f"configs of the package {package!r}, which is not installed, are asked for. "
            f'Install it with: pip install "{package}"'
        )
    return Path(spec.origin).parent


def config_folder(scope: str) -> Path:
    """The folder of the configs that a package ships."""
    folder = package_folder(scope)
    return next((place for place in (folder / ".mim" / "configs", folder / "configs") if place.is_dir()), folder)
