"""Figures of pictures: grids, the surest and the least sure of each class, a joint batch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from nsfast.analysis.figures.page import (
    INK,
    LABELED,
    PSEUDO_LABELED,
    WIDTH,
    WRONG,
    new_figure,
    plain,
    shortened,
)
from nsfast.errors import NsfastError, within

LINE = 0.16
"""Inches that one line of a caption takes below a picture."""
LETTER = 0.075
"""Inches that a letter of a caption takes, on average."""


def picture_grid(
    pixels: np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    question: str = "What do the pictures look like?",
    answer: str = "",
) -> Figure:
    """Return the pictures in rows, each with its title below.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels, n at least 1.
        titles: (n,) texts; none when left out.
        columns: pictures in a row.
        question, answer: the headline.
    """
    check_pixels(pixels)
    within("columns", columns, 1)
    columns = min(columns, max(len(pixels), 4))
    captions, lines = _titles(titles, len(pixels), columns)
    figure, axes, size = sheet(columns, -(-len(pixels) // columns), question, answer, lines)
    for place, (image, title) in enumerate(zip(pixels, captions, strict=True)):
        draw_picture(axes, image, (place % columns, place // columns), title, size)
    return figure


def joint_batch(
    pixels: np.ndarray, is_labeled: np.ndarray, titles: Sequence[str] | None = None, columns: int = 8
) -> Figure:
    """Return the pictures of one training batch, framed by where their label comes from.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels, n at least 1.
        is_labeled: bool (n,), False for a pseudo-label.
        titles: (n,) texts, such as the class and its probability.
        columns: pictures in a row.
    """
    check_pixels(pixels)
    is_labeled = np.asarray(is_labeled, dtype=bool)
    if len(is_labeled) != len(pixels):
        raise NsfastError(
            f"is_labeled has {len(is_labeled)} entries for {len(pixels)} pictures; give one for each"
        )
    labeled = int(is_labeled.sum())
    captions, lines = _titles(titles, len(pixels), columns)
    figure, axes, size = sheet(
        columns,
        -(-len(pixels) // columns),
        "What does the student see in one step?",
        f"One joint batch: {labeled} labeled and {len(pixels) - labeled} pseudo-labeled pictures, noised.",
        lines,
    )
    for place, (image, title) in enumerate(zip(pixels, captions, strict=True)):
        frame = LABELED if is_labeled[place] else PSEUDO_LABELED
        draw_picture(axes, image, (place % columns, place // columns), title, size, frame)
    handles = [Patch(color=LABELED, label="labeled"), Patch(color=PSEUDO_LABELED, label="pseudo-labeled")]
    figure.legend(handles=handles, loc="upper right", ncols=2, fontsize=10, frameon=False, borderaxespad=0.3)
    return figure


def surest_and_least_sure(
    pixels: np.ndarray,
    predicted: np.ndarray,
    confidence: np.ndarray,
    classes: Sequence[str],
    truth: np.ndarray | None = None,
    each: int = 4,
    rows: int = 10,
) -> Figure:
    """Return, for each class, the pictures the teacher is surest of and those it is least sure of.

    Args:
        pixels: uint8 (n, height, width, channels), 1 or 3 channels.
        predicted: int64 (n,), the class of each pseudo-label.
        confidence: float (n,), 0 to 1.
        classes: the name of each class.
        truth: int64 (n,), -1 for a picture of no class; mistakes are framed when it is known.
        each: pictures at either end.
        rows: classes shown at most, those with the most pseudo-labels, in the order of `classes`.
    """
    check_pixels(pixels)
    within("each", each, 1)
    predicted, confidence = np.asarray(predicted), np.asarray(confidence)
    count = np.bincount(predicted, minlength=len(classes))
    chosen = np.sort(np.argsort(-count, kind="stable")[:rows])
    chosen = chosen[count[chosen] > 0]
    wrong = np.zeros(len(predicted), bool) if truth is None else np.asarray(truth) != predicted
    note = (
        "" if truth is None else f" Framed: wrong labels ({int(wrong.sum())} of all {len(wrong)} are wrong)."
    )
    names = [plain(classes[number], 14) for number in chosen]
    side = 0.25 + max(map(len, names)) / 11  # cells that the class names take
    figure, axes, size = sheet(
        2 * each + side + 0.4,
        len(chosen),
        "Which pictures is the teacher sure of?",
        f"A row for each predicted class: left the {each} surest, right the {each} least sure, with their "
        f"confidence.{note}",
        1 if truth is None else 2,
    )
    for row, number in enumerate(chosen):
        members = np.flatnonzero(predicted == number)
        members = members[np.argsort(-confidence[members], kind="stable")]
        surest, rest = members[:each], members[each:]
        _label(axes, names[row], row, size)
        for start, group in ((side, surest), (side + each + 0.4, rest[-each:])):
            for column, index in enumerate(group):
                caption = f"{confidence[index]:.2f}"
                if wrong[index]:
                    caption += "\nis " + ("none" if truth[index] < 0 else plain(classes[truth[index]], 9))
                frame = WRONG if wrong[index] else None
                draw_picture(axes, pixels[index], (start + column, row), caption, size, frame)
    return figure


def sheet(columns: float, rows: int, question: str, answer: str, lines: int) -> tuple[Figure, Axes, float]:
    """Return a figure, one axes in inches that grows downwards, and the size of a cell in inches.

    Args:
        columns: cells across the page, which fill its width.
        rows: of cells.
        question, answer: the headline.
        lines: of a caption below each picture.
    """
    size = (WIDTH - 0.2) / columns
    step = size + lines * LINE + (0.06 if lines else 0)
    height = rows * step + 0.08
    figure = new_figure(height, question, answer, layout=None)
    axes = figure.add_axes((0.1 / WIDTH, 0, 1 - 0.2 / WIDTH, figure.top))
    axes.set(xlim=(0, columns * size), ylim=(height, 0))
    axes.axis("off")
    axes.row_height = step
    return figure, axes, size


def draw_picture(
    axes: Axes,
    image: np.ndarray,
    place: tuple[float, int],
    caption: str,
    size: float,
    frame: str | None = None,
) -> None:
    """Draw a picture into a cell, whole and in its proportions; small pictures keep their pixels visible.

    Args:
        axes, size: of `sheet`.
        image: uint8 (height, width, channels).
        place: column and row of the cell, from 0.
        caption: below the picture, "" for none.
        frame: colour of a thick frame; none when left out.
    """
    height, width = image.shape[:2]
    inner = 0.9 * size
    w, h = inner * width / max(height, width), inner * height / max(height, width)
    left = (place[0] + 0.5) * size - w / 2
    top = place[1] * axes.row_height + (size - h) / 2
    gray = image.shape[2] == 1
    axes.imshow(
        image[..., 0] if gray else image,
        cmap="gray" if gray else None,
        vmin=0,
        vmax=255,
        extent=(left, left + w, top + h, top),
        interpolation="nearest" if max(height, width) < 64 else "antialiased",
        aspect="auto",
    )
    edge = {"edgecolor": frame, "linewidth": 3} if frame else {"edgecolor": "#BBBBBB", "linewidth": 0.6}
    axes.add_patch(Rectangle((left, top), w, h, fill=False, **edge))
    if caption:
        axes.text(
            (place[0] + 0.5) * size, place[1] * axes.row_height + 0.98 * size, caption, ha="center", va="top",
            size=9, linespacing=1.1,
        )  # fmt: skip


def _label(axes: Axes, text: str, row: int, size: float) -> None:
    axes.text(0, row * axes.row_height + size / 2, text, va="center", size=10.5, weight="bold", color=INK)


def _titles(titles: Sequence[str] | None, n: int, columns: float) -> tuple[list[str], int]:
    """Return the captions of n pictures, wrapped to the width of a cell, and how many lines the longest takes."""
    if titles is None:
        return [""] * n, 0
    if len(titles) != n:
        raise NsfastError(f"{len(titles)} titles for {n} pictures; give one for each")
    width = max(3, int((WIDTH - 0.2) / columns / LETTER))
    captions = [
        [part for line in str(title).split("\n") for part in _wrapped(line, width)] for title in titles
    ]
    return [plain("\n".join(lines)) for lines in captions], max(map(len, captions))


def _wrapped(text: str, width: int) -> list[str]:
    """Return text in at most two lines; where that is too little, the last word stays, as it may be a number."""
    lines = textwrap.wrap(text, width)
    if len(lines) <= 2:
        return lines
    *words, last = text.split() if " " in text else (text[:width], text[width:])
    return [shortened(" ".join(words), width), shortened(last, width)]


def check_pixels(pixels: np.ndarray) -> None:
    """Raise unless pixels are uint8 (n, height, width, channels) with 1 or 3 channels and at least one picture."""
    shape = getattr(pixels, "shape", None)
    if shape is None or len(shape) != 4 or shape[3] not in (1, 3) or not shape[0] or pixels.dtype != np.uint8:
        raise NsfastError(
            f"pixels are {getattr(pixels, 'dtype', type(pixels).__name__)} of shape {shape}; they must be "
            "uint8 (n, height, width, channels) with 1 or 3 channels and at least one picture"
        )
