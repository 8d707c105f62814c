"""Corruptions against imagecorruptions-imaug: figures kept in golden.npz, and the package itself where it is there."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from nsfast.robustness.corruptions import corrupt
from nsfast.robustness.corruptions.blur import streaked
from nsfast.robustness.corruptions.digital import elastic_transform

_spec = importlib.util.spec_from_file_location("make_golden", Path(__file__).with_name("make_golden.py"))
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)
CERTAIN, DRAWN, SAMPLE = make_golden.CERTAIN, make_golden.DRAWN, make_golden.SAMPLE
DRAWS = {32: 80, 224: 4}
MANY = {"motion_blur": 600, "glass_blur": 160, "elastic_transform": 160}
"""Pictures of 32 pixels where more than the noise of single pixels is drawn."""

# imagecorruptions' own elastic: no affine map, smoothness 0.01 and this strength, in shares of the side
ELASTIC = [1.25 * factor for factor in (0.05, 0.065, 0.085, 0.1, 0.12)]

OTHERWISE_DEFINED = {
    (
        "motion_blur",
        5,
        32,
    ): "the package leaves the rest of the line out where it is longer than the picture: darker",
    (
        "snow",
        4,
        32,
    ): "the package keeps the upper left of the magnified flakes, hendrycks/robustness their centre",
}


@pytest.fixture(scope="module", params=["golden", "package"])
def figures(request):
    with np.load(make_golden.GOLDEN) as file:
        golden = dict(file)
    if request.param == "golden":
        return golden
    pytest.importorskip("imagecorruptions")
    return golden | make_golden.measured(golden["photograph"])


def picture_of(figures, size):
    return np.tile(figures["photograph"], (size // 32, size // 32, 1))


@pytest.mark.parametrize("size", SAMPLE)
@pytest.mark.parametrize("name", CERTAIN)
def test_what_draws_nothing_is_within_one_grey_level(figures, name, size):
    expected = figures[f"levels_{size}"][CERTAIN.index(name)]
    for severity in range(1, 6):
        ours = corrupt(picture_of(figures, size)[None], name, severity, table="imagenet")
        difference = ours.reshape(-1)[:: SAMPLE[size]].astype(int) - expected[severity - 1]
        assert np.abs(difference).max() <= 1
        assert -0.01 < difference.mean() < 0.2  # ours is the larger where an exact level was lost to rounding


@pytest.mark.parametrize("size", SAMPLE)
def test_motion_at_a_given_angle_is_within_a_thousandth_of_a_grey_level(figures, size):
    picture, expected = picture_of(figures, size).astype(float), figures[f"streaks_{size}"]
    for number, (angle, constants) in enumerate(zip(make_golden.ANGLES, make_golden.STREAKS, strict=True)):
        if ("motion_blur", number + 1, size) not in OTHERWISE_DEFINED:
            ours = streaked(picture, *constants, angle).reshape(-1)[:: SAMPLE[size]]
            assert np.abs(ours - expected[number]).max() < 1e-3


# motion at 224 pixels depends much on the angles drawn; the test above is the stricter one
@pytest.mark.parametrize(
    "name, size", [(name, size) for name in DRAWN for size in SAMPLE if (name, size) != ("motion_blur", 224)]
)
def test_what_draws_has_mean_and_variance_within_two_percent(figures, name, size):
    count = MANY.get(name, DRAWS[size]) if size == 32 else DRAWS[size]
    pictures = np.repeat(picture_of(figures, size)[None], count, 0)
    for severity in (1, 2, 3, 4, 5) if size == 32 else (1, 3, 5):
        if (name, severity, size) in OTHERWISE_DEFINED:
            continue
        if name == "elastic_transform":
            generators = [np.random.default_rng(number) for number in range(len(pictures))]
            images = elastic_transform(pictures / 255, (ELASTIC[severity - 1], 0.01, 0), generators)
            ours = np.floor(images * 255 + 1e-6)
        else:
            ours = corrupt(pictures, name, severity, table="imagenet")
        mean, deviation = figures[f"moments_{size}"][DRAWN.index(name), severity - 1]
        assert ours.mean() == pytest.approx(mean, rel=0.02)
        assert ours.var(dtype=float) == pytest.approx(deviation**2, rel=0.02)
