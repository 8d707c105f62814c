"""Tiny data sets in the official layouts, with classes that are easily told apart: to try a whole run in seconds."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nsfast.errors import choice
from nsfast.streams import numpy_stream

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
WNIDS = ("n01440764", "n02102040", "n02979186", "n03000684")
FOLDER = {"labeled": 40, "unlabeled": 60, "validation": 20, "test": 20}


def write_tiny(
    name: str, folder: str | Path, seed: int = 0, val: str = "folders", shards: bool = False
) -> dict[str, Any]:
    """Write a tiny data set and return the data parameters with which its reader reads it.

    Args:
        name: "folder", "cifar10", "cifar100", "svhn", "stl10", "imagenet" or "imagenette".
        folder: where it is written.
        seed: of the pictures.
        val: of "imagenet": "folders" of wnids, or "flat" with the devkit.
        shards: of "imagenet": training and unlabeled pictures in tars of WebDataset's layout.
    """
    folder = Path(folder)
    write = WRITERS[choice("data.name", name, WRITERS)]
    options = {"val": choice("val", val, ("folders", "flat")), "shards": shards} if name == "imagenet" else {}
    return {"path": str(folder), **write(folder, numpy_stream(seed, "tiny", name), **options)}


def tiny_pictures(labels: np.ndarray, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Return (n, height, width, 3) uint8: each of ten classes is a colour and a direction of stripes, with noise."""
    y, x = np.mgrid[:height, :width] / min(height, width)
    labels = np.asarray(labels)[:, None, None]
    angle, phase = np.pi * (labels % 5) / 5, random.uniform(0, 2 * np.pi, labels.shape)
    stripes = np.sin(2 * np.pi * 3 * (x * np.cos(angle) + y * np.sin(angle)) + phase)[..., None]
    hue = 2 * np.pi * (labels[..., None] / 10 + np.arange(3) / 3)
    values = 128 + 60 * np.cos(hue) + 35 * stripes + random.normal(0, 12, (len(labels), height, width, 3))
    return values.clip(0, 255).astype(np.uint8)


def _even(count: int, random: np.random.Generator, classes: int = 10) -> np.ndarray:
    return random.permutation(np.arange(count) % classes)


