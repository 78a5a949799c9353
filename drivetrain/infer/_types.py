"""What inferencers take and give.

Downstream code nests these aliases in `Union[...]` and `Optional[...]` at run time, so they are `typing` objects.
"""
# ruff: noqa: UP006, UP007, UP035

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Dict, List, Union

import numpy as np
import torch

from drivetrain.config import Config, ConfigDict
from drivetrain.structures import InstanceData

InstanceList = List[InstanceData]
"""Predictions of one image each."""

InputType = Union[str, np.ndarray, torch.Tensor]
"""One input: a path, an address, or the data itself."""

InputsType = Union[InputType, Sequence[InputType]]
"""One input or several."""

ImgType = Union[np.ndarray, Sequence[np.ndarray]]
"""One image or several, uint8 (H, W, 3)."""

ResType = Union[Dict[str, Any], List[Dict[str, Any]]]
"""One result or several."""

ConfigType = Union[Config, ConfigDict]
"""A config as it was read from a file."""

ModelType = Union[Dict[str, Any], ConfigType, str]
"""What names a model: a config, the path of one, or a name in a package's model index."""
