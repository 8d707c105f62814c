"""What there is to measure, by name, without torch: the profile checks a run with it before anything starts."""

from __future__ import annotations

FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
"""ImageNet-C's corruptions by family, in its order; those of "extra" are for validation and in no mCE."""

CORRUPTIONS = tuple(name for family, names in FAMILIES.items() if family != "extra" for name in names)
EXTRA_CORRUPTIONS = FAMILIES["extra"]

PERTURBATIONS = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow"),
    *("brightness", "translate", "rotate", "tilt", "scale"),
)
"""ImageNet-P's ten perturbations, in its order."""
EXTRA_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "spatter", "shear")

ATTACKS = ("fgsm", "pgd")

SETS = (
    *(
        "imagenet-a",
        "imagenet-r",
        "imagenet-v2",
        "imagenet-sketch",
        "imagenet-real",
        "imagenet-c",
        "imagenet-p",
    ),
    *("cifar10-c", "cifar100-c", "cifar10-p", "tiny-imagenet-c", "natural"),
)
"""Released sets that are read from folders, and "natural": folders of one's own, named as the model's classes."""
