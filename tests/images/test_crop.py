"""The parts of a picture that are kept, against the released code's formula and torchvision's draws."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from nsfast.images.crop import DRAWS, centre_square, random_box, random_draws

COMMON = (0.08, 1.0), (3 / 4, 4 / 3)


@pytest.mark.parametrize("size, fraction", [(64, 2 / 3), (224, 0.875), (300, 300 / 332), (600, 600 / 632)])
def test_the_centre_square_is_the_released_fraction_of_the_short_side(size, fraction):
    for width, height in ((500, 375), (375, 500), (1000, 1000), (801, 640)):
        left, top, right, bottom = centre_square(width, height, size)
        assert right - left == bottom - top == pytest.approx(fraction * min(width, height), abs=1)
        assert (left + right) / 2 == pytest.approx(width / 2, abs=1)
        assert (top + bottom) / 2 == pytest.approx(height / 2, abs=1)


@pytest.mark.parametrize("size", [1, 16, 32, 63])
def test_small_pictures_have_no_border(size):
    assert centre_square(40, 30, size) == (5, 0, 35, 30)
    assert centre_square(1, 9, size)[2:] == (1, 5)


def test_a_row_of_draws_depends_on_the_seed_and_its_place_alone():
    assert np.array_equal(random_draws(7, 3), random_draws(100, 3)[:7])
    assert not np.array_equal(random_draws(7, 3), random_draws(7, 4))
    draws = random_draws(2000, 0)
    assert draws.shape == (2000, DRAWS) and 0 <= draws.min() and draws.max() < 1
    assert np.abs(np.corrcoef(draws.T) - np.eye(DRAWS)).max() < 0.1


@pytest.mark.parametrize("width, height", [(500, 375), (300, 400), (256, 256)])
def test_random_parts_are_distributed_as_torchvision_draws_them(width, height):
    n = 4000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        picture = torch.empty(3, height, width)
        drawn = [RandomResizedCrop.get_params(picture, *map(list, COMMON)) for _ in range(n)]
    theirs = np.array([(left, top, left + w, top + h) for top, left, h, w in drawn], float)
    ours = np.array([random_box(width, height, 224, draw, *COMMON) for draw in random_draws(n, 1)], float)
    assert ours.min() >= 0 and ours[:, 2].max() <= width and ours[:, 3].max() <= height
    for measure in (
        lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]),
        lambda b: (b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]),
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 2],
    ):
        assert ks_2samp(measure(ours), measure(theirs)).pvalue > 1e-3


def test_a_picture_that_no_attempt_fits_gives_its_centre_square():
    for draw in random_draws(50, 0):
        assert random_box(1000, 10, 224, draw, (0.9, 1.0)) == centre_square(1000, 10, 224)


def test_the_whole_picture_may_be_asked_for():
    assert random_box(60, 60, 224, random_draws(1, 0)[0], (1.0, 1.0), (1.0, 1.0)) == (0, 0, 60, 60)
