"""What is measured of robustness: which pictures are changed in which ways, as one checked value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nsfast.errors import NsfastError, choice, within
from nsfast.robustness.names import (
    ATTACKS,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    SETS,
)

SWEEP, FULL_SWEEP = (1, 10, 20), (1, 5, 10, 20, 50)
"""Steps of PGD whose accuracies are compared, to see whether it has converged."""

ALL_ATTACKS = (*ATTACKS, "autoattack")
"""AutoAttack needs a package of its own and takes minutes for a hundred small pictures: only who names it gets it."""

LARGEST = {"linf": 128, "l2": 128 * 1000}
"""Largest epsilon of each norm, in 1/255; a change of 128 everywhere turns every picture into the same gray."""


@dataclass(frozen=True)
class RobustnessProtocol:
    """What is measured; names are checked, and "all" and "extra" stand for themselves no more.

    Args:
        corruptions: of ImageNet-C, made here.
        severities: 1 to 5.
        pictures: test pictures that are corrupted, at most.
        perturbations: of ImageNet-P, made here.
        sequences: test pictures that become a sequence, at most.
        attacks: "fgsm", "pgd".
        epsilons: largest change of a pixel in steps of 1/255; 0 is left out, it is the clean pictures.
        steps, restarts: of PGD.
        attacked: test pictures that are attacked, at most.
        sweep: numbers of steps with which PGD is tried, for the check that more steps find no more.
        sets: released sets by name and folder.
        norm: of the attacks: "linf", or "l2", whose epsilon is the length of the whole change, also in 1/255.
        difficulty: 1 to 3, of perturbations: how strong noise is, or the step between frames that are compared.
        limit: pictures of each version of a released set, at most; 0 for all.
        mask: of imagenet-a and imagenet-r: "subset", only their own classes count, as is official, or "full".
    """

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    pictures: int
    perturbations: tuple[str, ...]
    sequences: int
    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    steps: int
    restarts: int
    attacked: int
    sweep: tuple[int, ...] = SWEEP
    sets: tuple[tuple[str, str], ...] = ()
    norm: str = "linf"
    difficulty: int = 1
    limit: int = 0
    mask: str = "subset"

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> RobustnessProtocol:
        """Return the protocol that the parameters of the analysis ask for.

        Args:
            parameters: corruptions and perturbations by name, "all" for those of the published scores, "extra" for the
                others; sets as "name=folder"; `full` for everything: all of them, every severity, five restarts and
                every test picture.

        Raises:
            NsfastError: an unknown name, a number out of its range.
        """
        corruptions = expand("corruption", parameters["corruptions"], CORRUPTIONS, EXTRA_CORRUPTIONS)
        perturbations = expand(
            "perturbation", parameters["perturbations"], PERTURBATIONS, EXTRA_PERTURBATIONS
        )
        choice("norm", parameters["norm"], LARGEST)
        choice("mask", parameters["mask"], ("subset", "full"))
        within("difficulty", parameters["difficulty"], 1, 3)
        within("limit", parameters["limit"], 0)
        severities, epsilons = parameters["severities"], parameters["epsilons"]
        for severity in severities:
            within("severity", severity, 1, 5)
        for epsilon in epsilons:
            within("epsilon (in steps of 1/255)", epsilon, 0, LARGEST[parameters["norm"]])
        for attack in parameters["attacks"]:
            choice("attack", attack, ALL_ATTACKS)
        if corruptions:
            within("number of severities", len(severities), 1)
        for name in ("pictures", "sequences", "attacked", "steps", "restarts"):
            within(name, parameters[name], 1)
        protocol = cls(
            corruptions=corruptions,
            severities=tuple(sorted(set(severities))),
            pictures=parameters["pictures"],
            perturbations=perturbations,
            sequences=parameters["sequences"],
            attacks=tuple(dict.fromkeys(parameters["attacks"])),
            epsilons=tuple(sorted({float(epsilon) for epsilon in epsilons} - {0.0})),
            steps=parameters["steps"],
            restarts=parameters["restarts"],
            attacked=parameters["attacked"],
            sets=read_sets(parameters["sets"]),
            **{name: parameters[name] for name in ("norm", "difficulty", "limit", "mask")},
        )
        return protocol.full() if parameters["full"] else protocol

    def full(self) -> RobustnessProtocol:
        """Return the same with everything that can be measured here."""
        everything = 10**9
        return replace(
            self,
            corruptions=(*CORRUPTIONS, *EXTRA_CORRUPTIONS),
            severities=(1, 2, 3, 4, 5),
            perturbations=(*PERTURBATIONS, *EXTRA_PERTURBATIONS),
            attacks=tuple(name for name in ALL_ATTACKS if name in {*ATTACKS, *self.attacks}),
            pictures=everything,
            sequences=everything,
            attacked=everything,
            restarts=max(5, self.restarts),
            sweep=FULL_SWEEP,
        )

    @property
    def headline_epsilon(self) -> float | None:
        """The epsilon of the headline: 8/255 if it is measured, else the middle one."""
        if not self.epsilons:
            return None
        return 8.0 if 8.0 in self.epsilons else self.epsilons[len(self.epsilons) // 2]


def expand(
    what: str, names: Sequence[str], all_of_them: Sequence[str], extra: Sequence[str]
) -> tuple[str, ...]:
    """Return names in the order of the published tables, each once, with "all" and "extra" written out."""
    known = (*all_of_them, *extra)
    chosen: set[str] = set()
    for name in names:
        choice(what, name, (*known, "all", "extra"))
        chosen |= {"all": set(all_of_them), "extra": set(extra)}.get(name, {name})
    return tuple(name for name in known if name in chosen)


def read_sets(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return names and folders of released sets written as "name=folder".

    Raises:
        NsfastError: no "=", an unknown name, a name twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path.strip():
            raise NsfastError(
                f"set {text!r} names no folder; write it as name=folder, as in imagenet-a=data/imagenet-a"
            )
        choice("set", name.strip(), SETS)
        if name.strip() in found:
            raise NsfastError(f"set {name.strip()!r} is given twice; give each once")
        found[name.strip()] = path.strip()
    return tuple(found.items())
