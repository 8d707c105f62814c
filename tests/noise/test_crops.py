"""Reflected crops, mirrors and grey squares: against slow loops over single pictures, and inert outside training."""

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.torch_core import TensorImage
from scipy.stats import chisquare

from nsfast.errors import NsfastError
from nsfast.noise.crops import Cutout, PadCrop, cutout, pad_crop
from nsfast.training import Recipe
from nsfast.training.learner import build_learner


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_pad_crop(picture: np.ndarray, padding: int, top: int, left: int, mirrored: bool) -> np.ndarray:
    """One picture (channels, height, width): numpy's own padding, a slice, and its mirror."""
    height, width = picture.shape[1:]
    padded = np.pad(picture, ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
    cut = padded[:, top + padding :, left + padding :][:, :height, :width]
    return cut[:, :, ::-1] if mirrored else cut


def pictures(n, channels=3, height=6, width=9, seed=0) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=generator(seed))


@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (1, False), (3, True), (5, True)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_one_of_its_crops_and_its_own(padding, flip, channels):
    """Which crop it is, is found by looking: the reference knows nothing of the draws."""
    x = pictures(40, channels)
    offsets = range(-padding, padding + 1)
    for before, after in zip(x.numpy(), pad_crop(x, padding, flip, generator(1)).numpy(), strict=True):
        possible = [
            slow_pad_crop(before, padding, top, left, mirrored)
            for top in offsets
            for left in offsets
            for mirrored in ([False, True] if flip else [False])
        ]
        assert any((after == one).all() for one in possible)


def places(padding, flip, n=20_000, height=6, width=9):
    """Row offset, column offset and mirroring of n crops, read from pictures whose value is their place."""
    one = torch.arange(height)[:, None] * 100 + torch.arange(width)
    out = pad_crop(one.expand(n, 1, height, width), padding, flip, generator(2))[:, 0]
    kinds = {}
    for top in range(-padding, padding + 1):
        for left in range(-padding, padding + 1):
            for mirrored in (False, True):
                crop = slow_pad_crop(one[None].numpy(), padding, top, left, mirrored)[0]
                kinds[crop.tobytes()] = (top, left, mirrored)
    return np.array([kinds[crop.tobytes()] for crop in out.numpy()])


def test_all_offsets_come_equally_often_and_half_are_mirrored_independently():
    found = places(2, flip=True)
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 5 * 5 * 2 and chisquare(counts).pvalue > 0.01
    assert not places(2, flip=False, n=500)[:, 2].any()


def test_without_padding_it_only_mirrors_half():
    x = pictures(4000, 1, 2, 3)
    assert torch.equal(pad_crop(x, 0), x)
    out = pad_crop(x, 0, True, generator(3))
    same, mirrored = ((out == y).all(3).all(2)[:, 0] for y in (x, x.flip(3)))
    assert (same ^ mirrored).all() and abs(mirrored.float().mean() - 0.5) < 0.03


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_kind_shape_and_input_stay(dtype):
    x = (pictures(5) * 255).to(dtype)
    before = x.clone()
    for out in (pad_crop(x, 2, True), cutout(x, 3, 1)):
        assert out.dtype == dtype and out.shape == x.shape
    assert torch.equal(x, before)


def test_a_padding_that_cannot_be_reflected_is_refused():
    assert pad_crop(pictures(1), 5).shape == (1, 3, 6, 9)
    with pytest.raises(NsfastError, match="padding is 6; it must be between 0 and 5"):
        pad_crop(pictures(1), 6)
    with pytest.raises(NsfastError, match="share is 0.6; it must be between 0 and 0.5"):
        PadCrop(0.6)
    with pytest.raises(NsfastError, match="side is 0; it must be at least 1"):
        Cutout(0)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 20])
