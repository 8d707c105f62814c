"""Pseudo-labels of a few pictures with everything that can be known of them, and decisions that no file holds."""

from pathlib import Path

import numpy as np
import pytest

from nsfast.explore.core import Answers, PseudoLabels
from nsfast.explore.core.scores import scores_of
from nsfast.labels.decisions import Decisions, Verdict

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture(scope="session")
def decided():
    """Decisions from an action, or an action with class and person, by picture; and whether people differ."""

    def verdict(name: str, action: str, to: str | None = None, who: str = "ann", why: str = "") -> Verdict:
        return Verdict(name, action, to, "ant", 0.5, who, why, "2026-01-31T12:00:00.000Z", 2, 7)

    def make(conflicts=None, **given) -> Decisions:
        verdicts = {
            name: verdict(name, *([said] if isinstance(said, str) else said)) for name, said in given.items()
        }
        return Decisions(Path("decisions.jsonl"), verdicts, conflicts or {})

    return make


@pytest.fixture(scope="session")
def everything():
    """300 labels of round 3 with truth, probabilities, two rounds before, a student and a map."""

    def make(n=300, seed=0, **change) -> PseudoLabels:
        generator = np.random.default_rng(seed)
        probabilities = generator.dirichlet(np.full(4, 0.5), n).astype(np.float16)
        probabilities[: n // 3] = np.round(probabilities[: n // 3], 1)  # so that some are equal
        predicted = probabilities.argmax(1)

        def other(distributions: bool) -> Answers:
            said = np.where(generator.random(n) < 0.6, predicted, generator.integers(-1, 4, n))
            given = generator.dirichlet(np.ones(4), n).astype(np.float32)
            given[said < 0] = np.nan
            return Answers(said.astype(np.int32), (lambda rows: given[rows]) if distributions else None)

        known = dict(
            classes=CLASSES,
            predicted=predicted,
            confidence=probabilities.max(1),
            names=[f"p{number:03}" for number in range(n)],
            scores=lambda: scores_of([(probabilities, None)], n, 4),
            distributions=lambda rows: probabilities[rows].astype(np.float32),
            truth=np.where(generator.random(n) < 0.7, predicted, generator.integers(-1, 4, n)),
            others={"round 1": other(True), "round 2": other(True), "student 3": other(False)},
            round=3,
            embedding=generator.normal(size=(n, 2)),
        )
        return PseudoLabels(**(known | change))

    return make
