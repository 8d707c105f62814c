"""A label table opens with each picture's own label, truth, picture, name and distribution, however they lie."""

from dataclasses import replace

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core import table as module
from nsfast.explore.core.labels import Answers
from nsfast.explore.core.selection import Filter, select
from nsfast.explore.core.table import open_table
from nsfast.files import write_csv
from nsfast.labels import Origin, read_labels, shards, write_labels
from nsfast.labels.quality.quality import entropies
from nsfast.labels.shards import Rows, shard_name, write_shard
from nsfast.labels.table import finish_table
from nsfast.training.targets import Distributions

CLASSES = tuple("abcde")
ORIGIN = Origin(CLASSES, "teacher", 2)
PICTURES = 60
NAMES = [f"some/{i:02}.png" for i in range(PICTURES)]
IDS = np.random.default_rng(0).choice(PICTURES, 45, replace=False)


def distributions(n=45, classes=5, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), n).astype(np.float32)


def written(folder, seed=0, ids=IDS, top=0, **origin):
    """Fifteen of the sixty pictures have no label."""
    origin = replace(ORIGIN, top=top, **origin)
    return write_labels(folder, distributions(len(ids), 5, seed), origin, NAMES, ids, shard=16)


@pytest.fixture(params=[0, 1, 2, 5], ids=["full", "top 1", "top 2", "top 5"])
def table(request, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROW_GROUP", 8)
    monkeypatch.setattr(module, "ROWS", 10)
    monkeypatch.setattr(module, "CELLS", 30)
    return written(tmp_path / "labels", top=request.param)


@pytest.fixture
def full(tmp_path):
    """A table of whole distributions."""
    return written(tmp_path / "labels")


def slow_scores(whole):
    """Second class, margin and entropy of distributions, one at a time."""
    found = []
    for row in whole.astype(np.float64):
        first, second = sorted(range(len(row)), key=lambda i: (-row[i], i))[:2]
        p = row / row.sum()
        found.append((second, row[first] - row[second], -(p[p > 0] * np.log(p[p > 0])).sum()))
    return [np.array(column) for column in zip(*found, strict=True)]


def test_each_row_is_that_of_the_table(table):
    labels = open_table(table.folder)
    assert len(labels) == 45 and labels.classes == CLASSES and labels.round == 2 and not labels.sampled_from
    assert (labels.predicted == table.predicted).all() and (labels.confidence == table.confidence).all()
    assert labels.names(np.arange(45)) == table.names.tolist()
    for row in (0, 17, 44):
        assert labels.rows([table.names[row], "nobody.png"]).tolist() == [row]
    assert labels.truth is labels.pictures is labels.left_out is None


def test_distributions_and_scores_are_those_of_the_table(table):
    labels, whole = open_table(table.folder), table.vectors.dense()
    rows = np.array([44, 0, 16, 16, 3])
    np.testing.assert_allclose(labels.distributions(rows), whole[rows], rtol=1e-6, atol=1e-9)
    second, margin, entropy = slow_scores(whole)
    assert (labels.scores.second == second).all()
    np.testing.assert_allclose(labels.scores.margin, margin, atol=2e-3)  # not divided by the sum in float16
    np.testing.assert_allclose(labels.scores.entropy, entropy, atol=2e-3)
    if table.origin.top != 1:
        np.testing.assert_allclose(
            labels.scores.entropy, entropies(table.vectors.probabilities, 5), rtol=1e-5, atol=1e-6
        )


def test_rows_that_are_not_in_the_order_of_ids_stay_together(tmp_path):
    ids, half = np.random.default_rng(3).permutation(30), distributions(30).astype(np.float16)
    other = tmp_path / "other"
    write_labels(other, distributions(30, seed=1), ORIGIN, names=[f"{i}.png" for i in range(30)])
    for number, rows in enumerate(np.array_split(np.arange(30), 3)):
        kept = Rows(
            ids[rows], half[rows].argmax(1).astype(np.uint16), half[rows].max(1), Distributions(half[rows], 5)
        )
        write_shard(tmp_path / "labels" / shard_name(number), replace(ORIGIN), kept)
    (tmp_path / "labels" / "files.parquet").write_bytes((other / "files.parquet").read_bytes())
    finish_table(tmp_path / "labels", ORIGIN, 30, 3)
    truth, pixels = np.arange(30) % 5, np.repeat(np.arange(30, dtype=np.uint8), 4).reshape(30, 2, 2, 1)
    labels = open_table(tmp_path / "labels", pixels, truth, {"round 1": other})
    names = labels.names(np.arange(30))
    assert names != sorted(names, key=lambda name: int(name[:-4]))
    before = read_labels(other)
    for row, name in enumerate(names):
        picture = int(name[:-4])
        expected = half[ids.tolist().index(picture)]
        assert labels.predicted[row] == expected.argmax() and labels.truth[row] == picture % 5
        assert (labels.pictures[row] == picture).all() and labels.rows([name]).tolist() == [row]
        assert labels.others["round 1"].predicted[row] == before.predicted[picture]
        np.testing.assert_allclose(labels.distributions([row])[0], expected.astype(np.float32), atol=2e-3)
        np.testing.assert_allclose(
            labels.others["round 1"].distributions([row]), before.vectors[[picture]].dense(), atol=1e-6
        )


def test_what_is_given_by_id_reaches_the_rows(full):
    truth = np.random.default_rng(1).integers(-1, 5, PICTURES)
    left_out, points = truth == 3, np.random.default_rng(2).normal(size=(PICTURES, 2))
    labels = open_table(full.folder, truth=truth, left_out=left_out, embedding=points)
    assert (labels.truth == truth[full.ids]).all() and (labels.left_out == left_out[full.ids]).all()
    assert (labels.embedding == points[full.ids]).all()
    wrong = select(labels, Filter(wrong=True))
    assert set(wrong.names) == set(full.names[truth[full.ids] != full.predicted])


@pytest.mark.parametrize("name", ["truth", "left_out", "embedding"])
def test_an_array_of_other_pictures_is_refused(full, name):
    given = np.zeros((45, 2)) if name == "embedding" else np.zeros(45, int)
    with pytest.raises(NsfastError, match=f"{name} has 45 entries for 60 pictures"):
        open_table(full.folder, **{name: given})


def test_leaked_pictures_are_left_out_unless_told_otherwise(full):
    rows = [
        {"id": int(i), "name": NAMES[i], "split": "test", "held_out": "x", "distance": 0} for i in IDS[:3]
    ]
    write_csv(full.folder / "leaked.csv", rows)
    labels = open_table(full.folder)
    assert set(labels.names(np.flatnonzero(labels.left_out))) == {NAMES[i] for i in IDS[:3]}
    assert not open_table(full.folder, left_out=np.zeros(PICTURES, bool)).left_out.any()


def test_others_are_aligned_by_id(table, tmp_path):
    ids = np.random.default_rng(5).choice(PICTURES, 30, replace=False)
    other = written(tmp_path / "other", 1, ids, teacher="another", round=1)
    predicted = np.random.default_rng(6).integers(-1, 5, PICTURES)
    asked = []

    def said(ids):
        asked.append(np.asarray(ids).tolist())
        return np.zeros((len(ids), 5), np.float32)

    labels = open_table(table.folder, others={"round 1": other.folder, "student 2": Answers(predicted, said)})
    known = dict(zip(other.ids.tolist(), other.predicted.tolist(), strict=True))
    assert labels.others["round 1"].predicted.tolist() == [known.get(i, -1) for i in table.ids.tolist()]
    whole = dict(zip(other.ids.tolist(), other.vectors.dense(), strict=True))
    expected = [whole.get(i, np.full(5, np.nan)) for i in table.ids.tolist()]
    np.testing.assert_allclose(labels.others["round 1"].distributions(np.arange(45)), expected, atol=1e-6)
    assert (labels.others["student 2"].predicted == predicted[table.ids]).all()
    labels.others["student 2"].distributions(np.array([3, 1]))
    assert asked == [table.ids[[3, 1]].tolist()]
    assert labels.flips.sum() == sum(
        known.get(i, p) != p for i, p in zip(table.ids, table.predicted, strict=True)
    )


def test_tables_of_other_pictures_or_classes_are_refused_in_one_line(full, tmp_path):
    probabilities, names = distributions(), [f"x{name}" for name in NAMES]
    few = distributions(classes=4)
    cases = {
        "it has 4 classes instead of 5": (few, "abcd", NAMES),
        "class 4 is 'x' instead of 'e'": (probabilities, "abcdx", NAMES),
        "it is of 61 pictures instead of 60": (probabilities, "abcde", [*NAMES, "more"]),
        "its pictures have other names": (probabilities, "abcde", names),
    }
    for number, (message, (some, classes, names)) in enumerate(cases.items()):
        other = write_labels(tmp_path / str(number), some, Origin(tuple(classes), "t"), names, IDS)
        with pytest.raises(NsfastError, match=message) as error:
            open_table(full.folder, others={"round 1": other.folder})
        assert "\n" not in str(error.value)


def test_of_too_many_a_sample_is_drawn_by_id_and_the_rest_is_counted(table, tmp_path, capsys):
    truth = np.random.default_rng(1).integers(-1, 5, PICTURES)
    labels = open_table(table.folder, truth=truth, most=10, others={"round 1": table.folder})
    assert capsys.readouterr().out.count("\n") == 1
    assert len(labels) == 10 and labels.sampled_from == 45
    counts = np.zeros((5, 0x3C01), int)
    np.add.at(counts, (table.predicted, table.confidence.view(np.uint16)), 1)
    assert (labels.whole.histogram.counts == counts).all()
    same = truth[table.ids] == table.predicted
    right = np.zeros_like(counts)
    np.add.at(right, (table.predicted[same], table.confidence.view(np.uint16)[same]), 1)
    assert (labels.whole.right.counts == right).all() and right.sum() > 3
    by_name = {name: row for row, name in enumerate(table.names)}
    rows = [by_name[name] for name in labels.names(np.arange(10))]
    assert (labels.predicted == table.predicted[rows]).all() and (
        labels.truth == truth[table.ids[rows]]
    ).all()
    assert (labels.others["round 1"].predicted == labels.predicted).all()
    whole = table.vectors.dense()[rows]
    np.testing.assert_allclose(labels.distributions(np.arange(10)), whole, atol=1e-6)
    np.testing.assert_allclose(labels.scores.margin, slow_scores(whole)[1], atol=2e-3)
    again = open_table(table.folder, most=10)
    assert again.names(np.arange(10)) == labels.names(np.arange(10))
    more = open_table(table.folder, most=20)
    assert set(labels.names(np.arange(10))) < set(more.names(np.arange(20)))  # smallest hashes come first
    assert not open_table(table.folder, most=45).sampled_from


def test_a_sample_depends_on_ids_and_not_on_shards(tmp_path, monkeypatch):
    probabilities = distributions(200)
    names = [str(i) for i in range(200)]
    drawn = []
    for shard in (7, 200):
        write_labels(tmp_path / str(shard), probabilities, ORIGIN, names, shard=shard)
        labels = open_table(tmp_path / str(shard), most=50)
        drawn.append(labels.names(np.arange(50)))
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 50
    assert 60 < np.mean([int(name) for name in drawn[0]]) < 140  # a mean of 100 with a deviation of 8


def test_a_table_without_names_is_named_by_ids(full):
    (full.folder / "files.parquet").unlink()
    labels = open_table(full.folder)
    assert labels.names([3, 0]) == [str(i) for i in full.ids[[3, 0]]]
    assert labels.rows([str(full.ids[7])]).tolist() == [7]


def test_what_is_no_finished_table_is_one_line(full, tmp_path):
    with pytest.raises(NsfastError, match="no label table in"):
        open_table(tmp_path / "nowhere")
    with pytest.raises(NsfastError, match="other classes"):
        open_table(full.folder, classes=["a"])
    assert len(open_table(full.folder / "manifest.json")) == 45
    (full.folder / "manifest.json").unlink()
    with pytest.raises(NsfastError, match="is not finished"):
        open_table(full.folder)


def test_a_thousand_classes_open_with_ten_of_each_distribution(tmp_path):
    origin = Origin(tuple(map(str, range(1000))), "t", top=10)
    probabilities = distributions(30, 1000)
    table = write_labels(tmp_path, probabilities, origin)
    labels = open_table(tmp_path)
    np.testing.assert_allclose(
        labels.distributions([29, 4]), table.vectors[[29, 4]].dense(), rtol=1e-6, atol=1e-9
    )
    assert (labels.scores.second == table.vectors.top_classes[:, 1]).all()


def test_an_empty_table_says_so(tmp_path):
    write_labels(tmp_path, np.empty((0, 5)), ORIGIN)
    with pytest.raises(NsfastError, match="there are no pseudo-labels"):
        open_table(tmp_path)
