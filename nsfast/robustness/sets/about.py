"""What each released set is, how its folder looks when it is unpacked, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nsfast.errors import NsfastError, choice

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class ReleasedSet:
    """One set that its authors released, or the user's own pictures.

    Args:
        what: in one sentence without a full stop.
        pictures: how many there are, of one corruption and severity or one perturbation; 0 where nobody says.
        layout: what stands in its folder.
        source: where to get it.
        paper: that defines it.
        licence: as its authors give it.
        masked: whether only its own classes of the thousand count, the official metric.
        whole: whether the pictures are cropped already, so that none of them is cut off.
    """

    what: str
    pictures: int
    layout: str
    source: str
    paper: str
    licence: str
    masked: bool = False
    whole: bool = False


HENDRYCKS = "Hendrycks and Dietterich, ICLR 2019 (arXiv 1903.12261)"
IMAGENET_TERMS = "pictures under ImageNet's terms"
SEE_SOURCE = "as its page says"

SETS: dict[str, ReleasedSet] = {
    "imagenet-a": ReleasedSet(
        "real pictures of 200 classes of ImageNet, chosen because a ResNet-50 gets them wrong",
        7_500,
        "<wnid>/*.jpg",
        "https://github.com/hendrycks/natural-adv-examples (imagenet-a.tar)",
        "Hendrycks et al., CVPR 2021 (arXiv 1907.07174)",
        "code MIT; pictures are their owners'",
        masked=True,
    ),
    "imagenet-r": ReleasedSet(
        "art, cartoons, toys and other renditions of 200 classes of ImageNet",
        30_000,
        "<wnid>/*.jpg",
        "https://github.com/hendrycks/imagenet-r (imagenet-r.tar)",
        "Hendrycks et al., ICCV 2021 (arXiv 2006.16241)",
        SEE_SOURCE,
        masked=True,
    ),
    "imagenet-v2": ReleasedSet(
        "a new test set of ImageNet, collected as the old one was (matched frequency)",
        10_000,
        "<0 to 999>/*.jpeg, a folder's number being the class",
        "https://huggingface.co/datasets/vaishaal/ImageNetV2 (imagenetv2-matched-frequency.tar.gz)",
        "Recht et al., ICML 2019 (arXiv 1902.10811)",
        f"code MIT; {IMAGENET_TERMS}",
    ),
    "imagenet-sketch": ReleasedSet(
        "black and white sketches of all classes of ImageNet",
        50_000,
        "<wnid>/*.JPEG",
        "https://github.com/HaohanWang/ImageNet-Sketch (ImageNet-Sketch.zip)",
        "Wang et al., NeurIPS 2019 (arXiv 1905.13549)",
        "code MIT; pictures are their owners'",
    ),
    "imagenet-real": ReleasedSet(
        "ImageNet's validation pictures with all the classes that are right (ReaL)",
        50_000,
        "val/**/ILSVRC2012_val_*.JPEG and real.json",
        "https://github.com/google-research/reassessed-imagenet (real.json) and https://image-net.org (val)",
        "Beyer et al., 2020 (arXiv 2006.07159)",
        f"labels Apache-2.0; {IMAGENET_TERMS}",
    ),
    "imagenet-c": ReleasedSet(
        "ImageNet's validation pictures in 15 corruptions of 5 severities (and 4 to validate)",
        50_000,
        "<corruption>/<1 to 5>/<wnid>/*.JPEG, as in gaussian_noise/1/n01440764/*.JPEG, with or without noise/, blur/, "
        "weather/, digital/ and extra/ above",
        "https://zenodo.org/records/2235448 (blur.tar, digital.tar, noise.tar, weather.tar)",
        HENDRYCKS,
        f"{SEE_SOURCE}; {IMAGENET_TERMS}",
        whole=True,
    ),
    "tiny-imagenet-c": ReleasedSet(
        "Tiny ImageNet's validation pictures, 64x64, in 15 corruptions of 5 severities",
        10_000,
        "<corruption>/<1 to 5>/<wnid>/*.JPEG",
        "https://zenodo.org/records/2536630 (Tiny-ImageNet-C.tar)",
        HENDRYCKS,
        f"{SEE_SOURCE}; {IMAGENET_TERMS}",
        whole=True,
    ),
    "cifar10-c": ReleasedSet(
        "CIFAR-10's test pictures in 15 corruptions of 5 severities (and 4 to validate)",
        10_000,
        "<corruption>.npy of (50000, 32, 32, 3), severity 1 first, and labels.npy",
        "https://zenodo.org/records/2535967 (CIFAR-10-C.tar)",
        HENDRYCKS,
        SEE_SOURCE,
        whole=True,
    ),
    "cifar100-c": ReleasedSet(
        "CIFAR-100's test pictures in 15 corruptions of 5 severities (and 4 to validate)",
        10_000,
        "<corruption>.npy of (50000, 32, 32, 3), severity 1 first, and labels.npy",
        "https://zenodo.org/records/3555552 (CIFAR-100-C.tar)",
        HENDRYCKS,
        SEE_SOURCE,
        whole=True,
    ),
    "imagenet-p": ReleasedSet(
        "ImageNet's validation pictures as short films of 10 perturbations (and 4 to validate)",
        50_000,
        "<perturbation>/<wnid>/*.mp4, and <noise>_2 and <noise>_3 for its difficulties",
        "https://zenodo.org/records/3565846",
        HENDRYCKS,
        f"{SEE_SOURCE}; {IMAGENET_TERMS}",
        whole=True,
    ),
    "cifar10-p": ReleasedSet(
        "CIFAR-10's test pictures as short films of 10 perturbations (and 4 to validate)",
        10_000,
        "<perturbation>.npy of (10000, frames, 32, 32, 3), and <noise>_2.npy and <noise>_3.npy for its difficulties",
        "https://zenodo.org/records/2535967 (CIFAR-10-P.tar)",
        HENDRYCKS,
        SEE_SOURCE,
        whole=True,
    ),
    "natural": ReleasedSet(
        "own pictures of the model's classes from elsewhere",
        0,
        "<class>/*, folders being named as the model's classes",
        "your own pictures",
        "",
        "",
        whole=True,
    ),
}
"""The sets by name; what a folder lacks, its error tells from here."""


def not_unpacked(name: str, root: str | Path, problem: str) -> NsfastError:
    """Return the error of a folder that does not hold a set: what is wrong, what was expected, where to get it."""
    about, packed = SETS[name], ""
    try:
        archives = sorted(p.name for p in Path(root).iterdir() if p.name.lower().endswith(ARCHIVES))
    except OSError:
        archives = []
    if archives:
        packed = f" ({archives[0]} lies there packed)"
    return NsfastError(
        f"{name}: {problem}{packed}; expected {about.layout} in {root}, unpacked from {about.source}"
    )


def require_folder(name: str, path: str | Path) -> Path:
    """Return the folder that a set is said to lie in, resolved.

    Raises:
        NsfastError: an unknown set; there is no such folder (it names the layout and where to get the set).
    """
    choice("set", name, SETS)
    root = Path(path).expanduser()
    if not str(path) or not root.is_dir():
        raise not_unpacked(name, path, f"no folder {str(path)!r}")
    return root.resolve()


def find_root(name: str, path: str | Path, fits: Callable[[Path], bool]) -> Path:
    """Return the folder that has the layout of a set: `path`, or the one folder in it that does or bears its name.

    Raises:
        NsfastError: there is no such folder.
    """
    root = require_folder(name, path)
    below = [root, *(p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith("."))]
    fitting = [folder for folder in below if fits(folder)]
    named = [folder for folder in fitting if folder.name == name]
    if fitting and (fitting[0] == root or len(fitting) == 1 or named):
        return (named if named and fitting[0] != root else fitting)[0]
    several = f"{fitting[0].name} and {fitting[1].name} in {path} both hold it" if fitting else ""
    raise not_unpacked(name, path, several or f"nothing of it in {path}")


def as_released(name: str, found: int, what: str = "pictures") -> list[str]:
    """Return what has to be said of a set that holds fewer pictures than its authors released, as sentences."""
    about = SETS[name]
    if found >= about.pictures:
        return []
    return [
        f"It holds {found:,} of the {about.pictures:,} {what} that were released, so its figures are not the published "
        f"ones'; the whole set is at {about.source}."
    ]
