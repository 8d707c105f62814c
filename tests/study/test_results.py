"""Tables and figure of a study from the scores of its arms."""

import pytest

from nsfast.study.design import Arm, Comparison, Point, Study
from nsfast.study.figure import STYLES, study_figure
from nsfast.study.results import comparison_rows, point_rows

A, B = Point("a", "round-1"), Point("b", "round-1")
STUDY = Study(
    "x",
    "Is a better?",
    "digits",
    "digits",
    (Arm("a"), Arm("b")),
    (
        Comparison("a > b", A, B, paper=2.0, source="there"),
        Comparison("b > a", B, A, source="there"),
        Comparison("mean > raw", A, A, second_measure="raw_accuracy"),
    ),
)


def scores(seeds=(0, 1, 2)):
    found = {}
    for seed in seeds:
        found[seed, "a"] = [
            {"model": "round-1", "measure": "accuracy", "value": 0.9 + seed / 100, "n": 50},
            {"model": "round-1", "measure": "raw_accuracy", "value": 0.8 + seed / 200, "n": 50},
        ]
        found[seed, "b"] = [{"model": "round-1", "measure": "accuracy", "value": 0.8 + seed / 110, "n": 50}]
    return found


def test_differences_are_paired_by_seed_and_in_points():
    first, second, third = comparison_rows(STUDY, scores())
    wanted = [100 * (0.1 + seed / 100 - seed / 110) for seed in range(3)]
    assert first["difference"] == pytest.approx(sum(wanted) / 3) == -second["difference"]
    assert (first["verdict"], second["verdict"], third["verdict"]) == ("reproduced", "contradicted", "better")
    assert (first["seeds"], first["n"], first["paper"], second["paper"]) == (3, 150, 2.0, "")
    assert first["mean_first"] == pytest.approx(91) and third["mean_second"] == pytest.approx(80.5)


def test_points_are_in_the_order_of_the_study():
    rows = point_rows(STUDY, scores())
    assert [(row["arm"], row["seed"]) for row in rows] == [
        *(("a", seed) for seed in (0, 0, 1, 1, 2, 2)),
        *(("b", seed) for seed in (0, 1, 2)),
    ]


def test_a_failed_arm_is_left_out_and_named_and_loses_no_other():
    found = scores()
    del found[1, "b"]
    rows = comparison_rows(STUDY, found, {(1, "b"): "no memory"})
    assert rows[0]["seeds"] == 2 and rows[0]["note"] == "b failed with seed 1: no memory"
    assert rows[2]["seeds"] == 3 and rows[2]["note"] == ""
    del found[2, "b"]
    rows = comparison_rows(STUDY, found, {(1, "b"): "no memory", (2, "b"): "no memory"})
    assert rows[0]["verdict"] == "not measured" and rows[0]["difference"] == ""
    unsaid = comparison_rows(STUDY, found, {})
    assert unsaid[0]["note"] == "nothing to measure in 2 other seed(s)"
    alone = unsaid[2]
    assert rows[2]["p_holm"] == alone["p_value"]  # the family is what was measured


def test_the_figure_marks_effect_interval_paper_and_verdict():
    rows = comparison_rows(STUDY, scores())
    figure = study_figure(rows, STUDY.question)
    (axes,) = figure.axes
    marks = [line.get_marker() for line in axes.lines if line.get_marker() not in ("None", "")]
    assert marks == [
        STYLES["reproduced"]["marker"],
        "|",
        STYLES["contradicted"]["marker"],
        STYLES["better"]["marker"],
    ]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a > b", "b > a", "mean > raw"]
    drawn = axes.lines[1].get_xdata()
    assert list(drawn) == [rows[0]["low"], rows[0]["high"]]
    assert "1 reproduced" in figure.texts[1].get_text() and "3 seeds" in figure.texts[1].get_text()
