"""Pictures and targets as a loader asks for them, whole batches at a time: on the device, or decoded in workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from copy import copy

import numpy as np
import torch
from fastai.torch_core import TensorBase, TensorCategory, TensorImage, TitledStr
from fasttransform import Transform

from nsfast.errors import NsfastError
from nsfast.models.network import resized
from nsfast.streams import stream_seed
from nsfast.training.targets import Distributions, dense


class TensorTopK(TensorBase):
    """Distributions as they are kept: (n, 2k), the classes of the likeliest k and then their probabilities."""


class _Dataset:
    """What fastai asks of a dataset, over `targets`, `split_idx`, `vocab` and a subclass's `take`."""

    # inputs in an item; otherwise fastai draws a noised batch to find out, at the first step that it takes
    n_inp = 1

    def __init__(
        self, count: int, targets: torch.Tensor | JointTargets, split_idx: int, vocab: Sequence[str] | None
    ):
        if len(targets) != count:
            raise NsfastError(f"{len(targets)} targets for {count} pictures; give one each")
        self.targets, self.split_idx, self.vocab = targets, split_idx, vocab
        found = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1 if count else 0
        self.c = found if vocab is None else len(vocab)  # number of classes
        # what a batch's targets are: kept distributions, whole ones, or class indices
        self.kind = getattr(targets, "kind", TensorBase if targets.ndim == 2 else TensorCategory)

    @contextmanager
    def set_split_idx(self, split_idx: int):
        """Count as another split for a while, as fastai's `tta` asks for."""
        before, self.split_idx = self.split_idx, split_idx
        try:
            yield self
        finally:
            self.split_idx = before

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[TensorImage, torch.Tensor]:
        x, y = self.take(np.array([i]))
        return x[0], y[0]

    def decode(self, item: tuple, full: bool = True) -> tuple:
        """Return picture and target with a title, as fastai shows them; a distribution by its largest."""
        picture, target = item
        if isinstance(target, TensorTopK):
            target = Dense(self.c)(target[None])[0]
        which = int(target.argmax()) if target.ndim else int(target)
        title = str(which if self.vocab is None else self.vocab[which])
        return picture, TitledStr(f"{title} {float(target.max()):.2f}" if target.ndim else title)


