"""Robustness of several models on the same pictures, from the questions to every table and figure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nsfast.analysis.metrics import ReliabilityTable, reliability_table
from nsfast.analysis.robustness import (
    attack_rows,
    calibration_rows,
    corruption_score_rows,
    error_rows,
    flip_rows,
    headline_rows,
    line_rows,
    natural_rows,
    tidy_rows,
    warnings_of,
)
from nsfast.analysis.robustness.reading import ALEXNET
from nsfast.errors import NsfastError, choice
from nsfast.images import Split
from nsfast.robustness.answers import PROTOCOL, Answers, Asked, Question, Version, ask
from nsfast.robustness.attacks import Check, attack_questions, sanity
from nsfast.robustness.content import content_of
from nsfast.robustness.corruptions import DEVIATIONS, corrupt, corruption_questions
from nsfast.robustness.flips import FlipAnswers, ask_sequences
from nsfast.robustness.names import CORRUPTIONS, PERTURBATIONS
from nsfast.robustness.perturbations import DEVIATIONS as FROM_RELEASED
from nsfast.robustness.perturbations import perturbation_sequences, sequences
from nsfast.robustness.protocol import RobustnessProtocol
from nsfast.robustness.sets import SEQUENCE_SETS, hard_question, open_sequences, open_set
from nsfast.streams import hash_order

CLEAN = Version("clean")
TABLES = (
    *("corruptions", "corruption_scores", "line", "flips", "natural", "attacks", "checks", "calibration"),
    *("headline", "robustness", "warnings", "deviations"),
)


class Measurement:
    """What a protocol measures of models on test pictures; each part is asked when it is first wanted.

    Args:
        models: by name, in the order in which they are shown.
        test: labeled pictures that no model has learned from; None where only released sets are measured.
        protocol: what is measured.
        classes: names of the models' classes.
        control: the model that the others are compared with.
        teacher: the model whose errors choose the hard pictures and whose attacks are tried on the others.
        folder: keeps the answers, so that a killed measurement goes on.
        fingerprints: of the models' weights; needed with a folder.
        recipes: of the models, by name, as `model.json` has them: what training noise they have practised.
        seed: of what is drawn.
        cache: folder that keeps corrupted pictures; for large pictures and many models.

    Raises:
        NsfastError: a control or teacher that is no model; a released set whose folder is not complete.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        test: Split | None,
        protocol: RobustnessProtocol,
        classes: Sequence[str],
        control: str,
        teacher: str,
        folder: str | Path | None = None,
        fingerprints: Mapping[str, str] | None = None,
        recipes: Mapping[str, Mapping] | None = None,
        seed: int = 0,
        cache: str | Path | None = None,
    ):
        for what, name in (("control", control), ("teacher", teacher)):
            if name not in models:
                raise NsfastError(f"{what} is {name!r}; it must be one of the models: {', '.join(models)}")
        if ALEXNET in models:
            raise NsfastError(
                f"a model is called {ALEXNET!r}, as the published scores are; give it another name"
            )
        self.models, self.test, self.protocol = dict(models), test, protocol
        self.classes, self.recipes = tuple(classes), dict(recipes or {})
        self.control, self.teacher, self.seed, self.cache = control, teacher, seed, cache
        self.workers = models_at_once(self.models)
        self._kept = {"folder": folder, "fingerprints": fingerprints, "workers": self.workers}
        # what is not complete is said before anything is asked
        first = next(iter(self.models.values()))
        side = max((getattr(model, "pixels", 0) or 0 for model in models.values()), default=0) or None
        channels = first.normalize.mean.shape[1] if hasattr(first, "normalize") else 3
        self._questions, self._sequences = [], []
        self._tables: dict[str, list[dict]] = {}
        for name, path in protocol.sets:
            if name in SEQUENCE_SETS:
                self._sequences += open_sequences(name, path, classes, side)
            else:
                self._questions += open_set(name, path, classes, side, channels=channels)

    @cached_property
    def clean(self) -> Asked:
        """Answers to all test pictures as they are."""
        return {} if self.test is None else ask(self.models, [clean_question(self.test)], **self._kept)

    @cached_property
    def corrupted(self) -> Asked:
        """Answers to corrupted pictures, and to the same pictures as they are: ("clean", "corrupted")."""
        protocol = self.protocol
        if self.test is None or not protocol.corruptions:
            return {}
        few = self.some(protocol.pictures)
        questions = corruption_questions(
            few, protocol.corruptions, protocol.severities, self.seed, cache=self.cache
        )
        return ask(self.models, [clean_question(few, "corrupted"), *questions], **self._kept)

    @cached_property
    def flips(self) -> dict[str, dict[str, dict[str, FlipAnswers]]]:
        """Steadiness on perturbation sequences, "perturbed" (made here) and released ones, by set."""
        asked = {one.set: [s for s in self._sequences if s.set == one.set] for one in self._sequences}
        if self.test is not None and self.protocol.perturbations:
            few = self.some(self.protocol.sequences)
            asked = {
                "perturbed": perturbation_sequences(few, self.protocol.perturbations, self.seed),
                **asked,
            }
        return {name: ask_sequences(self.models, several, **self._kept) for name, several in asked.items()}

    @cached_property
    def natural(self) -> Asked:
        """Answers to the hard pictures and to the released sets."""
        questions = list(self._questions)
        if self.test is not None:
            hard = hard_question(self.test, self.clean[CLEAN][self.teacher].predicted, self.teacher)
            questions = [hard, *questions] if hard else questions
        self.chosen = {question.version.set: question.description for question in questions}
        return ask(self.models, questions, **self._kept) if questions else {}

    @cached_property
    def attacked(self) -> Asked:
        """Answers under attack, and to the same pictures as they are: ("clean", "attack")."""
        protocol = self.protocol
        if self.test is None or not protocol.attacks or not protocol.epsilons:
            return {}
        few = self.some(protocol.attacked)
        names = ("random_sign", *protocol.attacks)
        questions = attack_questions(
            few, protocol.epsilons, names, protocol.steps, protocol.restarts, self.seed
        )
        return ask(self.models, [clean_question(few, "attack"), *questions], **self._kept)

    @cached_property
    def checks(self) -> list[Check]:
        """Whether the attacks can be believed."""
        if not self.attacked:
            return []
        return sanity(
            self.models,
            self.some(self.protocol.attacked),
            self.protocol.headline_epsilon,
            self.protocol.steps,
            self.protocol.sweep,
            source=self.teacher,
            asked=self.attacked,
            seed=self.seed,
            workers=self.workers,
        )

    def some(self, most: int) -> Split:
        """Return at most so many test pictures, in memory, drawn by the hash of their ids; fewer are a part of more."""
        order = np.argsort(hash_order(self.test.ids, self.seed, "test pictures"))
        taken = self.test.take(np.sort(order[:most]))
        return Split(taken.ids, np.asarray(taken.pixels), taken.labels)

    def table(self, name: str) -> list[dict]:
        """Return a table as rows; empty where the protocol leaves it out.

        Args:
            name: "corruptions", "corruption_scores", "line", "flips", "natural", "attacks", "checks", "calibration",
                "headline", "robustness" (all of it in one long table), "warnings" or "deviations" (from released sets).
        """
        if name not in self._tables:
            self._tables[name] = getattr(self, f"_{choice('table', name, TABLES)}")()
        return self._tables[name]

    def _corrupted_sets(self) -> dict[str, Asked]:
        """Answers to corrupted pictures by set, those made here first."""
        released = dict.fromkeys(version.set for version in self.natural if version.level)
        found = {"corrupted": self.corrupted} if self.corrupted else {}
        return found | {name: self.natural for name in released}

    def _baseline(self, set: str) -> str:
        """The model that scores of a set are relative to: AlexNet for all of ImageNet-C or -P, else the control."""
        names = {v.name for v in self.natural if v.set == set} | {
            one.name for one in self._sequences if one.set == set
        }
        whole = {"imagenet-c": CORRUPTIONS, "imagenet-p": PERTURBATIONS}.get(set)
        return ALEXNET if whole and names >= {*whole} and len(self.classes) == 1000 else self.control

    def _corruptions(self) -> list[dict]:
        return [row for name, asked in self._corrupted_sets().items() for row in error_rows(asked, name)]

    def _corruption_scores(self) -> list[dict]:
        return [
            row
            for name, asked in self._corrupted_sets().items()
            for row in corruption_score_rows(asked, self._baseline(name), self.control, name)
        ]

    def _line(self) -> list[dict]:
        return line_rows(self.corrupted, self.control) if self.corrupted else []

    def _flips(self) -> list[dict]:
        return [
            row
            for name, found in self.flips.items()
            for row in flip_rows(found, self._baseline(name), self.control, name)
        ]

    def _natural(self) -> list[dict]:
        asked = {**self.clean, **self.natural}
        return natural_rows(asked, self.control, chosen=self.chosen, chooser=self.teacher) if asked else []

    def _attacks(self) -> list[dict]:
        return (
            attack_rows(self.attacked, self.control, steps={"pgd": self.protocol.steps})
            if self.attacked
            else []
        )

    def _checks(self) -> list[dict]:
        return [dict(vars(check)) for check in self.checks]

    def _calibration(self) -> list[dict]:
        asked = {**self.clean, **self.corrupted, **self.natural}
        return calibration_rows(asked, self.control) if asked else []

    def _headline(self) -> list[dict]:
        names = ("natural", "corruption_scores", "flips", "attacks", "calibration")
        return headline_rows(*(self.table(name) for name in names), self.protocol.headline_epsilon)

    def _robustness(self) -> list[dict]:
        parts = {name: self.table(name) for name in ("flips", "attacks", "natural", "calibration")}
        parts |= {"errors": self.table("corruptions"), "scores": self.table("corruption_scores")}
        return tidy_rows(**parts, seed=self.seed, protocol=PROTOCOL)

    def _warnings(self) -> list[dict]:
        sentences = [f"{name}: {self.chosen[name]}" for name in self._corrupted_sets() if name in self.chosen]
        if self.corrupted:
            made = self.protocol.perturbations
            sentences += warnings_of(self.corrupted, self.recipes, len(self.classes), perturbations=made)
        return [{"warning": sentence} for sentence in sentences]

    def _deviations(self) -> list[dict]:
        if self.test is None:
            return []
        corruptions, perturbations = self.protocol.corruptions, self.protocol.perturbations
        made = [("corruption", n, DEVIATIONS.get(n, "")) for n in (corruptions and ("all", *corruptions))]
        made += [
            ("perturbation", n, FROM_RELEASED.get(n, "")) for n in (perturbations and ("all", *perturbations))
        ]
        return [{"kind": kind, "name": name, "differs": how} for kind, name, how in made if how]

    def corrupted_pictures(self) -> dict[str, np.ndarray]:
        """Return for each corruption a test picture as it is and at each severity, uint8 (1 + severities, h, w, c)."""
        if self.test is None:
            return {}
        one, protocol = self.some(1), self.protocol
        return {
            name: np.concatenate(
                [one.pixels, *(corrupt(one.pixels, name, s, self.seed, one.ids) for s in protocol.severities)]
            )
            for name in protocol.corruptions
        }

    def frames(self) -> dict[str, np.ndarray]:
        """Return for each perturbation the frames of one test picture, uint8 (frames, height, width, channels)."""
        if self.test is None:
            return {}
        one = self.some(1)
        return {n: sequences(one.pixels, n, self.seed, one.ids)[0] for n in self.protocol.perturbations}

    def reliability(self, models: Sequence[str], bins: int = 10) -> dict[str, dict[str, ReliabilityTable]]:
        """Return confidence and accuracy of some models, on "clean" pictures and on the same ones "corrupted"."""
        found: dict[str, dict[str, ReliabilityTable]] = {}
        for name in models if self.corrupted else ():
            parts: dict[str, list[Answers]] = {"clean": [], "corrupted": []}
            for version, answers in self.corrupted.items():
                parts[version.set].append(answers[name])
            found[name] = {
                of: reliability_table(
                    np.concatenate([a.confidence for a in several]).clip(0, 1),
                    np.concatenate([a.right for a in several]),
                    bins,
                )
                for of, several in parts.items()
            }
        return found


def clean_question(split: Split, name: str = "") -> Question:
    """Return the question of pictures as they are; `name` is the set that they are the clean pictures of."""
    return Question(
        Version("clean", name),
        split.ids,
        split.labels,
        content_of(split),
        lambda: split.pixels,
    )


def models_at_once(models: Mapping[str, nn.Module]) -> int:
    """Return how many models are asked at once: as many as cores are idle on a CPU, one on a GPU."""
    if any(parameter.device.type != "cpu" for model in models.values() for parameter in model.parameters()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(len(models), cores // torch.get_num_threads()))
