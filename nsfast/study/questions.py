"""The studies: the paper's five research questions as grids of profiles, and its findings."""

from __future__ import annotations

from collections.abc import Callable

from nsfast.errors import choice
from nsfast.study.design import Arm, Comparison, Point, Study
from nsfast.study.noise_and_size import NO_NOISE, SMALLER_TEACHER, TABLE_NOISE, research_question_2
from nsfast.study.recipe_findings import findings
from nsfast.study.sets import DATA, FINDING, ONE_ROUND, OWN, THREE_ROUNDS, study_on

TABLE_RATIO = "batch size ratio, L2 of 87.4 as teacher, 6:1 against 3:1 (version 2)"
TABLE_SOFT = "soft and hard labels by confidence, B0, read off the plot to 0.03 (version 2)"

SOFT_FROM = {0.8: 0.1, 0.5: 0.3}
"""By threshold: what soft labels gain over hard ones, mean of the bands from there on."""


def research_question_1(data: str, full: bool) -> Study:
    """Is a noisy student better than supervised training?"""
    known = DATA[data]
    grown = known.sizes[1] > known.sizes[0]
    arms = [
        Arm("base", THREE_ROUNDS, "three rounds; the control sees as many labeled pictures as a student"),
        Arm("longer-control", (known.longer, *ONE_ROUND), "the control trains twice as long"),
        Arm(
            "without-noise",
            (*NO_NOISE, "student.targets=hard", *ONE_ROUND),
            "plain pseudo-labels: hard, no noise",
        ),
    ]
    plain = "There the labels stay soft, and labeled pictures keep their noise."
    third, first = Point("base", "round-3"), Point("base", "round-1")
    source, differs = (
        "EfficientNet-L2, 88.4 against 85.5 (version 2)",
        "The paper's student saw 300 million pictures.",
    )
    comparisons = [
        Comparison(
            "student 3 > control", third, Point("base", "control"), paper=2.9, source=source, differs=differs
        ),
        Comparison("student 3 > control trained twice as long", third, Point("longer-control", "control")),
        Comparison(
            *("student 1 > control", first, Point("base", "control")),
            paper=1.0,
            source="one iteration at equal size, mean of B0 to B7 (version 2)",
            differs=SMALLER_TEACHER if grown else "",
        ),
        Comparison(
            *("student 1 > plain pseudo-labels", first, Point("without-noise", "round-1")),
            paper=0.6,
            source=TABLE_NOISE,
            differs=plain,
        ),
        Comparison(
            *("plain pseudo-labels > control", Point("without-noise", "round-1"), Point("base", "control")),
            paper=0.3,
            source=TABLE_NOISE,
            differs=plain,
        ),
    ]
    for count in known.counts:
        name, rounds = f"labels-{count}", THREE_ROUNDS if full else ONE_ROUND
        arms.append(Arm(name, (f"data.labeled_per_class={count}", *rounds), f"{count} labels per class"))
        student = f"student {3 if full else 1}"
        comparisons.append(
            Comparison(
                f"{student} > control, {count} labels per class",
                *(Point(name, "round-3" if full else "round-1"), Point(name, "control")),
            )
        )
    return study_on("rq1", "Is a noisy student better than supervised training?", data, arms, comparisons)


def research_question_3(data: str, full: bool) -> Study:
    """Is the student more robust, and more than its accuracy explains?"""
    student, control = Point("base", "round-3"), Point("base", "control")

    def one(name: str, measure: str, **about) -> Comparison:
        return Comparison(f"student 3 > control: {name}", student, control, measure, **about)

    made = "Corrupted here, not the released set."
    comparisons = [
        one(
            "corrupted pictures",
            "corruption_accuracy",
            paper=11.2,
            source="ImageNet-C at 299 pixels, 77.8 against 66.6 (version 2)",
            differs=made,
        ),
        one(
            *("steadiness of sequences", "steadiness"),
            source="ImageNet-P, mFR 12.2 against 23.7 (version 2)",
            differs="Kinds of noise are left out here.",
        ),
        one(
            "hard pictures",
            "hard_accuracy",
            paper=34.1,
            source="ImageNet-A, 83.7 against 49.6 (version 2)",
            differs="Hard pictures are the teacher's errors.",
        ),
        one(
            *("FGSM", "fgsm_accuracy"),
            paper=14.1,
            source="epsilon 8, read off the curve to 0.3 (version 2)",
            differs="The paper attacks pictures of 800 pixels.",
        ),
        one(
            *("PGD", "pgd_accuracy"),
            source="rises from 1.1 to 4.4 at epsilon 16, as reviews print it",
            differs="Epsilon is 8 here.",
        ),
        one(
            *("more than clean accuracy explains", "residual"),
            source="no claim of the paper in these terms",
            differs="Line of slope 1 in log-odds through the control.",
        ),
    ]
    if data == "letters":
        comparisons.append(one("fonts never seen", "shifted_accuracy"))
    question = "Is the student more robust, and more than its accuracy explains?"
    return study_on("rq3", question, data, [Arm("base", THREE_ROUNDS, "three rounds")], comparisons)


