"""Flip rows against loops over the definitions, the published figure, and a slow bootstrap."""

import numpy as np
import pytest

from nsfast.analysis.comparisons import holm, sign_flip_test
from nsfast.analysis.robustness import flip_rows
from nsfast.errors import NsfastError
from nsfast.robustness.flips import FlipAnswers
from nsfast.robustness.names import PERTURBATIONS
from nsfast.streams import numpy_stream

MODELS = ("control", "teacher", "student 1")
COMPARED = {"gaussian_noise": 30, "shot_noise": 30, "translate": 40, "rotate": 30, "shear": 30}


def of(name, flips):
    flips = np.asarray(flips)
    compared = np.full(len(flips), COMPARED.get(name, 30))
    return FlipAnswers("noise" in name, 5, flips, compared, 3.0 * flips + 1)


@pytest.fixture(scope="module")
def flips():
    generator = np.random.default_rng(5)
    shaky = generator.random(80) * 0.3  # the same pictures are shaky for all
    return {
        name: {
            model: of(name, generator.binomial(count, shaky * factor))
            for model, factor in zip(MODELS, (1.0, 0.9, 0.6), strict=True)
        }
        for name, count in COMPARED.items()
    }


def only(rows, **wanted):
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def share(flips, model, name, rows=slice(None)):
    one = flips[name][model]
    return one.flips[rows].sum() / one.comparisons[rows].sum()


def test_flips_and_rates_are_their_definitions(flips):
    rows = flip_rows(flips, baseline="teacher", draws=30)
    for model in MODELS:
        for name, count in COMPARED.items():
            row, own = only(rows, model=model, perturbation=name), share(flips, model, name)
            assert row["fp"] == pytest.approx(own) and row["fr"] == pytest.approx(
                own / share(flips, "teacher", name)
            )
            assert (row["sequences"], row["comparisons"], row["noise"]) == (80, 80 * count, "noise" in name)
            assert row["t5d"] == pytest.approx(flips[name][model].distance.sum() / (80 * count))
            assert row["minus_control"] == pytest.approx(own - share(flips, "control", name))


def test_noise_and_other_flips_are_averaged_apart_and_rates_together(flips):
    rows = flip_rows(flips, draws=30)
    ratio = {name: share(flips, "student 1", name) / share(flips, "control", name) for name in COMPARED}
    for mean, names in (
        ("mean_noise", ("gaussian_noise", "shot_noise")),
        ("mean_other", ("translate", "rotate")),
    ):
        row = only(rows, model="student 1", perturbation=mean)  # "shear" is extra, and in no mean
        assert row["fp"] == pytest.approx(np.mean([share(flips, "student 1", name) for name in names]))
        assert row["fr"] == pytest.approx(np.mean([ratio[name] for name in names]))
    row = only(rows, model="student 1", perturbation="mean")
    assert row["fr"] == pytest.approx(np.mean([ratio[name] for name in list(COMPARED)[:4]]))
    assert row["fp"] == row["low"] == row["t5d"] == row["minus_control"] == row["noise"] == ""
    assert row["note"] == "mean of 4 of the 10 perturbations"


def test_intervals_are_those_of_a_loop_over_the_same_draws(flips):
    rows = flip_rows(flips, draws=60, seed=9)
    drawn = numpy_stream(9, "resampled_means", 80).integers(0, 80, size=(60, 80))
    names = list(COMPARED)[:4]
    slow = [
        np.mean(
            [share(flips, "student 1", name, some) / share(flips, "control", name, some) for name in names]
        )
        for some in drawn
    ]
    row = only(rows, model="student 1", perturbation="mean")
    assert (row["fr_low"], row["fr_high"]) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    less = (row["fr_minus_control_low"], row["fr_minus_control_high"])
    assert less == pytest.approx((row["fr_low"] - 1, row["fr_high"] - 1))  # the control's is 1 in every draw


def test_films_of_other_lengths_count_by_their_comparisons():
    flips = {"rotate": {"control": of("rotate", np.arange(20))}}
    flips["rotate"]["control"].comparisons[:] = np.arange(20) + 5
    drawn = numpy_stream(0, "resampled_means", 20).integers(0, 20, size=(50, 20))
    slow = [np.arange(20)[some].sum() / (np.arange(20) + 5)[some].sum() for some in drawn]
    row = flip_rows(flips, draws=50)[0]
    assert row["fp"] == pytest.approx(190 / 290)
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_p_values_are_exact_over_sequences_and_adjusted_over_perturbations(flips):
    rows = flip_rows(flips, draws=20)
    p_values = [sign_flip_test(of["student 1"].flips - of["control"].flips) for of in flips.values()]
    found = [only(rows, model="student 1", perturbation=name) for name in COMPARED]
    assert [row["p_value"] for row in found] == p_values
    assert [row["p_holm"] for row in found] == pytest.approx(holm(p_values))


def test_the_published_rate_to_alexnet_is_the_published_one():
    # ResNeXt-101 32x48d WSL: mFR 27.8 (flip probabilities of github.com/eminorhan/resnext-wsl)
    published = (
        *(0.0584653, 0.0699140, 0.0284247, 0.0232300, 0.0366693),
        *(0.0153567, 0.0241605, 0.0346860, 0.0214853, 0.0461947),
    )
    flips = {}
    for name, probability in zip(PERTURBATIONS, published, strict=True):
        each = np.zeros(1000, int)  # of 30 comparisons each
        total = round(probability * 30_000)
        each[: total // 30] = 30
        each[-1] += total % 30
        flips[name] = {"wsl": of("", each)}
    mean = only(flip_rows(flips, "AlexNet", None, "imagenet-p", draws=10), perturbation="mean")
    assert (
        100 * mean["fr"] == pytest.approx(27.83, abs=0.02)
        and "not one by one" in mean["note"]
        and mean["set"] == "imagenet-p"
    )


def test_a_baseline_that_hardly_flips_gives_no_rate(flips):
    steady = flips | {"rotate": flips["rotate"] | {"control": of("rotate", np.arange(80) < 3)}}
    row, mean = (
        only(flip_rows(steady, draws=20), model="student 1", perturbation=p) for p in ("rotate", "mean")
    )
    assert row["fr"] == "" and row["note"] == "fr: control flips in 3 sequences, too few for a ratio"
    assert mean["fr"] != "" and mean["note"].endswith("fr without rotate")
    alone = flip_rows({"rotate": steady["rotate"]}, draws=20)
    assert only(alone, model="student 1", perturbation="mean")["fr"] == ""


def test_a_distance_over_fewer_than_five_classes_is_said(flips):
    one = flips["rotate"]["control"]
    fewer = FlipAnswers(False, 3, one.flips, one.comparisons, one.distance)
    assert flip_rows({"rotate": {"control": fewer}}, draws=20)[0]["note"] == "t5d: of the first 3, not 5"


def test_one_model_alone_has_flips_and_no_rate(flips):
    for row in flip_rows({name: {"mine": of["control"]} for name, of in flips.items()}, None, None, draws=20):
        assert row["fr"] == row["minus_control"] == row["p_value"] == row["p_holm"] == ""
    assert flip_rows({}) == []


def test_says_what_is_wrong(flips):
    with pytest.raises(NsfastError, match="unknown baseline 'x'"):
        flip_rows(flips, baseline="x")
    other = {"rotate": {"control": of("rotate", np.zeros(5)), "student 1": of("rotate", np.zeros(6))}}
    with pytest.raises(NsfastError, match="student 1 and control saw other sequences of rotate"):
        flip_rows(other)
