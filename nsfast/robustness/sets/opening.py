"""Open a released set by its name: the questions or the sequences that models are asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nsfast.errors import NsfastError, choice, within
from nsfast.robustness.sequences import Sequences
from nsfast.robustness.sets import corrupted, natural, perturbed
from nsfast.robustness.sets.about import SETS
from nsfast.robustness.sets.released import DescribedQuestion

SEQUENCE_SETS = ("imagenet-p", "cifar10-p")
"""Sets of sequences, which `open_sequences` opens; all others are questions."""


def open_set(
    name: str,
    path: str | Path,
    classes: Sequence[str],
    size: int | None = None,
    limit: int = 0,
    seed: int = 0,
    channels: int = 3,
    mask: str = "subset",
) -> list[DescribedQuestion]:
    """Return the questions of a released set, one of each version that its folder holds; no picture is decoded yet.

    Args:
        name: of `SETS`, but those of sequences.
        path: its folder, or the folder that it was unpacked in.
        classes: names of the model's classes in their order: wnids for ImageNet (`imagenet_wnids` are timm's), names
            for Imagenette and CIFAR. Pictures of classes that the model does not know are left out.
        size: height and width in pixels of what the model is shown; None for the released ones, or 224 where pictures
            of all sizes were released. Pictures in files are shown to a model that knows its resolution (`pixels`) at
            that one, whatever stands here.
        limit: pictures of each version, at most, drawn by their ids; the same in all versions; 0 for all.
        seed: of that draw.
        channels: 1 (grey) or 3 (colour), of pictures in files.
        mask: of imagenet-a and imagenet-r: "subset", only their own classes count, as is official, or "full".

    Raises:
        NsfastError: before a picture is decoded, the folder is missing, half unpacked or holds something else (it names
            the layout and where to get the set), or the model knows none of its classes.
    """
    choice("set", name, [one for one in SETS if one not in SEQUENCE_SETS])
    size = _checked(name, classes, size, limit)
    if name in ("cifar10-c", "cifar100-c"):
        if channels != 3:
            raise NsfastError(f"{name}: its pictures are in colour and the model takes {channels} channel(s)")
        return corrupted.in_arrays(name, path, classes, size, limit, seed)
    if name in ("imagenet-c", "tiny-imagenet-c"):
        return corrupted.in_folders(name, path, classes, size, limit, seed, channels)
    if name == "imagenet-real":
        return [natural.real(path, classes, size, limit, seed, channels)]
    if name == "natural":
        return [natural.own_pictures(path, classes, size, limit, seed, channels)]
    return [natural.in_class_folders(name, path, classes, size, limit, seed, channels, mask)]


def open_sequences(
    name: str,
    path: str | Path,
    classes: Sequence[str],
    size: int | None = None,
    limit: int = 0,
    seed: int = 0,
    difficulty: int = 1,
) -> list[Sequences]:
    """Return the sequences of ImageNet-P or CIFAR-10-P, one of each perturbation that its folder holds.

    Args:
        name: "imagenet-p" or "cifar10-p".
        path, classes, limit, seed: as of `open_set`.
        size: height and width in pixels of what the model is shown; None for the released ones.
        difficulty: 1, as most figures are, to 3; noise has pictures of its own for each.

    Raises:
        NsfastError: as of `open_set`; no package that reads films is installed; the first film cannot be read.
    """
    choice("set of sequences", name, SEQUENCE_SETS)
    size = _checked(name, classes, size, limit)
    within("difficulty", difficulty, 1, 3)
    read = perturbed.in_films if name == "imagenet-p" else perturbed.in_arrays
    return read(path, classes, size, limit, seed, difficulty)


def _checked(name: str, classes: Sequence[str], size: int | None, limit: int) -> int | None:
    if not len(classes):
        raise NsfastError(f"{name}: the model names no classes; pictures are told apart by them")
    within("limit", limit, 0)
    return size if size is None else int(within("size", size, 1, 4096))
