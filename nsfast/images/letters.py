"""Letters: 62 characters in the fonts that matplotlib ships, as small colour pictures; as many as are asked for.

Font, pose, colours, ground, blur and noise are random; the ink is darker than the ground, as in print. A character
keeps its place on the line and its size in the font, so that c and C, or o and O, can be told apart by their height; of
some fonts O and 0 or I and l cannot, as in print. The unlabeled pool is uneven, and part of it is of no class: symbols.
Some fonts are held out, for test pictures that are shifted.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nsfast.errors import within
from nsfast.images.fonts import font_folder
from nsfast.images.image_set import ImageSet, Split
from nsfast.images.subsets import spread
from nsfast.streams import numpy_stream

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SYMBOLS = "!#%&*+=<>?@{}[]~^§¶ΔΣΩπλψφ±÷√∞"
"""What is of no class; in DejaVu's fonts, which have all of it."""
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("cmr10", "cmb10", "cmss10", "cmti10"),
)
HELD_OUT = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmtt10")
"""Fonts of the shifted test pictures, in no other one."""
CANVAS, EM, BASELINE = 64, 40, 46
"""Pixels: side on which a character is drawn, size of the font, height of the line."""
CONTRAST = 0.4
"""How much darker than the ground the ink is at least, in brightness 0 to 1."""


def letters(
    labeled_per_class: int = 10,
    unlabeled: int = 6000,
    validation: int = 620,
    test: int = 1240,
    classes: int = 62,
    no_class: float = 0.2,
    rarest: float = 0.3,
    shifted: bool = False,
    size: int = 32,
    seed: int = 0,
) -> ImageSet:
    """Return the letters as an image set of colour pictures, every picture drawn from `seed` and its id alone.

    Args:
        labeled_per_class: labeled pictures of each character, 1 or more; fewer are a part of more.
        unlabeled: pictures of the pool, 1 or more; fewer are a part of more.
        validation, test: pictures of those splits, as many of each character.
        classes: how many characters, the first of 0 to 9, A to Z, a to z; 2..62.
        no_class: share of symbols in the pool, 0..0.9.
        rarest: how often the rarest character comes in the pool, relative to the most frequent one, 0..1; the others
            lie evenly between, in an order drawn by `seed`.
        shifted: draw the test pictures in fonts that no other picture has; all other splits stay as they are.
        size: height and width in pixels, 16 or more.
        seed: of everything.

    Raises:
        NsfastError: a value outside its range.
    """
    within("data.labeled_per_class", labeled_per_class, 1)
    within("data.unlabeled", unlabeled, 1)
    within("data.classes", classes, 2, len(CHARACTERS))
    within("data.validation", validation, classes)
    within("data.test", test, classes)
    within("data.no_class", no_class, 0, 0.9)
    within("data.rarest", rarest, 0, 1)
    within("data.size", size, 16)
    splits = {}
    counts = {
        "labeled": np.full(classes, labeled_per_class),
        "validation": spread(validation, classes),
        "test": spread(test, classes),
    }
    for name, count in counts.items():
        labels = np.repeat(np.arange(classes), count)
        place = np.concatenate([np.arange(many) for many in count])
        held_out = shifted and name == "test"
        prefix = "shifted" if held_out else name
        ids = [f"{prefix}-{ord(CHARACTERS[c]):02x}-{k:05d}" for c, k in zip(labels, place, strict=True)]
        fonts = HELD_OUT if held_out else FONTS
        pixels = _draw(ids, [CHARACTERS[c] for c in labels], fonts, size, seed)
        splits[name] = Split(np.array(ids), pixels, labels.astype(np.int64))

    weights = numpy_stream(seed, "letters", "uneven classes").permutation(np.linspace(rarest, 1, classes))
    chances = np.append((1 - no_class) * weights / weights.sum(), no_class).cumsum()
    ids = [f"unlabeled-{number:07d}" for number in range(unlabeled)]
    drawn = np.array([numpy_stream(seed, "letters", "class", id).random(2) for id in ids])
    truth = np.minimum(np.searchsorted(chances, drawn[:, 0] * chances[-1], side="right"), classes)
    symbols = (drawn[:, 1] * len(SYMBOLS)).astype(int)
    shown = [SYMBOLS[s] if c == classes else CHARACTERS[c] for c, s in zip(truth, symbols, strict=True)]
    truth[truth == classes] = -1
    pool = Split(np.array(ids), _draw(ids, shown, FONTS, size, seed))
    names = tuple(CHARACTERS[:classes])
    many = np.bincount(truth[truth >= 0], minlength=classes)
    note = (
        f"The unlabeled pool is hard on purpose: {(truth < 0).sum()} of its {unlabeled} pictures are symbols, of no "
        f"class, and its classes are uneven ({many.max()} pictures of {names[many.argmax()]}, {many.min()} of "
        f"{names[many.argmin()]})."
    )
    return ImageSet("letters", names, unlabeled=pool, truth=truth.astype(np.int64), notes=(note,), **splits)


