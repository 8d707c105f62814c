"""Pictures that nobody changed: ImageNet-A, -R, -V2, -Sketch and ReaL, and the user's own from elsewhere."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nsfast.errors import NsfastError, choice
from nsfast.files import fingerprint
from nsfast.images.folder import open_all
from nsfast.images.listing import list_split
from nsfast.robustness.answers import Version
from nsfast.robustness.sets.about import SETS, as_released, find_root, not_unpacked
from nsfast.robustness.sets.classes import (
    WNID,
    imagenet_wnids,
    known_classes,
    left_out,
    numbered_labels,
    places,
)
from nsfast.robustness.sets.released import (
    SIDE,
    DescribedQuestion,
    decoded_as_needed,
    limited,
    list_files,
    opening,
    question,
)

MASKS = ("subset", "full")
VALIDATION = re.compile(r"(?:^|/)ILSVRC2012_val_(\d{8})\.\w+$", re.ASCII)


def in_class_folders(
    name: str,
    path: str | Path,
    classes: Sequence[str],
    size: int | None,
    limit: int,
    seed: int,
    channels: int,
    mask: str,
) -> DescribedQuestion:
    """Return the question of ImageNet-A, -R, -V2 or -Sketch; arguments and errors as of `open_set`.

    With the mask "subset" only the classes that the set has count, as its authors define the metric: the others are
    left out before the argmax (natural-adv-examples, eval.py). The folders of V2 are numbers, and 10 is not before 2.
    """
    choice("mask", mask, MASKS)
    masked = SETS[name].masked and mask == "subset"
    root = find_root(name, path, lambda folder: _holds_classes(name, folder))
    files = list_files(name, root)
    names = [_wnid(name, folder) for folder in files.folders]
    known = known_classes(name, root, filter(None, names), classes)
    labels = numbered_labels(names, known)
    rows = np.flatnonzero(labels >= 0)
    ids = np.array([files.paths[row] for row in rows], dtype=str)
    chosen = limited(ids, limit, seed)
    rows, ids = rows[chosen], ids[chosen]
    counted = np.array(sorted(known.values()), np.int64) if masked else None
    said = [opening(name, len(ids))]
    if SETS[name].masked:
        said.append(
            f"Only the {len(known)} classes of the set that the model knows count (mask: subset, the official metric)."
            if masked
            else "All classes of the model count (mask: full), which is not the official metric."
        )
    said += left_out(filter(None, names), known, sum(map(bool, names)) - int((labels >= 0).sum()))
    said += as_released(name, len(files.paths))
    # Another metric must not pass for the official one.
    version = Version(name, "all-classes" if SETS[name].masked and not masked else "")
    size = size or SIDE
    pictures = decoded_as_needed(files, rows, size, channels, whole=False)
    asked_as = [size, channels]
    return question(version, ids, labels[rows], files.digest, pictures, said, asked_as, classes=counted)


def real(
    path: str | Path, classes: Sequence[str], size: int | None, limit: int, seed: int, channels: int
) -> DescribedQuestion:
    """Return the question of ImageNet's validation pictures with ReaL's labels; arguments and errors as of `open_set`.

    A picture may lie anywhere below val/: its number in real.json is in its name. Those without a label, and those
    whose labels the model knows none of, are left out. Without a real.json the one that comes with timm is read.
    """
    name = "imagenet-real"
    root = find_root(name, path, lambda folder: (folder / "val").is_dir() or folder.name == "val")
    if root.name == "val" and not (root / "val").is_dir():
        root = root.parent
    listed = list_files(name, root, below="val")
    found = [(row, VALIDATION.search(path)) for row, path in enumerate(listed.paths)]
    numbers = {row: int(match[1]) for row, match in found if match}
    if not numbers:
        raise not_unpacked(name, root, f"no ILSVRC2012_val_*.JPEG in {root / 'val'}")
    own, wnids = places(classes), imagenet_wnids()
    kept, right = [], []
    labels, source = _real_labels(root)
    for row, number in numbers.items():
        if not 1 <= number <= len(labels):
            problem = f"{source} has {len(labels)} labels, and {listed.paths[row]} is number {number}"
            raise not_unpacked(name, root, problem)
        accepted = [own[wnids[one]] for one in labels[number - 1] if wnids[one] in own]
        if accepted:
            kept.append(row)
            right.append(accepted)
    if not kept:
        known_classes(name, root, wnids, classes)  # says so where the model knows none of them
        raise NsfastError(f"{name}: no picture in {root} has a label of a class that the model knows")
    ids = np.array([f"val/{listed.paths[row]}" for row in kept], dtype=str)  # as of an ImageSet
    chosen = limited(ids, limit, seed)
    ids, rows, right = ids[chosen], np.array(kept)[chosen], [right[row] for row in chosen]
    size = size or SIDE
    pictures = decoded_as_needed(listed, rows, size, channels, whole=False)
    said = [
        opening(name, len(ids)),
        f"{len(numbers) - len(kept):,} pictures without a label that the model knows are left out; labels are from "
        f"{source}.",
        *as_released(name, len(numbers)),
    ]
    first = np.array([several[0] for several in right], np.int64)
    return question(
        Version(name), ids, first, listed.digest, pictures, said, [size, channels], accepted=right
    )


def own_pictures(
    path: str | Path, classes: Sequence[str], size: int | None, limit: int, seed: int, channels: int
) -> DescribedQuestion:
    """Return the question of own pictures in folders named as the model's classes; as of `open_set`.

    They are cropped as the pictures of a folder that was trained on: not at all but to a square. Every one that is
    asked is opened once; those that cannot be read are left out.
    """
    name = "natural"
    root = find_root(name, path, lambda folder: any(child.is_dir() for child in folder.iterdir()))
    listing = list_split(root.parent, root.name, in_classes=True)
    names = [file.class_name for file in listing.pictures]
    known = known_classes(name, root, names, classes)
    labels = numbered_labels(names, known)
    files = [file for file, label in zip(listing.pictures, labels, strict=True) if label >= 0]
    files = [files[row] for row in limited([_below(file.id) for file in files], limit, seed)]
    size = size or SIDE
    good, pixels, bad = open_all(files, root.parent, size, channels, whole=True)
    if not good:
        raise NsfastError(f"{name}: no picture in {root} can be read; {bad[0][0]}: {bad[0][1]}")
    said = [opening(name, len(good)), *left_out(names, known, int((labels < 0).sum()))]
    unread = [*bad, *((file.id, file.problem) for file in listing.others)]
    if unread:
        said.append(f"{len(unread):,} files are left out, such as {unread[0][0]}: {unread[0][1]}.")
    digest = fingerprint([(_below(file.id), file.size, file.modified) for file in good])
    ids = np.array([_below(file.id) for file in good], dtype=str)
    found = numbered_labels([file.class_name for file in good], known)
    return question(Version(name), ids, found, digest, lambda: pixels, said, [size, channels])


def _below(id: str) -> str:
    return id.split("/", 1)[1]


def _holds_classes(name: str, folder: Path) -> bool:
    """Return whether a folder holds class folders of a set."""
    return any(_wnid(name, child.name) for child in folder.iterdir() if child.is_dir())


def _wnid(name: str, folder: str) -> str:
    """Return the wnid that a class folder stands for, "" where it stands for none."""
    if WNID.fullmatch(folder):
        return folder
    numbered = name == "imagenet-v2" and folder.isascii() and folder.isdecimal() and int(folder) < 1000
    return imagenet_wnids()[int(folder)] if numbered else ""


def _real_labels(root: Path) -> tuple[list[list[int]], str]:
    """Return the right classes, 0 to 999, of each validation picture, and where they are from."""
    file = root / "real.json"
    try:
        if file.is_file():
            labels, source = json.loads(file.read_text(encoding="utf-8")), "real.json"
        else:
            labels, source = (
                json.loads(pkgutil.get_data("timm.data", "_info/imagenet_real_labels.json")),
                "timm",
            )
    except ValueError as error:
        raise not_unpacked("imagenet-real", root, f"{file} is damaged ({error})") from None
    whole = isinstance(labels, list) and all(
        isinstance(several, list) and all(type(one) is int and 0 <= one < 1000 for one in several)
        for several in labels
    )
    if not whole:
        raise not_unpacked("imagenet-real", root, f"{file} is no list of lists of classes from 0 to 999")
    return labels, source
