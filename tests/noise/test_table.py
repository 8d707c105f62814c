"""The table's arguments are the released code's, timm's increasing variants' and torchvision's; and `choose`."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import auto_augment
from torchvision.transforms import v2

from nsfast.errors import NsfastError
from nsfast.noise.items import apply_to_item
from nsfast.noise.operations import MOVES, POINT
from nsfast.noise.randaugment import Draw, apply
from nsfast.noise.table import ENHANCEMENTS, EXTRA, SCALES, check, choose

# arguments at M = 5 and M = 27 of the released randaugment.py, clamped where they leave the valid range
RELEASED = {
    "AutoContrast": (0, 0), "Equalize": (0, 0), "Invert": (0, 0), "Rotate": (15, 81), "Posterize": (2, 8),
    "Solarize": (128, 256), "Color": (1, 4.96), "Contrast": (1, 4.96), "Brightness": (1, 4.96),
    "Sharpness": (1, 4.96), "ShearX": (0.15, 0.81), "ShearY": (0.15, 0.81), "TranslateX": (50, 270),
    "TranslateY": (50, 270), "Cutout": (20, 108), "SolarizeAdd": (55, 128),
}  # fmt: skip
SMALL = {
    "TranslateX": (2, 10.8),
    "TranslateY": (2, 10.8),
    "Cutout": (2, 10),
}  # of 32 pixels: the constant is 32 // 8
# its arithmetic, level by level, before clamping
FORMULAS = {
    "Rotate": lambda level: level / 10 * 30,
    "Posterize": lambda level: min(8, int(level / 10 * 4)),
    "Solarize": lambda level: min(256, int(level / 10 * 256)),
    "SolarizeAdd": lambda level: min(128, int(level / 10 * 110)),
    "ShearX": lambda level: level / 10 * 0.3,
    "TranslateY": lambda level: level / 10 * 100,
    "Cutout": lambda level: int(level / 10 * 40),
    "Brightness": lambda level: level / 10 * 1.8 + 0.1,
}
SIGNED = {"official": set(MOVES), "torchvision": {*MOVES, *ENHANCEMENTS}}


def arguments(operation, m, sign=1.0, height=224, width=224) -> list[float]:
    m = torch.as_tensor(m, dtype=torch.float64)
    return operation.argument(m, torch.full_like(m, sign), height, width).tolist()


@pytest.mark.parametrize("name", RELEASED)
def test_official_arguments_are_those_of_the_released_code(name):
    operation = SCALES["official"][name]
    assert arguments(operation, [5, 27]) == pytest.approx(RELEASED[name], abs=1e-12)
    small = SMALL.get(name, RELEASED[name])
    assert arguments(operation, [5, 27], height=32, width=32) == pytest.approx(small, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_official_arguments_follow_the_released_formulas_at_every_magnitude(name):
    levels = [half / 2 for half in range(61)]
    expected = [FORMULAS[name](level) for level in levels]
    assert arguments(SCALES["official"][name], levels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scale", "name"), [(scale, name) for scale in SCALES for name in SCALES[scale]])
def test_the_sign_counts_for_signed_operations_only(scale, name):
    operation = SCALES[scale][name]
    there, back = (np.array(arguments(operation, [3, 20], sign)) for sign in (1, -1))
    assert operation.signed == (name in SIGNED[scale])
    if not operation.signed:
        assert (there == back).all()
    elif name in MOVES:
        assert (there == -back).all() and (there > 0).all()
    else:
        assert np.allclose(there + back, 2) and (there > 1).all()


def test_small_pictures_have_constants_of_an_eighth_of_their_own_side():
    sides = [16, 32, 63, 64, 224]
    for side, constant in zip(sides, [2, 4, 7, 100, 100], strict=True):
        assert arguments(SCALES["official"]["TranslateX"], [10], width=side) == [constant]
        assert arguments(SCALES["official"]["TranslateY"], [10], height=side) == [constant]
    assert arguments(SCALES["official"]["Cutout"], [10], width=16, height=16) == [2]


def increasing(name):
    return next(row for row in choose("all", increasing=True) if row.name == name)


@pytest.mark.parametrize("name", ["Posterize", "Solarize", *ENHANCEMENTS])
def test_increasing_arguments_are_timm_s(name, monkeypatch):
    """timm has no floor for posterize beyond level 10, where 4 - 4 bits are all that can go."""
    theirs = auto_augment.LEVEL_TO_ARG[f"{name}Increasing"]
    for sign, drawn in ((1, 0), (-1, 1)):  # timm negates where its draw is above a half
        monkeypatch.setattr(auto_augment.random, "random", lambda drawn=drawn: drawn)
        expected = [max(0, theirs(level, {})[0]) for level in range(31)]
        assert arguments(increasing(name), list(range(31)), sign) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("row", choose("all", increasing=True), ids=lambda row: row.name)
def test_with_increasing_no_operation_gets_weaker_as_the_magnitude_grows(row, sign):
    values = np.array(arguments(row, np.linspace(0, 30, 121).tolist(), sign))
    if row.name in ("Posterize", "Solarize"):  # bits, and the level from which on it inverts
        strength = -values
    else:
        strength = abs(values - row.middle)
    assert (np.diff(strength) >= 0).all()
    assert row.name in ("AutoContrast", "Equalize", "Invert") or strength[-1] > strength[0]


def test_increasing_replaces_six_rows_of_the_official_scale_and_none_of_torchvision_s():
    plain, changed = (choose("all", increasing=flag) for flag in (False, True))
    assert [a.name for a in plain] == [b.name for b in changed]
    different = {a.name for a, b in zip(plain, changed, strict=True) if a is not b}
    assert different == {"Posterize", "Solarize", *ENHANCEMENTS}
    assert choose("all", "torchvision", increasing=True) == choose("all", "torchvision")


SPACE = v2.RandAugment._AUGMENTATION_SPACE


def test_torchvision_has_the_same_operations():
    assert set(SCALES["torchvision"]) == set(SPACE)


@pytest.mark.parametrize("size", [(224, 224), (32, 32), (13, 15)])
@pytest.mark.parametrize("name", SPACE)
def test_torchvision_arguments_are_its_values_exactly(name, size):
    theirs, signed = SPACE[name]
    bins = theirs(31, *size)
    for sign in (1, -1) if signed else (1,):
        magnitudes = [0.0] * 31 if bins is None else [float(value) * sign for value in bins]
        if name.startswith("Translate"):
            magnitudes = [int(value) for value in magnitudes]  # as it does when it applies them
        elif name in ENHANCEMENTS:
            magnitudes = [max(0.1, 1.0 + value) for value in magnitudes]
            assert min(magnitudes) > 0.099  # 0.1 in single precision is a trifle less
        elif name == "Solarize":  # the least level at or above its threshold
            magnitudes = [int(np.ceil(255.0 * value)) for value in magnitudes]
        assert arguments(SCALES["torchvision"][name], list(range(31)), sign, *size) == magnitudes


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", SPACE)
def test_torchvision_outcomes_are_its_own_at_every_magnitude_and_sign(name, mode):
    """Its translation moves the other way for the same sign, so there the signs are swapped."""
    theirs, signed = SPACE[name]
    image = Image.fromarray(load_sample_image("china.jpg")).resize((56, 40)).convert(mode)
    signs = (1, -1) if signed else (1,)
    m = torch.arange(31, dtype=torch.float64).repeat(len(signs))
    sign = torch.tensor(signs, dtype=torch.float64).repeat_interleave(31)
    row = SCALES["torchvision"][name]
    draw = Draw((row,), torch.zeros(1, len(m), dtype=torch.int64), row.argument(m, sign, 40, 56)[None],
                torch.zeros(1, len(m), 2, dtype=torch.float64))  # fmt: skip
    pixels = torch.from_numpy(np.asarray(image).reshape(40, 56, -1).copy()).permute(2, 0, 1)
    batch = apply(pixels.expand(len(m), -1, -1, -1), draw, 0).permute(0, 2, 3, 1).numpy()
    reference, bins = v2.RandAugment(), theirs(31, 40, 56)
    for i in range(len(m)):
        magnitude = 0.0 if bins is None else float(bins[int(m[i])]) * float(sign[i])
        magnitude = -magnitude if name.startswith("Translate") else magnitude
        expected = reference._apply_image_or_video_transform(
            image, name, magnitude, interpolation=v2.InterpolationMode.NEAREST, fill=reference._fill
        )
        expected = np.asarray(expected).reshape(40, 56, -1).astype(int)
        item = np.asarray(apply_to_item(image, draw, 0, i)).reshape(expected.shape)
        if name in POINT or name == "Identity":
            assert abs(batch[i] - expected).max() <= 1 and abs(item - expected).max() <= 1
        else:
            share = min((batch[i] == expected).mean(), (item == expected).mean())
            assert share == 1 if name.startswith("Translate") else share > 0.995


def names(*given, **options):
    return [row.name for row in choose(*given, **options)]


def test_the_paper_s_list_has_14_operations_and_the_released_code_16():
    assert names() == names("paper") and len(names()) == 14 and len(names("all")) == 16
    assert set(names("all")) == set(RELEASED) and set(names("all")) - set(names()) == set(EXTRA)
    assert len(names("paper", "torchvision")) == len(names("all", "torchvision")) == 14
    assert {*POINT, *MOVES, "Cutout"} == set(names("all"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("paper,-Invert", [n for n in RELEASED if n not in (*EXTRA, "Invert")]),
     ("-Invert, -Rotate", [n for n in RELEASED if n not in (*EXTRA, "Invert", "Rotate")]),
     (("-Invert",), [n for n in RELEASED if n not in (*EXTRA, "Invert")]),
     ("all,-Cutout", [n for n in RELEASED if n != "Cutout"]),
     ("paper, Cutout", [*(n for n in RELEASED if n not in EXTRA), "Cutout"]),
     ("Rotate", ["Rotate"]), (" Rotate , Invert,", ["Rotate", "Invert"]), (("Color", "Cutout"), ["Color", "Cutout"]),
     (["Rotate", "Rotate"], ["Rotate"])],
)  # fmt: skip
def test_names_are_chosen_and_left_out_once_each(given, expected):
    assert names(given) == expected


@pytest.mark.parametrize(
    ("given", "scale", "said"),
    [("Rotat", "official", "unknown operation 'Rotat' of scale 'official'; did you mean 'Rotate'?"),
     ("paper,-Invrt", "official", "unknown operation 'Invrt' of scale 'official'; did you mean 'Invert'?"),
     (("al",), "official", "unknown operation 'al' of scale 'official'; did you mean 'all'?"),
     ("Invert", "torchvision", "unknown operation 'Invert' of scale 'torchvision'"),
     ("Cutout", "torchvision", "unknown operation 'Cutout' of scale 'torchvision'"),
     ("paper", "oficial", "unknown RandAugment scale 'oficial'; did you mean 'official'?"),
     ("", "official", "operations are '', which leaves none"),
     ("Invert,-Invert", "official", "operations are 'Invert,-Invert', which leaves none")],
)  # fmt: skip
def test_wrong_choices_are_named_with_the_way_out(given, scale, said):
    with pytest.raises(NsfastError, match=re.escape(said)):
        choose(given, scale)


GOOD = {"n": 2, "m": 9, "fill": 0.5, "probability": 1, "magnitude_std": 0}


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [("n", (-1, 17), (0, 16)), ("m", (-0.1, 30.5, float("nan")), (0, 30)), ("fill", (-0.01, 1.01), (0, 1)),
     ("probability", (-0.1, 1.1), (0, 1)), ("magnitude_std", (-1,), (0, 5))],
)  # fmt: skip
def test_settings_have_to_lie_in_their_range(name, bad, good):
    for value in good:
        check(**{**GOOD, name: value})
    for value in bad:
        with pytest.raises(NsfastError, match=re.escape(f"randaugment_{name} is {value}; it must be")):
            check(**{**GOOD, name: value})
