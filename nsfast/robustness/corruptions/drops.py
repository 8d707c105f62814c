"""Drops of water for `spatter`: how bright they are, from where the edges of the liquid run.

Every function takes a stack of maps (n, height, width). The steps are those of OpenCV that make_imagenet_c.py takes:
Canny's edges, distances, equalisation, an emboss filter; made in numpy, equal to OpenCV's but for rare distances.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LOW, HIGH = 50, 150
"""Slopes that Canny's edges begin and go on with."""
FARTHEST = 20
"""Distances from an edge are cut off here, in pixels."""
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
DIAGONAL, KNIGHT = 1.4, 2.1969
"""What a step to a diagonal neighbour and a knight's move are taken to measure (OpenCV's DIST_L2 with a mask of 5)."""


def water_drops(liquid: np.ndarray) -> np.ndarray:
    """Return how much light each pixel gets from the drops.

    Args:
        liquid: float (n, height, width), 0 where there is none.

    Returns:
        float64, same shape, in [0, 1]; 1 at the brightest pixel of each map that has a drop.
    """
    levels = np.clip(liquid * 255, 0, 255).astype(np.uint8)
    distance = np.minimum(distances(edges(levels)), FARTHEST)
    equal = equalised(_mean_of_9(distance).astype(np.uint8))
    embossed = np.clip(ndimage.correlate(equal.astype(int), EMBOSS[None], mode="mirror"), 0, 255)
    light = levels * np.rint(_mean_of_9(embossed.astype(float)))
    brightest = light.max(axis=(1, 2), keepdims=True, initial=0)
    return light / np.where(brightest > 0, brightest, 1)


def edges(levels: np.ndarray) -> np.ndarray:
    """Return where Canny finds edges in maps of grey levels (uint8); bool, same shape.

    Source: OpenCV's `Canny` with an aperture of 3 and the sum of both slopes as gradient.
    """
    padded = np.pad(levels.astype(np.int32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    across, down = rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2]
    slope = np.abs(across) + np.abs(down)
    beside = np.pad(slope, ((0, 0), (1, 1), (1, 1)))
    height, width = levels.shape[1:]

    def neighbour(below: int, right: int) -> np.ndarray:
        return beside[:, 1 + below : 1 + below + height, 1 + right : 1 + right + width]

    # the tangent of 22.5 degrees in steps of 2**-15, as OpenCV rounds it
    steep, flat = np.abs(down) << 15, np.abs(across) * 13573
    along = steep < flat
    upright = steep > flat + (np.abs(across) << 16)
    falling = (across ^ down) < 0
    first = np.select(
        [along, upright, falling], [neighbour(0, -1), neighbour(-1, 0), neighbour(-1, 1)], neighbour(-1, -1)
    )
    last = np.select(
        [along, upright, falling], [neighbour(0, 1), neighbour(1, 0), neighbour(1, -1)], neighbour(1, 1)
    )
    crest = (slope > first) & ((slope > last) | ((along | upright) & (slope == last)))
    weak = crest & (slope > LOW)
    within = np.zeros((3, 3, 3), bool)
    within[1] = True
    labels, count = ndimage.label(weak, within)
    strong = np.zeros(count + 1, bool)
    strong[labels[weak & (slope > HIGH)]] = True
    return strong[labels]


def distances(edge: np.ndarray) -> np.ndarray:
    """Return the distance from the nearest edge (bool) of the same map, in pixels; infinite where it has none.

    The nearest is the one of Euclid's distance; how far it is, is measured as OpenCV measures it.
    """
    found = np.full(edge.shape, np.inf)
    for number in np.flatnonzero(edge.any(axis=(1, 2))):
        nearest = ndimage.distance_transform_edt(~edge[number], return_distances=False, return_indices=True)
        down, across = np.abs(nearest - np.indices(edge.shape[1:]))
        long, short = np.maximum(down, across), np.minimum(down, across)
        found[number] = np.maximum(
            long + (KNIGHT - 2) * short, KNIGHT * (long - short) + DIAGONAL * (2 * short - long)
        )
    return found


def equalised(levels: np.ndarray) -> np.ndarray:
    """Return maps of uint8 whose histogram is spread over all levels; maps of one level stay.

    Source: OpenCV's `equalizeHist`.
    """
    n, height, width = levels.shape
    flat = levels.reshape(n, height * width)
    counts = np.bincount((np.arange(n)[:, None] * 256 + flat).ravel(), minlength=n * 256).reshape(n, 256)
    of_lowest = counts[np.arange(n), (counts > 0).argmax(1)][:, None]
    rest = flat.shape[1] - of_lowest
    scale = np.float32(255) / np.maximum(rest, 1).astype(np.float32)
    table = np.rint((counts.cumsum(1) - of_lowest).astype(np.float32) * scale)
    table = np.where(rest > 0, table, np.arange(256))
    return np.take_along_axis(table, flat.astype(int), 1).clip(0, 255).astype(np.uint8).reshape(levels.shape)


def _mean_of_9(maps: np.ndarray) -> np.ndarray:
    """Return the mean of each pixel and its eight neighbours, the map mirrored at its border."""
    for axis in (1, 2):
        maps = ndimage.correlate1d(maps, np.ones(3), axis=axis, mode="mirror")
    return maps / 9
