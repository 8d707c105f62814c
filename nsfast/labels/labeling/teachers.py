"""What teachers are shown, and what they say: batches of pictures, at the resolution of the network that sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.images.files import PictureFiles, taken
from nsfast.labels.contents import content_codes
from nsfast.labels.predict import forward_of
from nsfast.models.network import pictures_at_once

if TYPE_CHECKING:
    from nsfast.images.index import PictureIndex

DECODING = 1
"""How files become pixels; raise it when the same file comes to have others, so that no table mixes the two."""


def preprocessing_of(
    models: nn.Module | Sequence[nn.Module], pictures: Split | PictureIndex, flip: bool = False
) -> dict[str, Any]:
    """Return how teachers see the pictures, as plain data; where they differ, a list with one value of each.

    Returns:
        pixels (height and width), channels, mean and std (by channel, on a 0..1 scale; empty where the network does not
        say), crop (the share of the short side that is seen), interpolation, precision, decoding (`DECODING`), flip.
    """
    models = [models] if isinstance(models, nn.Module) else list(models)
    each = [_preprocessing(model, part_of(pictures, 0, 1)[0]) for model in models]
    found = {name: [about[name] for about in each] for name in each[0]}
    found = {
        name: values if any(v != values[0] for v in values) else values[0] for name, values in found.items()
    }
    return {**found, "decoding": DECODING, "flip": flip}


def _preprocessing(model: nn.Module, pixels: np.ndarray | PictureFiles) -> dict[str, Any]:
    files, own, side = isinstance(pixels, PictureFiles), pixels.shape[1], _side(model, pixels)
    bordered = files and not pixels.whole and side >= 64
    shell = getattr(model, "normalize", None)
    scale = {name: getattr(shell, name, torch.empty(0)).flatten().tolist() for name in ("mean", "std")}
    kind = getattr(model, "autocast", None) or next(model.parameters()).dtype
    return {
        "pixels": side,
        "channels": pixels.shape[3],
        **{name: [round(value, 6) for value in values] for name, values in scale.items()},
        "crop": f"centre {side / (side + 32):.4g}" if bordered else "whole",
        "interpolation": "bicubic" if files or side != own else "none",
        "precision": str(kind).removeprefix("torch."),
    }


def _side(model: nn.Module, pixels: np.ndarray | PictureFiles) -> int:
    """Height and width at which a network sees these pictures."""
    return getattr(model, "pixels", None) or pixels.shape[1]


def part_of(
    pictures: Split | PictureIndex, start: int, stop: int
) -> tuple[np.ndarray | PictureFiles, dict[int, str]]:
    """Return some pictures, none of them decoded yet, and the reasons of those that are known to be none, by place."""
    if isinstance(pictures, Split):
        return taken(pictures.pixels, slice(start, stop)), {}
    return pictures.part(start, stop)


@dataclass(frozen=True)
class Batch:
    """Pictures of one forward pass.

    Args:
        shard: number of their shard.
        seen: how many there were, those that could not be read included.
        last: whether the shard ends with them.
        ids: (n,) int64 of those that could be read.
        views: their pixels (n, side, side, channels) uint8 by side, on the teachers' device; by 0 as they are.
        quarantined: id and reason of the others.
        codes: two content codes (n,) uint64 of what could be read, or None.
    """

    shard: int
    seen: int
    last: bool
    ids: np.ndarray
    views: dict[int, torch.Tensor]
    quarantined: list[tuple[int, str]]
    codes: tuple[np.ndarray, np.ndarray] | None


class Teachers:
    """Networks whose probabilities are averaged.

    Args:
        models: on one device, in eval mode.
        pictures: what they will see.
        classes: how many they must tell apart.
        batch: pictures in a forward pass; 0 for what fits the largest resolution.
        compile: compile the networks.
        flip: average over mirror images, too.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        pictures: Split | PictureIndex,
        classes: int,
        batch: int = 0,
        compile: bool = False,
        flip: bool = False,
    ):
        pixels = part_of(pictures, 0, 1)[0]
        sides = [_side(model, pixels) for model in models]
        self.classes, self.batch = classes, batch or pictures_at_once(max(sides))
        self.device = next(models[0].parameters()).device
        self.views = (
            sides if isinstance(pixels, PictureFiles) else [0] * len(sides)
        )  # they resize arrays themselves
        self._forwards = [
            (view, forward_of(model, self.batch, compile, mirrored))
            for view, model in zip(self.views, models, strict=True)
            for mirrored in ((False, True) if flip else (False,))
        ]

    def __call__(self, views: dict[int, torch.Tensor]) -> torch.Tensor:
        """Return the mean of the probabilities, (n, classes) float32, of a batch's views.

        Raises:
            NsfastError: the networks tell other classes apart.
        """
        total = None
        for view, forward in self._forwards:
            pixels = views[view]
            if not len(pixels):
                return torch.zeros(0, self.classes)
            if (
                pixels.is_cuda
            ):  # copied on another stream, whose memory must not be used again before this is done
                pixels.record_stream(torch.cuda.current_stream(pixels.device))
            probabilities = forward(pixels).softmax(1)
            if probabilities.shape[1] != self.classes:
                raise NsfastError(
                    f"a teacher tells {probabilities.shape[1]} classes apart, but {self.classes} are named; give the "
                    "classes that it was trained on"
                )
            total = probabilities if total is None else total + probabilities
        return total if len(self._forwards) == 1 else total / len(self._forwards)


