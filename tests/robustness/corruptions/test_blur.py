"""Blurs against loops over pixels, and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from nsfast.robustness.corruptions import SEVERITIES, corrupt
from nsfast.robustness.corruptions.batched import smooth
from nsfast.robustness.corruptions.blur import glass_blur, streaked

TABLES = ("small", "imagenet")
EVERY = [(table, severity) for table in TABLES for severity in range(1, 6)]


def pictures(n=1, height=13, width=13, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def cut_off(images):
    return np.floor(np.clip(images, 0, 1) * 255 + 1e-6).astype(np.uint8)


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


@pytest.mark.parametrize("table, severity", [(table, s) for table in TABLES for s in (1, 2, 4, 5)])
def test_defocus_agrees_with_a_slow_convolution(severity, table):
    pixels = pictures(height=11, width=12)
    kernel = slow_disk(*SEVERITIES[table]["defocus_blur"][severity - 1])
    exact = slow_blur(pixels[0, :, :, 0] / 255.0, kernel)
    assert (corrupt(pixels, "defocus_blur", severity, table=table)[0, :, :, 0] == cut_off(exact)).all()


@pytest.mark.parametrize("table, severity", EVERY)
@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "zoom_blur", "glass_blur", "motion_blur"])
def test_a_plain_picture_stays_as_it_is(name, severity, table):
    plain = np.full((1, 32, 32, 3), [13, 200, 255], dtype=np.uint8)
    corrupted = corrupt(plain, name, severity, table=table)
    if name == "defocus_blur" and table == "imagenet" and severity > 3:
        assert (corrupted >= plain).all() and (corrupted <= plain * 1.014).all()  # so does the reference
    else:
        assert (corrupted == plain).all()


@pytest.mark.parametrize("table, severity", EVERY)
def test_gaussian_agrees_with_scipy(severity, table):
    pixels = pictures(2, 14, 11, 3)
    deviation = SEVERITIES[table]["gaussian_blur"][severity - 1]
    exact = ndimage.gaussian_filter(pixels / 255, (0, deviation, deviation, 0), mode="nearest", truncate=4)
    assert (corrupt(pixels, "gaussian_blur", severity, table=table) == cut_off(exact)).all()


@pytest.mark.parametrize("deviation", [0.05, 0.7, 40])
def test_smoothing_mirrors_the_border_as_often_as_it_takes(deviation):
    field = np.random.default_rng(0).uniform(-1, 1, (9, 14))
    exact = ndimage.gaussian_filter(field, deviation, mode="reflect", truncate=3)
    assert np.allclose(smooth(torch.from_numpy(field), deviation, 3, "symmetric").numpy(), exact, atol=1e-12)


@pytest.mark.parametrize("table, severity", EVERY)
def test_zoom_agrees_with_scipy(severity, table):
    pixels = pictures(1, 32, 21, 3)
    image, (stop, step) = pixels[0] / 255, SEVERITIES[table]["zoom_blur"][severity - 1]
    layers = [image]
    for factor in np.arange(1, stop, step):
        kept = [math.ceil(side / factor) for side in image.shape[:2]]
        first = [(side - few) // 2 for side, few in zip(image.shape, kept, strict=False)]
        centre = image[first[0] : first[0] + kept[0], first[1] : first[1] + kept[1]]
        layer = ndimage.zoom(centre, (factor, factor, 1), order=1, mode="nearest")
        first = [(large - side) // 2 for large, side in zip(layer.shape, image.shape, strict=True)]
        layers.append(layer[first[0] : first[0] + 32, first[1] : first[1] + 21])
    corrupted = corrupt(pixels, "zoom_blur", severity, table=table)[0]
    assert (corrupted == cut_off(np.mean(layers, 0))).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("constants", [(0.7, 1, 2), (1, 2, 3), (1.5, 4, 2), (0.4, 1, 1)])
def test_glass_agrees_with_a_loop_over_pixels(constants, channels):
    deviation, reach, passes = constants
    pixels = pictures(3, 15, 11, channels)
    ours = glass_blur(pixels / 255, constants, [np.random.default_rng(number) for number in range(3)])
    height, width = pixels.shape[1:3]
    for number, image in enumerate(pixels / 255):

        def blurred(image):
            return ndimage.gaussian_filter(image, (deviation, deviation, 0), mode="nearest")

        levels = np.floor(blurred(image) * 255 + 1e-6)
        shape = (passes, height - 2 * reach, width - 2 * reach, 2)
        shifts = np.random.default_rng(number).integers(-reach, reach, shape, np.int8)
        for shift in shifts:
            for h in range(height - reach, reach, -1):
                for w in range(width - reach, reach, -1):
                    across, down = shift[h - reach - 1, w - reach - 1].astype(int)
                    # numpy's views make of the reference's swap a copy
                    levels[h, w], levels[h + down, w + across] = levels[h + down, w + across], levels[h, w]
        assert np.allclose(ours[number], blurred(levels / 255), atol=1e-12)


def test_glass_of_a_picture_too_small_to_move_pixels_only_blurs():
    pixels = pictures(2, 8, 8)
    constants = SEVERITIES["imagenet"]["glass_blur"][4]
    generators = [np.random.default_rng(0)] * 2
    once = (
        np.floor(ndimage.gaussian_filter(pixels / 255, (0, 1.5, 1.5, 0), mode="nearest") * 255 + 1e-6) / 255
    )
    twice = ndimage.gaussian_filter(once, (0, 1.5, 1.5, 0), mode="nearest")
    assert np.allclose(glass_blur(pixels / 255, constants, generators), twice)


@pytest.mark.parametrize("angle", [-45, -130, -77.7, 0.4, 31, 179])
def test_a_streak_agrees_with_a_loop_over_its_steps(angle):
    radius, deviation = 6, 2.5
    image = pictures(1, 9, 16, 3)[0] / 255
    weights = [math.exp(-(step**2) / (2 * deviation**2)) for step in range(2 * radius + 1)]
    exact = np.zeros_like(image)
    for y in range(9):
        for x in range(16):
            for step, weight in enumerate(weights):
                down = math.ceil(step * math.sin(math.radians(angle)) - 0.5)
                across = math.ceil(step * math.cos(math.radians(angle)) - 0.5)
                near = image[min(max(y + down, 0), 8), min(max(x + across, 0), 15)]
                exact[y, x] += weight / sum(weights) * near
    assert np.allclose(streaked(image, radius, deviation, angle), exact, atol=1e-12)


def test_motion_goes_to_the_right_and_up_or_down_but_45_degrees():
    point = np.zeros((40, 64, 64, 1), dtype=np.uint8)
    point[:, 32, 32] = 255
    _, rows, columns, _ = np.nonzero(corrupt(point, "motion_blur", 5, table="imagenet"))
    assert columns.max() == 32 and (np.abs(rows - 32) <= 32 - columns).all()
    assert (rows < 20).any() and (rows > 44).any()