class Pictures(_Dataset):
    """Small pictures and targets as tensors on the device; a batch is one indexing of each.

    Args:
        pixels: one or two arrays (n, height, width, channels) uint8: the labeled, then the pseudo-labeled pictures.
        targets: (n,) int64 class indices or (n, classes) float32 distributions, over all pictures; or `JointTargets`.
        split_idx: 0 for training, 1 for validation; fastai's random transforms look at it.
        device: where the pictures lie.
        vocab: class names, by which fastai's `show_batch` and `show_results` call the targets.

    Raises:
        NsfastError: another number of targets than of pictures.
    """

    def __init__(
        self,
        pixels: list[np.ndarray],
        targets: torch.Tensor | JointTargets,
        split_idx: int,
        device="cpu",
        vocab: Sequence[str] | None = None,
    ):
        count, (height, width, channels) = sum(map(len, pixels)), pixels[0].shape[1:]
        super().__init__(count, targets, split_idx, vocab)
        if isinstance(targets, JointTargets):
            targets = targets.index_select(0, torch.arange(count))
        self.targets = targets.to(device)
        self.pixels = torch.empty(count, channels, height, width, dtype=torch.uint8, device=device)
        start = 0
        for array in pixels:
            for part in np.array_split(
                array, max(1, len(array) // 65536)
            ):  # a memory map is read piece by piece
                end = start + len(part)
                self.pixels[start:end] = torch.from_numpy(np.array(part)).to(device).permute(0, 3, 1, 2)
                start = end

    def take(self, index: np.ndarray, draw: int | None = None) -> tuple[TensorImage, torch.Tensor]:
        """Return uint8 pictures (n, channels, height, width) and their targets, in the order of `index`."""
        rows = torch.from_numpy(index).to(self.pixels.device, non_blocking=True)
        return TensorImage(self.pixels.index_select(0, rows)), self.kind(self.targets.index_select(0, rows))

    def new_empty(self) -> Pictures:
        """Return the same without pictures, for `Learner.export`."""
        empty = copy(self)
        empty.pixels, empty.targets = self.pixels[:0].clone(), self.targets[:0].clone()
        return empty


class JointTargets:
    """Labels and the teacher's distributions, brought together for the rows of a batch alone.

    Args:
        labels: (n,) class indices of the labeled pictures, which come first.
        distributions: (m) of the pseudo-labeled ones, as they are kept; normalised when they are used.
    """

    ndim = 2

    def __init__(self, labels: np.ndarray, distributions: Distributions):
        self.labels, self.distributions = np.asarray(labels), distributions

    def __len__(self) -> int:
        return len(self.labels) + len(self.distributions)

    @property
    def shape(self) -> tuple[int, int]:
        """Pictures and classes."""
        return len(self), self.distributions.classes

    @property
    def kind(self) -> type[TensorBase]:
        """`TensorTopK` where the likeliest classes are kept, which `Dense` makes whole."""
        return TensorTopK if self.distributions.top else TensorBase

    def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
        """Return the distributions of some rows: (k, classes) float32, or as `TensorTopK` holds them."""
        rows, n = rows.numpy(), len(self.labels)
        labeled, pseudo = np.flatnonzero(rows < n), np.flatnonzero(rows >= n)
        labels, given = self.labels[rows[labeled]], self.distributions[rows[pseudo] - n]
        probabilities = torch.from_numpy(np.asarray(given.probabilities, np.float32))
        if top := given.top:
            out = torch.zeros(len(rows), 2 * top)
            # a label is certain, and some other classes have nothing
            out[labeled, :top] = torch.from_numpy((labels[:, None] + np.arange(top)) % given.classes).float()
            out[labeled, top] = 1.0
            out[pseudo, :top] = torch.from_numpy(np.asarray(given.top_classes, np.float32))
            out[pseudo, top:] = probabilities
            return out
        out = torch.zeros(len(rows), given.classes)
        out[labeled, torch.from_numpy(labels).long()] = 1.0
        out[pseudo] = probabilities / probabilities.sum(1, keepdim=True)  # stored in half precision
        return out

    def empty(self) -> JointTargets:
        """Return the same of no picture."""
        return JointTargets(self.labels[:0], self.distributions[:0])


class FilePictures(_Dataset):
    """Large pictures, decoded where a loader's workers ask for them, as uint8.

    Args:
        pixels: one or two arrays, or `PictureFiles`, of (n, height, width, channels): the labeled, then the
            pseudo-labeled pictures.
        targets, split_idx, vocab: see `Pictures`.
        inception: whether training pictures are random crops (`PictureFiles.crops`).
        flip: whether half of those are mirrored.

    Raises:
        NsfastError: another number of targets than of pictures, or `inception` for pictures that are arrays.
    """

    def __init__(
        self,
        pixels: list,
        targets: torch.Tensor | JointTargets,
        split_idx: int,
        vocab: Sequence[str] | None = None,
        inception: bool = False,
        flip: bool = False,
    ):
        super().__init__(sum(map(len, pixels)), targets, split_idx, vocab)
        self.pixels, self.inception, self.flip = pixels, inception and split_idx == 0, flip
        self.ends = np.cumsum([len(part) for part in pixels])
        if self.inception and not all(hasattr(part, "crops") for part in pixels):
            raise NsfastError("crop 'inception' needs pictures kept as files; set crop to 'pad' or 'none'")

    def take(self, index: np.ndarray, draw: int | None = None) -> tuple[TensorImage, torch.Tensor]:
        """Return uint8 pictures (n, channels, height, width) and their targets, in the order of `index`.

        `draw` seeds the random crops of this batch, whichever worker makes it; without it they are centred.
        """
        out = np.empty((len(index), *self.pixels[0].shape[1:]), np.uint8)
        part = np.searchsorted(self.ends, index, side="right")
        for number, pixels in enumerate(self.pixels):
            mine = np.flatnonzero(part == number)
            rows = index[mine] - (self.ends[number] - len(pixels))
            if not len(mine):
                continue
            if self.inception and draw is not None:
                out[mine] = pixels.crops(rows, stream_seed(draw, number), flip=self.flip)
            else:
                out[mine] = pixels[rows]
        targets = self.targets.index_select(0, torch.from_numpy(index))
        return TensorImage(torch.from_numpy(out).permute(0, 3, 1, 2)), self.kind(targets)

    def new_empty(self) -> FilePictures:
        """Return the same without pictures, for `Learner.export`."""
        empty = copy(self)
        empty.pixels, empty.ends = [part[:0] for part in self.pixels], np.zeros(len(self.pixels), int)
        made = isinstance(self.targets, JointTargets)
        empty.targets = self.targets.empty() if made else self.targets[:0].clone()
        return empty


class ToFloat(Transform):
    """uint8 pictures to float32 on 0..1; order 10, where fastai's IntToFloat stands."""

    order = 10

    def encodes(self, x: TensorImage):
        # as a plain tensor: the operations of a subclass cost several times as much
        return TensorImage(x.as_subclass(torch.Tensor).float().div_(255))

    def decodes(self, x: TensorImage):
        return x.mul(255).round().clamp(0, 255).to(torch.uint8)


class Resized(Transform):
    """Pictures on 0..1 to `side` x `side` pixels, bicubic with antialiasing, on the device; order 12, after `ToFloat`.

    Args:
        side: height and width in pixels.
    """

    order = 12

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def encodes(self, x: TensorImage):
        return TensorImage(resized(x.as_subclass(torch.Tensor), self.side))


class Dense(Transform):
    """Kept distributions made whole, (n, classes) float32 that sum to 1, on their device; order 5, before the others.

    Args:
        classes: how many there are.
    """

    order = 5

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def encodes(self, x: TensorTopK) -> TensorBase:  # named, or fastai makes it what it was
        top_classes, probabilities = x.as_subclass(torch.Tensor).chunk(2, 1)
        whole = dense(top_classes, probabilities, self.classes)
        return TensorBase(whole / whole.sum(1, keepdim=True))  # of half-precision numbers
