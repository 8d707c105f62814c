"""An `ImageSet`: pictures by stable id, class names, and the four splits of a Noisy Student run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nsfast.files import atomic, read_csv, read_json, write_csv, write_json
from nsfast.images.file_table import load_files, save_files
from nsfast.images.files import PictureFiles, taken
from nsfast.images.problem import ImageProblem
from nsfast.streams import numpy_stream

SPLITS = ("labeled", "unlabeled", "validation", "test")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel on a 0..1 scale, as released (task_info.py)."""


@dataclass(frozen=True)
class Split:
    """Pictures of one purpose.

    Args:
        ids: (n,) strings, unique within the image set and the same on every machine.
        pixels: (n, height, width, channels) uint8; may be a read-only memory map, or files that are decoded as needed.
        labels: (n,) int64 class indices, or None where nothing is known (unlabeled pictures).
    """

    ids: np.ndarray
    pixels: np.ndarray | PictureFiles
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __post_init__(self):
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise ImageProblem(
                f"pixels are {self.pixels.dtype} of shape {self.pixels.shape}; "
                "give uint8 of shape (n, height, width, channels)"
            )
        for name, array in (("pixels", self.pixels), ("labels", self.labels)):
            if array is not None and len(array) != len(self.ids):
                raise ImageProblem(
                    f"{len(array)} {name} for {len(self.ids)} ids; give one of each per picture"
                )

    def take(self, rows: np.ndarray) -> Split:
        """Return these pictures, in this order; of files none is decoded."""
        return Split(
            self.ids[rows], taken(self.pixels, rows), None if self.labels is None else self.labels[rows]
        )


