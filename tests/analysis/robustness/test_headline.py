"""The headline and the long table hold what their sources say, number by number."""

import numpy as np
import pytest

from nsfast.analysis.robustness import (
    HEADLINE,
    attack_rows,
    calibration_rows,
    corruption_score_rows,
    error_rows,
    headline_rows,
    natural_rows,
    tidy_rows,
)
from nsfast.files import read_csv, write_csv
from nsfast.robustness.answers import Version


@pytest.fixture(scope="module")
def tables(asked, say):
    pictures = np.arange(120)
    found = dict(asked) | {Version("clean"): asked[Version("clean", "corrupted")]}
    found[Version("clean", "attack")] = found[Version("clean")]
    found[Version("hard")] = {m: say(pictures < 50) for m in found[Version("clean")]}
    for name in ("fgsm", "pgd-l2"):
        for epsilon in (2.0, 8.0):
            found[Version("attack", name, epsilon)] = {
                m: say(pictures < 30 + 5 * epsilon + place) for place, m in enumerate(found[Version("clean")])
            }
    return {
        "errors": error_rows(found),
        "scores": corruption_score_rows(found, draws=50),
        "attacks": attack_rows(found),
        "natural": natural_rows(found),
        "calibration": calibration_rows(found, draws=50),
    }


def headline(tables, epsilon=8.0):
    names = ("natural", "scores", "flips", "attacks", "calibration")
    return headline_rows(*(tables.get(name, []) for name in names), epsilon)


def test_the_headline_is_a_row_a_model_with_seven_columns_a_measure(tables):
    rows = headline(tables)
    assert [row["model"] for row in rows] == ["control", "teacher", "student 1"]
    student = rows[-1]
    assert len(student) == 10 + 7 * len(HEADLINE)
    score = next(r for r in tables["scores"] if r["model"] == "student 1" and r["corruption"] == "mean")
    assert student["corruption_error"] == score["mean_error"]
    assert (student["mce"], student["mce_low"], student["mce_n"]) == (score["ce"], score["ce_low"], 120)
    assert student["mce_minus_control_high"] == score["ce_minus_control_high"]
    attack = next(
        r for r in tables["attacks"] if (r["model"], r["attack"], r["epsilon"]) == ("student 1", "fgsm", 8.0)
    )
    assert (student["fgsm_accuracy"], student["epsilon"]) == (attack["accuracy"], 8.0)
    assert student["natural_accuracy"] == pytest.approx(70 / 120) and student["natural_set"] == "hard"
    clean = next(r for r in tables["calibration"] if (r["model"], r["set"]) == ("student 1", "clean"))
    assert (student["nll"], student["ece_high"]) == (clean["nll"], clean["ece_high"])


def test_what_was_not_measured_is_left_empty(tables):
    for row in headline(tables):
        assert row["pgd_accuracy"] == row["pgd_accuracy_n"] == row["mfr"] == ""  # pgd was asked in L2 only
    assert all(row["fgsm_accuracy"] == "" for row in headline(tables, epsilon=None))
    (row,) = headline_rows([{**tables["natural"][0]}])
    assert row["accuracy"] != "" and row["ece"] == row["corruption_baseline"] == ""
    assert headline_rows([]) == []


def test_imagenet_a_goes_before_the_hard_pictures(tables):
    natural = [
        *tables["natural"],
        *({**row, "set": "imagenet-a", "accuracy": 0.125} for row in tables["natural"][:3]),
    ]
    assert {row["natural_accuracy"] for row in headline_rows(natural)} == {0.125}


def test_the_long_table_has_every_number_once_and_survives_its_file(tables, tmp_path):
    rows = tidy_rows(seed=7, protocol=1, **tables)
    keys = [
        tuple(row[name] for name in ("model", "set", "version", "severity", "metric", "n")) for row in rows
    ]
    assert len(set(keys)) == len(keys)
    at = dict(zip(keys, rows, strict=True))
    for row in tables["errors"]:
        found = at[row["model"], "corrupted", row["corruption"], row["severity"], "error", 120]
        assert (found["value"], found["low"], found["high"]) == (row["error"], row["low"], row["high"])
    assert at["control", "attack", "pgd-l2", 2.0, "accuracy", 120]["value"] == pytest.approx(80 / 120)
    assert at["teacher", "corrupted", "mean", "", "ce", 120]["seed"] == 7
    assert at["teacher", "hard", "", "", "accuracy", 120]["protocol"] == 1
    assert not [row for row in rows if row["value"] == ""]
    write_csv(tmp_path / "robustness.csv", rows)
    back = read_csv(tmp_path / "robustness.csv")
    assert len(back) == len(rows) and list(back[0]) == [
        *("model", "set", "version", "severity", "n", "metric", "value", "low", "high", "seed", "protocol")
    ]


def test_released_sets_go_before_what_was_made_here(tables):
    released = [{**row, "set": "imagenet-c", "baseline": "AlexNet", "ce": 0.25} for row in tables["scores"]]
    rows = headline({**tables, "scores": [*tables["scores"], *released]})
    assert {(r["mce"], r["corruption_set"], r["corruption_baseline"]) for r in rows} == {
        (0.25, "imagenet-c", "AlexNet")
    }
    other = [{**row, "set": "cifar10-c", "ce": 0.25} for row in tables["scores"]]
    rows = headline({**tables, "scores": [*tables["scores"], *other]})
    assert {r["corruption_set"] for r in rows} == {"corrupted"} and rows[-1]["mce"] != 0.25


def test_the_note_of_a_mean_is_short_and_of_what_the_headline_shows():
    (row,) = headline_rows(
        [],
        scores=[
            {"model": "a", "set": "corrupted", "corruption": "mean", "baseline": "control", "n": 9}
            | {key: 0.5 for key in ("mean_error", "low", "high", "ce", "ce_low", "ce_high")}
            | {f"{one}minus_control{end}": "" for one in ("", "ce_") for end in ("", "_low", "_high")}
            | {"note": "mean of 13 of the 15 corruptions; ce without a, b, c, d; relative_ce without fog"}
        ],
    )
    assert row["corruption_note"] == "mean of 13 of the 15 corruptions; ce without 4 of them, see the table"
