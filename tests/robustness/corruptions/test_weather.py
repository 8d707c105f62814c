"""Weather against imagecorruptions-imaug with the same draws, and against its own definitions."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from nsfast.robustness.corruptions import SEVERITIES, corrupt, weather
from nsfast.robustness.corruptions.textures import frost_crop

_spec = importlib.util.spec_from_file_location(
    "make_weather_golden", Path(__file__).with_name("make_weather_golden.py")
)
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)
NAMES, SAMPLE, SEEDS, photograph = (
    make_golden.NAMES,
    make_golden.SAMPLE,
    make_golden.SEEDS,
    make_golden.photograph,
)
PICTURES = {"fog": 2000, "snow": 500, "spatter": 500}
WEATHER = ("snow", "frost", "fog", "spatter")


class Replayed:
    """Draws what numpy's old generator, which the package uses, draws from a seed for pictures of a size."""

    def __init__(self, seed, size):
        self.old, self.size = np.random.RandomState(seed), size

    def random(self, out, dtype):
        out[:] = self.old.random_sample(out.size)

    def normal(self, mean, deviation, shape):
        # of flakes that are magnified, the package draws those too that it then cuts off
        drawn = self.old.normal(mean, deviation, (self.size, self.size))
        top, left = ((self.size - side) // 2 for side in shape)
        return drawn[top : top + shape[0], left : left + shape[1]]

    def uniform(self, low, high):
        return self.old.uniform(low, high)


def generators(n):
    return [np.random.default_rng(number) for number in range(n)]


def made(name, images, severity, draws, table="imagenet"):
    images = getattr(weather, name)(images, SEVERITIES[table][name][severity - 1], draws)
    return np.floor(np.clip(images, 0, 1) * 255 + 1e-6)


@pytest.fixture(scope="module", params=["golden", "package"])
def figures(request):
    if request.param == "golden":
        with np.load(make_golden.GOLDEN) as file:
            return dict(file)
    pytest.importorskip("imagecorruptions")
    make_golden.DRAWS = 3000
    return make_golden.measured()


@pytest.mark.parametrize("size", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_with_the_same_draws_it_is_the_package_s_picture(figures, name, size):
    worst = 2 if name == "snow" else 1  # the package does not cut flakes off to grey levels before they move
    for severity in range(1, 6):
        for number, seed in enumerate(SEEDS[size]):
            ours = made(name, photograph(size)[None] / 255, severity, [Replayed(seed, size)])
            expected = figures[f"levels_{size}"][NAMES.index(name), severity - 1, number]
            difference = ours.reshape(-1)[:: SAMPLE[size]] - expected
            assert np.abs(difference).max() <= worst
            assert np.abs(difference).mean() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_with_its_own_draws_it_has_the_package_s_mean_and_variance_within_two_percent(figures, name):
    n = PICTURES[name]
    images = np.repeat(photograph(32)[None] / 255, n, 0)
    for severity in range(1, 6):
        ours = made(name, images, severity, generators(n))
        if name == "spatter":  # without liquid the package makes the picture black, and it was not counted
            ours = ours[(ours != photograph(32)).any(axis=(1, 2, 3))]
        mean, deviation = figures["moments"][NAMES.index(name), severity - 1]
        assert ours.mean() == pytest.approx(mean, rel=0.02)
        assert ours.var() == pytest.approx(deviation**2, rel=0.02)


@pytest.mark.parametrize("table", ["small", "imagenet"])
@pytest.mark.parametrize("name", WEATHER)
def test_a_gray_picture_gets_the_luma_of_what_its_three_equal_channels_get(name, table):
    gray = np.random.default_rng(0).random((2, 24, 33, 1))
    for severity in (1, 5):
        constants = SEVERITIES[table][name][severity - 1]
        colour = getattr(weather, name)(np.repeat(gray, 3, 3), constants, generators(2))
        ours = getattr(weather, name)(gray, constants, generators(2))
        assert ours.shape == gray.shape
        assert np.abs(ours[..., 0] - colour @ [0.299, 0.587, 0.114]).max() < 1e-6


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 70, 3), (65, 13, 1)])
@pytest.mark.parametrize("name", WEATHER)
def test_pictures_of_any_size_and_number(name, shape):
    for n in (0, 1, 3):
        images = np.random.default_rng(0).random((n, *shape))
        before = images.copy()
        for table in ("small", "imagenet"):
            for severity in range(1, 6):
                constants = SEVERITIES[table][name][severity - 1]
                ours = getattr(weather, name)(images, constants, generators(n))
                assert ours.shape == images.shape and np.isfinite(ours).all()
        assert (images == before).all()


RISING = {
    "small": {"snow": [12345], "fog": [12345], "spatter": [123, 45], "frost": [123]},
    # what is left out rises little or falls in the package too
    "imagenet": {"snow": [1245], "fog": [125, 135], "spatter": [123, 45], "frost": [12]},
}


@pytest.mark.parametrize("table", RISING)
@pytest.mark.parametrize("name", WEATHER)
def test_severity_changes_pixels_more_where_the_original_s_does(name, table):
    picture = photograph(32)
    pixels = np.repeat(picture[None], 150, 0)
    change = [
        np.abs(corrupt(pixels, name, severity, table=table).astype(int) - picture).mean()
        for severity in range(1, 6)
    ]
    for severities in RISING[table][name]:
        assert (np.diff([change[int(severity) - 1] for severity in str(severities)]) > 0).all()


@pytest.mark.parametrize("name", WEATHER)
def test_does_not_depend_on_the_pictures_beside_it(name):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    for severity in (1, 5):
        whole = corrupt(pixels, name, severity, ids=list("abcde"))
        assert (corrupt(pixels[[3, 0]], name, severity, ids=["d", "a"]) == whole[[3, 0]]).all()


@pytest.mark.parametrize("size, step", [(20, 5), (64, 1)])
def test_frost_adds_a_weighted_crop_of_frost_to_a_weighted_picture(size, step):
    images = np.random.default_rng(0).random((1, size, size, 3))
    frosted = weather.frost(images, (0.7, 0.6), generators(1))
    crop = frost_crop(size, size, step, np.random.default_rng(0)) / 255
    assert np.abs(frosted - 0.7 * images - 0.6 * crop).max() < 1e-12


def test_a_black_picture_has_no_fog():
    assert (weather.fog(np.zeros((1, 16, 16, 1)), (1.5, 2), generators(1)) == 0).all()


def test_where_no_liquid_is_the_picture_stays():
    images = np.random.default_rng(0).random((1, 16, 16, 3))
    for mud in (0, 1):
        assert (weather.spatter(images, (0.1, 0.01, 1, 0.7, 0.5, mud), generators(1)) == images).all()


def test_edges_of_drops_are_opencv_s():
    cv2 = pytest.importorskip("cv2")
    from nsfast.robustness.corruptions.drops import edges, equalised

    for smoothness, deviation in ((4, 0.3), (2, 0.3), (0.7, 0.1)):
        liquid = weather.spatter_liquid((97, 64), 0.65, deviation, smoothness, 0.68, generators(5))
        levels = np.clip(liquid * 255, 0, 255).astype(np.uint8)
        assert (edges(levels) == [cv2.Canny(one, 50, 150) > 0 for one in levels]).all()
        assert (equalised(levels) == [cv2.equalizeHist(one) for one in levels]).all()
