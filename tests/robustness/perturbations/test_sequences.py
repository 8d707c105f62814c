"""Sequences against slow versions of make_imagenet_p.py and make_cifar_p.py, and against torchvision."""

import colorsys
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

from nsfast.robustness.corruptions.drops import water_drops
from nsfast.robustness.perturbations import (
    DEVIATIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    frames_of,
    is_noise,
    sequences,
)
from nsfast.streams import numpy_stream

NAMES = PERTURBATIONS + EXTRA_PERTURBATIONS
TABLES = ("small", "imagenet")


def pictures(n=2, height=14, width=None, channels=3, seed=0):
    shape = (n, height, width or height, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def levels(image):
    return np.floor(np.clip(image, 0, 1) * 255 + 1e-6)


def test_frames_are_as_many_as_published():
    for name in NAMES:
        assert frames_of(name, "imagenet") == (41 if name == "translate" else 31)
        assert frames_of(name, "small") == {"translate": 16, "motion_blur": 21}.get(name, 31)
        for table in TABLES:
            frames = sequences(pictures(), name, table=table)
            assert frames.shape == (2, frames_of(name, table), 14, 14, 3) and frames.dtype == np.uint8
    assert {name for name in NAMES if is_noise(name)} == {"gaussian_noise", "shot_noise", "speckle_noise"}
    assert set(DEVIATIONS) <= {"all", *NAMES}


@pytest.mark.parametrize("name", [name for name in NAMES if is_noise(name)] + ["snow", "spatter"])
def test_what_is_drawn_is_another_for_each_picture_and_seed(name):
    same = np.full((2, 24, 24, 1), 90, np.uint8)
    drawn = sequences(same, name)
    assert (drawn[0] != drawn[1]).any() and (drawn != sequences(same, name, seed=1)).any()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "name, deviations",
    [
        ("gaussian_noise", {"imagenet": (0.03, 0.05, 0.08), "small": (0.02, 0.04, 0.06)}),
        ("shot_noise", {"imagenet": (300, 120, 60), "small": (700, 400, 200)}),
        ("speckle_noise", {"imagenet": (0.05, 0.1, 0.15), "small": (0.05, 0.07, 0.1)}),
    ],
)
def test_noise_begins_clean_and_has_the_published_deviation_by_difficulty(name, deviations, table):
    value = 102 / 255
    gray = np.full((1, 64, 64, 1), 102, np.uint8)
    for difficulty, constant in enumerate(deviations[table], 1):
        frames = sequences(gray, name, table=table, difficulty=difficulty)[0]
        assert (frames[0] == gray[0]).all()
        expected = {
            "gaussian_noise": constant,
            "shot_noise": math.sqrt(value / constant),
            "speckle_noise": value * constant,
        }[name]
        noise = frames[1:].astype(float)
        # cut off to whole levels: half a level lower, and 1/12 more variance
        assert noise.mean() == pytest.approx(101.5, abs=0.3)  # counted photons are levels of their own
        assert noise.std() == pytest.approx(math.hypot(255 * expected, 12**-0.5), rel=0.02)
        assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] < 0.06


@pytest.mark.parametrize("table", TABLES)
def test_brightness_adds_a_step_to_the_value_of_hsv(table):
    pixels = pictures(1, 8)
    step = {"imagenet": 0.02, "small": 0.015}[table]
    frames = sequences(pixels, "brightness", table=table)[0]
    assert (frames[15] == pixels[0]).all()
    for number in (0, 9, 22, 30):
        for y, x in np.ndindex(8, 8):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixels[0, y, x] / 255)
            value = min(max(value + (number - 15) * step, 0), 1)
            exact = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
            assert (frames[number, y, x] == levels(exact)).all()