class Reader:
    """Reads batches for teachers, in one thread; pictures are copied to a GPU while it computes.

    Args:
        pictures: what is read.
        teachers: for whom.
        shard: pictures in a shard.
        workers: threads that decode.
        contents: whether content codes are made, of what the first teacher sees.
    """

    def __init__(
        self, pictures: Split | PictureIndex, teachers: Teachers, shard: int, workers: int, contents: bool
    ):
        self.pictures, self.shard, self.workers, self.contents = pictures, shard, workers, contents
        self.batch, self.device = teachers.batch, teachers.device
        self.views = list(dict.fromkeys(teachers.views))
        self._copying = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._number, self._pixels, self._known = -1, None, {}

    def jobs(self, shards: Iterable[int]) -> Iterator[tuple[int, range]]:
        """Cut shards into batches: the shard's number, and the places in it."""
        for number in shards:
            places = range(min(self.shard, len(self.pictures) - number * self.shard))
            yield from ((number, places[start : start + self.batch]) for start in places[:: self.batch])

    def __call__(self, job: tuple[int, range]) -> Batch:
        """Read one of the jobs."""
        number, places = job
        start, stop = number * self.shard, min((number + 1) * self.shard, len(self.pictures))
        if number != self._number:
            self._pixels, self._known = part_of(self.pictures, start, stop)
            self._number = number
        problems = {place: self._known[place] for place in places if place in self._known}
        rows = np.array([place for place in places if place not in problems], np.int64)
        rows, views = self._read(rows, problems)
        return Batch(
            shard=number,
            seen=len(places),
            last=start + places.stop == stop,
            ids=start + rows,
            views={view: self._sent(pixels) for view, pixels in views.items()},
            quarantined=[(start + place, why) for place, why in sorted(problems.items())],
            codes=content_codes(views[self.views[0]]) if self.contents else None,
        )

    def _read(self, rows: np.ndarray, problems: dict[int, str]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """Which of these rows can be read, and their pixels in each view; `problems` is told of the others."""
        if not isinstance(self._pixels, PictureFiles):
            together = len(rows) and rows[-1] - rows[0] == len(rows) - 1
            return rows, {0: np.array(self._pixels[slice(rows[0], rows[-1] + 1) if together else rows])}
        views: dict[int, np.ndarray] = {}
        for view in self.views:
            files = self._pixels.at(view)
            files.workers = self.workers
            pixels, kept, found = files.read(rows)
            problems |= {int(rows[place]): why for place, why in found.items()}
            rows, views = rows[kept], {side: other[kept] for side, other in views.items()} | {view: pixels}
        return rows, views

    def _sent(self, pixels: np.ndarray) -> torch.Tensor:
        if self._copying is None:
            return torch.from_numpy(pixels).to(self.device)
        with torch.cuda.stream(self._copying):
            return torch.from_numpy(pixels).to(self.device)
