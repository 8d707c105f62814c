"""The label table comes back as it was written, and damage is one line."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nsfast.errors import NsfastError
from nsfast.labels.table import read_labels, read_shard, shard_name, write_shard

CLASSES, ABOUT = ("ant", "bée", "c, d"), {"teacher": "abc", "round": "1"}


def rows(n, start=0, seed=0):
    random = np.random.default_rng(seed + start)
    return np.array([f"ü/{i:04}.png" for i in range(start, start + n)]), random.dirichlet(
        [1, 1, 1], n
    ).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        write_shard(tmp_path / shard_name(number), *rows(20, 20 * number), CLASSES, ABOUT)
    return tmp_path


def test_the_table_is_what_the_teacher_said_rounded_to_float16(folder):
    table = read_labels(folder)
    ids, probabilities = (
        np.concatenate(part) for part in zip(*(rows(20, s) for s in (0, 20, 40)), strict=True)
    )
    half = probabilities.astype(np.float16)
    assert (
        (table.ids == ids).all()
        and table.probabilities.dtype == np.float16
        and (table.probabilities == half).all()
    )
    assert table.classes == CLASSES and table.about == ABOUT and len(table) == 60
    assert (table.confidence == half.max(1)).all() and (table.predicted == half.argmax(1)).all()


def test_a_shard_is_plain_parquet_with_class_and_confidence(folder):
    table = pq.read_table(folder / shard_name(1))
    assert table.column_names == ["id", "class", "confidence", "probabilities"]
    read = read_shard(folder / shard_name(1))
    assert table["class"].to_pylist() == read.predicted.tolist()
    assert table["confidence"].to_pylist() == read.confidence.tolist()


def test_equal_tables_are_equal_to_the_byte(tmp_path):
    for name in "ab":
        write_shard(tmp_path / name, *rows(50), CLASSES, ABOUT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_shard_says_which_stage_makes_them(tmp_path):
    with pytest.raises(NsfastError, match="no label shards in .*02_labeling"):
        read_labels(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "no head", "garbage"])
def test_a_damaged_shard_is_one_line_that_names_it(folder, damage):
    path = folder / shard_name(1)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "cut": whole[:-7], "no head": whole[50:-8], "garbage": b"x" * 999}[damage]
    )
    with pytest.raises(NsfastError, match=f"{shard_name(1)} is damaged .*restore it, or delete it") as caught:
        read_labels(folder)
    assert "\n" not in str(caught.value)


def test_no_flipped_bit_changes_a_label_unnoticed(folder):
    """Ids and probabilities stay as they were, or the error names the file; a bit of the footer may change names."""
    path = folder / shard_name(1)
    whole, before = path.read_bytes(), read_labels(folder)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    random = np.random.default_rng(0)
    for position in random.choice(len(whole), 300, replace=False):
        broken = bytearray(whole)
        broken[position] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        try:
            table = read_labels(folder)
        except NsfastError as error:
            assert shard_name(1) in str(error) and "\n" not in str(error)
        else:
            assert (
                position >= footer
                or (table.ids == before.ids).all()
                and (table.probabilities == before.probabilities).all()
            )


def test_a_table_of_another_schema_is_named(folder):
    table = pq.read_table(folder / shard_name(1))
    pq.write_table(table.replace_schema_metadata({}), folder / shard_name(1))
    with pytest.raises(NsfastError, match=f"{shard_name(1)} has label schema 'none'"):
        read_labels(folder)


def test_a_parquet_file_of_something_else_is_named(folder):
    pq.write_table(pa.table({"x": [1]}), folder / shard_name(1))
    with pytest.raises(
        NsfastError, match=f"{shard_name(1)} is damaged .no column 'id', no column 'probabilities'"
    ):
        read_labels(folder)


@pytest.mark.parametrize("other", [(CLASSES, {**ABOUT, "round": "2"}), (("a", "b", "c"), ABOUT)])
def test_shards_of_two_teachers_are_not_mixed(folder, other):
    write_shard(folder / shard_name(1), *rows(20, 20), *other)
    with pytest.raises(NsfastError, match=f"{shard_name(1)} is of another teacher than {shard_name(0)}"):
        read_labels(folder)
