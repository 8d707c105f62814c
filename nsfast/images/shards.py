"""Tar shards in WebDataset's layout: `key.jpg` is a picture and `key.cls` beside it its class."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

from nsfast.images.listing import ENDINGS, File, Listing, shown


def open_shards(listing: Listing, in_classes: bool, names: list[str] | None = None) -> Listing:
    """Return the listing with the pictures that its shards hold; each shard is gone through once.

    Args:
        listing: what `list_split` returned.
        in_classes: whether a picture needs a class.
        names: class names; where `.cls` files hold numbers they are places in it, from 0. Without names the number
            is the name.
    """
    classes, pictures, others = set(listing.classes), [*listing.pictures], [*listing.others]
    for shard in listing.shards:
        found, bad = read_shard(shard, in_classes)
        others += bad
        for file in found:
            if in_classes and file.label.isdecimal():
                number = int(file.label)
                if names is not None and number >= len(names):
                    problem = f"class {number}, but there are {len(names)} classes, from 0 on"
                    others.append(file._replace(problem=problem))
                    continue
                file = file._replace(label=names[number] if names is not None else str(number))
            pictures.append(file)
            if in_classes:
                classes.add(file.label)
    # Numbers that are names keep their order: 2 comes before 10.
    order = int if all(name.isdecimal() for name in classes) and listing.shards else str
    return Listing(
        sorted(classes, key=order), sorted(pictures), sorted(others), listing.folders, listing.shards
    )


def read_shard(shard: File, in_classes: bool) -> tuple[list[File], list[File]]:
    """Return the pictures of a tar and what of it is of no use; nothing but `.cls` files is read.

    Of a tar that is cut short the pictures before the cut are returned.
    """
    pictures: dict[str, tuple[str, File]] = {}
    labels: dict[str, str] = {}
    others: list[File] = []
    try:
        for tar, member in _members(shard):
            folder, base = os.path.split(member.name)
            stem, _, ending = base.partition(".")
            key = f"{folder}/{stem}"
            if ending.lower() == "cls" and member.isfile():
                labels[key] = tar.extractfile(member).read(1000).decode("utf-8").strip()
            elif f".{ending.lower()}" in ENDINGS:
                file = _describe(member, shard)
                if file.id in pictures and not file.problem:
                    file = file._replace(problem="the shard holds this name twice")
                if file.problem:
                    others.append(file)
                else:
                    pictures[file.id] = (key, file)
    except Exception as error:  # damaged headers raise nearly everything
        others.append(_damaged(shard, error))
    if not in_classes:
        return [file for _, file in pictures.values()], others
    found = [file._replace(label=labels.get(key, "")) for key, file in pictures.values()]
    others += [file._replace(problem="no .cls beside it") for file in found if not file.label]
    return [file for file in found if file.label], others


def walk_shard(shard: File) -> Iterator[File]:
    """Go through the pictures of a tar in its order, whatever dots their names have; none is kept or read.

    What cannot be a picture comes with its problem, a name that the tar holds twice comes twice, and the shard itself
    comes last with its problem if it is damaged, after the pictures before the damage.
    """
    try:
        for _, member in _members(shard):
            if os.path.splitext(member.name)[1].lower() in ENDINGS:
                yield _describe(member, shard)
    except Exception as error:  # damaged headers raise nearly everything
        yield _damaged(shard, error)


def _members(shard: File) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Go through what a tar holds but folders and hidden files; raises where it is damaged."""
    with tarfile.open(shard.path, "r:") as tar:  # not compressed: a picture is a range of bytes
        for member in tar:
            tar.members = []  # tarfile keeps all that it has seen
            if member.size < 0:  # it could lead back, and round for ever
                raise tarfile.ReadError(f"{member.size} bytes at byte {member.offset}")
            if not member.isdir() and not os.path.basename(member.name).startswith("."):
                yield tar, member
        # To tarfile a header that is damaged is the end, but at the end there are zeros, or nothing.
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {tar.offset}")


def _describe(member: tarfile.TarInfo, shard: File) -> File:
    """Return what can be said of a picture in a shard without reading it."""
    end, problem = member.offset_data + member.size, ""
    if not member.isfile():
        problem = "not a regular file"
    elif member.issparse():
        problem = "stored with holes"
    elif not member.size:
        problem = "empty file (0 bytes)"
    elif end > shard.size:
        problem = "the shard ends before it does"
    id = f"{shard.id}/{shown(member.name)}"
    return File(id, shard.path, member.size, shard.modified, problem, member.offset_data)


def _damaged(shard: File, error: Exception) -> File:
    said = " ".join(str(error).split()) or type(error).__name__
    return shard._replace(problem=f"not a whole tar without compression: {said}")
