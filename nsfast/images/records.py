"""Files of fixed-length binary records and of labels, as the official data sets have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nsfast.images.problem import ImageProblem


def numbered(split: str, count: int) -> np.ndarray:
    """Return "<split>-000000" and so on: the ids of pictures that have a place and no name."""
    return np.char.add(f"{split}-", np.char.zfill(np.arange(count).astype(str), 6))


def text_lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a text that are not empty."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def records(path: Path, length: int) -> np.ndarray:
    """Return a file of records of `length` bytes as a read-only map (n, length)."""
    size = path.stat().st_size
    if not size or size % length:
        raise ImageProblem(
            f"{path} is damaged: {size} bytes are no whole number of records of {length}; delete it and fetch it anew"
        )
    return np.memmap(path, np.uint8, "r").reshape(-1, length)


def check_labels(path: Path, labels: np.ndarray, count: int, classes: int) -> None:
    """Raise where a label file does not fit its pictures."""
    wrong = "" if len(labels) == count and count else f"{len(labels)} labels for {count} pictures"
    if not wrong and not (0 <= labels.min() and labels.max() < classes):
        wrong = f"classes {labels.min()}..{labels.max()} of {classes}, from 0 on"
    if wrong:
        raise ImageProblem(f"{path} is damaged: {wrong}; delete it and fetch it anew")
