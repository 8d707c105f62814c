"""Every batched operation against PIL picture by picture: random and photographed, grey and colour, small and large.

Blends may be off by one level, since compilers are free to fuse PIL's single-precision product and sum; all else that
works on levels is exact. So are moves, which count in PIL's 65536ths of a pixel.
"""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_image
from torchvision.transforms.v2 import functional as tv

from nsfast.noise.operations import MOVES, POINT, cutout, matrices, move

SIZES = [(8, 8), (13, 15), (32, 32), (224, 224)]  # height, width
ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")
FACTORS = (0.1, 0.28, 0.64, 1.0, 1.72, 4.96)
BLENDS = [(name, factor) for name in ENHANCEMENTS for factor in FACTORS]
EXACT = [
    *[(name, 0) for name in ("AutoContrast", "Equalize", "Invert")],
    *[("Posterize", bits) for bits in range(9)],
    *[("Solarize", threshold) for threshold in (0, 1, 51, 128, 255, 256)],
    *[("SolarizeAdd", addition) for addition in (0, 55, 127, 128)],
]
MOVED = [
    *[("Rotate", v) for v in (0, 12.3, 15, 27, -27, 81, -81)],
    *[(name, v) for name in ("ShearX", "ShearY") for v in (0, 0.15, -0.27, 0.81)],
    *[(name, v) for name in ("TranslateX", "TranslateY") for v in (0, 1, -3, 1.8, -10.8, 50, 270)],
]


@cache
def pictures(channels: int, height: int, width: int) -> np.ndarray:
    """Two photographs, noise, dark, few levels, a ramp, flat: (n, height, width, channels)."""
    random, shape = np.random.default_rng(channels), (height, width, channels)
    ramp = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], shape)
    made = [random.integers(0, 256, shape), ramp]
    if height < 224:
        made += [
            random.integers(0, 40, shape),
            random.integers(100, 104, shape),
            random.choice([10, 200], shape),
        ]
        made += [np.full(shape, 77), np.zeros(shape), np.full(shape, 255), random.beta(0.3, 0.3, shape) * 255]
    for name in ("flower.jpg", "china.jpg"):
        photograph = (
            Image.fromarray(load_sample_image(name)).crop((120, 40, 500, 420)).resize((width, height))
        )
        made.append(np.asarray(photograph.convert("L" if channels == 1 else "RGB")).reshape(shape))
    return np.stack(made).astype(np.uint8)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def to_array(x: torch.Tensor) -> np.ndarray:
    return x.permute(0, 2, 3, 1).numpy()


def filled(count: int, value: float) -> torch.Tensor:
    return torch.full((count,), float(value), dtype=torch.float64)


def ours(name: str, pixels: np.ndarray, argument: float) -> np.ndarray:
    out = POINT[name](to_tensor(pixels), filled(len(pixels), argument))
    assert out.dtype == torch.uint8
    return to_array(out)


def with_pil(function, pixels: np.ndarray) -> np.ndarray:
    images = [Image.fromarray(p.squeeze(-1) if p.shape[-1] == 1 else p) for p in pixels]
    return np.stack([np.asarray(function(image)) for image in images]).reshape(pixels.shape)


def reference(name: str, argument: float):
    """PIL's operation on one picture."""
    if name in ENHANCEMENTS:
        return lambda image: getattr(ImageEnhance, name)(image).enhance(argument)
    if name == "Posterize":  # PIL itself takes 1 to 8 bits
        table = [level // 2 ** (8 - argument) * 2 ** (8 - argument) for level in range(256)]
    elif name == "SolarizeAdd":
        table = [min(level + argument, 255) if level < 128 else level for level in range(256)]
    elif name == "Solarize":
        return lambda image: ImageOps.solarize(image, argument)
    else:
        return getattr(ImageOps, name.lower())
    return lambda image: image.point(table * len(image.getbands()))


def off(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "argument"), EXACT)
def test_look_up_tables_are_exactly_pil_s(name, argument, channels, size):
    pixels = pictures(channels, *size)
    assert off(ours(name, pixels, argument), with_pil(reference(name, argument), pixels)).max() == 0


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_the_one_of_pil_where_that_has_it(bits):
    pixels = pictures(3, 13, 15)
    assert (
        off(ours("Posterize", pixels, bits), with_pil(lambda i: ImageOps.posterize(i, bits), pixels)).max()
        == 0
    )


