"""What a study is, as data: runs that differ in a few settings, and the comparisons that are made of their models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from nsfast.errors import NsfastError, choice
from nsfast.pipeline.report_studies import OF_LABELS

MEASURES = {
    "accuracy": "test accuracy",
    "raw_accuracy": "test accuracy of the weights as trained, not their average",
    "precision": "share of the labels above the threshold that are right",
    "label_accuracy": "share of the unlabeled pictures of a class that are labeled right",
    "shifted_accuracy": "accuracy on test pictures of fonts never seen",
    "corruption_accuracy": "mean accuracy on corrupted pictures",
    "steadiness": "share of frames whose class does not flip, over the perturbations but kinds of noise",
    "hard_accuracy": "accuracy on the test pictures that the teacher gets wrong",
    "fgsm_accuracy": "accuracy under FGSM, epsilon 8/255",
    "pgd_accuracy": "accuracy under PGD, epsilon 8/255",
    "residual": "log-odds under corruption above the line through the control",
}
"""What can be compared, all better when larger; shares but the last, which is in log-odds."""
ROBUST = (
    *("corruption_accuracy", "steadiness", "hard_accuracy", "fgsm_accuracy", "pgd_accuracy", "residual"),
)
"""Measured by `nsfast.analysis.measurement`, of control, teacher and the last student of a run together."""


@dataclass(frozen=True)
class Arm:
    """One run of a study, repeated for every seed.

    Args:
        name: of its folder: lower case, digits and dashes.
        settings: "stage.name=value" each, laid over those of the study.
        says: what is special about it, in a few words.
    """

    name: str
    settings: tuple[str, ...] = ()
    says: str = ""


class Point(NamedTuple):
    """A model of an arm's run, or what its labels are measured by."""

    arm: str
    model: str
    """"control", "teacher" or "round-1", ...: a folder of the run."""


@dataclass(frozen=True)
class Comparison:
    """A claim: `first` is better than `second`.

    Args:
        name: the claim in a few words.
        first, second: what is compared; the difference is first minus second.
        measure: of `MEASURES`.
        paper: the paper's difference in points (of 100), None where it prints none.
        source: where the paper says it; empty, or what begins with "no claim of the paper", where it does not.
        differs: what the paper did otherwise, in a sentence.
        second_measure: of the second model, where it is another one.
    """

    name: str
    first: Point
    second: Point
    measure: str = "accuracy"
    paper: float | None = None
    source: str = ""
    differs: str = ""
    second_measure: str = ""

    @property
    def of_paper(self) -> bool:
        """Whether it is a claim of the paper; the verdict of another is "better" or "worse"."""
        return bool(self.source) and not self.source.startswith("no claim of the paper")

    @property
    def sides(self) -> tuple[tuple[Point, str], tuple[Point, str]]:
        """Each point with what is measured of it."""
        return (self.first, self.measure), (self.second, self.second_measure or self.measure)


@dataclass(frozen=True)
class Study:
    """A question with the runs and comparisons that answer it.

    Args:
        name: "rq1", ...
        question: one line.
        data: "digits" or "letters".
        profile: whose parameters all arms begin with.
        settings: laid over the profile in every arm.
        arms: the first is run before the others of its seed, which share what is equal.
        comparisons: one family; Holm's adjustment is over them.
    """

    name: str
    question: str
    data: str
    profile: str
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    settings: tuple[str, ...] = ()

    def __post_init__(self):
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise NsfastError(f"study {self.name} has two arms of one name; name them apart")
        for comparison in self.comparisons:
            for point, measure in comparison.sides:
                choice(f"measure of {comparison.name!r}", measure, MEASURES)
                choice(f"arm of {comparison.name!r}", point.arm, names)

    def points(self, arm: str) -> Iterator[tuple[str, str]]:
        """Yield each model and measure that the comparisons need of an arm, once."""
        seen = set()
        for comparison in self.comparisons:
            for point, measure in comparison.sides:
                wanted = (point.model, measure)
                if point.arm == arm and wanted not in seen:
                    seen.add(wanted)
                    yield wanted

    def stages_of(self, arm: str) -> list[str]:
        """Return the names of the last stages that the comparisons need of an arm."""
        names = {}
        for model, measure in self.points(arm):
            if measure in ROBUST:
                names |= dict.fromkeys(("control", "teacher"))
            kind = "balancing" if measure in OF_LABELS else "student"
            names[f"{model}/{kind}" if model.startswith("round-") else model] = None
        return list(names)

    def settings_of(self, arm: Arm) -> tuple[str, ...]:
        """Return the settings of an arm's run."""
        return (*self.settings, *arm.settings)
