"""Calibration rows against metrics over whole distributions, and their interval against simulated truth."""

import numpy as np
import pytest
import torch

from nsfast.analysis.metrics import summary
from nsfast.analysis.robustness import calibration_rows
from nsfast.robustness.answers import Answers, Version


def predictions(seed, n=200, sure=2.0):
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(size=(n, 5)) * sure)
    p = logits.softmax(1).numpy()
    labels = np.array([generator.choice(5, p=row) for row in p])
    return logits, labels


def only(rows, **wanted):
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_clean_pictures_have_the_measures_of_their_whole_distributions():
    logits, labels = predictions(0)
    asked = {Version("clean"): {"control": Answers.of(logits, labels)}}
    (row,), whole = calibration_rows(asked, draws=100), summary(logits.softmax(1).numpy(), labels)
    for name in ("nll", "brier", "ece", "signed_gap", "ece_calibrated", "ece_calibrated_high"):
        assert row[name] == pytest.approx(whole[name], abs=1e-6), name
    assert (row["n"], row["versions"], row["severity"]) == (200, 1, "")
    assert row["nll_low"] < row["nll"] < row["nll_high"]
    deviation = np.std(-np.log(Answers.of(logits, labels).true)) / np.sqrt(200)
    assert row["nll_high"] - row["nll_low"] == pytest.approx(2 * 1.96 * deviation, rel=0.2)


def test_corrupted_pictures_have_the_mean_over_their_versions():
    labels = predictions(0)[1]
    logits = {
        (name, severity): predictions(place)[0] * severity
        for place, (name, severity) in enumerate(
            [("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3), ("saturate", 3)]
        )
    }
    asked = {
        Version("corrupted", name, float(severity)): {"control": Answers.of(one, labels)}
        for (name, severity), one in logits.items()
    }
    rows = calibration_rows(asked, draws=20)
    assert [row["severity"] for row in rows] == [1, 3, ""]  # "saturate" is extra, and in no mean
    for severity, versions in ((1, 2), (3, 2), ("", 4)):
        row = only(rows, severity=severity)
        some = [
            summary(v.softmax(1).numpy(), labels)
            for (n, s), v in logits.items()
            if n != "saturate" and severity in (s, "")
        ]
        assert row["versions"] == versions == len(some)
        for name in ("nll", "brier", "ece", "signed_gap"):
            assert row[name] == pytest.approx(np.mean([one[name] for one in some]), abs=1e-6), name


def test_too_much_and_too_little_confidence_do_not_cancel(say):
    asked = {
        Version("corrupted", "fog", 1.0): {"control": say(np.zeros(100, bool), confidence=0.75)},
        Version("corrupted", "snow", 1.0): {"control": say(np.arange(100) < 50, confidence=0.75)},
    }
    row = only(calibration_rows(asked, draws=20), severity="")
    assert row["ece"] == pytest.approx(0.25) and row["signed_gap"] == pytest.approx(0)


def test_the_interval_of_ece_holds_the_true_one_where_the_percentile_interval_does_not():
    def truth(confidence):  # an overconfident model: how often it is right at a confidence
        return 1 / (1 + np.exp(0.4 - np.log(confidence / (1 - confidence))))

    generator = np.random.default_rng(0)

    def confidences(n):
        return np.clip(1 / (1 + np.exp(-generator.normal(2, 1.5, n))), 0.001, 0.999)

    population = confidences(200_000)
    bins = np.minimum((population * 15).astype(int), 14)
    true = np.abs(np.bincount(bins, truth(population) - population)).sum() / len(population)
    inside = []
    for _ in range(60):
        confidence = confidences(500)
        right = generator.random(500) < truth(confidence)
        zeros = np.zeros(500, np.int32)
        one = Answers(zeros, np.where(right, 0, 1), confidence, confidence, confidence, zeros)
        (row,) = calibration_rows({Version("clean"): {"control": one}}, draws=200)
        assert row["ece_low"] <= row["ece"] <= row["ece_high"]
        inside.append(row["ece_low"] <= true <= row["ece_high"])
    assert np.mean(inside) > 0.83


def test_the_control_differs_from_itself_by_nothing_and_others_on_the_same_draws():
    logits, labels = predictions(3)
    asked = {
        Version("clean"): {
            "control": Answers.of(logits, labels),
            "twin": Answers.of(logits, labels),
            "surer": Answers.of(3 * logits, labels),
        }
    }
    rows = calibration_rows(asked, draws=100)
    for name in ("nll_minus_control", "nll_minus_control_low", "ece_minus_control", "ece_minus_control_high"):
        assert only(rows, model="control")[name] == only(rows, model="twin")[name] == 0
    surer = only(rows, model="surer")
    assert surer["nll_minus_control_low"] > 0 and surer["signed_gap"] > 0.1
    assert calibration_rows(asked, control=None, draws=10)[0]["nll_minus_control"] == ""


def test_parts_of_a_large_matrix_give_what_the_whole_gives(monkeypatch):
    from nsfast.analysis.robustness import calibration

    asked = {
        Version("corrupted", name, 1.0): {"control": Answers.of(*predictions(place))}
        for place, name in enumerate(("fog", "snow", "frost"))
    }
    whole = calibration_rows(asked, draws=20)
    monkeypatch.setattr(calibration, "AT_ONCE", 1)
    assert calibration_rows(asked, draws=20) == [pytest.approx(row) for row in whole]
