"""Files are whole or absent, and what is written comes back."""

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.files import (
    _sha256,
    atomic,
    checksum,
    fingerprint,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_text,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old" and temporary.parent == tmp_path
    assert (tmp_path / "a.txt").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_missing_folders_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {"x": 1})
    assert read_json(tmp_path / "a" / "b" / "c.json") == {"x": 1}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(
    st.characters(exclude_categories=["Cs"])), lambda x: st.lists(x) | st.dictionaries(st.text(
        st.characters(exclude_categories=["Cs"])), x), max_leaves=8))  # fmt: skip
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe{}", b"\x00" * 10])
def test_damaged_json_is_one_line_that_names_the_file(tmp_path, content):
    (tmp_path / "stage.json").write_bytes(content)
    with pytest.raises(NsfastError, match="stage.json is damaged") as caught:
        read_json(tmp_path / "stage.json")
    assert "\n" not in str(caught.value)


def test_csv_brings_numbers_back_as_numbers(tmp_path):
    rows = [{"name": 'ä, "x"\n', "n": 3, "share": 0.25}, {"name": "b", "n": -1, "share": math.pi}]
    write_csv(tmp_path / "a.csv", rows)
    assert read_csv(tmp_path / "a.csv") == [rows[0], {**rows[1], "share": 3.14159}]


def test_csv_columns_of_text_come_back_as_they_are(tmp_path):
    rows = [{"class": text, "n": 1} for text in ("007", "1_0", "nan", "1e5", "Infinity", " 3", "x")]
    write_csv(tmp_path / "a.csv", rows)
    assert read_csv(tmp_path / "a.csv", ("class",)) == rows


def test_a_csv_without_rows_keeps_its_header(tmp_path):
    write_csv(tmp_path / "a.csv", [], ["path", "reason"])
    assert (tmp_path / "a.csv").read_text() == "path,reason\n" and read_csv(tmp_path / "a.csv") == []


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_a_checksum_is_sha256_of_the_bytes_on_every_python(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(content)
    with open(tmp_path / "a", "rb") as file:
        assert checksum(tmp_path / "a") == _sha256(file) == hashlib.sha256(content).hexdigest()


def test_a_fingerprint_ignores_the_order_of_keys_and_nothing_else():
    value = {"a": 1, "b": {"c": [1, 2], "d": "ü"}}
    again = json.loads('{"b": {"d": "\\u00fc", "c": [1, 2]}, "a": 1}')
    assert fingerprint(value) == fingerprint(again)
    others = [
        {**value, "a": 2},
        {**value, "a": "1"},
        {"a": 1, "b": {"c": [2, 1], "d": "ü"}},
        {**value, "e": None},
    ]
    assert len({fingerprint(v) for v in [value, *others]}) == 5


def test_text_with_any_line_end_comes_back_from_a_csv_file(tmp_path):
    rows = [{"name": name, "n": 1} for name in ("a\rb", "a\nb", "a\r\nb", 'q"\r', "plain, comma", "\r")]
    write_csv(tmp_path / "t.csv", rows)
    assert read_csv(tmp_path / "t.csv", ("name",)) == rows
