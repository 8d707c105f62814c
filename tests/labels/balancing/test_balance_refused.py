"""What balancing refuses to balance, in one line and without leaving a file; and what it counts anew."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from nsfast.errors import NsfastError
from nsfast.labels import Balancing, balance
from nsfast.labels.shards import read_parquet, write_parquet


def plain(selection) -> list[tuple]:
    columns = selection.ids, selection.classes, selection.copies
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_nothing_above_the_threshold_says_how_sure_the_surest_is(tmp_path, table_of):
    table = table_of(tmp_path, np.array([0, 1]), np.array([0.5, 0.4]))
    said = "no pseudo-label reaches threshold 0.9; the surest has 0.500: lower it"
    with pytest.raises(NsfastError, match=said):
        balance(table, Balancing(0.9), tmp_path / "out")
    with pytest.raises(NsfastError, match="there is no label left in .*; label pictures, or drop fewer"):
        balance(table, Balancing(0.3), tmp_path / "out", dropped=[0, 1])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("histogram", ["there", "gone"])
@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.25])
def test_what_is_no_confidence_is_refused_naming_the_shard(
    tmp_path, table_of, random_labels, wrong, histogram
):
    labels = random_labels(0, 60)
    table = table_of(tmp_path, labels.predicted, labels.confidence, labels.ids, shards=3)
    path = tmp_path / "part-00001.parquet"
    old = read_parquet(path)
    confidence = old["confidence"].to_numpy(zero_copy_only=False).copy()
    confidence[7] = wrong
    write_parquet(path, old.set_column(2, "confidence", pa.array(confidence, pa.float16())))
    if histogram == "gone":
        (tmp_path / "histogram.parquet").unlink()
    with pytest.raises(NsfastError, match=r"part-00001.parquet: a confidence is .*between 0 and 1"):
        balance(table, Balancing(0.3, 20), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("per_class", [10, 40, 500])
def test_shards_that_are_not_those_of_the_histogram_write_nothing(
    tmp_path, table_of, random_labels, per_class
):
    labels, others = random_labels(0, 200), random_labels(1, 200)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    shutil.copy(tmp_path / "histogram.parquet", tmp_path / "old")
    table_of(tmp_path, others.predicted, others.confidence)
    shutil.copy(tmp_path / "old", tmp_path / "histogram.parquet")
    with pytest.raises(NsfastError, match="changed meanwhile|not those of its histogram"):
        balance(table, Balancing(0.3, per_class), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_a_histogram_that_is_gone_or_damaged_is_counted_anew(tmp_path, table_of, random_labels):
    labels = random_labels(0, 200)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    expected = plain(balance(table, Balancing(0.3, 40), tmp_path).selection)
    (tmp_path / "histogram.parquet").write_bytes(b"garbage")
    assert plain(balance(table, Balancing(0.3, 40), tmp_path).selection) == expected
    (tmp_path / "histogram.parquet").unlink()
    assert plain(balance(table, Balancing(0.3, 40), tmp_path).selection) == expected


def test_a_picture_with_two_labels_is_refused(tmp_path, table_of):
    table = table_of(tmp_path, np.zeros(3, int), np.full(3, 0.9), ids=np.array([4, 7, 4]))
    with pytest.raises(NsfastError, match="picture 4 has two labels"):
        balance(table, Balancing(0.3, 5), tmp_path / "out")
