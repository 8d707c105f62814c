"""ImageNet-C, Tiny-ImageNet-C and CIFAR-C as they were released: whole folders of JPEGs, or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nsfast.images.records import numbered
from nsfast.robustness.answers import Version
from nsfast.robustness.names import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES
from nsfast.robustness.sets.about import as_released, find_root, not_unpacked
from nsfast.robustness.sets.arrays import known_size, open_array
from nsfast.robustness.sets.classes import (
    WNID,
    known_classes,
    left_out,
    numbered_labels,
    official_classes,
)
from nsfast.robustness.sets.released import (
    DescribedQuestion,
    decoded_as_needed,
    limited,
    list_files,
    opening,
    question,
    read_rows,
    same_file,
    side_of,
)

SEVERITIES = (1, 2, 3, 4, 5)
NAMES = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)


def in_folders(
    name: str,
    path: str | Path,
    classes: Sequence[str],
    size: int | None,
    limit: int,
    seed: int,
    channels: int,
) -> list[DescribedQuestion]:
    """Return the questions of ImageNet-C or Tiny-ImageNet-C; arguments and errors as of `open_set`.

    The pictures are cropped already, to 224 pixels (Inception's version to 299): all of one is kept. To cut off
    what ImageNet's test pictures lose at their border changes scores and ranks (robustbench#59).
    """
    root = find_root(name, path, lambda folder: bool(_folders(folder)))
    folders = _folders(root)
    versions = {
        (corruption, severity): f"{folders[corruption]}/{severity}"
        for corruption in NAMES
        for severity in SEVERITIES
        if corruption in folders and (root / folders[corruption] / str(severity)).is_dir()
    }
    if not versions:
        raise not_unpacked(name, root, f"no folder 1 to 5 in {root / next(iter(folders.values()))}")
    first, *others = versions.items()
    files = list_files(name, root, below=first[1])
    digests = {first[0]: files.digest}
    for version, below in others:
        found = list_files(name, root, below=below)
        if found.paths != files.paths:
            raise not_unpacked(name, root, _differ(first[1], files.paths, below, found.paths))
        digests[version] = found.digest
    names = [folder if WNID.fullmatch(folder) else "" for folder in files.folders]
    known = known_classes(name, root, filter(None, names), classes)
    labels = numbered_labels(names, known)
    rows = np.flatnonzero(labels >= 0)
    ids = np.array([files.paths[row] for row in rows], dtype=str)
    chosen = limited(ids, limit, seed)
    rows, ids = rows[chosen], ids[chosen]
    height, width = side_of(name, root, files)
    size = size or min(height, width)
    said = [
        opening(name, len(ids)),
        f"Pictures of {width}x{height} are shown whole, at the model's resolution.",
        *_missing(versions),
        *left_out(filter(None, names), known, sum(map(bool, names)) - int((labels >= 0).sum())),
        *as_released(name, len(files.paths), "pictures of each version"),
    ]
    questions = []
    for (corruption, severity), below in versions.items():
        there = files.__class__(root / below, files.paths, digests[corruption, severity])
        pictures = decoded_as_needed(there, rows, size, channels, whole=True)
        version = Version(name, corruption, severity)
        questions.append(question(version, ids, labels[rows], there.digest, pictures, said, [size, channels]))
    return questions


def in_arrays(
    name: str, path: str | Path, classes: Sequence[str], size: int | None, limit: int, seed: int
) -> list[DescribedQuestion]:
    """Return the questions of CIFAR-10-C or CIFAR-100-C; arguments and errors as of `open_set`.

    Rows (s - 1) n to s n of a file are severity s, in the order of CIFAR's test pictures, whose ids they have.
    """
    root = find_root(name, path, lambda folder: any((folder / f"{one}.npy").is_file() for one in NAMES))
    numbers = open_array(name, root, root / "labels.npy", 1)
    total, names = len(numbers), official_classes(name)
    if not total or total % len(SEVERITIES):
        raise not_unpacked(name, root, f"labels.npy has {total} rows, which five severities cannot share")
    n = total // len(SEVERITIES)
    if numbers.dtype.kind not in "iu" or not (0 <= numbers.min() and numbers.max() < len(names)):
        raise not_unpacked(
            name, root, f"labels.npy has values that are no classes from 0 to {len(names) - 1}"
        )
    if (numbers.reshape(len(SEVERITIES), n) != numbers[:n]).any():
        raise not_unpacked(name, root, "labels.npy does not say the same of all five severities")
    of_each = [names[number] for number in numbers[:n]]
    known = known_classes(name, root, of_each, classes)
    labels = numbered_labels(of_each, known)
    rows = np.flatnonzero(labels >= 0)
    ids = numbered("test", n)[rows]
    chosen = limited(ids, limit, seed)
    rows, ids = rows[chosen], ids[chosen]
    present = [one for one in NAMES if (root / f"{one}.npy").is_file()]
    said = [
        opening(name, len(ids)),
        *_missing([(one, severity) for one in present for severity in SEVERITIES]),
        *left_out(of_each, known, int((labels < 0).sum())),
        *as_released(name, n, "pictures of each version"),
    ]
    questions = []
    for corruption in present:
        file = root / f"{corruption}.npy"
        shape = known_size(name, root, file, open_array(name, root, file, 4), size)
        if shape[0] != total:
            raise not_unpacked(name, root, f"{file.name} has {shape[0]} pictures and labels.npy {total}")
        for severity in SEVERITIES:
            pictures = read_rows(file, (severity - 1) * n, rows)
            version = Version(name, corruption, severity)
            questions.append(question(version, ids, labels[rows], str(same_file(file)), pictures, said))
    return questions


def _folders(root: Path) -> dict[str, str]:
    """Return the folder of each corruption that lies in `root` or in a family's folder in it."""
    found = {}
    for family in (*FAMILIES, ""):
        found |= {one: f"{family}/{one}".lstrip("/") for one in NAMES if (root / family / one).is_dir()}
    return found


def _missing(versions: Sequence[tuple[str, int]]) -> list[str]:
    """Return the sentence on what the published score needs and is not there, if there is anything."""
    lacking = {one: [s for s in SEVERITIES if (one, s) not in versions] for one in CORRUPTIONS}
    names = [
        one if len(severities) == len(SEVERITIES) else f"{one} {'/'.join(map(str, severities))}"
        for one, severities in lacking.items()
        if severities
    ]
    return [f"Not there: {', '.join(names)}; so there is no mean over all 15 corruptions."] if names else []


def _differ(first: str, paths: Sequence[str], second: str, others: Sequence[str]) -> str:
    """Say that two versions do not hold the same pictures, and name one that one of them lacks."""
    if set(paths) - set(others):
        short, lost = second, min(set(paths) - set(others))
    else:
        short, lost = first, min(set(others) - set(paths))
    counts = f"{first} has {len(paths):,} pictures and {second} {len(others):,}"
    return f"{counts}; {short} lacks {lost}, so it is half unpacked"
