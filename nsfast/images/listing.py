"""What pictures a folder holds: its files described without opening one, and the pictures in its tar shards."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nsfast.images.decode import reason

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class File(NamedTuple):
    """One file, picture in a shard, or unreadable folder.

    Args:
        id: path below the root as it is shown; of a picture in a shard the shard's, then its own.
        path: of the file.
        size: in bytes.
        modified: time of the last change, in nanoseconds.
        problem: why it is no picture, "" where it may be one.
        offset: first byte of a picture in a shard, -1 of a file.
        label: class that a shard gives, "" where the folder says it.
    """

    id: str
    path: str
    size: int = -1
    modified: int = 0
    problem: str = ""
    offset: int = -1
    label: str = ""

    @property
    def class_name(self) -> str:
        return self.label or self.id.split("/")[1]


class Listing(NamedTuple):
    """What one split holds: class names, pictures, files that are none, folders, tar shards; each sorted."""

    classes: list[str]
    pictures: list[File]
    others: list[File]
    folders: list[str]
    shards: list[File]


def list_split(root: Path, split: str, in_classes: bool, shards: bool = False) -> Listing:
    """Walk root/split; links are followed, but a folder that was read already is not read again.

    Args:
        root: folder that the ids are paths below.
        split: folder in it.
        in_classes: whether the first folder below split/ is a picture's class.
        shards: whether .tar files are shards of pictures and not files of no use.
    """
    listing, ids = Listing([], [], [], [], []), set()
    for file in walk(root, split, in_classes, shards):
        if file.id.endswith("/"):
            if file.problem:
                listing.others.append(file)
            else:
                listing.folders.append(file.id[:-1])
            continue
        if file.id in ids:
            file = file._replace(problem="another file has this name in Unicode's composed form")
        ids.add(file.id)
        if file.problem:
            listing.others.append(file)
        else:
            (listing.shards if is_shard(file) else listing.pictures).append(file)
    if in_classes:
        listing.classes.extend({folder.split("/")[1] for folder in listing.folders})
    for part in listing:
        part.sort()
    return listing


def walk(root: Path, start: str = "", in_classes: bool = False, shards: bool = False) -> Iterator[File]:
    """Describe what lies below root/start, folder by folder, without opening a file; hidden ones are not looked at.

    Shallow folders come before deep ones, and names of a folder in the order of their characters. Kept are the folders,
    and the names of the one that is read. A folder's id ends in "/"; it comes again, with the problem, if it cannot be
    read or is a link to one that was.

    Args: as of `list_split`; an empty `start` is the root itself.
    """
    waiting = deque([start] if os.path.isdir(os.path.join(root, start)) else [])
    seen = {os.path.realpath(root)} if start else set()
    while waiting:
        folder = waiting.popleft()
        real = os.path.realpath(os.path.join(root, folder))
        try:
            names = sorted(os.listdir(real))
        except OSError as error:
            yield File(f"{shown(folder)}/", real, problem=reason(error))
            continue
        if real in seen:
            yield File(f"{shown(folder)}/", real, problem="a link to a folder read already")
            continue
        seen.add(real)
        for name in names:
            if name.startswith("."):
                continue
            relative = f"{folder}/{name}" if folder else name
            path, id = os.path.join(root, relative), shown(relative)
            try:
                info = os.stat(path)
            except OSError as error:
                yield File(id, path, problem=reason(error))
                continue
            if stat.S_ISDIR(info.st_mode):
                waiting.append(relative)
                yield File(f"{id}/", path)
                continue
            problem = _problem(relative, id, info, in_classes, shards)
            yield File(id, path, info.st_size, info.st_mtime_ns, problem)


def _problem(relative: str, id: str, info: os.stat_result, in_classes: bool, shards: bool) -> str:
    """Return why a file is neither a picture nor a shard, "" where it may be one."""
    ending = os.path.splitext(id)[1].lower()
    shard = shards and ending == ".tar"
    if id != unicodedata.normalize("NFC", relative):
        return "the name is not valid UTF-8"
    if ending not in ENDINGS and not shard:
        return f"not a picture format: {ending or 'no ending'}"
    if not stat.S_ISREG(info.st_mode):
        return "not a regular file"
    if in_classes and relative.count("/") < 2 and not shard:
        return "lies in no class folder"
    return "" if info.st_size else "empty file (0 bytes)"


def is_shard(file: File) -> bool:
    """Return whether a file's name is a tar's."""
    return file.id.lower().endswith(".tar")


def describe_files(root: Path, names: list[str]) -> list[tuple[str, int, int]]:
    """Return (path below root, size in bytes, time of the last change in nanoseconds) of those that are there."""
    found = [(name, root / name) for name in names if (root / name).is_file()]
    return [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in found]


def walk_files(root: Path, folder: str) -> list[tuple[str, int, int]]:
    """Return the same of every file below root/folder but hidden ones, sorted; quick for a million of them.

    What may not be read is left out: `list_split` says why, and once it may be read the description is another.
    """
    found, waiting, seen = [], [folder] if (root / folder).is_dir() else [], set()
    for name in waiting:
        real = os.path.realpath(root / name)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(real) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError:
            continue
        for entry in visible:
            try:
                if entry.is_dir():
                    waiting.append(f"{name}/{entry.name}")
                elif entry.is_file():  # not a link that leads nowhere
                    info = entry.stat()
                    found.append((shown(f"{name}/{entry.name}"), info.st_size, info.st_mtime_ns))
            except OSError:
                continue
    return sorted(found)


def shown(relative: str) -> str:
    """Return a path as it is shown and kept: composed, bytes that are not UTF-8 as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(relative).decode("utf-8", "backslashreplace"))
