"""Pictures that are held out are found in the pool by their content, exactly as comparing all with all finds them."""

import hashlib
import io
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.files import read_csv
from nsfast.images import PictureFiles, Split
from nsfast.images.digits import digits
from nsfast.labels.alike import Alike
from nsfast.labels.contents import (
    content_codes,
    contents_name,
    duplicates,
    leaked,
    write_contents,
    write_duplicates,
    write_held_out,
    write_leaked,
)
from nsfast.labels.origin import Origin
from nsfast.labels.table import write_labels


def split_of(pixels, name="v"):
    return Split(np.array([f"{name},{i}" for i in range(len(pixels))]), pixels)


def table_of(folder, exact, look, shard=7):
    """A label table of that many pictures with those codes."""
    names = [f"pool/{i}, ü.png" for i in range(len(exact))]
    write_labels(
        folder, np.full((len(exact), 2), 0.5), Origin(("a", "b"), "teacher"), names=names, shard=shard
    )
    for number, start in enumerate(range(0, len(exact), shard)):
        rows = slice(start, start + shard)
        ids = np.arange(len(exact))[rows]
        write_contents(folder / contents_name(number), ids, exact[rows], look[rows])
    return folder


def textures(count, size=128, seed=0):
    """Colour pictures with the spectrum of photographs: 1 / frequency."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    noise = np.fft.fft2(random.normal(size=(count, 3, size, size))) / frequency
    pictures = np.fft.ifft2(noise).real
    pictures -= pictures.mean((2, 3), keepdims=True)
    pictures = 128 + 50 * pictures / pictures.std((2, 3), keepdims=True)
    return pictures.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def slow_look(picture):
    """The look of one picture from areas as fractions."""
    height, width, channels = picture.shape
    weights = (299, 587, 114) if channels == 3 else (1,) * channels

    def overlap(pixel, pixels, cell, cells):
        low, high = Fraction(cell * pixels, cells), Fraction((cell + 1) * pixels, cells)
        return max(Fraction(0), min(high, pixel + 1) - max(low, pixel))

    grey = [
        [sum(w * int(v) for w, v in zip(weights, pixel, strict=True)) for pixel in row] for row in picture
    ]
    down = [[overlap(y, height, row, 8) for y in range(height)] for row in range(8)]
    across = [[overlap(x, width, column, 9) for x in range(width)] for column in range(9)]
    bits = 0
    for ys in down:
        sums = [sum(y * line[x] for y, line in zip(ys, grey, strict=True) if y) for x in range(width)]
        cells = [sum(x * value for x, value in zip(xs, sums, strict=True) if x) for xs in across]
        for left, right in zip(cells[:-1], cells[1:], strict=True):
            bits = 2 * bits + (left > right)
    return bits


def apart(mine, others):
    """(n, m) in how many bits codes differ, one by one."""
    return np.array([[bin(int(a) ^ int(b)).count("1") for b in others] for a in mine]).reshape(
        len(mine), len(others)
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 9, 1), (8, 8, 1), (5, 7, 3), (16, 16, 1), (23, 31, 3)])
def test_the_look_is_that_of_exact_areas(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    pixels[1] = 77
    assert content_codes(pixels)[1].tolist() == [slow_look(picture) for picture in pixels]


def test_equal_neighbours_are_not_brighter_whatever_the_size():
    """Where rounding would tip it: cells of one grey that do not fall on pixels."""
    for height, width in ((224, 224), (500, 375), (7, 1001)):
        stripes = np.repeat(np.arange(height, dtype=np.uint8)[:, None], width, 1)
        assert content_codes(np.stack([stripes] * 3, -1)[None])[1].tolist() == [0]


def test_colours_are_as_bright_as_television_weighs_them():
    """Pairs of colours whose brightness, 0.299 R + 0.587 G + 0.114 B, differs by at most 0.002."""
    colours = np.random.default_rng(0).integers(0, 256, (3000, 3))
    colours = colours[np.argsort(colours @ [299, 587, 114])]
    bright = colours @ [299, 587, 114]
    close = np.flatnonzero(np.diff(bright) <= 2)
    pairs = np.stack([colours[close], colours[close + 1]], 1)
    flipped = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.uint8)
    _, look = content_codes(flipped[:, None].repeat(8, 1).repeat([5, 4], 2))
    brighter = np.concatenate([np.zeros(len(close), bool), bright[close + 1] > bright[close]])
    assert len(close) > 20 and ((look >> np.uint64(59) & np.uint64(1)) == brighter).all()


def test_exact_codes_are_equal_for_equal_pixels_of_equal_shape_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    pixels[3] = pixels[0]
    pixels[2] = pixels[0]
    pixels[2, 5, 4, 2] ^= 1
    exact, _ = content_codes(pixels)
    assert exact.dtype == np.uint64 and exact[0] == exact[3] and len(set(exact.tolist())) == 3
    for shape in ((5, 6, 3), (6, 15, 1), (3, 5, 6)):
        assert content_codes(pixels.reshape(4, *shape))[0][0] != exact[0]
    digest = hashlib.blake2b(b"(6, 5, 3)" + pixels[1].tobytes(), digest_size=8).digest()
    assert int(exact[1]) == int.from_bytes(digest, "little")


def test_codes_do_not_depend_on_what_else_is_in_the_batch():
    pixels = textures(9, 200)  # more than is summed at once
    several = content_codes(pixels)
    one = [content_codes(pixels[i : i + 1]) for i in range(len(pixels))]
    reversed_rows = content_codes(pixels[::-1])  # not contiguous
    for number in range(2):
        assert several[number].tolist() == [int(codes[number][0]) for codes in one]
        assert several[number].tolist() == reversed_rows[number][::-1].tolist()
    assert [len(codes) for codes in content_codes(pixels[:0])] == [0, 0]


def test_a_picture_saved_again_or_made_smaller_keeps_its_look_and_others_have_another():
    pixels = textures(60)
    changed = []
    for picture in pixels:
        saved = io.BytesIO()
        image = Image.fromarray(picture)
        image.resize((64, 64), Image.Resampling.BICUBIC).save(saved, "JPEG", quality=85)
        changed.append(np.asarray(Image.open(saved)))
    (exact, look), (other_exact, other_look) = content_codes(pixels), content_codes(np.stack(changed))
    bits = apart(other_look, look)
    same = np.diagonal(bits)
    assert not set(exact.tolist()) & set(other_exact.tolist())
    assert same.max() <= 6 and bits[~np.eye(len(bits), dtype=bool)].min() > 6


@pytest.fixture(scope="module")
def codes():
    """Held-out and pool codes, many of them near each other, some that say nothing."""
    random = np.random.default_rng(1)
    held = random.integers(0, 2**64, 40, dtype=np.uint64)
    held[:3] = [0, 2**64 - 1, 0b1010101010101]
    held[10:20] = held[20:30] ^ np.uint64(5 << 30)
    pool = held[random.integers(0, len(held), 400)]
    for flips in range(10):
        rows = np.flatnonzero(random.random(len(pool)) < flips / 10)
        pool[rows] ^= np.uint64(1) << random.integers(0, 64, len(rows), dtype=np.uint64)
    pool[50:80] = held[5:35]
    pool[-50:] = random.integers(0, 2**64, 50, dtype=np.uint64)
    pool[:6] = [0, 1, 2**64 - 1, 2**64 - 4, held[2], held[2] ^ np.uint64(1)]
    return held, pool


def says_something(codes, near):
    ones = np.array([bin(int(code)).count("1") for code in codes])
    return np.minimum(ones, 64 - ones) >= max(6, 2 * near)


@pytest.mark.parametrize("near", range(9))
@pytest.mark.parametrize("budget", [1, 50, 1 << 21])
def test_alike_codes_are_those_that_comparing_all_with_all_finds(codes, near, budget):
    held, pool = codes
    expected = apart(pool, held)
    expected[~says_something(pool, near)] = expected[:, ~says_something(held, near)] = 99
    found = set()
    for rows, bits, others in Alike(held, near).find(pool, budget):
        found |= set(zip(rows.tolist(), others.tolist(), bits.tolist(), strict=True))
    rows, others = np.nonzero(expected <= near)
    wanted = zip(rows.tolist(), others.tolist(), expected[rows, others].tolist(), strict=True)
    assert len(rows) > 5 and found == set(wanted)


def test_codes_of_nearly_flat_pictures_are_like_no_other():
    everything = 2**64 - 1
    nothing = np.array([0, everything, 0b11111, everything - 0b11111], np.uint64)
    something = np.array([0b111111, everything - 0b111111], np.uint64)
    for held in (nothing, something, nothing[:0]):
        found = list(Alike(held, 3).find(nothing)) + list(Alike(held, 0).find(nothing))
        assert sum(len(rows) for rows, _, _ in found) == 0
    assert {int(row) for rows, _, _ in Alike(something, 0).find(something) for row in rows} == {0, 1}


@pytest.mark.parametrize("near", [-1, 0, 3, 8])
def test_leaked_pictures_are_those_of_a_loop_over_all_pairs(tmp_path, codes, near):
    held_look, pool_look = codes
    random = np.random.default_rng(2)
    pool_exact = random.integers(0, 2**64, len(pool_look), dtype=np.uint64)
    held_exact = random.integers(0, 2**64, len(held_look), dtype=np.uint64)
    pool_exact[[2, 100, 399]] = held_exact[[5, 5, 39]]
    held_exact[7] = held_exact[5]  # held out twice: the first is named
    folder = table_of(tmp_path, pool_exact, pool_look, shard=90)
    table = pq.read_table(held_out_file(folder, len(held_exact)))
    for name, values in (("exact", held_exact), ("look", held_look)):
        table = table.set_column(table.column_names.index(name), name, [values])
    pq.write_table(table, folder / "held_out.parquet")

    expected, bits = [], apart(pool_look, held_look)
    bits[~says_something(pool_look, near)] = bits[:, ~says_something(held_look, near)] = 99
    for i in range(len(pool_exact)):
        distances = [-1 if pool_exact[i] == held_exact[j] else bits[i, j] for j in range(len(held_exact))]
        j = int(np.argmin(distances))
        if distances[j] <= near:
            split = "validation" if j < 20 else "test"
            expected.append((i, split, f"{split},{j % 20}", distances[j]))
    found = leaked(folder, near)
    columns = (found.ids.tolist(), found.splits, found.held_out, found.distances.tolist())
    assert list(zip(*columns, strict=True)) == expected
    assert found.ids.dtype == np.int64 and len(found) == len(expected) >= 3

    write_leaked(folder / "leaked.csv", found, folder)
    rows = [(row["id"], row["split"], row["held_out"], row["distance"]) for row in read(folder, "leaked.csv")]
    assert rows == expected
    assert [row["name"] for row in read(folder, "leaked.csv")] == [f"pool/{i}, ü.png" for i, *_ in expected]


def held_out_file(folder, count):
    """`held_out.parquet` of random pictures, the first half for validation."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 1), dtype=np.uint8)
    half = count // 2
    splits = {"validation": split_of(pixels[:half], "validation"), "test": split_of(pixels[half:], "test")}
    write_held_out(folder, splits)
    return folder / "held_out.parquet"


