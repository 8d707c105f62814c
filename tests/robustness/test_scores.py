"""Published raw numbers give the published scores; everything else follows the definitions."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.robustness.alexnet import ALEXNET_CLEAN, ALEXNET_ERRORS, ALEXNET_FLIPS
from nsfast.robustness.names import CORRUPTIONS, EXTRA_CORRUPTIONS, PERTURBATIONS
from nsfast.robustness.scores import (
    corruption_errors,
    mean_corruption_error,
    mean_flip_rate,
    relative_mean_corruption_error,
)

# ResNeXt-101 32x48d WSL: github.com/eminorhan/resnext-wsl, results/imagenet_c and results/imagenet_p
WSL_ERRORS = (
    *(36.5868, 38.4364, 39.8076, 39.1164, 54.818, 37.5004, 44.4944, 39.6656),
    *(37.8044, 29.9156, 18.376, 32.1096, 40.2592, 25.6256, 26.9004),
)
WSL_FLIPS = (
    *(0.0584653, 0.0699140, 0.0284247, 0.0232300, 0.0366693),
    *(0.0153567, 0.0241605, 0.0346860, 0.0214853, 0.0461947),
)
# google-research/augmix, imagenet.py
MEANS_OF_ALEXNET = (
    *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572, 0.819324),
    *(0.564592, 0.853204, 0.646056, 0.717840, 0.606500, 0.845388, 0.787108, 0.717512, 0.658248),
)


@pytest.fixture
def wsl():
    return {name: error / 100 for name, error in zip(CORRUPTIONS, WSL_ERRORS, strict=True)}


def test_the_published_mce_of_resnext_wsl(wsl):
    assert round(100 * mean_corruption_error(wsl), 2) == 45.70


def test_the_published_mfr_of_resnext_wsl():
    flips = dict(zip(PERTURBATIONS, WSL_FLIPS, strict=True))
    assert round(100 * mean_flip_rate(flips), 2) == 27.83


def test_alexnets_errors_have_the_published_means():
    assert tuple(ALEXNET_ERRORS) == CORRUPTIONS + EXTRA_CORRUPTIONS
    for errors, mean in zip(ALEXNET_ERRORS.values(), MEANS_OF_ALEXNET, strict=True):
        assert len(errors) == 5 and np.mean(errors) == pytest.approx(mean, abs=1e-9)
    assert np.mean(list(ALEXNET_FLIPS.values())) == pytest.approx(0.1405, abs=1e-4)


def test_alexnet_itself_scores_one():
    assert set(corruption_errors(ALEXNET_ERRORS).values()) == {1.0}
    assert mean_corruption_error(ALEXNET_ERRORS) == 1
    assert relative_mean_corruption_error(ALEXNET_ERRORS, ALEXNET_CLEAN) == pytest.approx(1)
    assert mean_flip_rate(ALEXNET_FLIPS) == 1


def test_scores_are_means_of_ratios_of_sums():
    generator = np.random.default_rng(0)
    own, base = ({name: generator.uniform(0.4, 0.9, 5) for name in CORRUPTIONS} for _ in range(2))
    ratios = [own[name].sum() / base[name].sum() for name in CORRUPTIONS]
    assert list(corruption_errors(own, base).values()) == pytest.approx(ratios)
    assert mean_corruption_error(own, base) == pytest.approx(sum(ratios) / 15)
    lost = [(own[name] - 0.1).sum() / (base[name] - 0.3).sum() for name in CORRUPTIONS]
    assert relative_mean_corruption_error(own, 0.1, base, 0.3) == pytest.approx(sum(lost) / 15)


def test_a_model_that_loses_half_of_what_alexnet_loses_has_a_relative_mce_of_one_half():
    own = {name: 0.2 + (np.array(ALEXNET_ERRORS[name]) - ALEXNET_CLEAN) / 2 for name in CORRUPTIONS}
    assert relative_mean_corruption_error(own, 0.2) == pytest.approx(0.5)


def test_validation_corruptions_are_in_no_mean(wsl):
    assert mean_corruption_error({**wsl, "saturate": 1.0}) == mean_corruption_error(wsl)
    assert corruption_errors({"saturate": 1.0})["saturate"] == pytest.approx(1 / 0.658248)


def test_what_cannot_be_scored_is_said(wsl):
    some = {name: error for name, error in wsl.items() if name not in ("snow", "fog")}
    flips = dict(ALEXNET_FLIPS)
    zero = {**wsl, "frost": 0.0}
    for call, message in (
        (lambda: mean_corruption_error(some), "corruption snow, fog missing; .* all 15"),
        (lambda: relative_mean_corruption_error(some, 0.2), "corruption snow, fog missing"),
        (lambda: mean_flip_rate({"tilt": 0.1}), "perturbation gaussian_noise, .* all 10"),
        (lambda: mean_corruption_error(wsl, some), "baseline has no snow"),
        (lambda: mean_corruption_error({**wsl, "fog": 29.9}), r"fog is 29\.9; .* not percent"),
        (lambda: mean_corruption_error({**wsl, "fog": float("nan")}), "fog is nan"),
        (lambda: mean_corruption_error({**wsl, "fog": []}), r"fog has 0 severities and 5"),
        (lambda: mean_corruption_error({**wsl, "fog": []}, wsl), r"fog is \[\]"),
        (lambda: relative_mean_corruption_error(wsl, 16.0), r"clean error is 16\.0; .* not percent"),
        (lambda: mean_corruption_error({**wsl, "fog": [0.3]}), "fog has 1 severities and 5 of the baseline"),
        (lambda: mean_corruption_error(wsl, zero), "baseline loses on frost is 0, .* another baseline"),
        (lambda: relative_mean_corruption_error(wsl, 0.1, wsl, 0.5), "loses on gaussian_noise is -0.134"),
        (lambda: mean_flip_rate(flips, {**flips, "snow": 0.0}), "loses on snow is 0"),
        (lambda: mean_flip_rate({**flips, "snow": 11.9}), "snow is 11.9"),
    ):
        with pytest.raises(NsfastError, match=message):
            call()
