"""What holds for every corruption: shape, seeds, severity, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.robustness.corruptions import (
    CORRUPTIONS,
    DEVIATIONS,
    EXTRA_CORRUPTIONS,
    FAMILIES,
    SEVERITIES,
    apply,
    corrupt,
    corrupt_tensor,
    table_for,
)
from nsfast.robustness.corruptions.apply import BATCHED, DRAWN

ALL = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
TABLES = ("small", "imagenet")
# the more severe constants of these are not the larger change everywhere, in the reference neither
NOT_MONOTONE = {"glass_blur", "frost", "elastic_transform", "spatter", "saturate"}
NOT_MONOTONE |= {("fog", "imagenet"), ("pixelate", "imagenet")}


def pictures(n=3, height=12, width=12, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def photographs(channels=3):
    with np.load(Path(__file__).with_name("golden.npz")) as file:
        return np.repeat(file["photograph"][None, ..., :channels], 4, 0)


def test_every_corruption_has_its_family_its_constants_and_one_implementation():
    assert len(CORRUPTIONS) == 15 and len(EXTRA_CORRUPTIONS) == 4
    assert sorted(name for names in FAMILIES.values() for name in names) == sorted(ALL)
    assert set(BATCHED) | set(DRAWN) == set(ALL) and not set(BATCHED) & set(DRAWN)
    for table in TABLES:
        assert set(SEVERITIES[table]) == set(ALL)
        assert {len(rows) for rows in SEVERITIES[table].values()} == {5}
    assert set(DEVIATIONS) <= {"all", *ALL}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_keeps_shape_and_type_and_leaves_its_input_alone(name, channels):
    for height, width in ((8, 8), (17, 13), (13, 30)):
        pixels = pictures(2, height, width, channels)
        pixels.flags.writeable = False  # as of a memory map
        for table in TABLES:
            corrupted = corrupt(pixels, name, 5, table=table)
            assert corrupted.shape == pixels.shape and corrupted.dtype == np.uint8
            assert not np.shares_memory(corrupted, pixels)
            assert (corrupted != pixels).any() or (name == "saturate" and channels == 1)


@pytest.mark.parametrize(
    "name, table",
    [(name, table) for name in ALL for table in TABLES if not NOT_MONOTONE & {name, (name, table)}],
)
def test_each_severity_changes_the_pixels_more_than_the_one_before(name, table):
    pixels = np.tile(photographs(), (40, 1, 1, 1)) if name == "motion_blur" else photographs()
    change = [np.abs(corrupt(pixels, name, s, table=table).astype(int) - pixels).mean() for s in range(1, 6)]
    assert (np.diff(change) > 0).all()


@pytest.mark.parametrize("name", ALL)
def test_does_not_depend_on_the_pictures_beside_it_nor_on_the_blocks(name, monkeypatch):
    pixels, ids = pictures(n=5), ["e", "d", "c", "b", "a"]
    whole = corrupt(pixels, name, 3, seed=7, ids=ids)
    monkeypatch.setattr(apply, "VALUES_AT_ONCE", 2 * 12 * 12 * 3)
    order = [3, 0, 4]
    part = corrupt(pixels[order], name, 3, seed=7, ids=[ids[i] for i in order])
    assert (part == whole[order]).all()
    assert (corrupt(pixels, name, 3, seed=7, ids=ids) == whole).all()


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_is_new_for_each_picture_severity_and_seed(name):
    pixels = np.repeat(pictures(1, 32, 32), 2, 0)
    corrupted = corrupt(pixels, name, 5, seed=1)
    assert (corrupted == corrupt(pixels, name, 5, seed=1, ids=["0", 1])).all()
    assert (corrupted[0] != corrupted[1]).any()
    assert (corrupted != corrupt(pixels, name, 5, seed=2)).any()


def test_the_draws_of_two_severities_are_independent():
    gray = np.full((1, 32, 32, 1), 128, dtype=np.uint8)
    signs = [corrupt(gray, "gaussian_noise", severity, seed=1) > 127 for severity in (4, 5)]
    assert 0.4 < (signs[0] != signs[1]).mean() < 0.6


def test_the_table_follows_the_shorter_side():
    for size, table in ((63, "small"), (64, "imagenet")):
        pixels = pictures(1, size, 80, 1)
        assert table_for(size, 80) == table_for(80, size) == table
        assert (corrupt(pixels, "contrast", 1) == corrupt(pixels, "contrast", 1, table=table)).all()


@pytest.mark.parametrize("name", ALL)
def test_no_pictures_give_no_pictures(name):
    assert corrupt(pictures(n=0), name, 1).shape == (0, 12, 12, 3)


@pytest.mark.parametrize("name", BATCHED)
def test_tensors_are_corrupted_like_arrays(name):
    pixels = pictures(3, 16, 19)
    for severity in (1, 5):
        corrupted = corrupt_tensor(torch.from_numpy(pixels), name, severity, "imagenet")
        assert (corrupted.numpy() == corrupt(pixels, name, severity, table="imagenet")).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_pixels():
    for name in BATCHED:
        for size, channels in ((32, 1), (32, 3), (224, 3)):
            pixels = pictures(4, size, size, channels)
            for severity in range(1, 6):
                corrupted = corrupt_tensor(torch.from_numpy(pixels).cuda(), name, severity)
                assert corrupted.is_cuda
                assert (corrupted.cpu().numpy() == corrupt(pixels, name, severity)).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name="gausian_noise"), "did you mean 'gaussian_noise'"),
        (dict(severity=0), "severity of contrast is 0; it must be 1, 2, 3, 4 or 5"),
        (dict(severity=True), "severity"),
        (dict(table="cifar"), "unknown table 'cifar'"),
        (dict(pixels=pictures() / 255), "float64; scale them to 0..255"),
        (dict(pixels=pictures()[0]), r"shape \(12, 12, 3\)"),
        (dict(pixels=pictures().transpose(0, 3, 1, 2)), "1 or 3 channels"),
        (dict(pixels=pictures(2, 7, 20)), "7 x 20 pixels are too small to corrupt; give at least 8 x 8"),
        (dict(ids=["a"]), "1 ids for 3 pictures"),
    ],
)
def test_says_what_is_wrong(change, message):
    with pytest.raises(NsfastError, match=message):
        corrupt(**(dict(pixels=pictures(), name="contrast", severity=1) | change))


def test_a_tensor_is_refused_what_draws_for_each_picture():
    with pytest.raises(
        NsfastError, match="fog draws for each picture, on the processor; use corrupt, or one of"
    ):
        corrupt_tensor(torch.from_numpy(pictures()), "fog", 1)
    with pytest.raises(NsfastError, match="torch.float32; scale them"):
        corrupt_tensor(torch.rand(1, 12, 12, 3), "contrast", 1)