def _draw(ids: list[str], shown: list[str], fonts: tuple[str, ...], size: int, seed: int) -> np.ndarray:
    """Return the pictures uint8 (n, size, size, 3), each drawn from the seed and its id alone."""
    pixels = np.empty((len(ids), size, size, 3), np.uint8)
    for row, (id, character) in enumerate(zip(ids, shown, strict=True)):
        pixels[row] = _picture(character, fonts, size, numpy_stream(seed, "letters", id))
    return pixels


def _picture(character: str, fonts: tuple[str, ...], size: int, random: np.random.Generator) -> np.ndarray:
    """Return one picture of a character, uint8 (size, size, 3)."""
    from PIL import Image, ImageFilter

    known = fonts if character in CHARACTERS else tuple(f for f in fonts if f.startswith("DejaVu"))
    glyph = _glyph(known[random.integers(len(known))], character)
    angle, shear, scale = random.normal(0, 0.08), random.normal(0, 0.06), random.uniform(0.85, 1.15)
    shift = random.uniform(-3, 3, 2)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    middle = CANVAS / 2
    inverse = np.array([[cos, sin + shear], [-sin, cos]])
    moved = np.array([middle, middle]) - inverse @ (middle + shift)
    matrix = (*inverse[0], moved[0], *inverse[1], moved[1])
    posed = glyph.transform((CANVAS, CANVAS), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    mask = posed.resize((size, size), Image.Resampling.BOX)
    mask = (
        np.asarray(mask.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.9) * size / 32)), np.float32)
        / 255
    )
    ground = _ground(size, random)
    ink = _ink(ground.mean(), random)
    picture = ground + mask[..., None] * (ink - ground)
    picture += random.normal(0, random.uniform(0, 0.04), picture.shape)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def _ink(ground: float, random: np.random.Generator) -> np.ndarray:
    """Return a colour that is darker than the ground by `CONTRAST` or more, float32 (3,)."""
    ink = random.uniform(0, 0.5, 3)
    return (ink * min(1, (ground - CONTRAST) / ink.mean())).astype(np.float32)


def _ground(size: int, random: np.random.Generator) -> np.ndarray:
    """Return what lies behind: one colour, a gradient, stripes or clouds of two, float32 (size, size, 3)."""
    from PIL import Image

    first = random.uniform(0.75, 1, 3)
    second = np.clip(first + random.uniform(-0.075, 0.075, 3), 0, 1)
    y, x = np.mgrid[0:size, 0:size] / size
    angle = random.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind = random.integers(4)
    if kind == 0:
        part = np.zeros((size, size))
    elif kind == 1:
        part = (along - along.min()) / np.ptp(along)
    elif kind == 2:
        part = 0.5 + 0.5 * np.sin(2 * np.pi * along * random.uniform(2, 5))
    else:
        few = Image.fromarray(random.integers(0, 256, (4, 4), dtype=np.uint8))
        part = np.asarray(few.resize((size, size), Image.Resampling.BICUBIC)) / 255
    return (first + part[..., None] * (second - first)).astype(np.float32)


@cache
def _glyph(font: str, character: str):
    """Return a character on its line in the middle of a canvas, as a grey PIL image."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("L", (CANVAS, CANVAS))
    drawn = ImageFont.truetype(str(font_folder() / f"{font}.ttf"), EM)
    ImageDraw.Draw(canvas).text((CANVAS / 2, BASELINE), character, fill=255, font=drawn, anchor="ms")
    return canvas
