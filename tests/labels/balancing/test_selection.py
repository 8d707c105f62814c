"""The selection's file: it comes back, whole and in parts, in order of the ids, equal to the byte."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.labels.balancing.selection import (
    Selection,
    about_selection,
    read_selection,
    selected_batches,
    write_selection,
)


def selection(n=1000, seed=0) -> Selection:
    random = np.random.default_rng(seed)
    ids = np.sort(random.choice(10 * n, n, replace=False))
    return Selection(ids, random.integers(0, 65536, n), random.integers(1, 9, n))


def columns(found: Selection) -> list[list[int]]:
    return [found.ids.tolist(), found.classes.tolist(), found.copies.tolist()]


def test_it_comes_back_and_is_equal_to_the_byte_in_whatever_order_it_is_given(tmp_path):
    one = selection()
    order = np.random.default_rng(1).permutation(len(one))
    write_selection(tmp_path / "a", one)
    write_selection(tmp_path / "b", Selection(one.ids[order], one.classes[order], one.copies[order]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = read_selection(tmp_path / "a")
    assert columns(found) == columns(one) and len(found) == 1000
    assert found.ids.dtype == found.classes.dtype == found.copies.dtype == np.int64
    parts = list(selected_batches(tmp_path / "a", rows=300))
    assert [len(part) for part in parts] == [300, 300, 300, 100]
    assert np.concatenate([part.ids for part in parts]).tolist() == one.ids.tolist()


def test_an_empty_one_comes_back_empty(tmp_path):
    nothing = np.empty(0, np.int64)
    write_selection(tmp_path / "a", Selection(nothing, nothing, nothing))
    assert len(read_selection(tmp_path / "a")) == 0


def test_it_says_where_it_is_from(tmp_path):
    about = {
        "labels": "abc",
        "teacher": "ü",
        "balancing": {"threshold": 0.3, "thresholds": {}},
        "per_class": 7,
    }
    write_selection(tmp_path / "a", selection(), about)
    assert about_selection(tmp_path / "a") == about


def test_a_picture_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(NsfastError, match="picture 3 has two labels; label again"):
        write_selection(tmp_path / "a", Selection(np.array([3, 1, 3]), np.zeros(3, int), np.ones(3, int)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"garbage", "cut", "other"])
def test_a_damaged_one_is_one_line_that_names_it(tmp_path, content):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "selection.parquet"
    write_selection(path, selection())
    if content == "other":
        pq.write_table(pa.table({"id": [1]}), path)
    else:
        path.write_bytes(path.read_bytes()[:-5] if content == "cut" else content)
    for read in (read_selection, about_selection):
        with pytest.raises(NsfastError, match="selection.parquet is damaged") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "selection.parquet"
    write_selection(path, selection())
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(NsfastError, match="selection.parquet is damaged"):
        read_selection(path)
