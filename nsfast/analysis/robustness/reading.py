"""Answers as arrays: which corruptions were asked, who was wrong on which picture, and the clean ones beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nsfast.analysis.comparisons import resampled_means
from nsfast.errors import NsfastError, choice
from nsfast.robustness.answers import Answers, Asked, Version
from nsfast.robustness.names import FAMILIES

MADE_HERE = ("clean", "corrupted", "attack")
ALEXNET = "AlexNet"
"""The baseline of the published scores, whose own are published; for released sets only."""
FEWEST = 10
"""Pictures that a baseline must miss, at least, for a ratio to it to be given: with fewer it is mostly chance."""
FAMILY = {name: family for family, names in FAMILIES.items() for name in names}
"""Family of each corruption, in the order of ImageNet-C."""


@dataclass(frozen=True)
class Corrupted:
    """Every model's mistakes on the corrupted versions of the same n pictures.

    Args:
        models, corruptions: names, in the order of the axes below.
        severities: of each corruption.
        wrong: int64 (n, models, corruptions), in how many of its severities each picture is mistaken.
        clean: int64 (n, models), whether the clean picture is mistaken; None where the same pictures were not asked.
    """

    models: tuple[str, ...]
    corruptions: tuple[str, ...]
    severities: tuple[tuple[int, ...], ...]
    wrong: np.ndarray
    clean: np.ndarray | None

    @property
    def count(self) -> np.ndarray:
        """int64 (corruptions,), severities of each."""
        return np.array([len(severities) for severities in self.severities])

    @property
    def counting(self) -> np.ndarray:
        """int64, places of the corruptions that a mean is taken over: all but those of the extra family."""
        return np.array([at for at, name in enumerate(self.corruptions) if FAMILY.get(name) != "extra"], int)


def corrupted_versions(asked: Asked, set: str) -> dict[str, dict[int, Mapping[str, Answers]]]:
    """Return the answers of a set by corruption, in ImageNet-C's order, and severity, rising."""
    found: dict[str, dict[int, Mapping[str, Answers]]] = {}
    places = {name: place for place, name in enumerate(FAMILY)}
    for version in sorted(
        (v for v in asked if v.set == set and v.level),
        key=lambda v: (places.get(v.name, len(places)), v.name, v.level),
    ):
        found.setdefault(version.name, {})[int(version.level)] = asked[version]
    return found


def clean_of(asked: Asked, set: str) -> Mapping[str, Answers] | None:
    """Return the answers to the clean pictures that belong to a set, None where there are none."""
    return asked.get(Version("clean", set)) or asked.get(Version("clean"))


def same_pictures(first: Answers, second: Answers) -> bool:
    """Whether two models or versions were asked about pictures of the same labels in the same order."""
    return np.array_equal(first.labels, second.labels)


def corrupted(asked: Asked, set: str) -> Corrupted | None:
    """Return the mistakes on a set's corrupted versions, None where none was asked.

    Raises:
        NsfastError: two versions have other pictures, so that they cannot be kept together.
    """
    versions = corrupted_versions(asked, set)
    if not versions:
        return None
    models = tuple(next(iter(next(iter(versions.values())).values())))
    like = next(iter(versions.values()))
    like = next(iter(like.values()))[models[0]]
    wrong = np.zeros((len(like), len(models), len(versions)), np.int64)
    for at, (name, by_severity) in enumerate(versions.items()):
        for severity, answers in by_severity.items():
            for column, model in enumerate(models):
                if not same_pictures(answers[model], like):
                    raise NsfastError(
                        f"{name} at severity {severity} was asked of {len(answers[model]):,} pictures and other "
                        f"versions of {len(like):,} others; ask all versions of the same pictures"
                    )
                wrong[:, column, at] += ~answers[model].right
    clean = clean_of(asked, set)
    if clean is not None and all(model in clean and same_pictures(clean[model], like) for model in models):
        clean = np.stack([~clean[model].right for model in models], axis=1).astype(np.int64)
    else:
        clean = None
    return Corrupted(models, tuple(versions), tuple(tuple(s) for s in versions.values()), wrong, clean)


def place_of(model: str | None, models: Sequence[str], what: str) -> int | None:
    """Return the place of a model that others are compared with, None for None.

    Raises:
        NsfastError: there is no such model.
    """
    return None if model is None else list(models).index(choice(what, model, models))


def with_samples(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return the mean over pictures (n, ...) as (1 + draws, ...): as measured first, then in each bootstrap sample.

    What is computed from it in one go has a value in row 0 and its bootstrap distribution below.
    """
    return np.concatenate([values.mean(axis=0)[None], resampled_means(values, draws, seed)])


def minus(values: np.ndarray, model: int, control: int | None) -> np.ndarray:
    """Return a measure (1 + draws, models) of one model less that of the control; nan where there is no control."""
    return values[:, model] - (np.nan if control is None else values[:, control])


def sampled_columns(name: str, values: np.ndarray) -> dict[str, float | str]:
    """Return `columns` of a measure (1 + draws,)."""
    return columns(name, values[0], ends_of(values))


def ends_of(values: np.ndarray) -> np.ndarray:
    """Return the 95 % interval of a measure (1 + draws,); nan where it was not measured."""
    return np.full(2, np.nan) if np.isnan(values[0]) else np.nanquantile(values[1:], [0.025, 0.975])


def columns(name: str, value: Any, interval: Sequence[float] | np.ndarray) -> dict[str, float | str]:
    """Return NAME, NAME_low and NAME_high of a row, "" for what is nan."""
    values = (value, *interval)
    return {
        f"{name}{end}": "" if np.isnan(v) else float(v)
        for end, v in zip(("", "_low", "_high"), values, strict=True)
    }


def ends_only(interval: Sequence[float] | np.ndarray) -> dict[str, float | str]:
    """Return low and high of a row, for its first measure; "" for what is nan."""
    return {end: "" if np.isnan(v) else float(v) for end, v in zip(("low", "high"), interval, strict=True)}
