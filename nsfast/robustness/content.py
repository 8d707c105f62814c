"""What pictures are, by content: answers are kept under it, and are asked again when it changes."""

from __future__ import annotations

import hashlib

import numpy as np

from nsfast.images import Split


def content_of(split: Split) -> str:
    """Return the sha256 of ids, labels and pixels; pictures that are files are decoded, a few at a time.

    Files and an array of the same pixels differ in it: a network sees files at its own resolution.
    """
    labels = None if split.labels is None else np.asarray(split.labels, np.int64).tolist()
    shape = [int(side) for side in split.pixels.shape]
    about = (shape, hasattr(split.pixels, "at"), [str(name) for name in split.ids], labels)
    digest = hashlib.sha256(repr(about).encode())
    for start in range(0, len(split), 256):
        digest.update(np.ascontiguousarray(split.pixels[start : start + 256]).tobytes())
    return digest.hexdigest()
