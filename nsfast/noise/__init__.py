"""The noise: RandAugment, stochastic depth and dropout, as functions, transforms and callbacks of fastai."""

from nsfast.noise.callbacks import RandAugment, RandAugmentTransform
from nsfast.noise.depth import StochasticDepth
from nsfast.noise.dropout import FinalDropout
from nsfast.noise.items import RandAugmentItem
from nsfast.noise.randaugment import RandAugmentSettings, rand_augment

__all__ = [
    "FinalDropout",
    "RandAugment",
    "RandAugmentItem",
    "RandAugmentSettings",
    "RandAugmentTransform",
    "StochasticDepth",
    "rand_augment",
]
