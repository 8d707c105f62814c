"""The robustness that the paper reports, to stand in a column of its own beside a run's.

Source: Xie, Luong, Hovy & Le, Self-training with Noisy Student improves ImageNet classification (arXiv 1911.04252). Its
versions differ; the figures are of version 2 (and CVPR 2020) unless a row says otherwise.
"""

from __future__ import annotations

PAPER_SENTENCE = (
    "The paper's figures (arXiv 1911.04252, version 2) are of EfficientNet-L2 (480 million parameters) on ImageNet, "
    "trained with 300 million unlabeled pictures. They stand here for orientation only: other pictures, other networks "
    "and, for corruptions and flips, another baseline (AlexNet). Nothing here is ranked with them."
)

STUDENT, SUPERVISED, WSL = "Noisy Student L2", "EfficientNet-L2", "ResNeXt-101 WSL"

_A = "ImageNet-A, accuracy over its 200 classes; a run's hard pictures are those of its own that a named model misses"
_C = "mCE relative to AlexNet on the released ImageNet-C; a run's is relative to its own baseline on pictures made here"
_P = "mFR relative to AlexNet on the released ImageNet-P; a run's is relative to its own baseline on its own"
_FGSM = "at 800 pixels and epsilon on the scale 0 to 255; read off the paper's curve, to about 0.3 points"
_PGD = "10 iterations at 800 pixels, as public reviews of the paper give it; the epsilon is of 255"


def _rows() -> list[dict]:
    rows = []

    def add(measure, model, value, source, differs, resolution="", epsilon="", version="v2"):
        names = ("measure", "model", "value", "resolution", "epsilon", "version", "source", "differs")
        rows.append(
            dict(
                zip(
                    names, (measure, model, value, resolution, epsilon, version, source, differs), strict=True
                )
            )
        )

    for model, top1, source in ((STUDENT, 0.884, "ImageNet"), (SUPERVISED, 0.855, "ImageNet")):
        add("accuracy", model, top1, source, "accuracy on ImageNet's 1000 classes")
    for model, value in ((STUDENT, 0.837), (SUPERVISED, 0.496), (WSL, 0.610)):
        add("natural_accuracy", model, value, "ImageNet-A", _A)
    for model, size, top1, value in (
        (STUDENT, 299, 0.778, 0.283),
        (SUPERVISED, 299, 0.666, 0.425),
        (STUDENT, 224, 0.765, 0.300),
        (SUPERVISED, 224, 0.626, 0.475),
    ):
        add("mce", model, value, "ImageNet-C", _C, size)
        add(
            "corruption_error",
            model,
            round(1 - top1, 3),
            "ImageNet-C",
            "mean error on the released ImageNet-C",
            size,
        )
    add("mce", WSL, 0.457, "ImageNet-C", _C, 224)
    for model, size, value in (
        (STUDENT, 299, 0.122),
        (SUPERVISED, 299, 0.237),
        (STUDENT, 224, 0.142),
        (SUPERVISED, 224, 0.272),
        (WSL, 224, 0.278),
    ):
        add("mfr", model, value, "ImageNet-P", _P, size)
    for model, curve in ((STUDENT, (0.800, 0.778, 0.764, 0.747)), (SUPERVISED, (0.683, 0.646, 0.623, 0.597))):
        for epsilon, value in zip((2, 4, 8, 16), curve, strict=True):
            add("fgsm_accuracy", model, value, "ImageNet", _FGSM, 800, epsilon)
    for model, value in ((STUDENT, 0.044), (SUPERVISED, 0.011)):
        add("pgd_accuracy", model, value, "ImageNet", _PGD, 800, 16, "reviews")
    return rows


PAPER = _rows()
"""A row for each figure: measure (as in the headline), model, value (0 to 1), resolution in pixels, epsilon in 1/255,
version, source (the pictures) and differs (what it is, and how a run's number is not it)."""


def paper_column(model: str = STUDENT) -> dict[str, str]:
    """Return the paper's figures of one model as text by measure, each at the largest resolution that it gives.

    Of FGSM it is the curve's figure at epsilon 16, where PGD has its only one.
    """
    column: dict[str, str] = {}
    for row in PAPER:
        if row["model"] == model and row["measure"] not in column and row["epsilon"] in ("", 16):
            at = f" at {row['epsilon']}/255" if row["epsilon"] else ""
            column[row["measure"]] = f"{100 * row['value']:.1f}{at} ({row['source']}; {row['version']})"
    return column
