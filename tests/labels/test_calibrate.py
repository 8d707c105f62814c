"""The fitted temperature is the likeliest, and does to distributions as they are kept what it does to whole ones."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.special import log_softmax

from nsfast.errors import NsfastError
from nsfast.labels.calibrate import HIGHEST, LOWEST, fit_temperature, recalibrated
from nsfast.labels.shards import rows_of


def sampled(n, classes, temperature, seed=0, scale=3.0):
    """Logits, and labels drawn from the softmax of logits / temperature: that temperature is the right one."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, scale, (n, classes)).astype(np.float32)
    noise = random.gumbel(size=(n, classes))
    return logits, (logits / temperature + noise).argmax(1)


def nll(logits, labels, temperature):
    return -log_softmax(logits.astype(np.float64) / temperature, axis=1)[
        np.arange(len(labels)), labels
    ].mean()


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_it_is_the_minimum_of_a_fine_grid(temperature, classes):
    logits, labels = sampled(400, classes, temperature)
    found = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(np.log(LOWEST), np.log(HIGHEST), 500))
    losses = [nll(logits, labels, t) for t in grid]
    assert abs(np.log(found.value) - np.log(grid[np.argmin(losses)])) <= np.log(grid[1] / grid[0])
    assert found.nll_after <= min(losses) + 1e-6
    assert found.nll_before == pytest.approx(nll(logits, labels, 1), abs=1e-5)
    assert found.nll_after <= found.nll_before and found.n == 400


def test_two_classes_with_one_margin_have_a_closed_form():
    """Of margin m and a share s of right ones the likeliest temperature is m / log(s / (1 - s))."""
    logits, labels = np.tile([2.0, 0.0], (1000, 1)), np.repeat([0, 1], [700, 300])
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(2 / np.log(7 / 3), rel=1e-3)
    assert found.ece_before == pytest.approx(1 / (1 + np.exp(-2)) - 0.7, abs=1e-5)
    assert found.ece_after == pytest.approx(0, abs=1e-4) and not found.note
    # the logarithm of T has a standard error of 1 / (logit(s) * sqrt(n s (1 - s))), by the delta method
    error = 1 / (np.log(7 / 3) * np.sqrt(1000 * 0.21))
    assert np.log(found.high / found.low) / 2 == pytest.approx(1.959964 * error, rel=1e-2)


def test_the_interval_holds_the_true_temperature_about_95_times_in_100():
    found = [fit_temperature(*sampled(300, 5, 1.7, seed)) for seed in range(200)]
    assert 0.90 <= np.mean([f.low <= 1.7 <= f.high for f in found]) <= 0.99


def test_all_right_by_wide_margins_stops_at_the_bound_and_says_so():
    labels = np.arange(30) % 3
    for margin in (2, 40, 1e6):
        found = fit_temperature(margin * np.eye(3)[labels], labels)
        assert found.value == LOWEST
    assert found.low is None and found.high is None
    assert (
        "30 of the 30 validation pictures are right, and by so wide" in found.note
        and "0.1" in found.note
        and np.isfinite(found.nll_after)
    )


def test_logits_that_say_nothing_stop_at_the_other_bound_and_say_so():
    labels = np.arange(30) % 3
    found = fit_temperature(np.roll(np.eye(3), 1, axis=1)[labels] * 5, labels)
    assert found.value == HIGHEST and "say so little" in found.note


def test_fewer_pictures_than_classes_are_used_and_said():
    found = fit_temperature(*sampled(20, 50, 1.5))
    assert LOWEST < found.value < HIGHEST and "20 validation pictures of 50 classes" in found.note


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        (np.zeros((0, 3)), np.zeros(0, int), "at least one validation picture"),
        (np.zeros((2, 3)), np.zeros(3, int), r"shape \(2, 3\) and labels \(3,\)"),
        (np.full((2, 3), np.inf), np.zeros(2, int), "not a finite number"),
        (np.zeros((2, 3)), np.array([0, 3]), "range from 0 to 3 for 3 classes"),
        (np.zeros((2, 3)), np.array([0, -1]), "leave out the pictures of no class"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(logits, labels, message):
    with pytest.raises(NsfastError, match=message):
        fit_temperature(logits, labels)


def kept(n, classes, top, seed=0):
    import torch

    logits = np.random.default_rng(seed).normal(0, 2.5, (n, classes))
    probabilities = torch.tensor(logits, dtype=torch.float32).softmax(1)
    return rows_of(np.arange(n), probabilities, top).vectors


@pytest.mark.parametrize("classes, top", [(2, 0), (7, 0), (7, 7), (7, 3), (300, 10), (300, 1)])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.9, 8.0])
def test_recalibrated_is_the_largest_of_the_whole_distribution(classes, top, temperature):
    some = kept(50, classes, top)
    found = recalibrated(some, temperature)
    assert found.dtype == np.float32 and found.shape == (50,)
    np.testing.assert_allclose(found, some.dense(temperature).max(1), rtol=2e-5)


def test_recalibrated_at_a_very_low_temperature_is_certain_and_no_nan():
    some = kept(50, 300, 10)
    found = recalibrated(some, 0.001)
    assert (found > 0.3).all() and (found <= 1).all()


def test_a_temperature_that_is_none_is_refused():
    with pytest.raises(NsfastError, match="temperature is 0; it must be above 0"):
        recalibrated(kept(5, 3, 0), 0)


def test_neither_torch_nor_scipy_is_imported_with_it():
    code = "import sys, nsfast.labels.calibrate, nsfast.labels.quality.quality\n"
    code += "assert not {'torch', 'scipy', 'sklearn'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
