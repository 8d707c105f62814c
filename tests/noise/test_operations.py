"""Every operation against PIL on 8-bit pictures, grey and colour; the arguments against the paper's code.

Tolerances are in 8-bit levels. Look-up tables and moves are exact. Blends: PIL rounds the picture that it blends with
(half a level for a blur or a luma, a whole one for a mean), which counts |1 - factor| times, and it truncates the
result, one level.
"""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional as tv

from nsfast.noise.operations import GEOMETRIC, POINT, affine, argument_at

FACTORS = (0.1, 0.64, 1.0, 1.72, 4.96)


def pictures(channels: int) -> np.ndarray:
    """Noise, dark, narrow, two levels, a ramp, and flat ones: (9, 13, 15, channels) uint8."""
    random = np.random.default_rng(channels)
    shape = (13, 15, channels)
    ramp = np.broadcast_to(np.linspace(0, 255, 15)[None, :, None], shape)
    return np.stack(
        [random.integers(0, 256, shape), random.integers(0, 40, shape), random.integers(100, 104, shape),
         random.choice([10, 200], shape), ramp, np.full(shape, 77), np.zeros(shape), np.full(shape, 255),
         random.beta(0.3, 0.3, shape) * 255]
    ).astype(np.uint8)  # fmt: skip


def ours(name, pixels, argument) -> np.ndarray:
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    out = POINT[name](x, torch.full((len(x),), float(argument)))
    assert out.shape == x.shape and out.dtype == x.dtype and 0 <= out.min() and out.max() <= 1
    return out.permute(0, 2, 3, 1).numpy() * 255


def with_pil(function, pixels) -> np.ndarray:
    images = [Image.fromarray(p.squeeze(-1) if p.shape[-1] == 1 else p) for p in pixels]
    return np.stack([np.asarray(function(image)) for image in images]).reshape(pixels.shape).astype(float)


