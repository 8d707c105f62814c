"""The memory map of the selected pictures' labels, against the rows of the table as duckdb gives them."""

import pickle

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.labels import Origin, storage
from nsfast.labels.shards import rows_of, shard_name, write_parquet, write_shard
from nsfast.labels.storage import read_targets, write_targets
from nsfast.labels.table import finish_table


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(classes))


def table(folder, n: int, classes: int, top: int, ids=None, seed=0, shard=40):
    """A label table whose rows come in the order of `ids`, within the shards too."""
    probabilities = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), n)
    ids, origin = np.arange(n) if ids is None else ids, Origin(names(classes), "t", top=top)
    starts = range(0, n, shard)
    for number, start in enumerate(starts):
        part = slice(start, start + shard)
        some = torch.from_numpy(probabilities[part].astype(np.float32))
        write_shard(folder / shard_name(number), origin, rows_of(ids[part], some, top))
    return finish_table(folder, origin, int(ids.max()) + 1, len(starts))


def selection(path, ids, classes, group=7):
    """A selection file with row groups so small that there are many."""
    columns = {"id": pa.array(ids, pa.int64()), "class": pa.array(classes, pa.uint16())}
    rows = pa.table({**columns, "copies": pa.array(np.ones(len(ids)), pa.uint32())})
    pq.write_table(rows, path, row_group_size=group)
    return path


def rows_by_duckdb(folder, ids) -> dict[int, tuple]:
    """Class and vectors of each id."""
    found = duckdb.sql(f"select * from read_parquet('{folder}/part-*.parquet')").fetchall()
    return {row[0]: (row[1], *row[3:]) for row in found if row[0] in set(map(int, ids))}


@pytest.mark.parametrize("top", [0, 3])
@pytest.mark.parametrize("order", ["by id", "any"])
@pytest.mark.parametrize("seed", range(4))
def test_the_map_s_rows_are_the_table_s_of_the_selected_pictures(tmp_path, monkeypatch, top, order, seed):
    random = np.random.default_rng(seed)
    monkeypatch.setattr(storage, "PART", random.choice([100, 1000, 1 << 25]))
    ids = np.sort(random.choice(500, 230, replace=False))
    if order == "any":
        ids = random.permutation(ids)
    labels = table(tmp_path / "labels", 230, 12, top, ids, seed)
    chosen = np.sort(random.choice(ids, random.choice([1, 60, 230]), replace=False))
    expected = rows_by_duckdb(tmp_path / "labels", chosen)
    classes = [expected[i][0] for i in chosen]
    path = selection(tmp_path / "selection.parquet", chosen, classes, random.choice([1, 7, 1000]))
    assert write_targets(labels, path, tmp_path / "selection.labels.npy") == tmp_path / "selection.labels.npy"
    found = read_targets(tmp_path / "selection.labels.npy", 12)
    assert len(found) == len(chosen) and found.top == top
    for row, i in enumerate(chosen):
        if top:
            assert found.top_classes[row].tolist() == expected[i][1]
        assert found.probabilities[row].tolist() == expected[i][-1]


def test_the_file_is_a_plain_map_of_forty_bytes_a_row(tmp_path):
    labels = table(tmp_path / "labels", 300, 1000, 10, shard=128)
    path = selection(tmp_path / "s.parquet", np.arange(100, 300), labels.predicted[100:])
    write_targets(labels, path, tmp_path / "s.labels.npy")
    raw = np.load(tmp_path / "s.labels.npy", mmap_mode="r", allow_pickle=False)
    assert raw.dtype == [("classes", "<u2", (10,)), ("probabilities", "<f2", (10,))] and raw.shape == (200,)
    assert (tmp_path / "s.labels.npy").stat().st_size == 200 * 40 + 192
    assert (raw["classes"][:, 0] == labels.predicted[100:]).all()


@pytest.mark.parametrize("top", [0, 1, 3, 4])
def test_a_relabeled_picture_is_its_new_class_with_probability_1(tmp_path, top):
    labels = table(tmp_path / "labels", 50, 4, top)
    classes = labels.predicted.copy()
    classes[::3] = (classes[::3] + 1 + np.arange(len(classes[::3])) % 3) % 4
    write_targets(labels, selection(tmp_path / "s.parquet", np.arange(50), classes), tmp_path / "m.npy")
    found = read_targets(tmp_path / "m.npy", 4)
    changed = classes != labels.predicted
    assert (found.dense()[changed] == np.eye(4)[classes[changed]]).all() and changed.sum() == 17
    assert np.array_equal(found.dense()[~changed], labels.vectors[np.flatnonzero(~changed)].dense())
    if top:
        assert all(len(set(row)) == top and max(row) < 4 for row in found.top_classes.tolist())


