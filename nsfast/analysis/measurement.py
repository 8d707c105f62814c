"""Robustness of several models on the same pictures, from the questions to every table and figure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nsfast.analysis.measured_tables import TABLES
from nsfast.analysis.metrics import ReliabilityTable, reliability_table
from nsfast.analysis.robustness.reading import ALEXNET
from nsfast.errors import NsfastError, choice
from nsfast.files import fingerprint, read_json, write_json
from nsfast.images import Split
from nsfast.robustness.answers import Answers, Asked, Question, Version, ask
from nsfast.robustness.attacks import Check, attack_questions, sanity
from nsfast.robustness.content import content_of
from nsfast.robustness.corruptions import corrupt, corruption_questions
from nsfast.robustness.flips import FlipAnswers, ask_sequences
from nsfast.robustness.names import CORRUPTIONS, PERTURBATIONS
from nsfast.robustness.perturbations import perturbation_sequences, sequences
from nsfast.robustness.protocol import RobustnessProtocol
from nsfast.robustness.sets import SEQUENCE_SETS, hard_question, open_sequences, open_set
from nsfast.streams import hash_order

CLEAN = Version("clean")
HELD = 1 << 29
"""Bytes of test pictures that are held in memory, at most; of more, those in files are read as they are needed."""


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
        self._some: dict[int, Split] = {}
        for name, path in protocol.sets:
            if name in SEQUENCE_SETS:
                self._sequences += open_sequences(
                    name, path, classes, side, protocol.limit, seed, protocol.difficulty
                )
            else:
                self._questions += open_set(
                    name, path, classes, side, protocol.limit, seed, channels, protocol.mask
                )

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
        few, device = self.some(protocol.pictures), next(next(iter(self.models.values())).parameters()).device
        questions = corruption_questions(
            *(few, protocol.corruptions, protocol.severities, self.seed),
            cache=self.cache,
            device=device if device.type == "cuda" else None,  # others do not all know float64
        )
        return ask(self.models, [clean_question(few, "corrupted"), *questions], **self._kept)

    @cached_property
    def flips(self) -> dict[str, dict[str, dict[str, FlipAnswers]]]:
        """Steadiness on perturbation sequences, "perturbed" (made here) and released ones, by set."""
        asked = {one.set: [s for s in self._sequences if s.set == one.set] for one in self._sequences}
        if self.test is not None and self.protocol.perturbations:
            few = self.some(self.protocol.sequences)
            asked = {
                "perturbed": perturbation_sequences(
                    few, self.protocol.perturbations, self.seed, difficulty=self.protocol.difficulty
                ),
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
            few, protocol.epsilons, names, protocol.steps, protocol.restarts, self.seed, protocol.norm
        )
        return ask(self.models, [clean_question(few, "attack"), *questions], **self._kept)

    @cached_property
    def checks(self) -> list[Check]:
        """Whether the attacks can be believed."""
        if not self.attacked:
            return []
        protocol, few = self.protocol, self.some(self.protocol.attacked)
        made_of = [content_of(few), repr(protocol), self.seed, self.teacher, self._kept["fingerprints"]]
        made_of += [
            [tuple(v), {m: a.predicted.tolist() for m, a in by.items()}] for v, by in self.attacked.items()
        ]
        folder = self._kept["folder"]
        path = None if folder is None else Path(folder) / "checks" / f"{fingerprint(made_of)}.json"
        if path is not None and path.is_file():
            return [Check(**one) for one in read_json(path)]
        found = sanity(
            self.models,
            *(few, protocol.headline_epsilon, protocol.steps, protocol.sweep),
            source=self.teacher,
            asked=self.attacked,
            seed=self.seed,
            norm=protocol.norm,
            workers=self.workers,
        )
        if path is not None:
            write_json(path, [dict(vars(one)) for one in found])
        return found

    def some(self, most: int) -> Split:
        """Return at most so many test pictures, drawn by the hash of their ids; fewer are a part of more.

        They are in memory unless they are files of more than `HELD` bytes together.
        """
        most = min(most, len(self.test))
        if most not in self._some:
            order = np.argsort(hash_order(self.test.ids, self.seed, "test pictures"))
            taken = self.test.take(np.sort(order[:most]))
            held = taken.pixels[:] if np.prod(taken.pixels.shape, dtype=float) <= HELD else taken.pixels
            self._some[most] = Split(taken.ids, held, taken.labels)
        return self._some[most]

    def table(self, name: str) -> list[dict]:
        """Return a table of `measured_tables.TABLES` as rows; empty where the protocol leaves it out."""
        if name not in self._tables:
            self._tables[name] = TABLES[choice("table", name, TABLES)](self)
        return self._tables[name]

    @property
    def corrupted_sets(self) -> dict[str, Asked]:
        """Answers to corrupted pictures by set, those made here first; of a released set the clean ones, if asked."""
        released = dict.fromkeys(version.set for version in self.natural if version.level)
        found = {"corrupted": self.corrupted} if self.corrupted else {}
        return found | {name: {**self.natural, **self._clean_of(name)} for name in released}

    def _clean_of(self, released: str) -> Asked:
        """Answers to the test pictures that a released set has corrupted, where all of them are among those."""
        question = next(one for one in self._questions if one.version.set == released)
        rows = {} if self.test is None else {_picture(id): row for row, id in enumerate(self.test.ids)}
        places = [rows.get(_picture(id)) for id in question.ids]
        if None in places or not np.array_equal(self.test.labels[places], question.labels):
            return {}
        clean = {name: answers.take(np.array(places)) for name, answers in self.clean[CLEAN].items()}
        return {Version("clean", released): clean}

    def baseline(self, set: str) -> str:
        """Return what scores of a set are relative to: AlexNet for all of ImageNet-C or -P, else the control."""
        names = {v.name for v in self.natural if v.set == set} | {
            one.name for one in self._sequences if one.set == set
        }
        whole = {"imagenet-c": CORRUPTIONS, "imagenet-p": PERTURBATIONS}.get(set)
        return ALEXNET if whole and names >= {*whole} and len(self.classes) == 1000 else self.control

    @property
    def told(self) -> list[str]:
        """What readers of released sets have to know, a sentence or more for each set."""
        said = {
            question.version.set: question.description
            for question in self._questions
            if question.version.level
        }
        said |= {one.set: one.description for one in self._sequences}
        return [f"{name}: {text}" for name, text in said.items() if text]

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


def _picture(id: str) -> str:
    """What the same picture's ids have in common in a split and in a set: its file and the folder that it is in."""
    return "/".join(str(id).split("/")[-2:])


def models_at_once(models: Mapping[str, nn.Module]) -> int:
    """Return how many models are asked at once: as many as cores are idle on a CPU, one on a GPU."""
    if any(parameter.device.type != "cpu" for model in models.values() for parameter in model.parameters()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(len(models), cores // torch.get_num_threads()))