POINT_CASES = [
    ("AutoContrast", 0, ImageOps.autocontrast, 1),
    ("Equalize", 0, ImageOps.equalize, 0),
    ("Invert", 0, ImageOps.invert, 0),
    *[("Posterize", bits, lambda i, bits=bits: ImageOps.posterize(i, bits), 0) for bits in (1, 2, 3, 7, 8)],
    *[("Solarize", t, lambda i, t=t: ImageOps.solarize(i, t), 0) for t in (0, 51, 128, 255, 256)],
    *[
        (name, f, lambda i, name=name, f=f: getattr(ImageEnhance, name)(i).enhance(f), 1 + most * abs(1 - f))
        for name, most in (("Color", 0.5), ("Contrast", 1), ("Brightness", 0), ("Sharpness", 0.5))
        for f in FACTORS
    ],
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "argument", "reference", "tolerance"), POINT_CASES)
def test_point_operations_agree_with_pil(name, argument, reference, tolerance, channels):
    pixels = pictures(channels)
    difference = np.abs(ours(name, pixels, argument) - with_pil(reference, pixels))
    assert difference.max() <= tolerance + 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "argument", "reference", "tolerance"),
    [("AutoContrast", 0, tv.autocontrast, 1), ("Equalize", 0, tv.equalize, 0), ("Invert", 0, tv.invert, 0),
     ("Posterize", 3, lambda x: tv.posterize(x, 3), 0), ("Solarize", 51, lambda x: tv.solarize(x, 51), 0),
     ("Color", 1.72, lambda x: tv.adjust_saturation(x, 1.72), 2),
     ("Contrast", 1.72, lambda x: tv.adjust_contrast(x, 1.72), 2),
     ("Brightness", 1.72, lambda x: tv.adjust_brightness(x, 1.72), 1),
     ("Sharpness", 1.72, lambda x: tv.adjust_sharpness(x, 1.72), 2)],
)  # fmt: skip
def test_point_operations_agree_with_torchvision(name, argument, reference, tolerance, channels):
    pixels = pictures(channels)
    theirs = reference(torch.from_numpy(pixels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy().astype(float)
    assert np.abs(ours(name, pixels, argument) - theirs).max() <= tolerance + 1e-3


def test_zero_bits_leave_black():
    assert ours("Posterize", pictures(3), 0).max() == 0


@pytest.mark.parametrize("name", POINT)
def test_every_picture_of_a_batch_has_its_own_argument_and_outcome(name):
    x = torch.from_numpy(pictures(3)).permute(0, 3, 1, 2).float() / 255
    argument = torch.linspace(*{"Posterize": (1, 8), "Solarize": (0, 256)}.get(name, (0.1, 5)), len(x))
    before = x.clone()
    together = POINT[name](x, argument)
    alone = torch.cat([POINT[name](x[i : i + 1], argument[i : i + 1]) for i in range(len(x))])
    assert torch.allclose(together, alone, atol=1e-6) and torch.equal(x, before)


def moved_by_pil(pixels: np.ndarray, matrix: np.ndarray, fill: int) -> np.ndarray:
    """PIL's AFFINE, whose origin is the upper left corner, with a matrix about the centre."""
    height, width = pixels.shape[1:3]
    (a, b, c), (d, e, f) = matrix
    x, y = width / 2, height / 2
    data = (a, b, x - a * x - b * y + c, d, e, y - d * x - e * y + f)
    colour = fill if pixels.shape[-1] == 1 else (fill,) * 3
    return with_pil(lambda i: i.transform(i.size, Image.Transform.AFFINE, data, fillcolor=colour), pixels)


def ours_moved(name, pixels, value, fill=128) -> np.ndarray:
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    out = affine(x, GEOMETRIC[name](torch.full((len(x),), float(value))), fill / 255)
    return out.permute(0, 2, 3, 1).numpy() * 255


MATRICES = {
    "Rotate": lambda v: [[math.cos(math.radians(v)), -math.sin(math.radians(v)), 0],
                         [math.sin(math.radians(v)), math.cos(math.radians(v)), 0]],
    "ShearX": lambda v: [[1, v, 0], [0, 1, 0]],
    "ShearY": lambda v: [[1, 0, 0], [v, 1, 0]],
    "TranslateX": lambda v: [[1, 0, v], [0, 1, 0]],
    "TranslateY": lambda v: [[1, 0, 0], [0, 1, v]],
}  # fmt: skip
MOVES = [
    *[("Rotate", v) for v in (0, 27, -27, 81, 12.3)],
    *[(name, v) for name in ("ShearX", "ShearY") for v in (0, 0.27, -0.27, 0.81)],
    *[(name, v) for name in ("TranslateX", "TranslateY") for v in (0, 1, -3, 1.8, 40)],
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "value"), MOVES)
def test_moves_agree_with_pil_at_all_but_a_few_borderline_pixels(name, value, channels):
    pixels = pictures(channels)
    same = np.abs(ours_moved(name, pixels, value) - moved_by_pil(pixels, MATRICES[name](value), 128)) < 1e-2
    exact = value == 0 or name.startswith("Translate")
    assert same.mean() == 1 if exact else same.mean() > 0.99


@pytest.mark.parametrize("value", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
@pytest.mark.parametrize("axis", ["X", "Y"])
def test_half_a_pixel_moves_the_whole_picture_alike(axis, value):
    """No pixel doubled and none skipped, as rounding halves to even would."""
    ramp = np.broadcast_to(np.arange(10, 20, dtype=np.uint8)[:, None, None], (1, 10, 10, 1))
    ramp = ramp if axis == "Y" else ramp.transpose(0, 2, 1, 3)
    out = ours_moved(f"Translate{axis}", ramp.copy(), value, fill=0)[0, :, :, 0]
    line = (out[:, 5] if axis == "Y" else out[5]).round()
    inside = line[line > 0]
    assert (np.diff(inside) == 1).all() and len(inside) == 10 - math.floor(abs(value) + 0.5 * (value > 0))


def test_rotation_is_counter_clockwise_as_in_pil():
    pixels = pictures(3)
    theirs = with_pil(lambda i: i.rotate(20, fillcolor=(128,) * 3), pixels)
    assert (np.abs(ours_moved("Rotate", pixels, 20) - theirs) < 1e-2).mean() > 0.99


def test_every_picture_of_a_batch_has_its_own_move():
    pixels = torch.from_numpy(pictures(1)).permute(0, 3, 1, 2).float() / 255
    degrees = torch.linspace(-80, 80, len(pixels))
    together = affine(pixels, GEOMETRIC["Rotate"](degrees), 0.5)
    for i, value in enumerate(degrees.tolist()):
        alone = affine(pixels[i : i + 1], GEOMETRIC["Rotate"](torch.tensor([value])), 0.5)
        assert torch.equal(together[i : i + 1], alone)


# arguments at M = 5 and M = 27 of the released randaugment.py (levels of 10, translation constant 100 or size // 8)
AT = {
    "Rotate": (15, 81), "ShearX": (0.15, 0.81), "ShearY": (0.15, 0.81), "TranslateX": (50, 270),
    "TranslateY": (50, 270), "Color": (1, 4.96), "Contrast": (1, 4.96), "Brightness": (1, 4.96),
    "Sharpness": (1, 4.96), "Posterize": (2, 8), "Solarize": (128, 256), "AutoContrast": (0, 0),
    "Equalize": (0, 0), "Invert": (0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", AT)
def test_arguments_are_those_of_the_released_code(name):
    assert [argument_at(name, m, 224) for m in (5, 27)] == pytest.approx(AT[name])


def test_small_pictures_are_translated_by_an_eighth_of_their_size():
    assert [argument_at("TranslateX", 10, size) for size in (16, 32, 63, 64)] == [2, 4, 7, 100]


def test_there_are_the_fourteen_operations_of_the_paper():
    assert set(POINT) | set(GEOMETRIC) == set(AT) and len(POINT) + len(GEOMETRIC) == 14
