"""Digital corruptions, brightness and saturation against Pillow, scipy and colorsys."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from nsfast.robustness.corruptions import SEVERITIES, corrupt
from nsfast.robustness.corruptions.digital import elastic_transform

TABLES = ("small", "imagenet")
EVERY = [(table, severity) for table in TABLES for severity in range(1, 6)]
SHAPES = ((8, 8), (9, 11), (16, 16), (33, 47), (50, 34))


def pictures(n=1, height=12, width=12, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def smooth_pictures(height, width, channels):
    """Something whose frequencies are not all alike, as in photographs."""
    noise = np.random.default_rng(1).normal(size=(height, width, channels))
    smooth = ndimage.gaussian_filter(noise, (3, 3, 0))
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)[None]


@pytest.mark.parametrize("table, severity", EVERY)
def test_contrast_pulls_towards_the_mean_of_each_channel_and_cuts_off(severity, table):
    pixels = pictures(2)
    factor = SEVERITIES[table]["contrast"][severity - 1]
    for image, corrupted in zip(pixels, corrupt(pixels, "contrast", severity, table=table), strict=True):
        for channel in range(3):
            exact = (image[..., channel] - image[..., channel].mean()) * factor + image[..., channel].mean()
            assert (corrupted[..., channel] == np.floor(exact + 1e-6)).all()


@pytest.mark.parametrize("name", ["brightness", "saturate"])
@pytest.mark.parametrize("table, severity", EVERY)
def test_colours_change_as_in_hsv(name, table, severity):
    pixels = pictures(1, 16, 16)
    pixels[0, :2] = pixels[0, :2, :, :1]  # gray, which has no hue
    pixels[0, 0, :4], pixels[0, 0, 4:8] = 0, 255
    constants = SEVERITIES[table][name][severity - 1]
    expected = np.empty(pixels.shape)
    for place in np.ndindex(1, 16, 16):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[place] / 255))
        if name == "brightness":
            value = min(1, value + constants)
        else:
            saturation = min(1, saturation * constants[0] + constants[1])
        expected[place] = colorsys.hsv_to_rgb(hue, saturation, value)
    assert (corrupt(pixels, name, severity, table=table) == np.floor(expected * 255 + 1e-6)).all()


def test_a_gray_picture_is_made_brighter_and_has_nothing_to_saturate():
    gray = pictures(channels=1)
    assert (corrupt(gray, "brightness", 2, table="imagenet") == np.minimum(gray.astype(int) + 51, 255)).all()
    for severity in range(1, 6):
        assert (corrupt(gray, "saturate", severity) == gray).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("table, severity", EVERY)
def test_pixelate_is_pillows_box_down_and_up(table, severity, channels):
    scale = SEVERITIES[table]["pixelate"][severity - 1]
    for height, width in SHAPES:
        pixels = pictures(1, height, width, channels)
        small = (int(width * scale), int(height * scale))
        picture = Image.fromarray(pixels[0].squeeze()).resize(small, Image.Resampling.BOX)
        expected = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
        corrupted = corrupt(pixels, "pixelate", severity, table=table)[0]
        assert (corrupted.squeeze() == expected).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("table, severity", EVERY)
def test_jpeg_equals_libjpeg_level_for_level(table, severity, channels):
    quality = SEVERITIES[table]["jpeg_compression"][severity - 1]
    for height, width in SHAPES:
        # half of an odd blue lies between two levels: which way it is rounded shows
        blue = np.full((1, height, width, 3), (0, 0, 101), np.uint8)[..., -channels:]
        for pixels in (pictures(1, height, width, channels), smooth_pictures(height, width, channels), blue):
            file = io.BytesIO()
            Image.fromarray(pixels[0].squeeze()).save(file, "JPEG", quality=quality)
            expected = np.asarray(Image.open(file))
            corrupted = corrupt(pixels, "jpeg_compression", severity, table=table)[0]
            assert (corrupted.squeeze() == expected).all()


def slow_elastic(image, strength, smoothness, farthest, generator):
    """The definition in scipy's words, lengths in pixels."""
    height, width, _ = image.shape
    centre, side = np.array([height // 2, width // 2]), min(height, width) // 3
    points = np.array([centre + side, [centre[0] + side, centre[1] - side], centre - side])
    moved = points + generator.uniform(-farthest, farthest, (3, 2))
    forth = np.linalg.solve(np.c_[points, np.ones(3)], moved).T  # (2, 3): (x, y, 1) to (x, y)
    linear = np.linalg.inv(forth[:, :2])[
        ::-1, ::-1
    ]  # scipy takes the result's (row, column) back to the picture's
    offset = -linear @ forth[::-1, 2]
    image = np.stack(
        [
            ndimage.affine_transform(plane, linear, offset, order=1, mode="mirror")
            for plane in np.moveaxis(image, 2, 0)
        ],
        2,
    )
    if not strength:
        return image
    fields = generator.uniform(-1, 1, (2, height, width))
    across, down = (
        strength * ndimage.gaussian_filter(field, smoothness, mode="reflect", truncate=3) for field in fields
    )
    rows, columns = np.mgrid[:height, :width]
    where = (rows + down, columns + across)
    planes = [
        ndimage.map_coordinates(plane, where, order=1, mode="reflect") for plane in np.moveaxis(image, 2, 0)
    ]
    return np.stack(planes, 2)


@pytest.mark.parametrize("table, severity", EVERY)
def test_elastic_agrees_with_scipy(table, severity):
    for height, width in ((20, 20), (17, 26)):
        images = pictures(2, height, width) / 255
        constants = SEVERITIES[table]["elastic_transform"][severity - 1]
        ours = elastic_transform(images, constants, [np.random.default_rng(number) for number in range(2)])
        for number in range(2):
            lengths = [part * min(height, width) for part in constants]
            exact = slow_elastic(images[number], *lengths, np.random.default_rng(number))
            assert np.allclose(ours[number], exact, atol=1e-9)
