"""The embedded digits: scikit-learn's 1,797 real 8x8 handwritten digits, with an unlabeled pool made hard on purpose.

The unlabeled pool is uneven (each class keeps a different share of its pictures) and about a fifth of it is of no
class at all: letters, drawn from the fonts that matplotlib ships, shrunk and blurred like the digits. So filtering and
balancing have work to do, as they have on a pool found in the wild (Noisy Student, section 2).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from nsfast.errors import within
from nsfast.images.fonts import font_folder
from nsfast.images.image_set import ImageProblem, ImageSet, Split
from nsfast.images.subsets import spread
from nsfast.streams import hash_order, numpy_stream

LETTERS = (
    "ABCDEFGHJKLMNPRTUVWXYabdefhkmnprtwxy"  # without those that look like a digit: I O Q S Z g i l o q s z
)


def digits(
    labeled_per_class: int = 5,
    validation: int = 200,
    test: int = 500,
    no_class: float = 0.2,
    rarest: float = 0.3,
    size: int = 16,
    share: float = 1.0,
    seed: int = 0,
) -> ImageSet:
    """Return the digits as an image set of grey pictures, split by `seed`.

    Args:
        labeled_per_class: labeled pictures of each digit, 1 or more.
        validation, test: pictures of those splits, stratified as the digits are.
        no_class: share of letters in the unlabeled pool, 0..0.9.
        rarest: share of its unlabeled pictures that the rarest digit keeps, 0..1; the others lie evenly between it
            and 1, in an order drawn by `seed`. 1 leaves the pool even.
        size: height and width in pixels after bicubic enlargement, 8 or more.
        share: of that pool, how much there is, above 0 to 1; less is a part of more.
        seed: seed of the splits, of the uneven classes and of the letters.

    Raises:
        NsfastError: a value outside its range.
        ImageProblem: the splits ask for more pictures than there are.
    """
    within("data.labeled_per_class", labeled_per_class, 1)
    within("data.no_class", no_class, 0, 0.9)
    within("data.rarest", rarest, 0, 1)
    within("data.size", size, 8)
    within("data.share", share, 0.001, 1)
    within("data.validation", validation, 1)
    within("data.test", test, 1)
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    ids = np.array([f"digit-{i:04d}" for i in range(len(labels))])
    order = np.argsort(hash_order(ids, seed, "digits"))
    pixels = enlarge(small.reshape(-1, 8, 8) / 16, size)

    quota = {
        "labeled": np.full(10, labeled_per_class),
        "validation": spread(validation, 10),
        "test": spread(test, 10),
    }
    asked = sum(quota.values())
    short = np.flatnonzero(np.bincount(labels, minlength=10) <= asked)
    if len(short):
        raise ImageProblem(
            f"labeled_per_class={labeled_per_class}, validation={validation} and test={test} ask for "
            f"{asked[short[0]]} pictures of digit {short[0]}, which has {(labels == short[0]).sum()}; ask for fewer"
        )
    parts = numpy_stream(seed, "uneven classes").permutation(np.linspace(rarest, 1.0, 10))
    rows: dict[str, list[int]] = {"labeled": [], "validation": [], "test": [], "unlabeled": []}
    for digit in range(10):
        mine, start = order[labels[order] == digit], 0
        for split in ("test", "validation", "labeled"):
            rows[split].extend(mine[start : start + quota[split][digit]])
            start += quota[split][digit]
        rest = mine[start:]
        rows["unlabeled"].extend(rest[: max(1, round(parts[digit] * len(rest)))])
    splits = {}
    for name, index in rows.items():
        index = np.sort(np.array(index))
        splits[name] = Split(ids[index], pixels[index], labels[index].astype(np.int64))

    pool = splits.pop("unlabeled")
    letter_ids, letters = _letters(round(len(pool) * no_class / (1 - no_class)), size, seed)
    unlabeled = Split(np.concatenate([pool.ids, letter_ids]), np.concatenate([pool.pixels, letters]))
    truth = np.concatenate([pool.labels, np.full(len(letter_ids), -1)])
    if share < 1:
        order = np.argsort(hash_order(unlabeled.ids, seed, "share"))
        rows = np.sort(order[: max(1, round(share * len(unlabeled)))])
        unlabeled, truth = unlabeled.take(rows), truth[rows]
    counts = np.bincount(truth[truth >= 0], minlength=10)
    note = (
        f"The unlabeled pool is hard on purpose: {(truth < 0).sum()} of its {len(unlabeled)} pictures are letters, of "
        f"no class, and its classes are uneven ({counts.max()} pictures of digit {counts.argmax()}, "
        f"{counts.min()} of digit {counts.argmin()})."
    )
    classes = tuple(str(d) for d in range(10))
    return ImageSet("digits", classes, unlabeled=unlabeled, truth=truth, notes=(note,), **splits)


def enlarge(pictures: np.ndarray, size: int) -> np.ndarray:
    """Enlarge (n, 8, 8) grey pictures on a 0..1 scale to (n, size, size, 1) uint8, bicubic."""
    from PIL import Image

    out = np.empty((len(pictures), size, size, 1), np.uint8)
    for i, picture in enumerate(pictures):
        image = Image.fromarray((picture * 255).round().astype(np.uint8))
        out[i, :, :, 0] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    return out


@lru_cache(maxsize=1)
def _fonts() -> tuple[Path, ...]:
    """Text fonts that matplotlib ships (its symbol and display-size fonts left out)."""
    text = ("DejaVuSans", "DejaVuSerif", "STIXGeneral")
    return tuple(
        sorted(p for p in font_folder().glob("*.ttf") if p.name.startswith(text) and "Display" not in p.name)
    )


def _letters(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` letters as 8x8 pictures with 17 grey levels, like the digits, and enlarge them.

    Returns:
        ids (count,) and pixels (count, size, size, 1).
    """
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    random = numpy_stream(seed, "letters")
    small = np.zeros((count, 8, 8))
    names = []
    for i in range(count):
        letter = LETTERS[random.integers(len(LETTERS))]
        font = ImageFont.truetype(str(_fonts()[random.integers(len(_fonts()))]), 52)
        canvas = Image.new("L", (96, 96))
        ImageDraw.Draw(canvas).text((48, 48), letter, fill=255, font=font, anchor="mm")
        canvas = canvas.rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC)
        drawn = canvas.crop(canvas.getbbox())
        width = min(64, max(12, round(64 * drawn.width / drawn.height * random.uniform(0.8, 1.0))))
        canvas = Image.new("L", (64, 64))
        canvas.paste(drawn.resize((width, 64), Image.Resampling.BICUBIC), ((64 - width) // 2, 0))
        canvas = canvas.filter(ImageFilter.GaussianBlur(random.uniform(1.0, 3.0)))
        picture = np.asarray(canvas.resize((8, 8), Image.Resampling.BOX), float)
        small[i] = (picture / max(picture.max(), 1) * 16).round() / 16
        names.append(f"letter-{i:04d}-{ord(letter):02x}")
    return np.array(names, dtype=str), enlarge(small, size)
