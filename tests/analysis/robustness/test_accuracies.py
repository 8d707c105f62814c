"""Rows of shares against counts, scipy's interval and the definitions."""

import numpy as np
import pytest
from scipy.stats import binomtest

from nsfast.analysis.robustness import attack_rows, error_rows, natural_rows
from nsfast.errors import NsfastError
from nsfast.robustness.answers import Answers, Version


def wilson(successes, n):
    interval = binomtest(int(successes), n).proportion_ci(0.95, method="wilson")
    return interval.low, interval.high


def test_every_error_is_a_count_with_the_interval_of_scipy(asked):
    rows = error_rows(asked)
    assert [row["corruption"] for row in rows[::9]] == [
        "gaussian_noise",
        "fog",
        "saturate",
    ]  # ImageNet-C's order
    assert [row["family"] for row in rows[::9]] == ["noise", "weather", "extra"]
    for row in rows:
        version = Version("corrupted", row["corruption"], float(row["severity"]))
        answers = asked[version if row["severity"] else Version("clean", "corrupted")][row["model"]]
        wrong = int((answers.predicted != answers.labels).sum())
        assert (row["n"], row["error"]) == (120, wrong / 120)
        assert (row["low"], row["high"]) == pytest.approx(wilson(wrong, 120))


def test_clean_pictures_of_all_test_pictures_stand_in_where_those_of_the_set_were_not_asked(asked, say):
    own = asked.pop(Version("clean", "corrupted"))
    try:
        assert {row["severity"] for row in error_rows(asked)} == {2, 4}
        every = {model: say(np.zeros(500, bool)) for model in own}
        clean = [row for row in error_rows({Version("clean"): every, **asked}) if not row["severity"]]
        assert {(row["n"], row["error"]) for row in clean} == {(500, 0)}
    finally:
        asked[Version("clean", "corrupted")] = own


def attacked(say):
    pictures = np.arange(50)
    found = {Version("clean", "attack"): {"control": say(pictures < 5), "student 1": say(pictures < 3)}}
    for name in ("random_sign", "fgsm", "pgd", "pgd-l2"):
        for epsilon in (8.0, 2.0):
            found[Version("attack", name, epsilon)] = {
                "control": say(pictures < 10 * epsilon / 2),
                "student 1": say(pictures < 9),
            }
    return found


def test_attacks_start_from_the_clean_pictures_and_name_their_norm_and_steps(say):
    rows = attack_rows(attacked(say), steps={"pgd": 10})
    curve = [row for row in rows if (row["model"], row["attack"], row["norm"]) == ("control", "pgd", "linf")]
    assert [(row["epsilon"], row["accuracy"], row["steps"]) for row in curve] == [
        (0, 0.9, 10),
        (2, 0.8, 10),
        (8, 0.2, 10),
    ]
    assert {row["norm"] for row in rows if row["attack"] == "pgd"} == {"linf", "l2"}
    assert {row["steps"] for row in rows if row["attack"] == "fgsm"} == {1}
    last = next(r for r in rows if (r["model"], r["attack"], r["epsilon"]) == ("student 1", "fgsm", 8.0))
    assert last["minus_control"] == pytest.approx(0.62) and last["minus_control_low"] > 0.4
    assert (last["low"], last["high"]) == pytest.approx(wilson(41, 50)) and last["n"] == 50


def test_natural_sets_stand_beside_the_clean_pictures_and_say_how_they_were_chosen(say):
    pictures = np.arange(40)
    asked = {
        Version("hard"): {"control": say(pictures < 40), "student 1": say(pictures < 25)},
        Version("clean"): {"control": say(pictures < 9), "student 1": say((pictures > 2) & (pictures < 7))},
        Version("corrupted", "fog", 1.0): {"control": say(pictures < 9), "student 1": say(pictures < 9)},
        Version("clean", "attack"): {"control": say(pictures < 9), "student 1": say(pictures < 9)},
    }
    rows = natural_rows(asked, chosen={"hard": "those that control misses"})
    assert [(row["set"], row["model"]) for row in rows] == [
        *(("clean", "control"), ("clean", "student 1"), ("hard", "control"), ("hard", "student 1"))
    ]
    assert [row["chosen"] for row in rows] == ["", "", *["those that control misses"] * 2]
    student = rows[1]
    assert student["accuracy"] == 0.9 and student["minus_control"] == pytest.approx(5 / 40)
    assert student["mcnemar_p"] == pytest.approx(
        2 * 0.5**5
    )  # five pictures that one of them misses, all control's
    assert student["classes"] == 10 and student["top5"] == ""


def test_top_5_counts_ranks_where_there_are_many_classes(say):
    one = say(np.arange(60) < 30, labels=np.arange(60) % 20)
    ranks = Answers(**{**vars(one), "rank": np.arange(60) // 10 + 1})
    (row,) = natural_rows({Version("imagenet-r"): {"control": ranks}})
    assert row["top5"] == 50 / 60 and (row["top5_low"], row["top5_high"]) == pytest.approx(wilson(50, 60))


def test_one_model_alone_has_no_differences(say):
    (row,) = natural_rows({Version("clean"): {"mine": say(np.arange(9) < 2)}}, control=None)
    assert row["minus_control"] == row["mcnemar_p"] == "" and row["accuracy"] == 7 / 9
    with pytest.raises(NsfastError, match="unknown control 'control'"):
        natural_rows({Version("clean"): {"mine": say(np.arange(9) < 2)}})
    assert attack_rows({}) == error_rows({}) == natural_rows({}) == []
