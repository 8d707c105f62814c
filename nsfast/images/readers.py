"""The image sets by name: the function that reads each, and the files that it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from nsfast.errors import choice
from nsfast.images.devkit import DEVKIT
from nsfast.images.digits import digits
from nsfast.images.folder import list_folder, read_folder
from nsfast.images.image_set import ImageSet
from nsfast.images.imagenet import imagenet, imagenette, imagenette_folder
from nsfast.images.letters import letters
from nsfast.images.listing import describe_files, walk_files
from nsfast.images.official import FILES, cifar10, cifar100, stl10, svhn

READERS: dict[str, Callable[..., ImageSet]] = {
    "digits": digits,
    "letters": letters,
    "folder": read_folder,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "stl10": stl10,
    "imagenet": imagenet,
    "imagenette": imagenette,
}


def listing(name: str, parameters: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Describe the files that a reader depends on without opening one: while the list stands, so does the set.

    Args:
        name: of `READERS`.
        parameters: what the reader is called with; those left out have its defaults.

    Returns:
        (path, size in bytes, time of the last change in nanoseconds), sorted; files that are not there are left
        out, and digits and letters, which come with libraries, have none.

    Raises:
        ImageProblem: the folder of a "folder" is missing.
    """
    choice("data.name", name, READERS)
    if name in ("digits", "letters"):
        return []
    if name == "folder":
        return list_folder(parameters["path"])
    path = parameters.get("path", signature(READERS[name]).parameters["path"].default)
    if name == "imagenette":
        path = imagenette_folder(path, parameters.get("woof", False))
    root = Path(path).expanduser()
    if name in FILES:
        return sorted(describe_files(root, list(FILES[name])))
    files = walk_files(root, "train") + walk_files(root, "val")
    files += describe_files(root, ["classes.txt", *DEVKIT])
    if parameters.get("unlabeled"):
        folder = Path(parameters["unlabeled"]).expanduser().resolve()
        files += [(f"unlabeled:{path}", *rest) for path, *rest in walk_files(folder.parent, folder.name)]
    return sorted(files)
