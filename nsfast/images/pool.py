"""The unlabeled pool beside ImageNet: a folder of any pictures but those of train/ and val/."""

from __future__ import annotations

import os
from pathlib import Path

from nsfast.images.listing import File, Listing, list_split
from nsfast.images.problem import ImageProblem
from nsfast.images.shards import open_shards


def list_pool(unlabeled: str, root: Path, labeled: list[Listing]) -> tuple[Listing, Path]:
    """List a folder of unlabeled pictures and .tar shards; their ids begin with "unlabeled/", whatever its name.

    The paper takes ImageNet's validation pictures out of its pool: a student that has
    trained on the pictures it is tested on is measured on what it has seen.

    Args:
        unlabeled: the folder.
        root: folder that holds train/ and val/.
        labeled: what those hold.

    Returns:
        The listing, and the folder that its paths lie below.

    Raises:
        ImageProblem: there is no such folder, it lies in or above train/ or val/, or it shares a folder of pictures
            with them, wherever links lead.
    """
    folder = Path(unlabeled).expanduser()
    if not folder.is_dir():
        raise ImageProblem(f"no folder {unlabeled!r}; data.unlabeled is a folder of pictures or .tar shards")
    folder = folder.resolve()
    for part in ("val", "train"):
        own = (root / part).resolve()
        if own == folder or own in folder.parents or folder in own.parents:
            raise _no_pool(unlabeled, own)
    listing = open_shards(list_split(folder.parent, folder.name, in_classes=False, shards=True), False)
    for own in labeled:  # a link within a folder leads elsewhere
        shared = _folders(listing) & _folders(own)
        if shared:
            raise _no_pool(unlabeled, min(shared))
    return _renamed(listing), folder.parent


def _folders(listing: Listing) -> set[str]:
    """Return the folders that pictures and shards lie in, free of links."""
    return {os.path.realpath(path) for path in {os.path.dirname(file.path) for file in listing.pictures}}


def _no_pool(unlabeled: str, shared: Path | str) -> ImageProblem:
    return ImageProblem(
        f"data.unlabeled is {unlabeled!r}, which shares {shared} with train/ or val/, and no picture may be in both; "
        "give another folder, or leave it empty and set data.labeled_share below 1"
    )


def _renamed(listing: Listing) -> Listing:
    """Let the ids of unlabeled pictures begin with "unlabeled/", whatever their folder is called."""

    def rename(files: list[File]) -> list[File]:
        return [file._replace(id=f"unlabeled/{file.id.split('/', 1)[1]}") for file in files]

    return listing._replace(pictures=rename(listing.pictures), others=rename(listing.others))
