"""Noise against the moments of its distributions."""

import numpy as np
import pytest

from nsfast.robustness.corruptions import SEVERITIES, corrupt

TABLES = ("small", "imagenet")
EVERY = [(table, severity) for table in TABLES for severity in range(1, 6)]


def plain(level, side=120):
    return np.full((1, side, side, 1), level, dtype=np.uint8)


def drawn(name, table, severity, level):
    return corrupt(plain(level), name, severity, table=table).ravel().astype(float)


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
@pytest.mark.parametrize("table, severity", EVERY)
def test_a_gaussian_has_the_published_deviation(name, table, severity):
    level = 128
    deviation = 255 * SEVERITIES[table][name][severity - 1] * (level / 255 if name == "speckle_noise" else 1)
    noisy = drawn(name, table, severity, level)
    below, middle = np.quantile(noisy, (0.1587, 0.5))  # quantiles, because clipping spoils moments
    assert middle == pytest.approx(level - 0.5, abs=deviation * 0.03 + 0.5)
    assert middle - below == pytest.approx(deviation, rel=0.04, abs=1.2)


@pytest.mark.parametrize("table, severity", EVERY)
def test_shots_are_whole_photons_with_variance_equal_to_their_mean(table, severity):
    photons = SEVERITIES[table]["shot_noise"][severity - 1]
    counts = np.round(drawn("shot_noise", table, severity, 64) / 255 * photons + 0.25)
    mean = 64 / 255 * photons
    assert counts.mean() == pytest.approx(mean, rel=0.02, abs=0.02)
    if photons < 100:  # of more photons than that a grey level holds several, or they are clipped
        levels = np.floor(np.minimum(counts, photons) / photons * 255 + 1e-6)
        assert (levels == drawn("shot_noise", table, severity, 64)).all()
        unclipped = np.minimum(np.random.default_rng(0).poisson(mean, 200_000), photons)
        assert counts.var() == pytest.approx(unclipped.var(), rel=0.05)


@pytest.mark.parametrize("table, severity", EVERY)
def test_impulses_are_black_or_white_and_as_many_as_published(table, severity):
    amount = SEVERITIES[table]["impulse_noise"][severity - 1]
    noisy = drawn("impulse_noise", table, severity, 100)
    assert set(np.unique(noisy)) == {0, 100, 255}
    for level in (0, 255):
        assert (noisy == level).mean() == pytest.approx(amount / 2, rel=0.25)


def test_speckles_leave_black_alone_and_shots_too():
    for name in ("speckle_noise", "shot_noise"):
        assert (corrupt(plain(0), name, 5) == 0).all()


def test_channels_are_drawn_apart():
    colour = np.full((1, 32, 32, 3), 128, dtype=np.uint8)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"):
        noisy = corrupt(colour, name, 5)
        assert (noisy[..., 0] != noisy[..., 1]).mean() > 0.05
