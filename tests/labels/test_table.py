"""The label table comes back as it was written, of the same bytes each time, and damage is one line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.files import checksum, read_csv, read_json, write_json
from nsfast.labels.origin import Origin, class_number
from nsfast.labels.pictures import names_of
from nsfast.labels.shards import read_batches, read_note, rows_of, shard_name, write_shard
from nsfast.labels.table import MADE_OF_TABLE, finish_table, read_labels, write_labels

CLASSES = ("ant", "bée", "c, d", "e", "f")
ORIGIN = Origin(CLASSES, "abc", 2, {"pixels": 32, "crop": "whole"}, 0, "pictures")
NAMES = tuple(f'ü/{i:02}, "x".png' for i in range(60))


def distributions(n=60, classes=5, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), n).astype(np.float32)


def origin_of(top):
    return replace(ORIGIN, top=top)


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(params=[0, 2, 5], ids=["full", "top 2", "top 5"])
def top(request):
    return request.param


@pytest.fixture
def folder(tmp_path, top):
    write_labels(tmp_path / "labels", distributions(), origin_of(top), names=NAMES, shard=20)
    return tmp_path / "labels"


def test_a_table_comes_back_as_it_was_written_rounded_to_float16(folder, top):
    table, half = read_labels(folder), distributions().astype(np.float16)
    assert len(table) == 60 and table.origin == origin_of(top) and table.classes == CLASSES
    assert [path.name for path in table.paths] == [shard_name(i) for i in range(3)]
    assert table.ids.tolist() == list(range(60)) and table.ids.dtype == np.int64
    assert (table.predicted == distributions().argmax(1)).all() and table.predicted.dtype == np.int64
    assert (table.confidence == half.max(1)).all() and table.confidence.dtype == np.float16
    assert table.names.tolist() == list(NAMES) and table.quarantined == []
    assert len(table.vectors) == 60 and table.vectors.classes == 5
    if not top:
        assert table.vectors.top_classes is None and (table.vectors.probabilities == half).all()
    else:
        largest = np.argsort(-distributions(), 1)[:, :top]
        assert (table.vectors.top_classes == largest).all() and table.vectors.top_classes.dtype == np.uint16
        assert (table.vectors.probabilities == np.take_along_axis(half, largest, 1)).all()


@pytest.mark.parametrize("value", [0.3, 0.1, 0.9, 1 / 3, 2e-8, 0.99999])
def test_probabilities_are_rounded_to_the_nearest_float16(tmp_path, value):
    table = write_labels(tmp_path, [[value, 1 - value]], Origin(("a", "b"), "t"))
    below = np.nextafter(np.float16(value), np.float16(-1)).astype(float)
    above = np.nextafter(np.float16(value), np.float16(2)).astype(float)
    kept = float(table.vectors.probabilities[0, 0])
    assert abs(kept - value) <= min(abs(below - value), abs(above - value))


def slow_likeliest(probabilities, top):
    """The likeliest classes after rounding, of equals the lower number first: one number after another."""
    rows = np.asarray(probabilities).astype(np.float16).astype(float).tolist()
    return [sorted(range(len(row)), key=lambda i: (-row[i], i))[: top or 1] for row in rows]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_the_class_is_the_likeliest_of_what_is_kept_and_of_equals_the_lower_number(tmp_path, kept):
    close = np.array([[0.49999, 0.50001], [0.5, 0.5], [0.4, 0.6]], np.float32)
    table = write_labels(tmp_path, close, Origin(("a", "b"), "t", top=kept))
    assert table.predicted.tolist() == [0, 0, 1] and table.confidence.tolist() == [0.5, 0.5, np.float16(0.6)]
    assert (table.vectors.dense(hard=True).argmax(1) == table.predicted).all()
    if kept:
        assert table.vectors.top_classes.tolist() == [[0, 1][:kept], [0, 1][:kept], [1, 0][:kept]]


@pytest.mark.parametrize("kept", [0, 1, 3, 10, 40])
def test_class_what_is_kept_and_hard_target_agree_however_near_the_likeliest_are(kept):
    random = np.random.default_rng(0)
    near = 1 + random.normal(0, [[1e-5]] * 500 + [[3e-4]] * 500, (1000, 40))
    few = random.choice([0, 1, 2, 5], (1000, 40)) + (np.arange(40) == 7)
    even = np.ones((1, 40))
    for probabilities in (near, few, even):
        probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
        rows = rows_of(np.arange(len(probabilities)), torch.from_numpy(probabilities), kept)
        expected = slow_likeliest(probabilities, kept)
        assert rows.predicted.tolist() == [row[0] for row in expected]
        assert (rows.vectors.dense(hard=True).argmax(1) == rows.predicted).all()
        assert (rows.vectors.dense().argmax(1) == rows.predicted).all()
        half = probabilities.astype(np.float16)
        assert (rows.confidence == half.max(1)).all()
        if kept:
            assert rows.vectors.top_classes.tolist() == expected
            assert (rows.vectors.probabilities == np.take_along_axis(half, np.array(expected), 1)).all()


def test_rounding_never_makes_a_distribution_surer_than_certain():
    random = np.random.default_rng(0)
    logits = random.normal(0, 20, (2000, 300))
    exact = np.exp(logits - logits.max(1, keepdims=True))
    exact = (exact / exact.sum(1, keepdims=True)).astype(np.float32)
    for top in (0, 10):
        rows = rows_of(np.arange(2000), torch.from_numpy(exact), top)
        assert rows.confidence.max() <= 1 and rows.vectors.probabilities.min() >= 0
        assert (rows.confidence == rows.vectors.probabilities.max(1)).all()


def test_shards_are_plain_parquet_of_the_documented_schema(folder, top):
    found = pq.read_schema(folder / shard_name(1))
    kinds = {"id": pa.int64(), "class": pa.uint16(), "confidence": pa.float16()}
    if top:
        kinds |= {"top_classes": pa.list_(pa.uint16(), top), "top_probabilities": pa.list_(pa.float16(), top)}
    else:
        kinds |= {"probabilities": pa.list_(pa.float16(), 5)}
    assert {field.name: field.type for field in found} == kinds
    assert found.metadata[b"nsfast.schema"] == b"2"
    assert Origin.from_dict(json.loads(found.metadata[b"nsfast.origin"])) == origin_of(top)


def test_the_manifest_says_what_is_there(folder, top):
    manifest = read_json(folder / "manifest.json")
    assert (manifest["schema"], manifest["pictures"], manifest["rows"]) == (2, 60, 60)
    for number, note in enumerate(manifest["shards"]):
        path = folder / shard_name(number)
        assert note == read_json(path.with_suffix(".json")) == read_note(path, origin_of(top))
        assert (note["file"], note["rows"], note["sha256"]) == (path.name, 20, checksum(path))
        assert (note["first"], note["last"]) == (20 * number, 20 * number + 19)
        assert note["bytes"] == path.stat().st_size
    assert set(manifest["files"]) == {"files.parquet", "histogram.parquet"}
    assert all(checksum(folder / name) == found for name, found in manifest["files"].items())


def test_the_histogram_of_a_table_counts_every_label(folder):
    table = read_labels(folder)
    codes = table.confidence.view(np.uint16)
    counts = np.zeros_like(table.histogram.counts)
    for predicted, code in zip(table.predicted, codes, strict=True):
        counts[predicted, code] += 1
    assert (table.histogram.counts == counts).all() and counts.sum() == 60


def test_equal_tables_are_equal_to_the_byte_and_replace_what_was_there(folder, tmp_path, top):
    again = tmp_path / "again"
    write_labels(again, distributions(100, 3, 1), Origin(("x", "y", "z"), "other"), shard=10)
    for name in ("contents-00000.parquet", *MADE_OF_TABLE):
        (again / name).write_bytes(b"of another table")
    write_labels(again, distributions(), origin_of(top), names=NAMES, shard=20)
    assert files_of(again) == files_of(folder)


def test_ids_out_of_order_make_the_table_that_ordered_ones_make(tmp_path, top):
    ids = np.sort(np.random.default_rng(1).choice(60, 40, replace=False))
    order = np.random.default_rng(2).permutation(40)
    one = write_labels(tmp_path / "a", distributions(40), origin_of(top), NAMES, ids, shard=7)
    other = write_labels(
        tmp_path / "b", distributions(40)[order], origin_of(top), NAMES, ids[order].tolist(), shard=7
    )
    assert files_of(one.folder) == files_of(other.folder)
    assert one.ids.tolist() == ids.tolist() and one.names.tolist() == [NAMES[i] for i in ids]
    assert one.manifest["pictures"] == 60 and len(one) == 40


def test_a_table_that_was_killed_while_it_replaced_another_is_not_finished(folder, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("nsfast.labels.table.write_shard", full)
    with pytest.raises(OSError, match="no space left"):
        write_labels(folder, distributions(10), ORIGIN)
    with pytest.raises(NsfastError, match="no label table in"):
        read_labels(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": [0, 1, 1]}, "id 1 is negative, there twice or none of 4 pictures"),
        ({"ids": [0, 4, 1]}, "id 4 is negative, there twice or none of 4 pictures"),
        ({"ids": [0, -1, 1]}, "id -1 is negative"),
        (
            {"ids": [0, 1]},
            r"probabilities are \(3, 2\); give a row for each of 2 pictures and a column for each",
        ),
        ({"probabilities": np.ones((3, 5)) / 5}, r"probabilities are \(3, 5\); .* for each of 2 classes"),
        ({"probabilities": np.array([[0.5, 0.5], [np.nan, 1], [0, 1]])}, "picture 1 are no distribution"),
        ({"probabilities": np.array([[0.5, 0.5], [0, 1], [-0.5, 1.5]])}, "picture 2 .* from -0.5 to 1.5"),
        ({"probabilities": np.array([[0.9, 0.9], [0, 1], [0, 1]])}, "picture 0 .* with a sum of 1.8"),
    ],
)
def test_what_is_no_table_is_refused_before_a_file_is_touched(tmp_path, change, says):
    given = {"probabilities": np.full((3, 2), 0.5), "names": list("abcd"), "ids": None}
    write_labels(tmp_path, **given, origin=Origin(("a", "b"), "t"))
    before = files_of(tmp_path)
    with pytest.raises(NsfastError, match=says) as caught:
        write_labels(tmp_path, **(given | change), origin=Origin(("a", "b"), "t"))
    assert "\n" not in str(caught.value) and files_of(tmp_path) == before


def test_batches_go_through_everything_in_order_and_are_never_larger_than_asked_for(folder, top):
    table = read_labels(folder)
    columns = ("id", "class", *table.vector_columns)
    for rows in (1, 7, 20, 1000):
        batches = list(table.batches(columns, rows))
        assert max(len(batch["id"]) for batch in batches) <= rows
        assert all(set(batch) == set(columns) for batch in batches)
        assert np.concatenate([batch["id"] for batch in batches]).tolist() == list(range(60))
        last = np.concatenate([batch[columns[-1]] for batch in batches])
        assert (last == table.vectors.probabilities).all() and last.shape == (60, top or 5)


def test_shards_are_read_in_the_order_of_their_ids_whatever_they_are_called(tmp_path):
    for number, start in enumerate((40, 0, 20)):
        rows = rows_of(np.arange(start, start + 20), torch.from_numpy(distributions()[start : start + 20]))
        write_shard(tmp_path / shard_name(number), ORIGIN, rows)
    table = finish_table(tmp_path, ORIGIN, 60, 3)
    assert table.ids.tolist() == list(range(60)) and (table.predicted == distributions().argmax(1)).all()


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (1.5, "1.5"), (-0.25, "-0.25")])
def test_a_confidence_that_is_none_is_an_error_that_names_its_shard(tmp_path, value, said):
    for number in range(3):
        rows = rows_of(np.arange(20 * number, 20 * number + 20), torch.from_numpy(distributions(20)))
        rows.confidence[7] = value if number == 1 else 0.5
        write_shard(tmp_path / shard_name(number), ORIGIN, rows)
    path = tmp_path / shard_name(1)
    with pytest.raises(
        NsfastError, match=f"^{path} is damaged .a confidence is {said}; .*delete it"
    ) as caught:
        finish_table(tmp_path, ORIGIN, 60, 3)
    assert "\n" not in str(caught.value) and not (tmp_path / "manifest.json").exists()


def test_a_table_is_finished_when_its_last_shard_is_there(tmp_path, top):
    origin = origin_of(top)
    for number in (0, 2, 1):
        assert finish_table(tmp_path, origin, 60, 3) is None
        with pytest.raises(
            NsfastError, match="not finished; run it again" if number else "no label table in"
        ):
            read_labels(tmp_path)
        some = range(20 * number, 20 * number + 20)
        rows = rows_of(np.array(some), torch.from_numpy(distributions()[some]), top)
        write_shard(tmp_path / shard_name(number), origin, rows)
    assert finish_table(tmp_path, replace(origin, round=9), 60, 3) is None  # shards of another round
    assert len(finish_table(tmp_path, origin, 60, 3)) == 60 == len(read_labels(tmp_path))


def test_quarantined_pictures_are_listed_with_their_reason_and_have_no_row(tmp_path):
    write_labels(tmp_path, distributions(), ORIGIN, names=NAMES, shard=60)  # for files.parquet
    for number in range(2):
        kept = np.setdiff1d(np.arange(30 * number, 30 * number + 30), [3, 35, 36])
        bad = [(3, "truncated"), (35, 'a "reason", with\na line')]
        bad = [(i, why) for i, why in [*bad, (36, "empty")] if i // 30 == number]
        write_shard(
            tmp_path / shard_name(number), ORIGIN, rows_of(kept, torch.from_numpy(distributions()[kept])), bad
        )
    table = finish_table(tmp_path, ORIGIN, 60, 2)
    assert table.quarantined == [(3, "truncated"), (35, 'a "reason", with\na line'), (36, "empty")]
    assert len(table) == 57 and not set(table.ids) & {3, 35, 36} and len(table.names) == 57
    assert table.names[3] == NAMES[4]
    rows = read_csv(tmp_path / "quarantined.csv", ("name", "reason"))
    assert [(row["id"], row["name"], row["reason"]) for row in rows] == [
        (i, NAMES[i], why) for i, why in table.quarantined
    ]


def test_a_table_of_quarantined_pictures_alone_has_no_rows(tmp_path, top):
    rows = rows_of(np.arange(0), torch.from_numpy(distributions(0)), top)
    write_shard(tmp_path / shard_name(0), origin_of(top), rows, [(0, "empty"), (1, "empty")])
    table = finish_table(tmp_path, origin_of(top), 2, 1)
    assert len(table) == 0 == len(table.ids) and len(table.quarantined) == 2
    assert table.vectors.probabilities.shape == (0, top or 5) and table.histogram.counts.sum() == 0
    assert len(write_labels(tmp_path, distributions(0), origin_of(top)).vectors) == 0


def test_names_of_a_few_are_found_in_any_order(folder):
    assert names_of(folder, [59, 0, 7, 99]) == [NAMES[59], NAMES[0], NAMES[7], ""]
    assert names_of(folder, []) == [] and names_of(folder.parent, [1]) == [""]


def line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_table_says_which_stage_makes_it(tmp_path):
    with pytest.raises(NsfastError, match="no label table in .*02_labeling.* or nsfast label"):
        read_labels(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["empty", "cut", "missing"])
def test_a_shard_of_another_length_is_named_when_the_table_is_opened(folder, damage):
    path = folder / shard_name(1)
    whole = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(b"" if damage == "empty" else whole[:-1])
    with pytest.raises(NsfastError) as caught:
        read_labels(folder)
    said = "missing" if damage == "missing" else "cut short"
    assert f"{path} is damaged ({said}); restore it, or delete it" in line(caught)
    assert read_note(path) is None  # nor does it count as done


@pytest.mark.parametrize("damage", ["no head", "garbage", "another shard"])
def test_a_shard_of_the_same_length_and_other_bytes_is_named_when_it_is_read(folder, damage):
    path = folder / shard_name(1)
    whole = path.read_bytes()
    if damage == "another shard":
        pq.write_table(pq.read_table(path).slice(1), path)
        manifest = read_json(folder / "manifest.json")
        manifest["shards"][1]["bytes"] = path.stat().st_size
        write_json(folder / "manifest.json", manifest)
    else:
        path.write_bytes(whole[50:].ljust(len(whole)) if damage == "no head" else b"x" * len(whole))
    table = read_labels(folder)
    for read in (lambda: table.ids, lambda: table.vectors, lambda: list(table.batches())):
        with pytest.raises(
            NsfastError, match=f"{shard_name(1)} is damaged .*restore it, or delete it"
        ) as caught:
            read()
        line(caught)


@pytest.mark.parametrize("part", ["data", "footer"])
def test_no_flipped_bit_changes_a_label_unnoticed(folder, part):
    """Every column is as it was, or one line names the file. All 40,000 bits were tried once; here a few."""
    path, before = folder / shard_name(1), read_labels(folder)
    columns = ("id", "class", "confidence", *before.vector_columns)
    expected = {name: np.concatenate([some[name] for some in before.batches(columns)]) for name in columns}
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    random, noticed = np.random.default_rng(0), 0
    first, last = (0, footer) if part == "data" else (footer, len(whole))
    flips = [(first + i // 8, i % 8) for i in range(64)]  # of a page's head: they may make it one of no rows
    flips += zip(random.integers(first, last, 100), random.integers(8, size=100), strict=True)
    for position, bit in flips:
        broken = bytearray(whole)
        broken[position] ^= 1 << int(bit)
        path.write_bytes(broken)
        try:
            found = list(read_labels(folder).batches(columns))
        except NsfastError as error:
            noticed += 1
            assert shard_name(1) in str(error) and "\n" not in str(error)
        else:
            for name in columns:
                assert np.array_equal(np.concatenate([some[name] for some in found]), expected[name])
    assert noticed > 50


def test_files_that_are_not_those_of_the_table_are_named(folder):
    other = folder.parent / "other"
    write_labels(other, distributions(10), ORIGIN)
    shutil.copy(other / "files.parquet", folder)
    with pytest.raises(NsfastError, match=r"files.parquet is damaged .10 rows for 60 pictures"):
        _ = read_labels(folder).names


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"x"', '{"schema": 2, "origin": 1, "shards": []}', "\x00"])
def test_a_damaged_manifest_is_named(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(NsfastError, match=r"manifest.json is damaged") as caught:
        read_labels(folder)
    line(caught)


def test_the_old_schema_is_refused_by_its_number(tmp_path):
    table = pa.table({"id": ["a"], "class": [0]}).replace_schema_metadata({"nsfast.schema": "1"})
    pq.write_table(table, tmp_path / shard_name(0))
    with pytest.raises(NsfastError, match="has label schema 1, this nsfast reads 2; label again"):
        read_labels(tmp_path)


@pytest.mark.parametrize("schema", [1, 3, "x"])
def test_a_schema_that_is_not_known_is_refused_by_its_number(folder, schema):
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"schema": schema})
    with pytest.raises(
        NsfastError, match=f"has label schema {schema!r}, this nsfast reads 2; label again, or"
    ):
        read_labels(folder)


def test_a_parquet_file_of_something_else_is_named(folder):
    pq.write_table(pa.table({"x": [1]}), folder / "x.parquet")
    with pytest.raises(NsfastError, match="x.parquet is damaged") as caught:
        list(read_batches(folder / "x.parquet", ("id",)))
    line(caught)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"teacher": "f" * 64}, "teacher is abc instead of ffffffffffff..."),
        ({"round": 3}, "round is 2 instead of 3"),
        ({"preprocessing": {"pixels": 64, "crop": "whole"}}, "pixels is 32 instead of 64"),
        ({"preprocessing": {"pixels": 32}}, "crop is whole instead of None"),
        ({"classes": CLASSES[:4]}, "it has 5 classes instead of 4"),
        ({"classes": ("ant", "bee", *CLASSES[2:])}, "class 1 is 'bée' instead of 'bee'"),
        ({"pictures": "others"}, "pictures is pictures instead of others"),
        ({"top": 1}, "top is 0 instead of 1"),
    ],
)
def test_labels_of_another_origin_are_refused_with_what_differs(tmp_path, change, says):
    table, expected = write_labels(tmp_path, distributions(), ORIGIN), replace(ORIGIN, **change)
    with pytest.raises(NsfastError) as caught:
        table.require(expected)
    assert line(caught) == f"the labels in {tmp_path} are others: {says}; label again"
    table.require(expected, ignore=tuple(change))
    table.require(replace(ORIGIN))
    assert expected.fingerprint != ORIGIN.fingerprint
    assert read_note(tmp_path / shard_name(0), expected) is None


def test_an_origin_is_what_it_was_after_json():
    again = Origin.from_dict(json.loads(json.dumps(ORIGIN.to_dict())))
    assert again == ORIGIN and again.fingerprint == ORIGIN.fingerprint and ORIGIN.difference(again) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classes": ("a",)}, r"1 class\(es\); a label table is of 2 to 65,536"),
        ({"top": 6}, "top is 6; keep 1 to 5 classes"),
        ({"top": -1}, "top is -1"),
    ],
)
def test_an_origin_that_cannot_be_is_refused(change, says):
    with pytest.raises(NsfastError, match=says):
        replace(ORIGIN, **change)


def test_a_class_is_found_by_its_name_or_the_nearest_is_named():
    assert class_number("c, d", CLASSES) == 2
    with pytest.raises(NsfastError, match="unknown class 'antt'; did you mean 'ant'"):
        class_number("antt", CLASSES)


def test_sixty_five_thousand_classes_keep_their_numbers(tmp_path):
    classes = tuple(map(str, range(65536)))
    probabilities = np.zeros((3, 65536), np.float32)
    probabilities[[0, 1, 2], [65535, 0, 40000]] = 1
    rows = rows_of(np.arange(3), torch.from_numpy(probabilities), 2)
    write_shard(tmp_path / shard_name(0), Origin(classes, "t", top=2), rows)
    found = next(read_batches(tmp_path / shard_name(0), ("class", "top_classes")))
    assert found["class"].tolist() == found["top_classes"][:, 0].tolist() == [65535, 0, 40000]


def test_what_top_k_leaves_goes_to_the_other_classes_in_equal_parts(tmp_path):
    probabilities = distributions(200, 30)
    classes = tuple(map(str, range(30)))
    table = write_labels(tmp_path, probabilities, Origin(classes, "t", top=5))
    whole = table.vectors.dense()
    order = np.argsort(-probabilities, 1)
    kept = np.take_along_axis(probabilities, order[:, :5], 1)
    expected = np.repeat((1 - kept.sum(1, keepdims=True)) / 25, 30, 1)
    np.put_along_axis(expected, order[:, :5], kept, 1)
    assert np.abs(whole - expected).max() < 6e-4 and np.abs(whole.sum(1) - 1).max() < 1e-6
    assert (table.vectors.dense(hard=True).argmax(1) == table.predicted).all()
