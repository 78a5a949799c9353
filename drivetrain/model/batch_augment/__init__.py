"""Augmentation of whole batches on the device, with numbers of each sample's own."""

from ._base import BatchAugment as BatchAugment
from ._batch import augment_batch as augment_batch
from ._batch import batch_augmentation as batch_augmentation
from ._erase import BatchRandomErase as BatchRandomErase
from ._flip import BatchRandomFlip as BatchRandomFlip
from ._mix import BatchCutMix as BatchCutMix
from ._mix import BatchMixUp as BatchMixUp
from ._mosaic import BatchMosaic as BatchMosaic
from ._resize import BatchRandomResize as BatchRandomResize
from ._together import BatchAugmentChoice as BatchAugmentChoice
from ._together import BatchAugments as BatchAugments