@pytest.mark.parametrize("table", TABLES)
def test_translate_is_an_exact_shift_to_the_right_and_black_beyond_the_margin(table):
    pixels = pictures(2, 28, 30)
    first, margin = {"imagenet": (-20, 2), "small": (-7, 0)}[table]
    frames = sequences(pixels, "translate", table=table)
    wide = np.pad(pixels, ((0, 0), (0, 0), (margin, margin), (0, 0)), mode="reflect")
    for number in range(frames.shape[1]):
        for x in range(30):
            seen = x - (first + number) + margin
            inside = 0 <= seen < wide.shape[2]
            assert (frames[:, number, :, x] == (wide[:, :, seen] if inside else 0)).all()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["rotate", "scale", "shear", "zoom_blur"])
def test_turns_scales_and_shears_as_torchvision_does(name, channels, table):
    size = 28
    pixels = pictures(1, size, channels=channels)
    margin = 2 if table == "imagenet" else 0
    wide = np.pad(pixels[0], ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    image = Image.fromarray(wide.squeeze())

    def seen(angle=0.0, scale=1.0, shear=0.0):
        moved = torchvision.affine(image, angle, [0, 0], scale, [shear, 0.0], InterpolationMode.BILINEAR)
        moved = np.asarray(moved).reshape(wide.shape)
        return moved[margin : margin + size, margin : margin + size].astype(float)

    frames = sequences(pixels, name, table=table)[0]
    total = np.zeros(frames[0].shape)
    for number, frame in enumerate(frames):
        if name == "rotate":
            expected = seen(angle=number - 15.0)
        elif name == "shear":
            expected = seen(shear=number - 15.0)
        elif name == "scale":
            expected = seen(scale=0.4 + 0.025 * number if table == "imagenet" else 0.7 + 0.02 * number)
        else:
            total += seen(scale=1 + 0.004 * number)
            expected = np.floor(total / (number + 1) + 1e-6)
        difference = np.abs(frame - expected)
        assert difference.max() <= 1 and difference.mean() < 0.1  # Pillow loses exact levels to rounding


@pytest.mark.parametrize("table", TABLES)
def test_what_is_not_moved_is_the_clean_picture(table):
    pixels = pictures(2, 21, 30)
    still = {"rotate": 15, "shear": 15, "zoom_blur": 0, "scale": {"imagenet": 24, "small": 15}[table]}
    for name, number in still.items():
        assert (sequences(pixels, name, table=table)[:, number] == pixels).all()


@pytest.mark.parametrize("table", TABLES)
def test_tilts_as_a_slow_perspective_does(table):
    pixels = pictures(1, 14, 21, channels=1)
    down, across, step = (1, 2, 1) if table == "imagenet" else (0, 0, 0.75)
    wide = np.pad(pixels[0, :, :, 0], ((down, down), (across, across)), mode="reflect").astype(float)
    height, width = wide.shape
    away = math.hypot(height, width)
    dark = np.pad(wide, 1)
    frames = sequences(pixels, "tilt", table=table)[0, :, :, :, 0]
    for number in (0, 7, 15, 30):
        c, s = math.cos(math.radians(step * (number - 15))), math.sin(math.radians(step * (number - 15)))

        def projected(x, y, c=c, s=s):  # of a point of the picture, one before the plane that is turned
            x, y, z = x - width / 2, y - height / 2, 1
            x, z = c * x - s * z, s * x + c * z
            y, z = c * y - s * z, s * y + c * z
            return away * x / (z + away) + width / 2, away * y / (z + away) + height / 2

        for y in range(0, 14, 3):
            for x in range(0, 21, 4):
                seen = np.array([x + across, y + down], float)
                for _ in range(40):  # where the projection falls on this pixel
                    seen += np.array([x + across, y + down]) - projected(*seen)
                left, top = np.floor(seen).astype(int)
                right, below = seen - (left, top)
                expected = 0
                for dy, dx in np.ndindex(2, 2):
                    if -1 <= top + dy <= height and -1 <= left + dx <= width:
                        weight = (below if dy else 1 - below) * (right if dx else 1 - right)
                        expected += weight * dark[top + dy + 1, left + dx + 1]
                assert abs(frames[number, y, x] - expected) <= 0.5 + 1e-6


def slow_streak(layer, radius, deviation, angle):
    height, width = layer.shape[:2]
    weights = [math.exp(-(i**2) / (2 * deviation**2)) for i in range(2 * radius + 1)]
    total = np.zeros_like(layer)
    for y, x in np.ndindex(height, width):
        for i, weight in enumerate(weights):
            below = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
            right = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
            seen = min(max(y + below, 0), height - 1), min(max(x + right, 0), width - 1)
            total[y, x] += weight / sum(weights) * layer[seen]
    return total


@pytest.mark.parametrize("table, constants, angle", [("imagenet", (10, 3), -88), ("small", (6, 1.8), -108)])
def test_motion_blur_turns_a_one_sided_line(table, constants, angle):
    pixels = pictures(1, 10, 8)
    exact = np.rint(slow_streak(pixels[0].astype(float), *constants, angle))
    assert np.abs(sequences(pixels, "motion_blur", table=table)[0, 8] - exact).max() <= 1
    assert (sequences(pixels, "motion_blur", table=table)[0, 8] == exact).mean() > 0.99


@pytest.mark.parametrize("table, zoom, motion", [("imagenet", 3, (14, 4)), ("small", 2, (10, 2))])
def test_snow_keeps_its_flakes_and_turns_their_motion(table, zoom, motion):
    pixels = pictures(1, 24)
    drawn = numpy_stream(5, "perturbation", "snow", 1, "a").normal(0.05, 0.3, (24 // zoom,) * 2)
    flakes = ndimage.zoom(drawn, zoom, order=1)
    flakes = np.floor(np.clip(np.where(flakes < 0.5, 0, flakes), 0, 1) * 255) / 255
    assert flakes.any()
    image = pixels[0] / 255
    gray = (image @ [0.299, 0.587, 0.114])[:, :, None]
    white = 0.85 * image + 0.15 * np.maximum(image, 1.5 * gray + 0.5)
    frames = sequences(pixels, "snow", seed=5, ids=["a"], table=table)[0]
    for number in (0, 17, 30):
        moved = np.rint(slow_streak(flakes, *motion, number * 4 - 150) * 255) / 255
        exact = levels(white + (moved + np.rot90(moved, 2))[:, :, None])
        assert np.abs(frames[number] - exact).max() <= 1 and (frames[number] == exact).mean() > 0.99


@pytest.mark.parametrize(
    "table, first, step, truncate", [("imagenet", 0.25, 0.035, 6), ("small", 0.3, 0.015, 7)]
)
def test_gaussian_blur_grows(table, first, step, truncate):
    pixels = pictures(2, 11, 9)
    frames = sequences(pixels, "gaussian_blur", table=table)
    for number in (0, 12, 30):
        deviation = first + step * number
        exact = ndimage.gaussian_filter(
            pixels / 255, (0, deviation, deviation, 0), mode="nearest", truncate=truncate
        )
        assert (frames[:, number] == levels(exact)).all()


@pytest.mark.parametrize(
    "table, liquid, smooth, threshold, runs",
    [
        ("imagenet", (0.65, 0.27), 3.7, 0.69, [0.05, 0.1, 0.15, 0.7]),
        ("small", (0.6, 0.265), 1.75, 0.7, [0.2, 0.8]),
    ],
)
def test_spatter_runs_down(table, liquid, smooth, threshold, runs):
    pixels = pictures(1, 40)
    wet = numpy_stream(1, "perturbation", "spatter", 1, 0).normal(*liquid, (40, 40))
    wet = ndimage.gaussian_filter(wet, smooth, mode="nearest")
    wet[wet < threshold] = 0
    frames = sequences(pixels, "spatter", seed=1, table=table)[0]
    water = np.array([175, 238, 238]) / 255
    for number in range(31):
        if number in (0, 1, 9, 30):
            light = 0.6 * water_drops(wet[None])[0][:, :, None] * water
            assert np.abs(frames[number] - levels(pixels[0] / 255 + light)).max() <= 1
        wet = np.apply_along_axis(lambda column: np.convolve(column, runs, mode="same"), 0, wet)
    assert (frames[0] != pixels[0]).any()
