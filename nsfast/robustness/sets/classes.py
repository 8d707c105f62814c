"""Which class of the model a released picture belongs to: by wnid or name, never by place."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from nsfast.errors import NsfastError
from nsfast.images.imagenet import NAMES
from nsfast.robustness.sets.about import not_unpacked

WNID = re.compile(r"n\d{8}", re.ASCII)

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split()
)
"""The official classes in the order of their numbers."""


@lru_cache
def imagenet_wnids(part: str = "imagenet") -> tuple[str, ...]:
    """Return wnids in their official order, as timm has them: the thousand, or the 200 of "imagenet_a", "imagenet_r".

    They are the classes of a network that timm trained on ImageNet. Nothing is fetched.
    """
    return tuple(pkgutil.get_data("timm.data", f"_info/{part}_synsets.txt").decode().split())


def official_classes(name: str) -> tuple[str, ...]:
    """Return the wnids or names that a set was released with, () where they are not known."""
    if name in ("imagenet-a", "imagenet-r"):
        return imagenet_wnids(name.replace("-", "_"))
    known = {"cifar10-c": CIFAR10, "cifar10-p": CIFAR10, "cifar100-c": CIFAR100}
    if name in known:
        return known[name]
    return () if name in ("tiny-imagenet-c", "natural") else imagenet_wnids()


def places(classes: Sequence[str]) -> dict[str, int]:
    """Return the model's number of each class, by its name and, of Imagenette's and Imagewoof's names, by wnid.

    Raises:
        NsfastError: a class twice.
    """
    found = {name: number for number, name in enumerate(classes)}
    if len(found) < len(classes):
        twice = next(name for name in found if list(classes).count(name) > 1)
        raise NsfastError(f"the model has class {twice!r} twice; classes are told apart by name")
    return {wnid: found[name] for wnid, name in NAMES.items() if name in found} | found


def known_classes(name: str, root: object, present: Iterable[str], classes: Sequence[str]) -> dict[str, int]:
    """Return the model's number of each class that a set holds and the model knows.

    Args:
        name: of the set.
        root: its folder.
        present: classes that it holds pictures of.
        classes: of the model.

    Raises:
        NsfastError: the model knows none of them; the set lacks a class that it was released with and the model knows.
    """
    present, own = set(present), places(classes)
    known = {one: own[one] for one in sorted(present) if one in own}
    if not known:
        examples = f"{min(present)!r}" if present else "none"
        raise NsfastError(
            f"{name}: the model knows no class of {root}: those are {examples} and the like, its own "
            f"{classes[0]!r} and the like; give a model that was trained on them"
        )
    lost = [one for one in official_classes(name) if one in own and one not in present]
    if lost:
        raise not_unpacked(name, root, f"no picture of {len(lost)} of its classes, such as {lost[0]}")
    return known


def left_out(present: Iterable[str], known: dict[str, int], pictures: int) -> list[str]:
    """Return the sentence on pictures of classes that the model does not know, if there are any."""
    unknown = sorted(set(present) - set(known))
    if not unknown:
        return []
    return [
        f"{pictures:,} pictures of {len(unknown):,} classes that the model does not know, such as {unknown[0]!r}, are "
        "left out."
    ]


def numbered_labels(names: Sequence[str], known: dict[str, int]) -> np.ndarray:
    """Return the model's class of each name (n,) int64, -1 where the model does not know it."""
    return np.array([known.get(name, -1) for name in names], np.int64)
