"""Read an image set from a folder: labeled/<class>/**, unlabeled/** and, optionally, validation and test."""

from __future__ import annotations

import os
import stat
import unicodedata
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from nsfast.errors import within
from nsfast.images.decode import decode, reason
from nsfast.images.image_set import SPLITS, ImageProblem, ImageSet, Split
from nsfast.streams import hash_order

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LAYOUT = "labeled/<class>/*, unlabeled/** and, if you have them, validation/<class>/* and test/<class>/*"


class _File(NamedTuple):
    """One file or unreadable folder; `problem` says why it is no picture, "" where it may be one."""

    id: str
    path: str
    size: int = -1
    modified: int = 0
    problem: str = ""

    @property
    def class_name(self) -> str:
        return self.id.split("/")[1]


class _Listing(NamedTuple):
    """What one split holds: class names, pictures, files that are none, folders; each sorted."""

    classes: list[str]
    pictures: list[_File]
    others: list[_File]
    folders: list[str]


def read_folder(
    path: str | Path,
    size: int = 64,
    channels: int = 3,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Read the pictures under `path`; set validation and test pictures aside where they have no folder.

    A picture's id is its path below `path`, with forward slashes and in Unicode's composed form; pictures
    are sorted by id. Files that cannot be read are listed in `left_out` with the reason, and the rest goes
    on. Hidden files are not looked at.

    Args:
        path: folder with labeled/<class>/, unlabeled/ and perhaps validation/<class>/, test/<class>/.
        size: height and width in pixels, 1..4096; the centre square of a picture is resized to it.
        channels: 1 (grey) or 3 (colour).
        validation_share: part of each class's labeled pictures, 0..1, but at least one, that is set aside
            where validation/ has no pictures; which ones depends on the seed and the ids of that class alone.
        test_share: the same for test/.
        seed: of the choice above.
        progress: called with the number of files read so far and of all that there are.

    Raises:
        ImageProblem: before anything is decoded, the folder or a part of it is missing, there are fewer than
            2 classes, a class has no labeled picture, validation or test has a class that labeled lacks;
            later, no picture of a split or of a labeled class can be read, or a class is too small to split.
    """
    root = _existing(path)
    within("size", size, 1, 4096)
    if channels not in (1, 3):
        raise ImageProblem(f"channels is {channels!r}; give 1 (grey) or 3 (colour)")
    shares = {"validation": within("validation_share", validation_share, 0, 1)}
    shares["test"] = within("test_share", test_share, 0, 1)
    if sum(shares.values()) >= 1:
        raise ImageProblem(f"validation_share + test_share is {sum(shares.values()):g}; it must be below 1")

    listings = {name: _list_split(root, name) for name in SPLITS}
    _check_layout(root, listings)
    classes = listings["labeled"].classes
    total, done = sum(len(listing.pictures) for listing in listings.values()), count(1)
    advance = (lambda: progress(next(done), total)) if progress else (lambda: None)
    splits: dict[str, Split] = {}
    left_out: list[tuple[str, str]] = []
    for name, listing in listings.items():
        good, pixels, bad = _decode_all(listing.pictures, size, channels, advance)
        left_out += bad + [(file.id, file.problem) for file in listing.others]
        if bad and not good:
            raise ImageProblem(f"no picture in {root}/{name} can be read; {bad[0][0]}: {bad[0][1]}")
        ids = np.array([file.id for file in good], dtype=str)
        labels = [classes.index(file.class_name) for file in good] if name != "unlabeled" else None
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
    listings = [_list_split(root, name) for name in SPLITS]
    files = [(f.id, f.size, f.modified) for listing in listings for f in listing.pictures + listing.others]
    return sorted(files + [(f"{folder}/", 0, 0) for listing in listings for folder in listing.folders])


def _existing(path: str | Path) -> Path:
    root = Path(path).expanduser()
    if not str(path) or not root.is_dir():
        raise ImageProblem(f"no folder {str(path)!r}; give one that holds {LAYOUT}")
    return root


def _list_split(root: Path, split: str) -> _Listing:
    """Walk root/split; links are followed, but a folder that was read already is not read again."""
    listing = _Listing([], [], [], [])
    seen, ids = {os.path.realpath(root)}, set()
    waiting = [split] if (root / split).is_dir() else []
    for folder in waiting:  # grows while it is read, so that shallow folders come before deep ones
        real = os.path.realpath(root / folder)
        try:
            names = sorted(os.listdir(real), key=lambda name: (_shown(name), name))
        except OSError as error:
            listing.others.append(_File(f"{_shown(folder)}/", real, problem=reason(error)))
            continue
        if real in seen:
            listing.others.append(
                _File(f"{_shown(folder)}/", real, problem="a link to a folder read already")
            )
            continue
        seen.add(real)
        for name in (name for name in names if not name.startswith(".")):
            relative = f"{folder}/{name}"
            if os.path.isdir(root / relative):
                waiting.append(relative)
                listing.folders.append(_shown(relative))
                continue
            file = _describe(root, relative, in_classes=split != "unlabeled")
            if file.id in ids:
                file = file._replace(problem="another file has this name in Unicode's composed form")
            ids.add(file.id)
            (listing.others if file.problem else listing.pictures).append(file)
    if split != "unlabeled":
        listing.classes.extend({folder.split("/")[1] for folder in listing.folders})
    for part in listing:
        part.sort()
    return listing


def _describe(root: Path, relative: str, in_classes: bool) -> _File:
    """Return what can be said of the file root/relative without opening it."""
    path, shown = str(root / relative), _shown(relative)
    ending = os.path.splitext(shown)[1].lower()
    try:
        info = os.stat(path)
    except OSError as error:
        return _File(shown, path, problem=reason(error))
    problem = ""
    if shown != unicodedata.normalize("NFC", relative):
        problem = "the name is not valid UTF-8"
    elif ending not in ENDINGS:
        problem = f"not a picture format: {ending or 'no ending'}"
    elif not stat.S_ISREG(info.st_mode):
        problem = "not a regular file"
    elif in_classes and relative.count("/") < 2:
        problem = "lies in no class folder"
    elif not info.st_size:
        problem = "empty file (0 bytes)"
    return _File(shown, path, info.st_size, info.st_mtime_ns, problem)


def _shown(relative: str) -> str:
    """Return a path as it is shown and kept: composed, bytes that are not UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(relative).decode("utf-8", "backslashreplace"))


def _check_layout(root: Path, listings: dict[str, _Listing]) -> None:
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
    return {split: Split(labeled.ids[r], labeled.pixels[r], labeled.labels[r]) for split, r in rows.items()}


def _decode_all(
    files: list[_File], size: int, channels: int, advance: Callable[[], None]
) -> tuple[list[_File], np.ndarray, list[tuple[str, str]]]:
    """Return the files that can be read, their pixels, and (id, reason) of the others; each in order."""
    pixels = np.empty((len(files), size, size, channels), np.uint8)

    def fill(row: int) -> str:
        try:
            pixels[row] = decode(files[row].path, size, channels)
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
