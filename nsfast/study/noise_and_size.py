"""The second question: the paper's noise ablation, and the sizes of student and teacher."""

from __future__ import annotations

from nsfast.study.design import Arm, Comparison, Point, Study
from nsfast.study.sets import DATA, FINDING, ONE_ROUND, study_on

TABLE_NOISE = "noise ablation, EfficientNet-B5, 130 million unlabeled pictures (version 2)"
TABLE_SIZES = "B0 to B7 with a teacher of their own size and with L2 as teacher (version 2)"
NO_NOISE = ("student.randaugment_n=0", "student.stochastic_depth=0", "student.dropout=0")

SMALLER_TEACHER = "There the student is as large as its teacher, here larger."


def research_question_2(data: str, full: bool) -> Study:
    """What do noise and the sizes of student and teacher do?"""
    base = Point("base", "round-1")

    def one(name: str, arm: str, **about) -> Comparison:
        return Comparison(name, base, Point(arm, "round-1"), **about)

    def noised(name: str, pseudo: str, says: str) -> Arm:
        return Arm(name, (f"student.pseudo_noise={pseudo}", *ONE_ROUND), f"{says} on pseudo-labeled pictures")

    teacher, student, _ = DATA[data].sizes
    table = {"source": TABLE_NOISE, "differs": SMALLER_TEACHER if student > teacher else ""}
    arms = [
        Arm("base", ONE_ROUND, "all noise on all pictures"),
        noised("no-augmentation", "stochastic_depth,dropout", "no RandAugment"),
        noised("no-noise", "none", "no noise"),
        noised("only-augmentation", "randaugment", "RandAugment alone"),
        noised("only-depth", "stochastic_depth", "stochastic depth alone"),
        noised("only-dropout", "dropout", "dropout alone"),
        Arm("noised-teacher", ("labeling.noise=true", *ONE_ROUND), "the teacher is noised while it labels"),
    ]
    comparisons = [
        one("all noise > without augmentation", "no-augmentation", paper=0.3, **table),
        one("all noise > no noise", "no-noise", paper=0.6, **table),
        one("un-noised teacher > noised", "noised-teacher", paper=0.5, **table),
    ]
    none = Point("no-noise", "round-1")
    for noise, arm in (
        ("augmentation", "only-augmentation"),
        ("stochastic depth", "only-depth"),
        ("dropout", "only-dropout"),
    ):
        comparisons.append(Comparison(f"{noise} alone > no noise", Point(arm, "round-1"), none))
    if full:
        arms.append(Arm("bare", (*NO_NOISE, *ONE_ROUND), "no noise on any picture"))
        comparisons.append(one("all noise > no noise on any picture", "bare"))
    size_arms, size_claims = _sizes(data, full)
    return study_on(
        "rq2",
        "What do noise and the sizes of student and teacher do?",
        data,
        arms + size_arms,
        comparisons + size_claims,
    )


def _sizes(data: str, full: bool) -> tuple[list[Arm], list[Comparison]]:
    """Return the arms and claims of the sizes of student and teacher."""
    teacher, student, larger = DATA[data].sizes
    grown = {
        "paper": 1.6,
        "source": "student size, B0 teaches B1 against B0 (version 2)",
        "differs": "The larger network is better by itself, too.",
    }
    taught = {
        "paper": 1.1,
        "source": TABLE_SIZES,
        "differs": "There the larger teacher is larger than the student, and the smaller one as large.",
    }
    base, last = Point("base", "round-1"), Point("larger", "round-1")
    larger_name, taught_name = "student larger than its teacher > as large", "larger teacher > smaller"
    large = Arm("larger", (f"student.size={larger}", *ONE_ROUND), "a larger student")
    if student > teacher:
        smaller, equal = Point("smaller", "round-1"), Point("larger-teacher", "round-1")
        settings = (f"teacher.size={student}", *ONE_ROUND)
        arms = [
            large,
            Arm(smaller.arm, (f"student.size={teacher}", *ONE_ROUND), "as small as the teacher"),
            Arm(equal.arm, settings, "a teacher as large as the student"),
        ]
        claims = [
            Comparison(larger_name, base, smaller, **grown),
            Comparison("still larger student > larger", last, base),
            Comparison(taught_name, equal, base, **taught),
        ]
        fewer = teacher
    else:
        fewer, equal = teacher - 1, base
        less, both = Point("smaller-teacher", "round-1"), Point("both-smaller", "round-1")
        settings = (f"teacher.size={fewer}", *ONE_ROUND)
        arms = [
            Arm(less.arm, settings, "a teacher smaller than the student"),
            Arm(both.arm, (f"student.size={fewer}", *settings), "both smaller"),
        ]
        claims = [
            Comparison(larger_name, less, both, **grown),
            Comparison(taught_name, base, less, **taught),
        ]
        if full:
            arms.append(large)
            claims.append(Comparison("still larger student > as large as its teacher", last, base))
    if full:
        settings = (f"teacher.size={student}", f"student.size={fewer}", "student.allow_smaller=true")
        arms.append(Arm("shrunk", (*settings, *ONE_ROUND), "a student smaller than its teacher"))
        name = "student as large as its teacher > smaller"
        less = Point("shrunk", "round-1")
        claims.append(Comparison(name, equal, less, source=FINDING, differs=grown["differs"]))
    return arms, claims
