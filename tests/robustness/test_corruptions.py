"""Corruptions against slow, independent versions of the published definitions."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.robustness.corruptions import CORRUPTIONS, corrupt

# github.com/hendrycks/robustness: make_cifar_c.py and make_imagenet_c.py
NOISE = {"small": [0.04, 0.06, 0.08, 0.09, 0.10], "imagenet": [0.08, 0.12, 0.18, 0.26, 0.38]}
CONTRAST = {"small": [0.75, 0.5, 0.4, 0.3, 0.15], "imagenet": [0.4, 0.3, 0.2, 0.1, 0.05]}
DISK = {
    "small": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "imagenet": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
}
TABLES = ("small", "imagenet")


def pictures(n=3, size=12, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def mirrored(index, length):
    """Position in 0..length-1 of an index beyond the border, which is not repeated (OpenCV's default)."""
    period = 2 * (length - 1)
    index %= period
    return min(index, period - index)


def slow_blur(image, kernel):
    height, width = image.shape
    reach = len(kernel) // 2
    blurred = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i, row in enumerate(kernel):
                for j, weight in enumerate(row):
                    if weight:
                        pixel = image[mirrored(y + i - reach, height), mirrored(x + j - reach, width)]
                        blurred[y, x] += weight * pixel
    return blurred


def slow_disk(radius, deviation):
    reach = 8 if radius <= 8 else radius
    side = range(-reach, reach + 1)
    disk = np.array([[float(x * x + y * y <= radius * radius) for x in side] for y in side])
    taps = 1 if radius <= 8 else 2
    offsets = range(-taps, taps + 1)
    gauss = np.array([[np.exp(-(x * x + y * y) / (2 * deviation**2)) for x in offsets] for y in offsets])
    return slow_blur(disk / disk.sum(), gauss / gauss.sum())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_keeps_shape_and_type_and_leaves_its_input_alone(name, channels):
    pixels = pictures(channels=channels)
    before = pixels.copy()
    corrupted = corrupt(pixels, name, 3)
    assert corrupted.shape == pixels.shape and corrupted.dtype == np.uint8
    assert (pixels == before).all()
    assert (corrupted != pixels).any()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", range(1, 6))
def test_contrast_pulls_towards_the_mean_of_each_channel_and_cuts_off(severity, table):
    pixels = pictures()
    factor = CONTRAST[table][severity - 1]
    for image, corrupted in zip(pixels, corrupt(pixels, "contrast", severity, table=table), strict=True):
        for channel in range(3):
            exact = (image[..., channel] - image[..., channel].mean()) * factor + image[..., channel].mean()
            assert (corrupted[..., channel] == np.floor(exact + 1e-6)).all()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", range(1, 6))
def test_noise_has_the_published_deviation(severity, table):
    gray = np.full((1, 200, 200, 1), 128, dtype=np.uint8)
    deviation = 255 * NOISE[table][severity - 1]
    noisy = corrupt(gray, "gaussian_noise", severity, table=table).ravel().astype(float)
    below = np.quantile(noisy, 0.1587), np.quantile(noisy, 0.5)  # quantiles, because clipping spoils moments
    assert below[1] == pytest.approx(127.5, abs=deviation * 0.03 + 0.5)
    assert below[1] - below[0] == pytest.approx(deviation, rel=0.03, abs=1)


@pytest.mark.parametrize(
    "table, severity", [(table, severity) for table in TABLES for severity in (1, 2, 4, 5)]
)
def test_defocus_agrees_with_a_slow_convolution(severity, table):
    pixels = pictures(n=1, size=13, channels=1)
    kernel = slow_disk(*DISK[table][severity - 1])
    exact = slow_blur(pixels[0, :, :, 0] / 255.0, kernel) * 255
    corrupted = corrupt(pixels, "defocus_blur", severity, table=table)[0, :, :, 0]
    assert (corrupted == np.floor(exact + 1e-6)).all()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", ["defocus_blur", "contrast"])
def test_leaves_a_plain_picture_as_it_is(name, severity, table):
    plain = np.full((1, 32, 32, 3), [13, 200, 255], dtype=np.uint8)
    corrupted = corrupt(plain, name, severity, table=table)
    if name == "defocus_blur" and table == "imagenet" and severity > 3:
        assert (corrupted >= plain).all() and (corrupted <= plain * 1.014).all()  # so does the reference
    else:
        assert (corrupted == plain).all()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_the_pixels_more_than_the_one_before(name, table):
    pixels = pictures(size=32)
    change = [np.abs(corrupt(pixels, name, s, table=table).astype(int) - pixels).mean() for s in range(1, 6)]
    assert (np.diff(change) > 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_does_not_depend_on_the_pictures_beside_it(name):
    pixels, ids = pictures(n=5), ["e", "d", "c", "b", "a"]
    whole = corrupt(pixels, name, 3, seed=7, ids=ids)
    order = [3, 0, 4]
    part = corrupt(pixels[order], name, 3, seed=7, ids=[ids[i] for i in order])
    assert (part == whole[order]).all()


def test_noise_is_new_for_each_picture_severity_and_seed_and_the_same_each_time():
    gray = np.full((2, 8, 8, 1), 128, dtype=np.uint8)
    noisy = corrupt(gray, "gaussian_noise", 4, seed=1)
    assert (noisy == corrupt(gray, "gaussian_noise", 4, seed=1)).all()
    assert (noisy == corrupt(gray, "gaussian_noise", 4, seed=1, ids=[0, 1])).all()
    assert (noisy[0] != noisy[1]).any()
    assert (noisy != corrupt(gray, "gaussian_noise", 4, seed=2)).any()
    signs = (
        np.sign(noisy.astype(int) - 128),
        np.sign(corrupt(gray, "gaussian_noise", 5, seed=1).astype(int) - 128),
    )
    assert (signs[0] != signs[1]).mean() > 0.25


def test_the_table_follows_the_shorter_side():
    for size, table in ((63, "small"), (64, "imagenet")):
        pixels = np.random.default_rng(0).integers(0, 256, (1, size, 80, 1), dtype=np.uint8)
        assert (corrupt(pixels, "contrast", 1) == corrupt(pixels, "contrast", 1, table=table)).all()


def test_no_pictures_give_no_pictures():
    assert corrupt(pictures(n=0), "defocus_blur", 1).shape == (0, 12, 12, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name="gausian_noise"), "did you mean 'gaussian_noise'"),
        (dict(severity=0), "severity of contrast is 0; it must be 1, 2, 3, 4 or 5"),
        (dict(severity=True), "severity"),
        (dict(table="cifar"), "unknown table 'cifar'"),
        (dict(pixels=pictures() / 255), "float64; scale them to 0..255"),
        (dict(pixels=pictures()[0]), r"shape \(12, 12, 3\)"),
        (dict(pixels=pictures().transpose(0, 3, 1, 2)), "1 or 3 channels"),
        (dict(ids=["a"]), "1 ids for 3 pictures"),
    ],
)
def test_says_what_is_wrong(change, message):
    with pytest.raises(NsfastError, match=message):
        corrupt(**(dict(pixels=pictures(), name="contrast", severity=1) | change))
