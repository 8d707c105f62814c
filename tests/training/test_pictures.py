"""Pictures kept as files: the right rows and targets, crops by the draw of the batch, whoever makes it."""

import random

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorBase, TensorCategory, TensorImage

from nsfast.errors import NsfastError
from nsfast.training.batches import joint_loaders
from nsfast.training.pictures import FilePictures, JointTargets, Pictures, Resized
from nsfast.training.targets import Distributions


class Files:
    """What `PictureFiles` offers: `rows` are decoded when asked for, and cropped by a seed and the place alone."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, array: np.ndarray):
        self.array, self.asked = array, []

    @property
    def shape(self):
        return self.array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        self.asked.append(("centred", np.array(key).tolist() if not isinstance(key, slice) else key))
        return Files(self.array[key]) if isinstance(key, slice) else self.array[key]

    def crops(self, rows, seed, flip=True):
        self.asked.append(("crops", rows.tolist(), seed, flip))
        noise = np.random.default_rng(seed).integers(0, 256, (len(rows), *self.shape[1:]), dtype=np.uint8)
        return self.array[rows] ^ noise

    def at(self, size):
        return Files(
            np.ascontiguousarray(
                np.broadcast_to(self.array[:, :1, :1], (len(self), size, size, self.shape[3]))
            )
        )


def array(n, start=0, side=4, channels=3) -> np.ndarray:
    """Pictures whose every value is their number."""
    return np.broadcast_to(
        np.arange(start, start + n, dtype=np.uint8)[:, None, None, None], (n, side, side, channels)
    ).copy()


@pytest.mark.parametrize("kind", [np.asarray, Files])
def test_rows_are_taken_across_both_parts_in_the_order_asked_for(kind):
    data = FilePictures([kind(array(10)), kind(array(7, 10))], torch.arange(17), 0)
    index = np.array([16, 0, 10, 9, 9, 11])
    x, y = data.take(index)
    assert isinstance(x, TensorImage) and isinstance(y, TensorCategory) and x.dtype == torch.uint8
    assert x.shape == (6, 3, 4, 4) and (x == x[:, :1, :1, :1]).all()
    assert x[:, 0, 0, 0].tolist() == y.tolist() == index.tolist() and len(data) == 17
    assert data[12][0][0, 0, 0] == data[12][1] == 12


def test_it_gives_what_pictures_in_memory_give():
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (n, 5, 6, 3), dtype=np.uint8) for n in (8, 9)]
    targets = torch.rand(17, 4)
    files, memory = FilePictures(parts, targets, 0), Pictures(parts, targets, 0)
    index = rng.integers(0, 17, 30)
    for ours, theirs in zip(files.take(index), memory.take(index), strict=True):
        assert type(ours) is type(theirs) and torch.equal(ours, theirs)
    assert files.c == memory.c == 4 and isinstance(files.take(index)[1], TensorBase)


def test_crops_are_those_of_the_draw_each_part_with_its_own():
    parts = [Files(array(10)), Files(array(7, 10))]
    data = FilePictures(parts, torch.arange(17), 0, inception=True, flip=True)
    index = np.array([3, 12, 4])
    one, again, other = (data.take(index, draw)[0] for draw in (5, 5, 6))
    assert torch.equal(one, again) and not torch.equal(one, other)
    (kind, rows, seed, flip), (_, theirs, their_seed, _) = parts[0].asked[0], parts[1].asked[0]
    assert (kind, rows, theirs, flip) == ("crops", [3, 4], [2], True) and seed != their_seed
    assert torch.equal(
        one[[0, 2]].permute(0, 2, 3, 1), torch.from_numpy(parts[0].crops(np.array([3, 4]), seed))
    )


def test_without_a_draw_or_in_validation_they_are_centred():
    for data in (
        FilePictures([Files(array(10))], torch.arange(10), 1, inception=True),
        FilePictures([Files(array(10))], torch.arange(10), 0, inception=False),
    ):
        assert data.take(np.array([2, 1]), 5)[0][:, 0, 0, 0].tolist() == [2, 1]
        assert data.pixels[0].asked == [("centred", [2, 1])]
    data = FilePictures([Files(array(10))], torch.arange(10), 0, inception=True)
    assert data.take(np.array([4]))[0][0, 0, 0, 0] == 4


def test_arrays_have_no_inception_crops_and_targets_are_as_many_as_pictures():
    with pytest.raises(NsfastError, match="crop 'inception' needs pictures kept as files"):
        FilePictures([array(3)], torch.arange(3), 0, inception=True)
    with pytest.raises(NsfastError, match="2 targets for 3 pictures"):
        FilePictures([array(3)], torch.arange(2), 0)


def epochs(workers, parts, inception, seed=3):
    """Two epochs of joint batches and a validation, as bits."""
    targets = torch.arange(17)
    train = FilePictures(parts, targets, 0, inception=inception, flip=True)
    valid = FilePictures(parts, targets, 1)
    groups = [np.arange(10), np.arange(10, 17)]
    loaders = joint_loaders(train, groups, valid, 3, 6, 5, torch.device("cpu"), workers=workers)
    loaders.train.rng = random.Random(seed)
    return [
        [(x.clone(), y.tolist()) for x, y in loader]
        for loader in (loaders.train, loaders.train, loaders.valid)
    ]


def same(one, other) -> bool:
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]
    return all(y == z and torch.equal(x, w) for (x, y), (w, z) in pairs)


def test_any_number_of_workers_gives_the_same_bits():
    parts = [Files(array(10)), Files(array(7, 10))]
    alone = epochs(0, parts, True)
    assert [len(batches) for batches in alone] == [5, 5, 1]
    assert not torch.equal(alone[0][0][0], alone[1][0][0])
    assert same(alone, epochs(2, parts, True)) and not same(alone, epochs(0, parts, True, seed=4))


def test_workers_make_batches_of_plain_arrays_too():
    parts = [array(10), array(7, 10)]
    assert same(epochs(0, parts, False), epochs(2, parts, False))


def test_an_export_keeps_no_picture():
    data = FilePictures([Files(array(10)), array(7, 10)], torch.arange(17), 0)
    empty = data.new_empty()
    assert len(empty) == 0 and [len(part) for part in empty.pixels] == [0, 0] and len(data) == 17


def test_a_recipe_s_resolution_is_the_size_at_which_files_are_opened(tiny):
    from nsfast.images import Split
    from nsfast.training import Recipe
    from nsfast.training.learner import build_learner

    split = Split(tiny.labeled.ids, Files(tiny.labeled.pixels), tiny.labeled.labels)
    recipe = Recipe(size=1, batch=4, resolution=12, crop="inception", flip=True, randaugment_n=0)
    loaders = build_learner(recipe, 3, tiny.statistics(), split, split).dls
    assert next(iter(loaders.train))[0].shape == (4, 1, 12, 12)
    assert next(iter(loaders.valid))[0].shape == (12, 1, 12, 12)
    assert (
        loaders.train.dataset.inception and loaders.train.dataset.flip and not loaders.valid.dataset.inception
    )
    # the crops are mirrored as they are decoded, so no batch transform does it again
    assert [type(f).__name__ for f in loaders.train.after_batch.fs] == ["ToFloat"]


def test_a_crop_of_files_is_refused_for_arrays(tiny):
    from nsfast.training import Recipe
    from nsfast.training.learner import build_learner

    with pytest.raises(NsfastError, match="crop 'inception' needs pictures kept as files; set crop to 'pad'"):
        build_learner(Recipe(size=1, crop="inception"), 3, tiny.statistics(), tiny.labeled, tiny.validation)


@pytest.mark.parametrize("side", [4, 20])
def test_resized_is_pillow_s_bicubic_with_antialiasing(side):
    """Independent: Pillow's own filter, on float pictures."""
    from PIL import Image

    x = torch.rand(2, 1, 9, 9)
    out = Resized(side).encodes(TensorImage(x))
    assert (
        isinstance(out, TensorImage) and out.shape == (2, 1, side, side) and 0 <= out.min() and out.max() <= 1
    )
    for picture, ours in zip(x[:, 0].numpy(), out[:, 0].numpy(), strict=True):
        theirs = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(theirs).clip(0, 1) - ours).max() < 1e-3


def test_the_tests_files_are_like_the_package_s():
    """The stand-in above offers what is used of `PictureFiles`."""
    from nsfast.images.files import PictureFiles

    for name in ("crops", "at", "shape", "__len__", "__getitem__"):
        assert hasattr(PictureFiles, name)


def test_targets_made_for_a_batch_are_those_of_the_whole_table():
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 7)
    half = random.dirichlet(np.ones(5), 9).astype(np.float16)
    soft = half.astype(np.float32)
    whole = np.concatenate([np.eye(5, dtype=np.float32)[labels], soft / soft.sum(1, keepdims=True)])
    targets = JointTargets(labels, Distributions(half, 5))
    rows = torch.from_numpy(random.permutation(np.tile(np.arange(16), 2)))
    assert np.array_equal(targets.index_select(0, rows).numpy(), whole[rows.numpy()])
    assert targets.shape == (16, 5) and len(targets.empty()) == 0
    assert targets.index_select(0, torch.arange(7)).sum() == 7
