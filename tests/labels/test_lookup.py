"""Distributions of a few pictures are those that the whole table has, and little more than their rows is read."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.labels import Origin, lookup, shards, write_labels
from nsfast.labels.lookup import dense, distributions_at, rows_at
from nsfast.training.targets import Distributions

ORIGIN = Origin(tuple("abcdefg"), "teacher")


def distributions(n, classes=7, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), n).astype(np.float32)


@pytest.fixture(params=[0, 1, 3, 7], ids=["full", "top 1", "top 3", "top 7"])
def table(request, tmp_path, monkeypatch):
    """Ids with gaps, several shards of several row groups each."""
    monkeypatch.setattr(shards, "ROW_GROUP", 8)
    monkeypatch.setattr(lookup, "ROWS", 3)
    ids = np.random.default_rng(1).choice(200, 90, replace=False)
    names = [f"{i}.png" for i in range(200)]
    origin = replace(ORIGIN, top=request.param)
    return write_labels(tmp_path / "labels", distributions(90), origin, names, ids, shard=25)


def distributions_of(table, ids):
    """By the ids of pictures; one that has no label has no row."""
    known = table.ids.tolist()
    return distributions_at(table, [known.index(i) if i in known else -1 for i in np.asarray(ids).tolist()])


def test_any_ids_in_any_order_give_what_the_whole_table_gives(table):
    whole = {i: row for i, row in zip(table.ids.tolist(), table.vectors.dense(), strict=True)}
    random = np.random.default_rng(2)
    for count in (1, 2, 40, 300):
        ids = random.integers(-3, 205, count)
        found = distributions_of(table, ids)
        assert found.shape == (count, 7) and found.dtype == np.float32
        expected = np.array([whole.get(i, np.full(7, np.nan)) for i in ids.tolist()])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert distributions_of(table, []).shape == (0, 7)


def test_a_table_that_is_not_in_the_order_of_its_ids_gives_each_picture_its_own(tmp_path, table_of):
    random = np.random.default_rng(0)
    ids, probabilities = random.permutation(40)[:30], distributions(30, 4)
    half = probabilities.astype(np.float16)
    table = table_of(tmp_path, half.argmax(1), half.max(1), ids, 3, probabilities)
    assert sorted(table.ids) == sorted(ids) and (np.diff(table.ids) < 0).any()
    wanted = random.permutation(ids)
    place = [ids.tolist().index(i) for i in wanted]
    expected = half.astype(np.float32)[place]
    np.testing.assert_allclose(
        distributions_of(table, wanted), expected / expected.sum(1, keepdims=True), rtol=1e-6
    )


def test_rows_of_the_table_give_the_same_and_no_row_gives_nan(table):
    rows = np.array([89, 0, -1, 24, 25, 0])
    found = distributions_at(table, rows)
    assert np.isnan(found[2]).all()
    there = rows >= 0
    np.testing.assert_allclose(found[there], table.vectors[rows[there]].dense(), rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 5]))
def test_what_is_made_whole_is_what_training_makes_of_it(classes, top, seed, evenness):
    random = np.random.default_rng(seed)
    half = random.dirichlet(np.full(classes, evenness), 9).astype(np.float16)
    named = None
    if top and top <= classes:
        named = np.argsort(-half, 1, kind="stable")[:, :top].astype(np.uint16)
        half = np.take_along_axis(half, named.astype(np.int64), 1)
    expected = Distributions(half, classes, named).dense()
    np.testing.assert_allclose(dense(half, classes, named), expected, rtol=2e-6, atol=1e-9)


def test_no_class_that_is_not_kept_is_as_likely_as_the_likeliest():
    """Of thirds the one that is kept was rounded down."""
    kept, named = np.array([[1 / 3]], np.float16), np.array([[2]], np.uint16)
    assert 1 - kept[0, 0] > 2 * kept[0, 0] and dense(kept, 3, named).argmax() == 2
    np.testing.assert_allclose(dense(kept, 3, named), Distributions(kept, 3, named).dense(), rtol=1e-6)


def test_only_the_row_groups_that_hold_the_rows_are_read(table, monkeypatch):
    read = []
    iter_batches = pq.ParquetFile.iter_batches

    def watched(file, rows, row_groups, columns):
        for batch in iter_batches(file, rows, row_groups=row_groups, columns=columns):
            read.append((row_groups, len(batch)))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    monkeypatch.setattr(pq, "read_table", None)
    distributions_at(table, [27, 28, 28])  # rows 2 and 3 of the second shard, all in its first row group
    assert read == [([0], 3), ([0], 3)]


def test_a_shard_that_is_damaged_or_gone_is_named_in_one_line(table):
    path = table.paths[1]
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(NsfastError, match=path.name) as error:
        distributions_at(table, [30])
    assert "\n" not in str(error.value)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(NsfastError, match="is damaged"):
        distributions_at(table, [30])
    distributions_at(table, [3])  # which needs no other shard


def test_a_row_behind_the_end_is_one_line(table):
    with pytest.raises(NsfastError, match="row 26 is missing; restore|is damaged"):
        rows_at([table.paths[0]], [40], ["id"], np.array([3, 26]))