def test_a_selected_picture_without_a_label_is_an_error_and_leaves_no_file(tmp_path):
    labels = table(tmp_path / "labels", 50, 4, 0, ids=np.arange(50) * 2)
    path = selection(tmp_path / "s.parquet", [4, 5, 7, 8, 98], [0, 0, 0, 0, 0])
    with pytest.raises(
        NsfastError, match="2 of the 5 pictures selected in .* have no label in .*run balancing"
    ):
        write_targets(labels, path, tmp_path / "m.npy")
    beyond = selection(tmp_path / "b.parquet", [98, 120], [0, 0])
    with pytest.raises(NsfastError, match="1 of the 2 pictures"):
        write_targets(labels, beyond, tmp_path / "m.npy")
    assert not list(tmp_path.glob("*m.npy*"))


def test_a_selection_of_no_picture_is_a_map_of_none(tmp_path):
    labels = table(tmp_path / "labels", 50, 4, 2)
    write_targets(labels, selection(tmp_path / "s.parquet", [], []), tmp_path / "m.npy")
    assert len(read_targets(tmp_path / "m.npy", 4)) == 0


def test_an_old_map_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    labels = table(tmp_path / "labels", 50, 4, 2)
    path = selection(tmp_path / "s.parquet", np.arange(50), labels.predicted)
    write_targets(labels, path, tmp_path / "m.npy")
    before = (tmp_path / "m.npy").read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(NsfastError, match="m.npy .No space left on device.; run balancing again when"):
        write_targets(labels, path, tmp_path / "m.npy")
    assert (tmp_path / "m.npy").read_bytes() == before and len(list(tmp_path.glob("*m.npy*"))) == 1


def test_a_damaged_selection_or_map_and_another_number_of_classes_are_one_line(tmp_path):
    labels = table(tmp_path / "labels", 50, 4, 2)
    path = selection(tmp_path / "s.parquet", np.arange(50), labels.predicted)
    write_targets(labels, path, tmp_path / "m.npy")
    whole = (tmp_path / "m.npy").read_bytes()
    highest = int(labels.vectors.top_classes.max())

    def refused(text, classes=4):
        with pytest.raises(NsfastError, match=text) as caught:
            read_targets(tmp_path / "m.npy", classes)
        assert "\n" not in str(caught.value) and "run balancing" in str(caught.value)

    refused(f"m.npy names class {highest}, but there are 3", 3)
    refused("do not fit 1 classes", 1)
    for damaged in (whole[:-1], whole[:100], b"", b"\x00" * 300):
        (tmp_path / "m.npy").write_bytes(damaged)
        refused("cannot read .*m.npy")
    np.save(tmp_path / "m.npy", np.zeros((3, 5), np.float16))
    refused("m.npy is of other labels: probabilities .3, 5. do not fit 4 classes")
    np.save(tmp_path / "m.npy", np.zeros((3, 4)))
    refused("holds float64, not labels")
    (tmp_path / "m.npy").unlink()
    refused("cannot read .*m.npy .*No such file")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(NsfastError, match="s.parquet is damaged"):
        write_targets(labels, path, tmp_path / "m.npy")


@pytest.mark.parametrize("top", [0, 3])
def test_another_process_is_sent_the_path_and_not_the_rows(tmp_path, top):
    labels = table(tmp_path / "labels", 3000, 12, top, shard=1000)
    path = selection(tmp_path / "s.parquet", np.arange(3000), labels.predicted, 1000)
    write_targets(labels, path, tmp_path / "m.npy")
    found = read_targets(tmp_path / "m.npy", 12)
    sent = pickle.dumps(found)
    again = pickle.loads(sent)
    assert len(sent) < 500 and isinstance(again.probabilities, np.memmap)
    assert np.array_equal(again.dense(), found.dense()) and again.top == top
    some = pickle.loads(pickle.dumps(found[[5, 3]]))
    assert np.array_equal(some.dense(), found.dense()[[5, 3]])


def test_a_write_takes_no_more_memory_for_more_rows(tmp_path):
    """Of Python's and numpy's allocations: those of pyarrow's pool are bounded by a row group."""
    import tracemalloc

    labels = table(tmp_path / "labels", 40_000, 12, 3, shard=4000)
    peaks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "PART", 12_000)
        for n in (4_000, 40_000):
            path = selection(tmp_path / f"{n}.parquet", np.arange(n), labels.predicted[:n], 1000)
            tracemalloc.start()
            write_targets(labels, path, tmp_path / "m.npy")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 1_000_000


def test_a_large_enough_write_is_whole(tmp_path):
    """Through the shards and row groups that there really are."""
    labels = table(tmp_path / "labels", 70_000, 3, 2, shard=65536)
    columns = {
        "id": pa.array(np.arange(0, 70_000, 2)),
        "class": pa.array(labels.predicted[::2].astype(np.uint16)),
    }
    write_parquet(tmp_path / "s.parquet", pa.table(columns))
    write_targets(labels, tmp_path / "s.parquet", tmp_path / "m.npy")
    found, kept = read_targets(tmp_path / "m.npy", 3), labels.vectors[::2]
    assert np.array_equal(found.top_classes, kept.top_classes)
    assert np.array_equal(found.probabilities, kept.probabilities)