def read(folder, name):
    return read_csv(folder / name, ("name", "held_out", "same_as"))


def test_a_flat_picture_leaks_by_its_pixels_and_not_by_its_look(tmp_path):
    pixels = np.zeros((3, 16, 16, 3), np.uint8)
    pixels[1:] = 200
    pixels[2, 0, 0] = 201
    folder = table_of(tmp_path, *content_codes(pixels))
    write_held_out(folder, {"test": split_of(pixels[1:2])})
    for near in (-1, 0, 8):
        assert leaked(folder, near).ids.tolist() == [1]


def test_of_the_digits_no_two_are_equal_and_a_look_would_drop_some_that_are_not(tmp_path):
    images = digits()
    folder = table_of(tmp_path, *content_codes(images.unlabeled.pixels), shard=1000)
    assert write_held_out(folder, {"validation": images.validation, "test": images.test}) == []
    same, alike = leaked(folder), leaked(folder, 0)
    assert len(same) == 0 and len(duplicates(folder)[0]) == 0
    assert len(alike) > 20 and (alike.distances == 0).all()
    assert 300 < len(leaked(folder, 2)) < 360  # docs/labels.md says how many; letters depend on the fonts
    held = dict(zip(images.test.ids, images.test.pixels, strict=True))
    held |= zip(images.validation.ids, images.validation.pixels, strict=True)
    pool = images.unlabeled.pixels[alike.ids]
    assert all((held[name] != picture).any() for name, picture in zip(alike.held_out, pool, strict=True))