@pytest.mark.parametrize("low", range(0, 255, 15))
def test_auto_contrast_is_exact_for_every_range_of_levels(low):
    """A quotient taken as 255 * (1 / spread) truncates to another level now and then."""
    highs = range(low + 1, 256)
    pixels = np.stack([np.linspace(low, high, 256).astype(np.uint8).reshape(16, 16, 1) for high in highs])
    assert off(ours("AutoContrast", pixels, 0), with_pil(ImageOps.autocontrast, pixels)).max() == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "factor"), BLENDS)
def test_blends_are_pil_s_to_one_level_and_nearly_always_exactly(name, factor, channels, size):
    pixels = pictures(channels, *size)
    difference = off(ours(name, pixels, factor), with_pil(reference(name, factor), pixels))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.005


@pytest.mark.parametrize("name", ENHANCEMENTS)
def test_factor_0_is_what_pil_blends_with_and_factor_1_the_picture(name):
    pixels = pictures(3, 32, 32)
    degenerate = {
        "Color": lambda image: image.convert("L").convert("RGB"),
        "Contrast": lambda i: Image.new("RGB", i.size, (int(np.asarray(i.convert("L")).mean() + 0.5),) * 3),
        "Brightness": lambda image: Image.new("RGB", image.size),
        "Sharpness": lambda image: image.filter(ImageFilter.SMOOTH),
    }[name]
    assert off(ours(name, pixels, 0), with_pil(degenerate, pixels)).max() == 0
    assert off(ours(name, pixels, 1), pixels).max() == 0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "argument", "theirs", "tolerance"),
    [("AutoContrast", 0, tv.autocontrast, 1), ("Equalize", 0, tv.equalize, 0), ("Invert", 0, tv.invert, 0),
     ("Posterize", 3, lambda x: tv.posterize(x, 3), 0), ("Solarize", 51, lambda x: tv.solarize(x, 51), 0),
     ("Color", 1.72, lambda x: tv.adjust_saturation(x, 1.72), 2),
     ("Contrast", 1.72, lambda x: tv.adjust_contrast(x, 1.72), 2),
     ("Brightness", 1.72, lambda x: tv.adjust_brightness(x, 1.72), 1),
     ("Sharpness", 1.72, lambda x: tv.adjust_sharpness(x, 1.72), 2)],
)  # fmt: skip
def test_point_operations_agree_with_torchvision_on_tensors(name, argument, theirs, tolerance, channels):
    pixels = pictures(channels, 13, 15)
    assert off(ours(name, pixels, argument), to_array(theirs(to_tensor(pixels)))).max() <= tolerance


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("name", POINT)
def test_even_the_smallest_pictures_are_pil_s(name, size):
    pixels = pictures(3, *size)
    argument = {"Posterize": 3, "Solarize": 100, "SolarizeAdd": 55}.get(name, 1.72)
    assert off(ours(name, pixels, argument), with_pil(reference(name, argument), pixels)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POINT)
def test_every_picture_of_a_batch_has_its_own_argument_and_the_batch_is_left_alone(name, channels):
    x = to_tensor(pictures(channels, 13, 15))
    before = x.clone()
    last = {"Posterize": 8, "Solarize": 256, "SolarizeAdd": 128}.get(name, 5)
    argument = torch.linspace(0, last, len(x), dtype=torch.float64).round()
    together = POINT[name](x, argument)
    alone = torch.cat([POINT[name](x[i : i + 1], argument[i : i + 1]) for i in range(len(x))])
    assert torch.equal(together, alone) and torch.equal(x, before)


@pytest.mark.parametrize("layout", ["transposed", "channels last"])
@pytest.mark.parametrize("name", POINT)
def test_the_layout_in_memory_does_not_matter(name, layout):
    x = to_tensor(pictures(3, 13, 15))
    other = x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        other = x.transpose(2, 3).contiguous().transpose(2, 3)
    argument = filled(len(x), 4)
    assert torch.equal(POINT[name](other, argument), POINT[name](x, argument))


def moved_by_pil(name: str, pixels: np.ndarray, value: float, fill: int) -> np.ndarray:
    colour = fill if pixels.shape[-1] == 1 else (fill,) * 3
    if name == "Rotate":
        return with_pil(lambda image: image.rotate(value, fillcolor=colour), pixels)
    data = {
        "ShearX": (1, value, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, value, 1, 0),
        "TranslateX": (1, 0, value, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, value),
    }[name]
    return with_pil(lambda i: i.transform(i.size, Image.Transform.AFFINE, data, fillcolor=colour), pixels)


