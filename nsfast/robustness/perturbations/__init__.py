"""Perturbation sequences of ImageNet-P and CIFAR-10-P, made from pictures of any size, gray or colour (1903.12261).

What is measured on sequences made here is a flip probability "in the style of" ImageNet-P, never "ImageNet-P mFR": the
released sequences are compressed films of larger pictures. `DEVIATIONS` lists what differs.
"""

from nsfast.robustness.names import EXTRA_PERTURBATIONS, PERTURBATIONS
from nsfast.robustness.perturbations.made import perturbation_sequences, sequences
from nsfast.robustness.perturbations.table import DEVIATIONS, frames_of, is_noise

__all__ = [
    "DEVIATIONS",
    "EXTRA_PERTURBATIONS",
    "PERTURBATIONS",
    "frames_of",
    "is_noise",
    "perturbation_sequences",
    "sequences",
]