def test_held_out_files_are_looked_at_in_the_size_of_the_pool_and_unreadable_ones_are_left_out(tmp_path):
    pixels = textures(5, 40)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:900])
    files = PictureFiles(tmp_path, [f"{number}.png" for number in range(5)], 64, whole=True)
    left_out = write_held_out(tmp_path, {"test": split_of(files)}, size=24)
    assert [name for name, _ in left_out] == ["v,3"] and "truncated" in left_out[0][1]
    table = pq.read_table(tmp_path / "held_out.parquet")
    exact, look = content_codes(files.at(24)[np.array([0, 1, 2, 4])])
    assert table["name"].to_pylist() == ["v,0", "v,1", "v,2", "v,4"]
    assert table["exact"].to_pylist() == exact.tolist() and table["look"].to_pylist() == look.tolist()
    assert table["split"].to_pylist() == ["test"] * 4


@pytest.mark.parametrize("rows", [1, 30, 1 << 24])
def test_duplicates_are_all_but_the_lowest_id_of_equal_pictures(tmp_path, rows):
    random = np.random.default_rng(3)
    exact = random.integers(0, 40, 100).astype(np.uint64) << np.uint64(58)
    exact[:10] = random.integers(0, 2**64, 10, dtype=np.uint64)
    folder = table_of(tmp_path, exact, exact, shard=17)
    groups = defaultdict(list)
    for i, code in enumerate(exact.tolist()):
        groups[code].append(i)
    expected = sorted((i, ids[0]) for ids in groups.values() for i in ids[1:])
    ids, lowest = duplicates(folder, rows)
    assert list(zip(ids.tolist(), lowest.tolist(), strict=True)) == expected and len(expected) > 20
    write_duplicates(folder / "duplicates.csv", ids, lowest, folder)
    names = [(row["name"], row["same_as"]) for row in read(folder, "duplicates.csv")]
    assert names == [(f"pool/{i}, ü.png", f"pool/{first}, ü.png") for i, first in expected]