@dataclass(frozen=True)
class ImageSet:
    """Four splits of pictures that share classes, channels and size.

    `truth` is the class of each unlabeled picture where it happens to be known, -1 for a picture of no class. It is
    used by measurement alone: training and selection are given a `Split`, which does not have it. `normalisation` is
    mean and standard deviation per channel on a 0..1 scale where the set has published ones.

    Raises:
        ImageProblem: fewer than 2 classes or a name twice, a class with no labeled picture, a label outside the
            classes, an empty split, pictures of different shapes, an id twice.
    """

    name: str
    classes: tuple[str, ...]
    labeled: Split
    unlabeled: Split
    validation: Split
    test: Split
    truth: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = field(default=())
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def __post_init__(self):
        n = len(self.classes)
        if n < 2:
            raise ImageProblem(
                f"image set {self.name!r} has {n} class(es) {list(self.classes)}; at least 2 are needed"
            )
        for split in ("labeled", "validation", "test"):
            labels = getattr(self, split).labels
            if labels is None:
                raise ImageProblem(
                    f"the {split} pictures of {self.name!r} have no labels; give one class index each"
                )
            if len(labels) and not (0 <= labels.min() and labels.max() < n):
                raise ImageProblem(
                    f"the {split} pictures of {self.name!r} have labels {labels.min()}..{labels.max()}, "
                    f"but there are {n} classes; give indices 0..{n - 1}"
                )
        empty = [self.classes[i] for i in np.flatnonzero(np.bincount(self.labeled.labels, minlength=n) == 0)]
        if empty:
            raise ImageProblem(
                f"class {empty[0]!r} of {self.name!r} has no labeled picture; give at least one"
            )
        for split in ("unlabeled", "validation", "test"):
            if not len(getattr(self, split)):
                raise ImageProblem(f"image set {self.name!r} has no {split} pictures; give at least one")
        ids = np.concatenate([getattr(self, split).ids for split in SPLITS])
        values, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            raise ImageProblem(
                f"id {str(values[counts > 1][0])!r} of {self.name!r} stands twice; ids must be unique"
            )
        shapes = {getattr(self, split).pixels.shape[1:] for split in SPLITS}
        if len(shapes) > 1:
            raise ImageProblem(
                f"the splits of {self.name!r} have pictures of {sorted(shapes)}; give one shape"
            )
        if len(set(self.classes)) < n:
            raise ImageProblem(
                f"two classes of {self.name!r} have one name ({list(self.classes)}); rename one"
            )
        if self.truth is not None and len(self.truth) != len(self.unlabeled):
            raise ImageProblem(
                f"{len(self.truth)} truths for {len(self.unlabeled)} unlabeled pictures; give one each"
            )
        if self.normalisation is not None and {len(part) for part in self.normalisation} != {self.channels}:
            raise ImageProblem(
                f"the normalisation of {self.name!r} is {self.normalisation}; "
                f"give mean and deviation of {self.channels} channel(s)"
            )

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.labeled.pixels.shape[3]

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.labeled.pixels.shape[1]

    def statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation per channel of the labeled and unlabeled pictures, on a 0..1 scale.

        Published ones are taken where the set has them. Of colour pictures that stay in their files they are
        ImageNet's, as released; of grey ones they come from a thousand pictures drawn once and for all.
        """
        splits = (self.labeled.pixels, self.unlabeled.pixels)
        if self.normalisation is None and any(isinstance(pixels, PictureFiles) for pixels in splits):
            if self.channels == 1:
                splits = _sample(splits)
            else:
                return [*IMAGENET[0]], [*IMAGENET[1]]
        elif self.normalisation is not None:
            return [*self.normalisation[0]], [*self.normalisation[1]]
        count, total, squares = 0, 0.0, 0.0
        for pixels in splits:
            for start in range(0, len(pixels), 4096):
                block = pixels[start : start + 4096].reshape(-1, self.channels).astype(np.float64) / 255
                count, total, squares = count + len(block), total + block.sum(0), squares + (block**2).sum(0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return mean.round(6).tolist(), np.maximum(deviation, 1e-3).round(6).tolist()


def _sample(splits: tuple, count: int = 1000) -> list[np.ndarray]:
    """Decode at most `count` of the pictures, always the same ones; return those of each split."""
    total = sum(map(len, splits))
    rows = np.sort(
        numpy_stream(0, "statistics").choice(total, size=min(count, total), replace=False, shuffle=False)
    )
    first, second = splits
    return [first[rows[rows < len(first)]], second[rows[rows >= len(first)] - len(first)]]


def save_images(image_set: ImageSet, folder: str | Path) -> None:
    """Write an image set to `folder`: `images.json`, and `<split>.npy`, `.ids.npy` and `.labels.npy` of each split.

    Of pictures that stay in their files `<split>.files.parquet` says where they are instead of `<split>.npy`.
    `truth.npy`, `notes.json` and `left_out.csv` (path, reason) stand apart, since training does not read them.
    """
    folder = Path(folder)

    def save(name: str, array: np.ndarray) -> None:
        with atomic(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, array, allow_pickle=False)

    for name in SPLITS:
        split: Split = getattr(image_set, name)
        files = isinstance(split.pixels, PictureFiles)
        (folder / (f"{name}.npy" if files else f"{name}.files.parquet")).unlink(missing_ok=True)
        if files:
            with atomic(folder / f"{name}.files.parquet") as temporary:
                save_files(temporary, split.pixels)
        else:
            save(name, split.pixels)
        save(f"{name}.ids", split.ids.astype(str))
        (folder / f"{name}.labels.npy").unlink(missing_ok=True)
        if split.labels is not None:
            save(f"{name}.labels", split.labels.astype(np.int64))
    (folder / "truth.npy").unlink(missing_ok=True)
    if image_set.truth is not None:
        save("truth", image_set.truth.astype(np.int64))
    about = {"name": image_set.name, "classes": list(image_set.classes)}
    if image_set.normalisation is not None:
        about["normalisation"] = [list(part) for part in image_set.normalisation]
    write_json(folder / "images.json", about)
    write_json(folder / "notes.json", list(image_set.notes))
    write_csv(
        folder / "left_out.csv", [{"path": p, "reason": r} for p, r in image_set.left_out], ["path", "reason"]
    )


def load_images(folder: str | Path) -> ImageSet:
    """Read what `save_images` wrote; pixels are memory-mapped, or decoded from their files as needed.

    Raises:
        ImageProblem: a file is missing or damaged, naming it.
    """
    folder = Path(folder)
    if not (folder / "images.json").is_file():
        raise ImageProblem(
            f"no image set in {folder} (images.json is missing); run 'nsfast run' to prepare it"
        )
    about = read_json(folder / "images.json")
    if not isinstance(about, dict) or not isinstance(about.get("classes"), list) or "name" not in about:
        raise ImageProblem(f"{folder / 'images.json'} is damaged; delete {folder} to have it made again")

    def load(name: str, mapped: bool = False, optional: bool = False) -> np.ndarray | None:
        path = folder / f"{name}.npy"
        if optional and not path.is_file():
            return None
        try:
            return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ImageProblem(
                f"{path} is damaged ({error}); delete {folder} to have it made again"
            ) from None

    def pictures(name: str) -> np.ndarray | PictureFiles:
        path = folder / f"{name}.files.parquet"
        if not path.is_file():
            return load(name, mapped=True)
        try:
            return load_files(path)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            said = " ".join(str(error).split())
            raise ImageProblem(f"{path} is damaged ({said}); delete {folder} to have it made again") from None

    splits = {
        name: Split(load(f"{name}.ids"), pictures(name), load(f"{name}.labels", optional=True))
        for name in SPLITS
    }
    try:
        notes = tuple(read_json(folder / "notes.json"))
        left_out = tuple(tuple(row.values()) for row in read_csv(folder / "left_out.csv", ("path", "reason")))
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise ImageProblem(
            f"notes.json or left_out.csv of {folder} is damaged ({error}); delete the folder to have it made again"
        ) from None
    truth = load("truth", optional=True)
    own = about.get("normalisation")
    return ImageSet(
        about["name"],
        tuple(about["classes"]),
        **splits,
        truth=truth,
        notes=notes,
        left_out=left_out,
        normalisation=own and (tuple(own[0]), tuple(own[1])),
    )
