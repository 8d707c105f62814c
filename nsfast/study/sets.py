"""What studies need to know of the image sets that they are run on."""

from __future__ import annotations

from dataclasses import dataclass

from nsfast.study.design import Arm, Comparison, Study

FINDING = "a finding in words; its figures are not confirmed"
OWN = "no claim of the paper: the default against the alternative"
ONE_ROUND = ("iterate.rounds=1",)
THREE_ROUNDS = ("iterate.rounds=3",)


@dataclass(frozen=True)
class Data:
    """What a study needs to know of an image set.

    Args:
        profile: whose parameters runs begin with.
        equal: settings with which the control sees as many labeled pictures as a student.
        counts: other numbers of labels per class than the profile's, fewest first.
        sizes: width of "small" of the teacher, of the student, as large or larger, and of a still larger student.
        pool: unlabeled pictures, where their number is a parameter; else 0, and `data.share` is.
        threshold, ratio: of the profile.
    """

    profile: str
    equal: tuple[str, ...]
    counts: tuple[int, ...]
    sizes: tuple[int, int, int]
    pool: int
    threshold: float
    ratio: int

    @property
    def longer(self) -> str:
        """The setting with which the control trains twice as long."""
        name, _, epochs = self.equal[0].partition("=")
        return f"{name}={2 * int(epochs)}"

    @property
    def three_times(self) -> tuple[str, str]:
        """The settings with which control and student train three times as long."""
        name, _, epochs = self.equal[0].partition("=")
        return f"{name}={3 * int(epochs)}", f"student.epochs={3 * int(epochs)}"

    def share(self, share: float) -> str:
        """Return the setting that leaves a share of the unlabeled pictures."""
        return f"data.unlabeled={round(share * self.pool)}" if self.pool else f"data.share={share}"


DATA = {
    "digits": Data("digits", ("control.epochs=10",), (2, 10), (1, 2, 3), 0, 0.8, 4),
    "letters": Data("letters", ("control.epochs=10",), (5, 20), (2, 2, 3), 6000, 0.5, 2),
}


def study_on(name: str, question: str, data: str, arms: list[Arm], comparisons: list[Comparison]) -> Study:
    """Return a study on an image set, with control and student alike in what they see of labels."""
    known = DATA[data]
    return Study(name, question, data, known.profile, tuple(arms), tuple(comparisons), known.equal)
