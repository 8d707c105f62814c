"""Accuracy on the line against its formula, and models that are on it."""

import numpy as np
import pytest

from nsfast.analysis.robustness import line_rows
from nsfast.robustness.answers import Version


def odds(right, n):
    return np.log((right + 0.5) / (n - right + 0.5))


def made(say, errors, n=1000):
    asked = {Version("clean", "corrupted"): {}, Version("corrupted", "fog", 2.0): {}}
    for model, (clean, corrupted) in errors.items():
        asked[Version("clean", "corrupted")][model] = say(np.arange(n) < clean)
        asked[Version("corrupted", "fog", 2.0)][model] = say(np.arange(n) < corrupted)
    return asked


def test_a_model_whose_odds_gain_the_same_factor_lies_on_the_line(say):
    # odds of being right: 9 and 1 of control, 19 and 19/9 of the other
    rows = line_rows(made(say, {"control": (100, 500), "twice": (50, 321)}), draws=200)
    control, twice = rows
    assert (control["residual"], control["expected_error"]) == pytest.approx((0, 0.5))
    assert twice["expected_error"] == pytest.approx(0.3214, abs=2e-3)
    assert twice["residual"] == pytest.approx(0, abs=0.01)
    assert twice["residual_low"] < 0 < twice["residual_high"]
    assert (twice["clean_error"], twice["corruption_error"], twice["n"]) == (0.05, 0.321, 1000)


def test_a_model_more_robust_than_its_accuracy_foretells_lies_above(say):
    rows = line_rows(made(say, {"control": (100, 500), "robust": (98, 300)}), draws=500)
    expected = odds(700, 1000) - (odds(500, 1000) + odds(902, 1000) - odds(900, 1000))
    assert rows[1]["residual"] == pytest.approx(expected) and rows[1]["residual_low"] > 0.3


def test_a_model_that_is_never_wrong_has_a_finite_residual(say):
    rows = line_rows(made(say, {"control": (10, 50), "perfect": (0, 0)}, n=100), draws=50)
    assert np.isfinite(rows[1]["residual"]) and np.isfinite(rows[1]["residual_low"])


def test_without_clean_pictures_of_the_same_there_is_no_line(say):
    asked = made(say, {"control": (10, 50)}, n=100)
    asked[Version("clean", "corrupted")] = {"control": say(np.zeros(99, bool))}
    assert line_rows(asked) == line_rows({}) == []


def test_one_model_alone_has_errors_and_no_residual(say):
    (row,) = line_rows(made(say, {"mine": (10, 50)}, n=100), control=None, draws=20)
    assert row["corruption_error"] == 0.5 and row["residual"] == row["expected_error"] == ""
