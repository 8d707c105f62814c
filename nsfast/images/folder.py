"""Read an image set from a folder: labeled/<class>/**, unlabeled/** and, optionally, validation and test."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from nsfast.errors import choice, within
from nsfast.images.decode import decode as decode_square
from nsfast.images.decode import reason
from nsfast.images.files import PictureFiles
from nsfast.images.image_set import SPLITS, ImageSet, Split
from nsfast.images.listing import ENDINGS, File, Listing, describe_files, list_split
from nsfast.images.problem import ImageProblem
from nsfast.images.shards import open_shards
from nsfast.streams import hash_order

LAYOUT = "labeled/<class>/*, unlabeled/** and, if you have them, validation/<class>/* and test/<class>/*"


def read_folder(
    path: str | Path,
    size: int = 64,
    channels: int = 3,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    decode: str = "now",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Read the pictures under `path`; set validation and test pictures aside where they have no folder.

    A picture's id is its path below `path`, with forward slashes and in Unicode's composed form; pictures
    are sorted by id. Files that cannot be read are listed in `left_out` with the reason, and the rest goes
    on. Hidden files are not looked at.

    Args:
        path: folder with labeled/<class>/, unlabeled/ and perhaps validation/<class>/, test/<class>/.
        size: height and width in pixels, 1..4096; the whole centre square of a picture is resized to it.
        channels: 1 (grey) or 3 (colour).
        validation_share: part of each class's labeled pictures, 0..1, but at least one, that is set aside
            where validation/ has no pictures; which ones depends on the seed and the ids of that class alone.
        test_share: the same for test/.
        decode: "now", all pictures into memory, or "as_needed", each when it is used: for large pictures and for
            very many; the pixels are the same. As needed, a folder may hold pictures in .tar shards too (WebDataset's
            layout: key.jpg and, but for unlabeled pictures, key.cls with the class's name; where it holds a
            number, classes.txt may name the classes, one a line from 0 on).
        seed: of the choice above.
        progress: called with the number of files read so far and of all that there are.

    Raises:
        ImageProblem: before anything is decoded, the folder or a part of it is missing, there are fewer than
            2 classes, a class has no labeled picture, validation or test has a class that labeled lacks;
            later, no picture of a split or of a labeled class can be read, or a class is too small to split.
    """
    root = _existing(path)
    within("size", size, 1, 4096)
    kept = choice("data.decode", decode, ("now", "as_needed")) == "as_needed"
    if channels not in (1, 3):
        raise ImageProblem(f"channels is {channels!r}; give 1 (grey) or 3 (colour)")
    shares = {"validation": within("validation_share", validation_share, 0, 1)}
    shares["test"] = within("test_share", test_share, 0, 1)
    if sum(shares.values()) >= 1:
        raise ImageProblem(f"validation_share + test_share is {sum(shares.values()):g}; it must be below 1")

    listings = {name: list_split(root, name, name != "unlabeled", shards=kept) for name in SPLITS}
    if kept:
        names = class_names(root / "classes.txt")
        listings = {name: open_shards(part, name != "unlabeled", names) for name, part in listings.items()}
    _check_layout(root, listings)
    classes = listings["labeled"].classes
    index = {name: number for number, name in enumerate(classes)}
    total, done = sum(len(listing.pictures) for listing in listings.values()), count(1)
    advance = (lambda: progress(next(done), total)) if progress else (lambda: None)
    splits: dict[str, Split] = {}
    left_out: list[tuple[str, str]] = []
    for name, listing in listings.items():
        read = partial(open_all, whole=True) if kept else _decode_all
        good, pixels, bad = read(listing.pictures, root, size, channels, advance)
        left_out += bad + [(file.id, file.problem) for file in listing.others]
        if bad and not good:
            raise ImageProblem(f"no picture in {root}/{name} can be read; {bad[0][0]}: {bad[0][1]}")
        ids = np.array([file.id for file in good], dtype=str)
        labels = [index[file.class_name] for file in good] if name != "unlabeled" else None
        splits[name] = Split(ids, pixels, labels if labels is None else np.array(labels, np.int64))
        if name == "labeled":
            for lost in sorted(set(classes) - {file.class_name for file in good}):
                id, reason = next(b for b in bad if b[0].startswith(f"labeled/{lost}/"))
                raise ImageProblem(f"no labeled picture of class {lost!r} can be read; {id}: {reason}")

    missing = {name: share for name, share in shares.items() if not listings[name].pictures}
    n, notes = len(splits["labeled"]), []
    splits |= _set_aside(splits["labeled"], classes, missing, seed)
    for name in missing:
        note = f"{len(splits[name])} of the {n} labeled pictures became {name} pictures (seed {seed})"
        notes.append(f"{name}/ has no pictures, so {note}.")
    name = unicodedata.normalize("NFC", root.resolve().name)
    return ImageSet(name, tuple(classes), **splits, notes=tuple(notes), left_out=tuple(sorted(left_out)))


def list_folder(path: str | Path) -> list[tuple[str, int, int]]:
    """Describe the files under `path` without opening one: while the list stands, so does what was read.

    Returns:
        (path below `path`, size in bytes, time of the last change in nanoseconds), sorted; a folder's path
        ends in "/" and has neither size nor time.

    Raises:
        ImageProblem: the folder is missing.
    """
    root = _existing(path)
    listings = [list_split(root, name, name != "unlabeled") for name in SPLITS]
    files = [(f.id, f.size, f.modified) for listing in listings for f in listing.pictures + listing.others]
    folders = [(f"{folder}/", 0, 0) for listing in listings for folder in listing.folders]
    return sorted(files + folders + describe_files(root, ["classes.txt"]))