def test_a_square_is_grey_and_lies_around_a_centre_in_the_picture_clipped_at_its_border(side):
    x = pictures(60) * 0.4
    for before, after in zip(x.numpy(), cutout(x, side, 0.5, generator(4)).numpy(), strict=True):
        possible = []
        for row in range(6):
            for column in range(9):
                one = before.copy()
                for i in range(row - side // 2, row - side // 2 + side):
                    for j in range(column - side // 2, column - side // 2 + side):
                        if 0 <= i < 6 and 0 <= j < 9:
                            one[:, i, j] = 0.5
                possible.append(one)
        assert any((after == one).all() for one in possible)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_the_centre_of_a_square_is_anywhere_with_equal_chance(side):
    grey = cutout(torch.zeros(20_000, 1, 5, 7), side, 1.0, generator(5))[:, 0]
    kinds = {}
    for row in range(5):
        for column in range(7):
            rows, columns = (torch.arange(size) - at + side // 2 for size, at in ((5, row), (7, column)))
            square = ((rows >= 0) & (rows < side))[:, None] & ((columns >= 0) & (columns < side))
            kinds[square.float().numpy().tobytes()] = kinds.get(square.float().numpy().tobytes(), 0) + 1
    assert sum(kinds.values()) == 35
    patterns, counts = np.unique(grey.reshape(-1, 35).numpy(), axis=0, return_counts=True)
    # centres near the border of a wide square may leave the same part of it in the picture
    expected = np.array([kinds[pattern.tobytes()] for pattern in patterns]) / 35 * 20_000
    assert len(patterns) == len(kinds) and chisquare(counts, expected).pvalue > 0.01


@pytest.mark.parametrize(
    "noise", [lambda x, **g: pad_crop(x, 2, True, **g), lambda x, **g: cutout(x, 3, **g)]
)
def test_a_seed_decides_and_torch_s_own_generator_is_the_default(noise):
    x = pictures(20)
    one, two = (noise(x, generator=generator(7)) for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, noise(x, generator=generator(8)))
    torch.manual_seed(7)
    assert torch.equal(noise(x), one)


class Batches(Callback):
    """Keeps the pictures that the network gets, in training and in validation."""

    order = 90

    def __init__(self):
        super().__init__()
        self.seen = {True: [], False: []}

    def before_batch(self):
        self.seen[self.training].append(self.xb[0].as_subclass(torch.Tensor).clone())


def seen_in_a_fit(tiny, **changes) -> dict:
    recipe = Recipe(
        size=1, batch=12, steps_per_epoch=2, stochastic_depth=0, **{"randaugment_n": 0, **changes}
    )
    learn, seen = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation), Batches()
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3, cbs=seen)
    return seen.seen


@pytest.mark.parametrize(
    "changes", [{"crop": "pad"}, {"flip": True}, {"crop": "pad", "flip": True}, {"cutout": 3}]
)
def test_what_a_recipe_says_is_done_to_training_pictures_and_not_to_validation(tiny, changes):
    seen = seen_in_a_fit(tiny, **changes)
    validation = torch.from_numpy(tiny.validation.pixels).permute(0, 3, 1, 2).float() / 255
    assert len(seen[False]) == 2 and all(torch.equal(x, validation) for x in seen[False])
    plain = tiny.labeled.pixels[..., 0]
    padding = 1 if changes.get("crop") else 0  # an eighth of 8 pixels
    possible = set()
    for picture in plain:
        if "cutout" in changes:
            continue
        for top in range(-padding, padding + 1):
            for left in range(-padding, padding + 1):
                for mirrored in [False, True] if changes.get("flip") else [False]:
                    possible.add(slow_pad_crop(picture[None], padding, top, left, mirrored).tobytes())
    known, changed = {picture.tobytes() for picture in plain}, 0
    for x in seen[True]:
        assert x.shape == (12, 1, 8, 8)
        for picture in (x[:, 0] * 255).round().byte().numpy():
            changed += picture.tobytes() not in known
            if "cutout" in changes:
                # 0.5 rounds to 128; the centre is in the picture, so that of 3 x 3 at least 2 x 2 are left
                assert (picture == 128).sum() >= 4
            else:
                assert picture.tobytes() in possible
    assert 0.3 * 48 < changed <= 48


def test_the_released_order_is_randaugment_then_the_square_then_the_crop(tiny):
    recipe = Recipe(size=1, crop="pad", flip=True, cutout=2)
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation)
    names = [type(transform).__name__ for transform in learn.dls.train.after_batch.fs]
    assert names == ["ToFloat", "Cutout", "PadCrop"]
    randaugment = next(callback for callback in learn.cbs if type(callback).__name__ == "RandAugment")
    assert randaugment.transform.order < Cutout.order < PadCrop.order


def test_as_batch_transforms_they_keep_fastai_s_kind_and_pad_an_eighth():
    x = TensorImage(pictures(30, 1, 16, 16))
    torch.manual_seed(0)
    out = PadCrop(flip=True).encodes(x)
    torch.manual_seed(0)
    assert isinstance(out, TensorImage) and torch.equal(
        out, TensorImage(pad_crop(x.as_subclass(torch.Tensor), 2, True))
    )
    assert isinstance(Cutout(4).encodes(x), TensorImage)
