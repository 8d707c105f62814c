"""The second question: the paper's noise ablation, and the sizes of student and teacher."""

from __future__ import annotations

from nsfast.study.design import Arm, Comparison, Point, Study
from nsfast.study.sets import DATA, FINDING, ONE_ROUND, study_on

TABLE_NOISE = "noise ablation, EfficientNet-B5, 130 million unlabeled pictures (version 2)"
TABLE_SIZES = "B0 to B7 with a teacher of their own size and with L2 as teacher (version 2)"
NO_AUGMENTATION = ("student.randaugment_n=0",)
NO_DEPTH, NO_DROPOUT = ("student.stochastic_depth=0",), ("student.dropout=0",)
NO_NOISE = (*NO_AUGMENTATION, *NO_DEPTH, *NO_DROPOUT)
SIZE = "The larger network is better by itself, too."
UNLABELED_ONLY = "The paper takes the noise off the pseudo-labeled pictures alone; here both streams lose it."


def research_question_2(data: str, full: bool) -> Study:
    """What do noise and the sizes of student and teacher do?"""
    base = Point("base", "round-1")

    def one(name: str, arm: str, **about) -> Comparison:
        return Comparison(name, base, Point(arm, "round-1"), **about)

    noise = {"source": TABLE_NOISE, "differs": UNLABELED_ONLY}
    arms = [
        Arm("base", ONE_ROUND, "all noise"),
        Arm("no-augmentation", (*NO_AUGMENTATION, *ONE_ROUND), "stochastic depth and dropout"),
        Arm("no-noise", (*NO_NOISE, *ONE_ROUND), "no noise at all"),
        Arm("only-augmentation", (*NO_DEPTH, *NO_DROPOUT, *ONE_ROUND), "RandAugment alone"),
        Arm("only-depth", (*NO_AUGMENTATION, *NO_DROPOUT, *ONE_ROUND), "stochastic depth alone"),
        Arm("only-dropout", (*NO_AUGMENTATION, *NO_DEPTH, *ONE_ROUND), "dropout alone"),
        Arm("noised-teacher", ("labeling.noise=true", *ONE_ROUND), "the teacher is noised while it labels"),
    ]
    comparisons = [
        one("all noise > without augmentation", "no-augmentation", paper=0.3, **noise),
        one("all noise > no noise", "no-noise", paper=0.6, **noise),
        one("un-noised teacher > noised", "noised-teacher", paper=0.5, source=TABLE_NOISE),
        Comparison(
            "augmentation alone > no noise",
            Point("only-augmentation", "round-1"),
            Point("no-noise", "round-1"),
        ),
        Comparison(
            *(
                "stochastic depth alone > no noise",
                Point("only-depth", "round-1"),
                Point("no-noise", "round-1"),
            )
        ),
        Comparison(
            *("dropout alone > no noise", Point("only-dropout", "round-1"), Point("no-noise", "round-1")),
        ),
    ]
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
    base, last = Point("base", "round-1"), Point("larger", "round-1")
    arms = [Arm("larger", (f"student.size={larger}", *ONE_ROUND), "a larger student")]
    grown = {
        "paper": 1.6,
        "source": "student size, B0 teaches B1 against B0 (version 2)",
        "differs": SIZE,
    }
    taught = {"paper": 1.1, "source": TABLE_SIZES}
    larger_name, taught_name = "student larger than its teacher > as large", "larger teacher > smaller"
    if student > teacher:
        same = Arm(
            "larger-teacher", (f"teacher.size={student}", *ONE_ROUND), "a teacher as large as the student"
        )
        arms += [Arm("smaller", (f"student.size={teacher}", *ONE_ROUND), "as small as the teacher"), same]
        equal = Point(same.name, "round-1")
        claims = [
            Comparison(larger_name, base, Point("smaller", "round-1"), **grown),
            Comparison("still larger student > larger", last, base),
            Comparison(taught_name, equal, base, **taught),
        ]
    else:
        equal = base
        arms.append(Arm("smaller-teacher", (f"teacher.size={teacher - 1}", *ONE_ROUND), "a smaller teacher"))
        claims = [
            Comparison(larger_name, last, base, **grown),
            Comparison(taught_name, base, Point("smaller-teacher", "round-1"), **taught),
        ]
    if full:
        fewer = teacher if student > teacher else teacher - 1
        settings = (f"teacher.size={student}", f"student.size={fewer}", "student.allow_smaller=true")
        arms.append(Arm("shrunk", (*settings, *ONE_ROUND), "a student smaller than its teacher"))
        name = "student as large as its teacher > smaller"
        claims.append(Comparison(name, equal, Point("shrunk", "round-1"), source=FINDING, differs=SIZE))
    return arms, claims