def _folder(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    for split, count in FOLDER.items():
        labels = _even(count, random)
        for number, (label, picture) in enumerate(
            zip(labels, tiny_pictures(labels, 24, 32, random), strict=True)
        ):
            below = split if split == "unlabeled" else f"{split}/{CLASSES[label]}"
            _write(folder / below / f"{number:03}.png", picture)
    return {"size": 16}


def _cifar10(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    folder = folder / "cifar-10-batches-bin"
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        labels = _even(40, random)
        _bytes(
            folder / f"{name}.bin",
            np.hstack([labels[:, None], _planes(tiny_pictures(labels, 32, 32, random))]),
        )
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n", encoding="utf-8")
    return {"labeled": 40, "validation": 40}


def _cifar100(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    folder = folder / "cifar-100-binary"
    for name, count in (("train", 200), ("test", 40)):
        labels = _even(count, random)
        records = [labels[:, None] // 5, labels[:, None], _planes(tiny_pictures(labels, 32, 32, random))]
        _bytes(folder / f"{name}.bin", np.hstack(records))
    (folder / "fine_label_names.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return {"labeled": 40, "validation": 40}


def _svhn(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 80), ("test", 40), ("extra", 100)):
        labels = _even(count, random)
        content = {"X": tiny_pictures(labels, 32, 32, random).transpose(1, 2, 3, 0)}
        content["y"] = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / f"{name}_32x32.mat", content)
    return {"validation": 20}


def _stl10(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    folder = folder / "stl10_binary"
    for name, count in (("train", 60), ("test", 30), ("unlabeled", 80)):
        labels = _even(count, random)
        pictures = tiny_pictures(labels, 96, 96, random)
        _bytes(folder / f"{name}_X.bin", pictures.transpose(0, 3, 2, 1))  # column by column
        if name != "unlabeled":
            _bytes(folder / f"{name}_y.bin", labels + 1)
    (folder / "class_names.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return {"validation": 20, "size": 32}


def _imagenette(folder: Path, random: np.random.Generator) -> dict[str, Any]:
    from nsfast.images.imagenet import NAMES

    for split, count in (("train", 120), ("val", 40)):
        labels = _even(count, random)
        for number, (label, picture) in enumerate(
            zip(labels, tiny_pictures(labels, 48, 60, random), strict=True)
        ):
            wnid = list(NAMES)[label]
            _write(folder / split / wnid / f"{wnid}_{number}.JPEG", picture)
    return {"size": 32, "labeled_share": 0.4, "validation_share": 0.2}


def _imagenet(folder: Path, random: np.random.Generator, val: str, shards: bool) -> dict[str, Any]:
    labels = _even(80, random, 4)
    train = {
        f"{WNIDS[label]}_{number}.JPEG": (label, picture)
        for number, (label, picture) in enumerate(
            zip(labels, tiny_pictures(labels, 48, 60, random), strict=True)
        )
    }
    if shards:
        _tars(folder / "train", train, classes=True)
    else:
        for name, (label, picture) in train.items():
            _write(folder / "train" / WNIDS[label] / name, picture)
    labels = _even(20, random, 4)
    for number, (label, picture) in enumerate(
        zip(labels, tiny_pictures(labels, 48, 60, random), strict=True), 1
    ):
        below = folder / "val" if val == "flat" else folder / "val" / WNIDS[label]
        _write(below / f"ILSVRC2012_val_{number:08}.JPEG", picture)
    if val == "flat":
        _devkit(folder / "ILSVRC2012_devkit_t12" / "data", labels)
    labels = _even(60, random, 4)
    pool = {f"{i:03}.jpg": (0, picture) for i, picture in enumerate(tiny_pictures(labels, 50, 40, random))}
    if shards:
        _tars(folder / "unlabeled", pool, classes=False)
    else:
        for name, (_, picture) in pool.items():
            _write(folder / "unlabeled" / name, picture)
    return {"unlabeled": str(folder / "unlabeled"), "validation": 12, "size": 32}


def _devkit(folder: Path, labels: np.ndarray) -> None:
    """Write a devkit whose numbers are not in the order of the wnids, as the official ones are not."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    kind = [
        ("ILSVRC2012_ID", object),
        ("WNID", object),
        ("words", object),
        ("gloss", object),
        ("num_children", object),
    ]
    synsets = np.empty(5, kind)
    for place, (number, wnid, children) in enumerate(
        [*((i, wnid, 0) for i, wnid in enumerate(reversed(WNIDS), 1)), (5, "n00001740", 4)]
    ):
        synsets[place] = (number, wnid, "a word", "a gloss", children)
    savemat(folder / "meta.mat", {"synsets": synsets})
    lines = "".join(f"{len(WNIDS) - label}\n" for label in labels)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(lines, encoding="utf-8")


def _tars(folder: Path, pictures: dict[str, tuple[int, np.ndarray]], classes: bool) -> None:
    """Write pictures to two shards; `key.cls` holds the place of the class among the wnids."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard:03}.tar", "w") as tar:
            for name, (label, picture) in list(pictures.items())[shard::2]:
                stream = io.BytesIO()
                Image.fromarray(picture).save(stream, "JPEG", quality=95)
                files = {name: stream.getvalue()}
                if classes:
                    files[f"{Path(name).stem}.cls"] = str(label).encode()
                for member, content in files.items():
                    about = tarfile.TarInfo(member)
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(
        path, **({"format": "JPEG", "quality": 95} if path.suffix != ".png" else {})
    )


def _bytes(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.ascontiguousarray(values, np.uint8).tobytes())


def _planes(pictures: np.ndarray) -> np.ndarray:
    return pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "folder": _folder,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "stl10": _stl10,
    "imagenet": _imagenet,
    "imagenette": _imagenette,
}