def ours_moved(name: str, pixels: np.ndarray, value: float, fill: int = 128) -> np.ndarray:
    matrix = matrices(name, np.full(len(pixels), float(value)), *pixels.shape[1:3])
    assert matrix.shape == (len(pixels), 2, 3) and matrix.dtype == np.float64
    out = move(to_tensor(pixels), torch.from_numpy(matrix), fill)
    assert out.dtype == torch.uint8
    return to_array(out)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "value"), MOVED)
def test_moves_are_exactly_pil_s_but_for_a_rounded_sine(name, value, channels, size):
    pixels = pictures(channels, *size)
    same = (ours_moved(name, pixels, value) == moved_by_pil(name, pixels, value, 128)).mean()
    assert same > 0.999 if name == "Rotate" else same == 1


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shears_whose_border_between_two_pixels_meets_whole_rows_are_pil_s_too(name):
    """A fifth of the rows come from exactly between two pixels: one 65536th decides about all of them."""
    pixels = pictures(3, 32, 32)
    for value in (0.2, float(np.float32(0.2)), -0.2, 0.12, 0.6):
        assert (ours_moved(name, pixels, value) == moved_by_pil(name, pixels, value, 128)).all()


@pytest.mark.parametrize("fill", [0, 128, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_whole_pixel_translations_are_slices_beside_the_fill(channels, fill):
    pixels = pictures(channels, 13, 15)
    right = ours_moved("TranslateX", pixels, -4, fill)
    assert (right[:, :, 4:] == pixels[:, :, :-4]).all() and (right[:, :, :4] == fill).all()
    up = ours_moved("TranslateY", pixels, 5, fill)
    assert (up[:, :-5] == pixels[:, 5:]).all() and (up[:, -5:] == fill).all()


@pytest.mark.parametrize("value", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
@pytest.mark.parametrize("axis", ["X", "Y"])
def test_half_a_pixel_moves_the_whole_picture_alike(axis, value):
    """No pixel doubled and none skipped, as rounding halves to even would."""
    ramp = np.broadcast_to(np.arange(10, 20, dtype=np.uint8)[:, None, None], (1, 10, 10, 1))
    ramp = ramp if axis == "Y" else ramp.transpose(0, 2, 1, 3)
    out = ours_moved(f"Translate{axis}", ramp.copy(), value, fill=0)[0, :, :, 0]
    line = (out[:, 5] if axis == "Y" else out[5]).astype(int)
    inside = line[line > 0]
    assert (np.diff(inside) == 1).all() and len(inside) == 10 - np.floor(abs(value) + 0.5 * (value > 0))


def test_a_quarter_turn_is_counter_clockwise():
    pixels = pictures(3, 32, 32)
    assert (ours_moved("Rotate", pixels, 90) == np.rot90(pixels, axes=(1, 2))).mean() > 0.995


@pytest.mark.parametrize("name", MOVES)
def test_every_picture_of_a_batch_has_its_own_move(name):
    pixels = pictures(3, 13, 15)
    before, values = pixels.copy(), np.linspace(-0.8, 0.8, len(pixels))
    values = values * {"Rotate": 100, "TranslateX": 12, "TranslateY": 12}.get(name, 1)
    together = move(to_tensor(pixels), torch.from_numpy(matrices(name, values, 13, 15)), 128)
    for i, value in enumerate(values):
        assert (to_array(together[i : i + 1]) == ours_moved(name, pixels[i : i + 1], value)).all()
    assert (pixels == before).all()


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("half", [0, 1, 2, 10, 108])
def test_cutout_is_a_slow_loop_s(half, channels, size):
    """The square reaches from the centre's pixel minus half to just before plus half, cut off at the edges."""
    pixels, centres = pictures(channels, *size), np.random.default_rng(half).random((11, 2))
    centres[:2] = (0, 0), (0.999999, 0.999999)
    expected = pixels.copy()
    for picture, (row, column) in zip(expected, centres, strict=True):
        row, column = int(row * size[0]), int(column * size[1])
        for y in range(max(0, row - half), min(size[0], row + half)):
            for x in range(max(0, column - half), min(size[1], column + half)):
                picture[y, x] = 128
    out = cutout(to_tensor(pixels), filled(len(pixels), half), torch.from_numpy(centres), 128)
    assert out.dtype == torch.uint8 and (to_array(out) == expected).all()
