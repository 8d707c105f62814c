"""Accuracies on natural sets show the rows, with how many pictures and how they were chosen."""

import pytest

from nsfast.analysis import figures
from nsfast.errors import NsfastError


def rows_of(models, sets):
    return [
        dict(model=model, set=name, name="", n=n, accuracy=a, low=a - 0.1, high=a + 0.05, chosen="")
        for m, model in enumerate(models)
        for name, n, base in sets
        for a in [base + 0.02 * m]
    ]


def test_dots_and_intervals_are_those_of_the_rows_in_their_order(dots, words):
    models = ["control", "teacher", "student 1"]
    rows = rows_of(models, [("clean", 500, 0.8), ("hard", 75, 0.2), ("imagenet-a", 7500, 0.4)])
    for row in rows:
        row["chosen"] = "those the teacher gets wrong." if row["set"] == "hard" else ""
    figure = figures.natural_bars(rows)
    (axes,) = figure.axes
    shown = {"clean": "clean (n = 500)", "hard": "hard (n = 75)", "imagenet-a": "imagenet-a (n = 7,500)"}
    assert [label.get_text() for label in axes.get_yticklabels()] == list(shown.values())
    found = dots(axes)
    assert len(found) == len(rows)
    for row in rows:
        seen = found[shown[row["set"]], models.index(row["model"])]
        assert seen == pytest.approx((row["accuracy"], row["low"], row["high"]))
    said = words(figure)
    assert "hard (n = 75): student 1 24.0 %" in said
    assert said.count("those the teacher gets wrong.") == 1


def test_parts_of_a_set_are_told_apart(words):
    rows = [dict(row, name=part) for part in ("a", "b") for row in rows_of(["m"], [("v2", 9, 0.5)])]
    assert "v2 a (n = 9)" in words(figures.natural_bars(rows)) and "v2 b" in words(figures.natural_bars(rows))


def test_hostile_names_and_unknown_intervals_draw(hostile, whole, words):
    rows = rows_of(hostile, [("$x_{$ <b>", 4, 0.5), ("_s" * 100, 10**7, 0.1)])
    figure = figures.natural_bars([dict(row, low=None, high="") for row in rows])
    assert whole(figure)
    assert r"\$x {\$ <b>" in words(figure) and r"\\$" not in words(figure)


def test_no_row_is_an_error_that_says_what_to_give():
    with pytest.raises(NsfastError, match="give one row per model and set"):
        figures.natural_bars([])
