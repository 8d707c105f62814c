"""The paper's figures hang together, and none is printed that its versions do not have."""

import pytest

from nsfast.analysis.paper import PAPER, PAPER_SENTENCE, STUDENT, SUPERVISED, paper_column
from nsfast.analysis.robustness import HEADLINE


def figure(measure, model, **wanted):
    (row,) = [
        row
        for row in PAPER
        if (row["measure"], row["model"]) == (measure, model)
        and all(row[key] == value for key, value in wanted.items())
    ]
    return row["value"]


def test_the_abstract_is_among_the_rows():
    # arXiv 1911.04252v4, abstract: ImageNet-A 61.0 % to 83.7 %, mCE 45.7 to 28.3, mFR 27.8 to 12.2
    wsl = "ResNeXt-101 WSL"
    assert (figure("natural_accuracy", wsl), figure("natural_accuracy", STUDENT)) == (0.61, 0.837)
    assert (figure("mce", wsl), figure("mce", STUDENT, resolution=299)) == (0.457, 0.283)
    assert (figure("mfr", wsl), figure("mfr", STUDENT, resolution=299)) == (0.278, 0.122)


def test_rows_are_shares_of_measures_of_the_headline_and_say_what_differs():
    for row in PAPER:
        assert row["measure"] in HEADLINE and 0 < row["value"] < 1
        assert row["version"] in ("v2", "reviews") and row["source"] and len(row["differs"]) > 20
    keys = [(row["measure"], row["model"], row["resolution"], row["epsilon"]) for row in PAPER]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "measure", ["natural_accuracy", "corruption_error", "mce", "mfr", "fgsm_accuracy", "pgd_accuracy"]
)
def test_the_student_beats_the_supervised_network_in_every_row(measure):
    higher_is_better = measure.endswith("accuracy")
    for row in PAPER:
        if (row["measure"], row["model"]) == (measure, STUDENT):
            at = {key: row[key] for key in ("resolution", "epsilon")}
            assert (row["value"] > figure(measure, SUPERVISED, **at)) == higher_is_better


def test_the_column_has_one_figure_a_measure_with_its_version():
    column = paper_column()
    assert (
        column["mce"] == "28.3 (ImageNet-C; v2)"
        and column["pgd_accuracy"] == "4.4 at 16/255 (ImageNet; reviews)"
    )
    assert set(column) == set(HEADLINE) - {"nll", "ece", "autoattack_accuracy"}
    assert "1911.04252, version 2" in PAPER_SENTENCE and "ranked" in PAPER_SENTENCE
