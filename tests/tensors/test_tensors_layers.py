from __future__ import annotations

import pytest
from torch import nn

from drivetrain.errors import ArgumentTypeError
from drivetrain.tensors import SyncBatchNorm, _BatchNorm, _ConvNd, _InstanceNorm, has_batch_norm, is_norm

NORMS = [
    nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2), nn.GroupNorm(1, 2),
    nn.LayerNorm(2), nn.RMSNorm(2),
]  # fmt: skip


@pytest.mark.parametrize("layer", NORMS, ids=lambda layer: type(layer).__name__)
def test_is_norm_knows_every_norm_of_torch(layer):
    assert is_norm(layer)
    assert not is_norm(layer, exclude=type(layer))
    assert not is_norm(layer, exclude=(nn.Conv2d, type(layer)))


def test_is_norm_of_another_layer_is_false():
    assert not is_norm(nn.Conv2d(1, 1, 1)) and not is_norm(nn.Identity())


def test_is_norm_excludes_subclasses():
    assert not is_norm(nn.BatchNorm2d(2), exclude=_BatchNorm)
    assert is_norm(nn.GroupNorm(1, 2), exclude=(_BatchNorm, _InstanceNorm))


@pytest.mark.parametrize("exclude", ["BatchNorm2d", nn.BatchNorm2d(2), (3,)])
def test_is_norm_rejects_an_exclude_that_is_no_class(exclude):
    with pytest.raises(ArgumentTypeError, match="exclude must be"):
        is_norm(nn.BatchNorm2d(2), exclude=exclude)


def test_has_batch_norm_looks_into_the_model():
    assert has_batch_norm(nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.BatchNorm1d(1))))
    assert has_batch_norm(nn.BatchNorm1d(1)) and has_batch_norm(SyncBatchNorm(1))
    assert not has_batch_norm(nn.Sequential(nn.Linear(1, 1), nn.GroupNorm(1, 1)))


def test_families_hold_torchs_layers():
    assert issubclass(nn.Conv2d, _ConvNd) and issubclass(nn.ConvTranspose3d, _ConvNd)
