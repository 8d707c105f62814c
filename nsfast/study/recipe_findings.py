"""The paper's findings on the recipe, each as the default against one alternative."""

from __future__ import annotations

from nsfast.study.design import Arm, Comparison, Point, Study
from nsfast.study.sets import DATA, FINDING, ONE_ROUND, OWN, study_on


def findings(data: str, full: bool) -> Study:
    """Do the paper's findings on the recipe hold?"""
    base, known = Point("base", "round-1"), DATA[data]
    arms = [Arm("base", ONE_ROUND, "the default")]
    comparisons = []

    def against(name: str, arm: str, settings: tuple[str, ...], **about) -> None:
        arms.append(Arm(arm, (*settings, *ONE_ROUND), name.partition(" > ")[2]))
        comparisons.append(Comparison(name, base, Point(arm, "round-1"), **about))

    for share in (0.25, 0.0625) if full else (0.0625,):
        name = f"all unlabeled pictures > 1/{1 / share:.0f} of them"
        against(name, f"share-{share:g}".replace(".", "-"), (known.share(share),), source=FINDING)
    against(
        f"threshold {known.threshold} > 0.3",
        "threshold",
        ("balancing.threshold=0.3",),
        source=OWN,
    )
    against("balanced > not balanced", "unbalanced", ("balancing.method=none",), source=FINDING)
    against("joint > pretraining, then finetuning", "pretrain", ("student.order=pretrain",), source=FINDING)
    against(
        *(f"ratio {known.ratio} > ratio 1", "ratio", ("student.ratio=1",)),
        source=OWN,
        differs="Of B4 the paper has 84.0 at 3:1 and at 1:1; a large ratio helps large models only.",
    )
    small = (f"student.size={known.sizes[0]}", *ONE_ROUND)  # as the teacher, whose weights a warm start takes
    arms += [Arm("scratch", small, "from scratch, as small as the teacher")]
    arms += [Arm("warm", ("student.start=teacher", *small), "from the teacher's weights")]
    scratch, warm = Point("scratch", "round-1"), Point("warm", "round-1")
    comparisons.append(Comparison("from scratch > from the teacher", scratch, warm, source=FINDING))
    against("label smoothing > none", "no-smoothing", ("student.label_smoothing=0",), source=OWN)
    against(
        *("loss of all pictures > of each stream", "per-stream", ("student.loss_normalisation=per_stream",)),
        source=OWN,
    )
    comparisons.append(
        Comparison(
            "averaged weights > raw ones",
            base,
            base,
            source=OWN,
            second_measure="raw_accuracy",
        )
    )
    return study_on("findings", "Do the findings on the recipe hold?", data, arms, comparisons)