def _existing(path: str | Path) -> Path:
    root = Path(path).expanduser()
    if not str(path) or not root.is_dir():
        raise ImageProblem(f"no folder {str(path)!r}; give one that holds {LAYOUT}")
    return root


def _check_layout(root: Path, listings: dict[str, Listing]) -> None:
    """Raise `ImageProblem` for everything that can be known before a picture is decoded."""
    labeled = listings["labeled"]
    if not (root / "labeled").is_dir():
        raise ImageProblem(f"no labeled/ folder in {root}; expected {LAYOUT}")
    if len(labeled.classes) < 2:
        found = f"{len(labeled.classes)} class folder(s) {labeled.classes}"
        raise ImageProblem(f"{root}/labeled has {found}; at least 2 are needed")
    for name in sorted(set(labeled.classes) - {file.class_name for file in labeled.pictures}):
        found = [f"; {f.id}: {f.problem}" for f in labeled.others if f.id.startswith(f"labeled/{name}/")]
        way_out = f"add one to {root}/labeled/{name}"
        raise ImageProblem(f"class {name!r} has no labeled picture; {way_out}{''.join(found[:1])}")
    for split in ("validation", "test"):
        for name in sorted(set(listings[split].classes) - set(labeled.classes)):
            way_out = f"add {root}/labeled/{name} or remove {root}/{split}/{name}"
            raise ImageProblem(f"{split}/ has class {name!r}, which labeled/ lacks; {way_out}")
    if not listings["unlabeled"].pictures:
        raise ImageProblem(
            f"no pictures ({', '.join(ENDINGS)}) in {root}/unlabeled; add those without a label"
        )


def _set_aside(labeled: Split, classes: list[str], shares: dict[str, float], seed: int) -> dict[str, Split]:
    """Split labeled pictures by class: in a hash order of the ids, validation comes first and test last."""
    order = hash_order(labeled.ids, seed, "set aside")
    purpose = np.full(len(labeled), "labeled", dtype="U10")
    for index, name in enumerate(classes):
        members = np.flatnonzero(labeled.labels == index)
        members, n = members[np.argsort(order[members], kind="stable")], len(members)
        if n <= len(shares):
            folders = " and ".join(f"{split}/" for split in shares)
            raise ImageProblem(
                f"class {name!r} has {n} readable labeled picture(s) and {len(shares) + 1} are needed to set "
                f"{' and '.join(shares)} pictures aside; add some, or fill {folders}"
            )
        sizes = {split: max(1, int(n * share + 0.5)) for split, share in shares.items()}
        while sum(sizes.values()) >= n:
            sizes[max(sizes, key=sizes.__getitem__)] -= 1
        purpose[members[: sizes.get("validation", 0)]] = "validation"
        purpose[members[n - sizes.get("test", 0) :]] = "test"
    rows = {split: np.flatnonzero(purpose == split) for split in ("labeled", *shares)}
    return {split: labeled.take(r) for split, r in rows.items()}


def class_names(path: Path) -> list[str] | None:
    """Return the lines of a file that names the classes, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else None
    except UnicodeDecodeError:
        raise ImageProblem(f"{path} is no UTF-8 text; give one class name a line") from None


def open_all(
    files: list[File],
    root: Path,
    size: int,
    channels: int,
    advance: Callable[[], None] = lambda: None,
    look: bool = True,
    whole: bool = False,
) -> tuple[list[File], PictureFiles, list[tuple[str, str]]]:
    """Return the files that can be read, the pictures that they are, and (id, reason) of the others.

    Without `look` none is opened, and all are taken for pictures. With `whole` the whole centre square is kept of each,
    as of a folder's pictures, and without it what the released code keeps of ImageNet's.
    """
    prefix = os.path.join(str(root), "")
    paths = [file.path.removeprefix(prefix) for file in files]
    where = [np.array([getattr(file, name) for file in files], np.int64) for name in ("offset", "size")]
    inside = any(file.offset >= 0 for file in files)
    pictures = PictureFiles(root, paths, size, channels, *(where if inside else (None, None)), whole=whole)
    problems = pictures.problems(advance) if look else {}
    if not problems:
        return files, pictures, []
    rows = np.array([row for row in range(len(files)) if row not in problems], np.int64)
    return [files[r] for r in rows], pictures.take(rows), [(files[r].id, why) for r, why in problems.items()]


def _decode_all(
    files: list[File], root: Path, size: int, channels: int, advance: Callable[[], None]
) -> tuple[list[File], np.ndarray, list[tuple[str, str]]]:
    """Return the files that can be read, their pixels, and (id, reason) of the others; each in order."""
    pixels = np.empty((len(files), size, size, channels), np.uint8)

    def fill(row: int) -> str:
        try:
            pixels[row] = decode_square(files[row].path, size, channels)
        except Exception as error:  # decoders of damaged files raise nearly everything
            return reason(error)
        return ""

    reasons: list[str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata, which costs no pixel
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for why in pool.map(fill, range(len(files))):
            reasons.append(why)
            advance()
    bad = [(file.id, why) for file, why in zip(files, reasons, strict=True) if why]
    if bad:
        pixels = pixels[[not why for why in reasons]]
    return [file for file, why in zip(files, reasons, strict=True) if not why], pixels, bad