def research_question_4(data: str, full: bool) -> Study:
    """Does it help to go on for several rounds?"""
    ratio = DATA[data].ratio
    growing = [ratio, ratio, 2 * ratio, 2 * ratio]
    arms = [
        Arm("base", ("iterate.rounds=4",), f"four rounds at a ratio of {ratio}"),
        Arm("growing", ("iterate.rounds=4", f"iterate.ratio={growing}"), "the ratio doubles in round 3"),
    ]
    fixed = [Point("base", f"round-{number}") for number in range(1, 5)]
    own = {"source": "no claim of the paper: what rounds do to the labels"}
    chain, differs = "EfficientNet-L2, 87.6, 88.1, 88.4 (version 2)", "Its third iteration doubles the ratio."
    comparisons = [
        Comparison("student 2 > student 1", fixed[1], fixed[0], paper=0.5, source=chain),
        Comparison("student 3 > student 2", fixed[2], fixed[1], paper=0.3, source=chain, differs=differs),
        Comparison("student 4 > student 3", fixed[3], fixed[2]),
        Comparison("labels of round 2 > of round 1", fixed[1], fixed[0], "label_accuracy", **own),
        Comparison("labels of round 4 > of round 2", fixed[3], fixed[1], "label_accuracy", **own),
        Comparison("precision of round 4 > of round 1", fixed[3], fixed[0], "precision", **own),
        Comparison(
            *("growing ratio > fixed, student 4", Point("growing", "round-4"), fixed[3]),
            paper=0.5,
            source=TABLE_RATIO,
            differs="The paper's is of one round; here the ratio doubles in the last two of four.",
        ),
    ]
    return study_on("rq4", "Does it help to go on for several rounds?", data, arms, comparisons)


def research_question_5(data: str, full: bool) -> Study:
    """Soft or hard pseudo-labels?"""
    shares = {
        "": "",
        "-unsure": "balancing.threshold=0 balancing.below=0.5",
        "-foreign": "data.no_class=0.5",
        "-clean": "data.no_class=0",
    }
    arms = []
    for ending, setting in shares.items():
        more = (*setting.split(), *ONE_ROUND)
        arms += [
            Arm(f"soft{ending}", more, f"soft labels{_words(setting)}"),
            Arm(f"hard{ending}", ("student.targets=hard", *more), f"hard labels{_words(setting)}"),
        ]
    arms.append(Arm("sharpened", ("student.temperature=0.5", *ONE_ROUND), "soft labels of temperature 0.5"))

    def one(name: str, ending: str, **about) -> Comparison:
        first, second = Point(f"soft{ending}", "round-1"), Point(f"hard{ending}", "round-1")
        return Comparison(f"soft > hard: {name}", first, second, **about)

    bands = "Over the paper's bands of 0.1 that lie there, the mean."
    comparisons = [
        one(
            f"labels from {DATA[data].threshold} on",
            "",
            paper=SOFT_FROM[DATA[data].threshold],
            source=f"{TABLE_SOFT}, {DATA[data].threshold} and above",
            differs=bands,
        ),
        one("labels below 0.5", "-unsure", paper=1.3, source=f"{TABLE_SOFT}, below 0.5", differs=bands),
        one("half of the pool of no class", "-foreign", source=FINDING),
        one("nothing of no class", "-clean", source=OWN),
        Comparison(
            *("soft > sharpened", Point("soft", "round-1"), Point("sharpened", "round-1")),
            source=OWN,
        ),
    ]
    return study_on("rq5", "Soft or hard pseudo-labels?", data, arms, comparisons)


def _words(setting: str) -> str:
    return {
        "": "",
        "balancing.threshold=0 balancing.below=0.5": ", of confidence below 0.5",
        "data.no_class=0.5": ", half of the pool of no class",
        "data.no_class=0": ", nothing of no class",
    }[setting]


def training_time(data: str, full: bool) -> Study:
    """Does what noise and pseudo-labels do depend on how long is trained?"""
    plain, long = (*NO_NOISE, "student.targets=hard", *ONE_ROUND), (*DATA[data].three_times, *ONE_ROUND)
    arms = [
        Arm("base", ONE_ROUND, "as long as in the other studies"),
        Arm("without-noise", plain, "plain pseudo-labels: hard, no noise"),
        Arm("long", long, "control and student three times as long"),
        Arm("long-without-noise", (*plain, *long), "plain pseudo-labels, three times as long"),
    ]
    comparisons, why = [], "no claim of the paper: asked after rq1 had been seen, to explain it"
    for words, ending in (("", ""), (", three times as long", "long")):
        student = Point(ending or "base", "round-1")
        bare = Point(f"{ending}-without-noise".strip("-"), "round-1")
        control = Point(student.arm, "control")
        comparisons += [
            Comparison(f"student 1 > plain pseudo-labels{words}", student, bare, source=why),
            Comparison(f"student 1 > control{words}", student, control, source=why),
        ]
    question = "Does what noise and pseudo-labels do depend on how long is trained?"
    return study_on("longer", question, data, arms, comparisons)


STUDIES: dict[str, Callable[[str, bool], Study]] = {
    "rq1": research_question_1,
    "rq2": research_question_2,
    "rq3": research_question_3,
    "rq4": research_question_4,
    "rq5": research_question_5,
    "findings": findings,
    "longer": training_time,
}
"""The studies by name, each a function of the image set and of whether it is the full form."""


def study_of(name: str, data: str = "digits", full: bool = False) -> Study:
    """Return a study.

    Args:
        name: of `STUDIES`.
        data: "digits" or "letters".
        full: more arms and rounds than the quick form has.

    Raises:
        NsfastError: an unknown name; it says the nearest.
    """
    return STUDIES[choice("study", name, STUDIES)](choice("set", data, DATA), full)