def test_nothing_that_leaks_is_a_table_with_its_header(tmp_path):
    exact = np.arange(5, dtype=np.uint64)
    folder = table_of(tmp_path, exact, exact)
    held_out_file(folder, 6)
    write_leaked(folder / "leaked.csv", leaked(folder, 8), folder)
    write_duplicates(folder / "duplicates.csv", *duplicates(folder), folder)
    assert (folder / "leaked.csv").read_text() == "id,name,split,held_out,distance\n"
    assert (folder / "duplicates.csv").read_text() == "id,name,same_as\n"
    write_held_out(folder, {})
    assert len(leaked(folder, 8)) == 0


def test_equal_codes_are_equal_to_the_byte(tmp_path):
    exact = np.arange(50, dtype=np.uint64)
    for name in "ab":
        write_contents(tmp_path / name / contents_name(3), np.arange(50), exact, exact[::-1])
        held_out_file(tmp_path / name, 8)
    for name in ("contents-00003.parquet", "held_out.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("no contents", "contents-00001.parquet is missing"),
        ("short", r"contents-00001.parquet is damaged .6 rows for 7 labels"),
        ("cut", "contents-00001.parquet is damaged"),
        ("other", "contents-00001.parquet is damaged"),
        ("no held-out", "no held_out.parquet in"),
        ("held-out cut", "held_out.parquet is damaged"),
    ],
)
def test_what_is_missing_or_damaged_is_one_line_that_names_it(tmp_path, damage, says):
    exact = np.arange(20, dtype=np.uint64)
    folder = table_of(tmp_path, exact, exact)
    held_out = held_out_file(folder, 6)
    path = folder / contents_name(1)
    if damage == "no contents":
        path.unlink()
    elif damage == "short":
        write_contents(path, np.arange(7, 13), exact[7:13], exact[7:13])
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "other":
        pq.write_table(pq.read_table(path).drop_columns(["exact"]), path)
    elif damage == "no held-out":
        held_out.unlink()
    else:
        held_out.write_bytes(held_out.read_bytes()[:-20])
    with pytest.raises(NsfastError, match=says) as caught:
        leaked(folder)
    assert "\n" not in str(caught.value)


def test_a_number_of_bits_outside_the_range_is_named(tmp_path):
    with pytest.raises(NsfastError, match="near is 9; it must be between -1 and 8"):
        leaked(tmp_path, 9)
