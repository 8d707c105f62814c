"""CIFAR-10, CIFAR-100, SVHN and STL-10, read from their official files.

Which pictures are labeled and which validate is drawn by the hash of their ids: another number of labels leaves
the validation pictures as they are, and fewer labels are a part of more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nsfast.errors import within
from nsfast.images.download import require
from nsfast.images.image_set import ImageSet, Split
from nsfast.images.problem import ImageProblem
from nsfast.images.records import check_labels, numbered, records, text_lines
from nsfast.images.subsets import class_counts, first_of_each, without
from nsfast.streams import hash_order

CIFAR10 = (
    *(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    "cifar-10-batches-bin/test_batch.bin",
    "cifar-10-batches-bin/batches.meta.txt",
)
CIFAR100 = tuple(f"cifar-100-binary/{name}" for name in ("train.bin", "test.bin", "fine_label_names.txt"))
SVHN = ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat")
STL10 = tuple(
    f"stl10_binary/{name}"
    for name in (
        "train_X.bin",
        "train_y.bin",
        "test_X.bin",
        "test_y.bin",
        "unlabeled_X.bin",
        "class_names.txt",
    )
)
FILES = {"cifar10": CIFAR10, "cifar100": CIFAR100, "svhn": SVHN, "stl10": STL10}
"""Files of each set, below its folder."""

SVHN_NORMALISATION = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))  # as released (task_info.py)
STL10_NORMALISATION = ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713))  # as usually published
KRIZ = "https://www.cs.toronto.edu/~kriz"


def cifar10(
    path: str = "data/cifar10",
    labeled: int = 4000,
    validation: int = 5000,
    download: bool = False,
    seed: int = 0,
) -> ImageSet:
    """Return CIFAR-10, its training pictures split into labeled, unlabeled and validation pictures.

    Args:
        path: folder that holds cifar-10-batches-bin/ (the binary version of the data set).
        labeled: labeled pictures, as many of each class.
        validation: training pictures set aside to validate, as many of each class.
        download: whether missing files are fetched.
        seed: of the choice of labeled and validation pictures.

    Raises:
        ImageProblem: a file is missing or damaged, or the splits ask for more pictures than there are.
    """
    source = (f"{KRIZ}/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
    return _cifar("cifar10", path, CIFAR10, source, 0, labeled, validation, download, seed)


def cifar100(
    path: str = "data/cifar100",
    labeled: int = 10000,
    validation: int = 5000,
    download: bool = False,
    seed: int = 0,
) -> ImageSet:
    """Return CIFAR-100 with its 100 fine classes, its training pictures split as those of CIFAR-10.

    Args:
        path: folder that holds cifar-100-binary/ (the binary version of the data set).
        labeled: labeled pictures, as many of each class.
        validation: training pictures set aside to validate, as many of each class.
        download: whether missing files are fetched.
        seed: of the choice of labeled and validation pictures.

    Raises:
        ImageProblem: a file is missing or damaged, or the splits ask for more pictures than there are.
    """
    source = (f"{KRIZ}/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")
    return _cifar("cifar100", path, CIFAR100, source, 1, labeled, validation, download, seed)


def svhn(
    path: str = "data/svhn",
    labeled: int = 0,
    validation: int = 4000,
    extra: bool = True,
    unlabeled: int = 0,
    download: bool = False,
    seed: int = 0,
) -> ImageSet:
    """Return SVHN's house numbers, 32x32; its `extra` pictures are the unlabeled pool, as released.

    The released code (proc_svhn.py) shuffles the training pictures with seed 0 and takes 4,000 to validate; here the
    hash of their ids chooses, so the numbers are the same and the pictures are not.

    Args:
        path: folder that holds train_32x32.mat, test_32x32.mat and extra_32x32.mat.
        labeled: labeled pictures, as many of each class; 0 takes all training pictures that do not validate.
        validation: training pictures set aside to validate.
        extra: whether `extra` joins the unlabeled pool; without it the pool is what `labeled` leaves.
        unlabeled: pictures of the unlabeled pool, drawn by the seed; 0 for all.
        download: whether missing files are fetched.
        seed: of every choice above.

    Raises:
        ImageProblem: a file is missing or damaged, or a split would be empty.
    """
    within("data.labeled", labeled, 0)
    within("data.validation", validation, 1)
    within("data.unlabeled", unlabeled, 0)
    if not extra and not labeled:
        raise ImageProblem(
            "data.extra is false and data.labeled is 0, so no picture is unlabeled; set one of them"
        )
    root = Path(path).expanduser()
    parts = ("train", "test", "extra") if extra else ("train", "test")
    sources = _published("SVHN", parts) if download else []
    require(root, [f"{part}_32x32.mat" for part in parts], sources, download, ", ".join(SVHN))
    classes = tuple(str(digit) for digit in range(10))
    train, test = _mat(root, "train"), _mat(root, "test")
    order = hash_order(train.ids, seed, "svhn")
    set_aside = np.sort(np.argsort(order)[:validation])
    rest = without(len(train), set_aside)
    chosen = rest
    if labeled:
        counts = class_counts("labeled", labeled, train.labels[rest], classes)
        chosen = rest[first_of_each(train.labels[rest], order[rest], counts)]
    if len(chosen) == 0:
        raise ImageProblem(
            f"validation={validation} takes all of {len(train)} training pictures; ask for less"
        )
    pools = [train.take(without(len(train), set_aside, chosen))] + ([_mat(root, "extra")] if extra else [])
    if unlabeled:
        orders = [hash_order(pool.ids, seed, "svhn pool") for pool in pools]
        last = np.sort(np.concatenate(orders))[:unlabeled][-1]
        pools = [pool.take(np.flatnonzero(o <= last)) for pool, o in zip(pools, orders, strict=True)]
    pools = [pool for pool in pools if len(pool)] or pools[:1]
    ids, pixels, truth = (
        values[0] if len(values) == 1 else np.concatenate(values)
        for values in ([getattr(pool, name) for pool in pools] for name in ("ids", "pixels", "labels"))
    )
    return ImageSet(
        "svhn",
        classes,
        labeled=train.take(chosen),
        unlabeled=Split(ids, pixels),
        validation=train.take(set_aside),
        test=test,
        truth=truth,
        normalisation=SVHN_NORMALISATION,
    )


def stl10(
    path: str = "data/stl10", validation: int = 500, size: int = 96, download: bool = False, seed: int = 0
) -> ImageSet:
    """Return STL-10: 5,000 labeled pictures of 10 classes and 100,000 unlabeled ones, some of other classes.

    Args:
        path: folder that holds stl10_binary/.
        validation: labeled pictures set aside to validate, as many of each class.
        size: height and width in pixels, 8..96; below 96 the pictures are made smaller (bicubic, antialiased).
        download: whether missing files are fetched.
        seed: of the choice of validation pictures.

    Raises:
        ImageProblem: a file is missing or damaged, or validation asks for more pictures than there are.
    """
    within("data.validation", validation, 1)
    within("data.size", size, 8, 96)
    root = Path(path).expanduser()
    sources = _published("STL10") if download else []
    require(root, list(STL10), sources, download, "stl10_binary/ with its .bin files")
    folder = root / "stl10_binary"
    classes = text_lines(folder / "class_names.txt")
    parts = {}
    for part in ("train", "test", "unlabeled"):
        source = folder / f"{part}_X.bin"
        raw = records(source, 3 * 96 * 96).reshape(-1, 3, 96, 96)
        pixels = raw.transpose(0, 3, 2, 1)  # a picture is stored column by column
        ids, labels = numbered(part, len(raw)), None
        if part != "unlabeled":
            labels = records(folder / f"{part}_y.bin", 1)[:, 0].astype(np.int64) - 1
            check_labels(folder / f"{part}_y.bin", labels, len(raw), len(classes))
        parts[part] = Split(ids, pixels if size == 96 else _smaller(pixels, size), labels)
    train = parts["train"]
    counts = class_counts("validation", validation, train.labels, classes)
    set_aside = first_of_each(train.labels, hash_order(train.ids, seed, "stl10"), counts)
    return ImageSet(
        "stl10",
        classes,
        labeled=train.take(without(len(train), set_aside)),
        unlabeled=parts["unlabeled"],
        validation=train.take(set_aside),
        test=parts["test"],
        normalisation=STL10_NORMALISATION,
    )


def _cifar(
    name: str,
    path: str,
    files: tuple[str, ...],
    source: tuple[str, str],
    label_at: int,
    labeled: int,
    validation: int,
    download: bool,
    seed: int,
) -> ImageSet:
    """Read a CIFAR whose records are `label_at` bytes, the label, and 3 planes of 32x32 row by row."""
    within("data.labeled", labeled, 1)
    within("data.validation", validation, 1)
    root = Path(path).expanduser()
    *batches, test_file, names_file = files
    require(root, list(files), [source], download, f"{Path(names_file).parent}/ with its .bin files")
    classes = text_lines(root / names_file)
    splits = {}
    for split, names in (("train", batches), ("test", [test_file])):
        blocks = []
        for file in names:
            block = records(root / file, label_at + 1 + 3072)
            check_labels(root / file, block[:, label_at], len(block), len(classes))
            blocks.append(block)
        raw = np.concatenate(blocks)
        pixels = np.ascontiguousarray(raw[:, label_at + 1 :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        splits[split] = Split(numbered(split, len(raw)), pixels, raw[:, label_at].astype(np.int64))
    train = splits["train"]
    order = hash_order(train.ids, seed, name)
    set_aside = first_of_each(
        train.labels, order, class_counts("validation", validation, train.labels, classes)
    )
    rest = without(len(train), set_aside)
    counts = class_counts("labeled", labeled, train.labels[rest], classes)
    chosen = rest[first_of_each(train.labels[rest], order[rest], counts)]
    pool = train.take(without(len(train), set_aside, chosen))
    return ImageSet(
        name,
        classes,
        labeled=train.take(chosen),
        unlabeled=Split(pool.ids, pool.pixels),
        validation=train.take(set_aside),
        test=splits["test"],
        truth=pool.labels,
    )


def _published(name: str, parts: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return URL and md5 of a data set's files, as torchvision knows them."""
    from torchvision import datasets

    published = getattr(datasets, name)
    if parts:
        return [(published.split_list[part][0], published.split_list[part][2]) for part in parts]
    return [(published.url, published.tgz_md5)]


def _mat(root: Path, part: str) -> Split:
    """Read one of SVHN's MATLAB files; its label 10 is the digit 0."""
    from scipy.io import loadmat

    path = root / f"{part}_32x32.mat"
    try:
        content = loadmat(path, variable_names=("X", "y"))
        pixels, labels = content["X"], content["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # the reader of a damaged file raises nearly everything
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImageProblem(f"{path} is damaged ({said}); delete it and fetch it anew") from None
    if pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or pixels.dtype != np.uint8:
        raise ImageProblem(
            f"{path} is damaged: X is {pixels.dtype} {pixels.shape}; delete it and fetch it anew"
        )
    labels[labels == 10] = 0
    check_labels(path, labels, pixels.shape[3], 10)
    return Split(numbered(part, len(labels)), np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels)


def _smaller(pixels: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    out = np.empty((len(pixels), size, size, 3), np.uint8)
    for row, picture in enumerate(pixels):
        image = Image.fromarray(np.ascontiguousarray(picture))
        out[row] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    return out
