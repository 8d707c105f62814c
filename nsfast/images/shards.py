"""Tar shards in WebDataset's layout: `key.jpg` is a picture and `key.cls` beside it its class."""

from __future__ import annotations

import os
import tarfile

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
        with tarfile.open(shard.path, "r:") as tar:  # not compressed: a picture is a range of bytes
            for member in tar:
                tar.members = []  # tarfile keeps all that it has seen
                folder, base = os.path.split(member.name)
                if not member.isfile() or base.startswith("."):
                    continue
                stem, _, ending = base.partition(".")
                key, id = f"{folder}/{stem}", f"{shard.id}/{shown(member.name)}"
                if ending.lower() == "cls":
                    labels[key] = tar.extractfile(member).read(1000).decode("utf-8").strip()
                elif f".{ending.lower()}" in ENDINGS:
                    file = File(id, shard.path, member.size, shard.modified, "", member.offset_data)
                    problem = _problem(file, member, shard)
                    if id in pictures:
                        problem = problem or "the shard holds this name twice"
                    if problem:
                        others.append(file._replace(problem=problem))
                    else:
                        pictures[id] = (key, file)
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
        problem = (
            f"not a whole tar without compression: {' '.join(str(error).split()) or type(error).__name__}"
        )
        others.append(shard._replace(problem=problem))
    if not in_classes:
        return [file for _, file in pictures.values()], others
    found = [file._replace(label=labels.get(key, "")) for key, file in pictures.values()]
    others += [file._replace(problem="no .cls beside it") for file in found if not file.label]
    return [file for file in found if file.label], others


def _problem(file: File, member: tarfile.TarInfo, shard: File) -> str:
    if member.issparse():
        return "stored with holes"
    if not file.size:
        return "empty file (0 bytes)"
    return "the shard ends before it does" if file.offset + file.size > shard.size else ""
