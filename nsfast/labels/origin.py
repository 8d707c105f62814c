"""Where labels are from: which teacher labeled which pictures, seen how, and which classes it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nsfast.errors import NsfastError, nearest
from nsfast.files import fingerprint


@dataclass(frozen=True)
class Origin:
    """What every shard of a label table says of itself; shards of different origins are never mixed.

    Args:
        classes: class names, in the order of the network's outputs; 2 to 65,536 of them.
        teacher: fingerprint of the model that labeled; of several, theirs joined by "+".
        round: 1 for the first.
        preprocessing: how the teacher saw the pictures: resolution, crop, mean, standard deviation, and so on.
        top: how many of the likeliest classes are kept of a distribution, 0 for all of them.
        pictures: fingerprint of what was labeled, "" where it is not known.
    """

    classes: tuple[str, ...]
    teacher: str
    round: int = 1
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    top: int = 0
    pictures: str = ""

    def __post_init__(self):
        if not 2 <= len(self.classes) <= 65536:
            raise NsfastError(f"{len(self.classes)} class(es); a label table is of 2 to 65,536")
        if not 0 <= self.top <= len(self.classes):
            raise NsfastError(
                f"top is {self.top}; keep 1 to {len(self.classes)} classes of a distribution, or 0 for all"
            )

    @property
    def fingerprint(self) -> str:
        """The checksum of all of it."""
        return fingerprint(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as JSON holds it."""
        return {**asdict(self), "classes": list(self.classes), "preprocessing": dict(self.preprocessing)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Origin:
        """Return what `to_dict` gave; raises KeyError or TypeError when it is damaged."""
        return cls(**{**found, "classes": tuple(found["classes"])})

    def difference(self, other: Origin, ignore: tuple[str, ...] = ()) -> str:
        """Return in a few words the first thing in which `other` differs; "" for none but those in `ignore`."""
        for name in ("classes", "teacher", "round", "preprocessing", "top", "pictures"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if name in ignore or mine == theirs:
                continue
            if name == "classes":
                return _different_classes(mine, theirs)
            if name == "preprocessing":
                names = [key for key in {**mine, **theirs} if mine.get(key, ...) != theirs.get(key, ...)]
                name, mine, theirs = names[0], mine.get(names[0]), theirs.get(names[0])
            return f"{name} is {_short(theirs)} instead of {_short(mine)}"
        return ""


def _different_classes(mine: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    if len(mine) != len(theirs):
        return f"it has {len(theirs)} classes instead of {len(mine)}"
    number = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
    return f"class {number} is {theirs[number]!r} instead of {mine[number]!r}"


def _short(value: Any) -> str:
    """A value as it is shown; of a fingerprint the beginning."""
    text = value if isinstance(value, str) else repr(value)
    return f"{text[:12]}..." if len(text) > 40 else text


def class_number(name: str, classes: tuple[str, ...]) -> int:
    """Return a class's place among the names; raise `NsfastError` with the nearest valid name if it has none."""
    if name not in classes:
        raise NsfastError(f"unknown class {name!r}{nearest(name, classes)}")
    return classes.index(name)
