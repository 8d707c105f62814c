"""Figures of changed pictures: what each corruption does at each severity, and how a perturbation goes on."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nsfast.analysis.figures.page import INK, WIDTH, plain
from nsfast.analysis.figures.pictures import check_pixels, draw_picture, sheet
from nsfast.errors import NsfastError, within

LABEL, GAP, HEAD = 1.1, 0.12, 0.26
"""Inches that the name of a row takes, of which so many part it from the pictures before it, and the row of titles."""
SMALL, LARGE = 0.5, 0.95
"""Inches that a picture takes at least, if it is small (below 64 pixels) and if it is not."""


def corrupted_grid(pictures: Mapping[str, np.ndarray], severities: Sequence[int] | None = None) -> Figure:
    """Return a picture under each corruption, a row for each, from clean to the highest severity.

    Args:
        pictures: by corruption, in the order of the rows: uint8 (severities, height, width, channels), 1 or 3 channels.
        severities: those of the pictures, 0 for the clean one; 0 to 5 of six pictures when left out, else unnamed.
    """
    _check(pictures, "corruption")
    if severities is None:
        count = len(next(iter(pictures.values())))
        severities = range(6) if count == 6 else [0] + [""] * (count - 1)
    for name, pixels in pictures.items():
        if len(pixels) != len(severities):
            raise NsfastError(
                f"{name} has {len(pixels)} pictures for {len(severities)} severities; give one for each, 0 is clean"
            )
    titles = ["clean" if severity == 0 else str(severity) for severity in severities]
    small = all(max(pixels.shape[1:3]) < 64 for pixels in pictures.values())
    blocks = int((WIDTH - 0.2) / (LABEL + len(titles) * (SMALL if small else LARGE)))
    blocks = min(max(1, blocks), len(pictures))
    rows = -(-len(pictures) // blocks)
    label = len(titles) * LABEL / ((WIDTH - 0.2) / blocks - LABEL)  # in cells, as `width` is
    width = label + len(titles)
    head = HEAD * blocks * width / (WIDTH - 0.2)
    figure, axes, size = sheet(
        blocks * width,
        rows + head,
        "What do the corruptions do to a picture?",
        "The same picture under each corruption: clean, and worse from column to column with its severity.",
        0,
    )
    for place, (name, pixels) in enumerate(pictures.items()):
        block, row = divmod(place, rows)
        _name(axes, name, block * width * size + (GAP if block else 0), row + head, size)
        for column, image in enumerate(pixels):
            left = block * width + label + column
            draw_picture(axes, image, (left, row + head), "", size)
            if row == 0:
                style = {"ha": "center", "va": "bottom", "size": 10, "color": INK}
                axes.text((left + 0.5) * size, 0.88 * HEAD, titles[column], **style)
    return figure


def perturbation_strip(sequences: Mapping[str, np.ndarray], shown: int = 11) -> Figure:
    """Return the frames of each sequence in a row, with their numbers: the first, the last and some between.

    Args:
        sequences: by perturbation: uint8 (frames, height, width, channels), 1 or 3 channels.
        shown: frames of each, at most.
    """
    _check(sequences, "perturbation")
    within("shown", shown, 2)
    shown = min(shown, max(map(len, sequences.values())))
    label = LABEL / (WIDTH - 0.2 - LABEL) * shown
    figure, axes, size = sheet(
        label + shown,
        len(sequences),
        "How does a picture change from frame to frame?",
        f"Of each sequence the first frame, the last and some between, {shown} at most, with their numbers.",
        1,
    )
    for row, (name, frames) in enumerate(sequences.items()):
        _name(axes, name, 0, row, size)
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(shown, len(frames))).round().astype(int))
        for column, frame in enumerate(chosen):
            draw_picture(axes, frames[frame], (label + column, row), f"{frame + 1}", size)
    return figure


def _name(axes, name: str, left: float, row: float, size: float) -> None:
    """Write the name of a row in up to three lines, left of its pictures."""
    lines = textwrap.wrap(str(name).replace("_", " "), 12, max_lines=3, placeholder="…")
    text = plain("\n".join(lines))
    style = {"va": "center", "size": 10, "color": INK, "linespacing": 1.1}
    axes.text(left, row * axes.row_height + size / 2, text, **style)


def _check(pictures: Mapping[str, np.ndarray], what: str) -> None:
    if not pictures:
        raise NsfastError(f"no picture to show; give the pictures of at least one {what}")
    for pixels in pictures.values():
        check_pixels(pixels)
