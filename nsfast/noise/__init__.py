"""The noise on the pictures: RandAugment, per image and on the device; dropout and depth are model arguments."""

from nsfast.noise.randaugment import OPERATIONS, RandAugment, rand_augment

__all__ = ["OPERATIONS", "RandAugment", "rand_augment"]
