"""Tiles against pixels computed by hand, and a sprite that holds each of them at its place."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from nsfast.explore.core.pictures import sprite_of, tiles_of
from nsfast.images import PictureFiles

GREY, WHITE = 200, 255


def random_pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_enlarged_without_a_new_value(channels):
    pictures = random_pictures(9, 8, 8, channels)
    tiles, problems = tiles_of(pictures, np.array([5, 2]), 96)
    assert tiles.shape == (2, 96, 96, 3) and tiles.dtype == np.uint8 and problems == {}
    for tile, row in zip(tiles, (5, 2), strict=True):
        expected = np.kron(pictures[row], np.ones((12, 12, 1), np.uint8))
        assert (tile == expected).all()


def test_of_an_odd_enlargement_every_pixel_is_the_nearest():
    pictures = random_pictures(1, 28, 28, 3)
    tile = tiles_of(pictures, np.array([0]), 96)[0][0]
    place = [int((number + 0.5) * 28 / 96) for number in range(96)]
    assert all((tile[y, x] == pictures[0, place[y], place[x]]).all() for y in range(96) for x in range(96))


def test_a_picture_of_that_size_is_left_as_it_is():
    pictures = random_pictures(2, 96, 96, 3)
    assert (tiles_of(pictures, np.arange(2), 96)[0] == pictures).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_large_pictures_are_reduced_with_antialiasing(channels):
    """Stripes of one pixel become the grey between them, which no single pixel has."""
    stripes = np.zeros((1, 384, 384, channels), np.uint8)
    stripes[:, ::2] = 255
    tile = tiles_of(stripes, np.array([0]), 96)[0][0]
    assert (abs(tile[8:-8].astype(int) - 127) <= 6).all()
    half = np.zeros((1, 384, 384, channels), np.uint8)
    half[:, :, 192:] = 90
    tile = tiles_of(half, np.array([0]), 96)[0][0]
    assert (tile[:, :40] == 0).all() and (tile[:, 56:] == 90).all()


@pytest.mark.parametrize("large", [1, 40])
def test_proportions_are_kept_on_white(large):
    wide = np.zeros((1, 4 * large, 8 * large, 3), np.uint8)
    for pictures, turned in ((wide, False), (wide.swapaxes(1, 2), True)):
        tile = tiles_of(pictures, np.array([0]), 96)[0][0]
        tile = tile.swapaxes(0, 1) if turned else tile
        assert (tile[24:72] == 0).all() and (tile[:24] == WHITE).all() and (tile[72:] == WHITE).all()
    line = np.zeros((1, 1, 1000, 1), np.uint8)
    assert (tiles_of(line, np.array([0]), 96)[0][0] == 0).all(-1).sum() == 96


def test_files_that_cannot_be_read_are_grey_and_say_why(tmp_path):
    colours = {"a.png": (255, 0, 0), "c.png": (0, 0, 255), "d.png": (0, 255, 0)}
    for name, colour in colours.items():
        Image.new("RGB", (40, 40), colour).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no picture")
    pictures = PictureFiles(tmp_path, ["a.png", "b.png", "c.png", "d.png", "e.png"], 32)
    (tmp_path / "d.png").unlink()
    tiles, problems = tiles_of(pictures, np.array([4, 2, 1, 0, 3]), 64)
    assert [place for place in range(5) if place in problems] == [0, 2, 4]
    assert (tiles[[0, 2, 4]] == GREY).all()
    assert (tiles[1] == colours["c.png"]).all() and (tiles[3] == colours["a.png"]).all()
    assert problems[0] == "cannot be opened: No such file or directory"
    assert problems[2] == "not a picture that can be read"
    tiles, problems = tiles_of(pictures, np.array([1, 4]), 64)
    assert (tiles == GREY).all() and len(problems) == 2


def test_without_pictures_every_tile_is_grey():
    tiles, problems = tiles_of(None, np.arange(3), 32)
    assert tiles.shape == (3, 32, 32, 3) and (tiles == GREY).all()
    assert problems == dict.fromkeys(range(3), "no pictures are known, only labels")


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 4), (4, 8), (4, 8, 8, 3)])
def test_what_cannot_be_shown_is_grey_and_says_why(shape):
    pictures = random_pictures(*shape)
    if shape == (4, 8, 8, 3):
        pictures = pictures / 255
    tiles, problems = tiles_of(pictures, np.array([1, 3]), 16)
    assert (tiles == GREY).all() and set(problems) == {0, 1}
    assert f"pictures are {pictures.dtype} {shape[1:]}; uint8" in problems[0]


@pytest.mark.parametrize("rows", [[], range(0), np.empty(0, int)])
@pytest.mark.parametrize("kind", ["array", "files", "none"])
def test_of_no_picture_there_is_no_tile(kind, rows, tmp_path):
    pictures = {"array": random_pictures(2, 8, 8, 1), "files": PictureFiles(tmp_path, ["a.png"], 32)}.get(
        kind
    )
    tiles, problems = tiles_of(pictures, rows, 16)
    assert tiles.shape == (0, 16, 16, 3) and problems == {}


def test_pictures_may_lie_in_a_file(tmp_path):
    pictures = random_pictures(50, 8, 8, 3)
    np.save(tmp_path / "pictures.npy", pictures)
    mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
    rows = np.array([49, 0, 7])
    assert (tiles_of(mapped, rows, 24)[0] == tiles_of(pictures, rows, 24)[0]).all()


@pytest.mark.parametrize("count, columns", [(1, 6), (6, 6), (7, 6), (24, 6), (5, 1), (3, 3), (2, 9)])
def test_a_sprite_holds_each_tile_at_its_place(count, columns):
    tiles = random_pictures(count, 16, 16, 3)
    sheet = np.asarray(Image.open(io.BytesIO(sprite_of(tiles, columns))))
    lines = -(-count // columns)
    assert sheet.shape == (lines * 16, columns * 16, 3)
    for place in range(lines * columns):
        line, column = divmod(place, columns)
        there = sheet[line * 16 : (line + 1) * 16, column * 16 : (column + 1) * 16]
        assert (there == (tiles[place] if place < count else WHITE)).all()


@pytest.mark.parametrize("columns", [0, 6])
def test_a_sprite_of_nothing_is_a_picture(columns):
    sheet = np.asarray(Image.open(io.BytesIO(sprite_of(np.empty((0, 16, 16, 3), np.uint8), columns))))
    assert sheet.shape == (16, max(columns, 1) * 16, 3) and (sheet == WHITE).all()


def test_a_page_is_made_at_once(tmp_path):
    for number in range(24):
        Image.fromarray(random_pictures(375, 500, 3, seed=number)).save(tmp_path / f"{number}.jpg")
    files = PictureFiles(tmp_path, [f"{number}.jpg" for number in range(24)], 224)
    for pictures in (files, random_pictures(24, 224, 224, 3), random_pictures(24, 28, 28, 1)):
        took = []
        for _ in range(3):
            start = time.process_time()
            sprite_of(tiles_of(pictures, np.arange(24), 96)[0])
            took.append(time.process_time() - start)
        assert min(took) < 0.3


def test_a_page_of_photographs_is_sent_as_a_jpeg_that_looks_the_same():
    place = np.linspace(0, 255, 96)
    random = np.random.default_rng(0)
    smooth = (place[:, None, None] + place[None, :, None]) / 2 + random.normal(0, 6, (24, 96, 96, 3))
    tiles = smooth.clip(0, 255).astype(np.uint8)
    found = sprite_of(tiles)
    assert found.startswith(b"\xff\xd8") and len(found) < 200_000
    shown = np.asarray(Image.open(io.BytesIO(found)))[:96, :96].astype(int)
    assert abs(shown - tiles[0]).mean() < 6
