"""Quality is what SQL and plain loops find in the same table, in as little memory for many labels as for few."""

import json

import duckdb
import numpy as np
import pytest
from scipy.stats import entropy

from nsfast.analysis.metrics import reliability_table, wilson_interval
from nsfast.errors import NsfastError
from nsfast.files import read_json
from nsfast.labels import Origin, write_labels
from nsfast.labels.balancing import decided as decided_module
from nsfast.labels.quality import quality as quality_module
from nsfast.labels.quality.quality import entropies, quality, read_quality, write_quality
from nsfast.labels.quality.tally import STEPS
from nsfast.labels.shards import rows_of

CLASSES = ("ant", "bee", "cat", "dog", "$e")
LABELED = np.repeat([0, 1, 2, 3], [4, 3, 2, 1])


def table(folder, n=300, pictures=400, seed=0, top=0, round=1, classes=CLASSES, sharp=0.4, shard=70):
    """A table of some of the pictures, in a few shards; no label is of the last class but one."""
    random = np.random.default_rng(seed)
    weights = np.full(len(classes), sharp)
    weights[-2] = 0.01
    probabilities = random.dirichlet(weights, n)
    ids = np.sort(random.choice(pictures, n, replace=False))
    names = [f"p{i}" for i in range(pictures)]
    origin = Origin(classes, f"teacher {seed}", round, top=top)
    return write_labels(folder, probabilities, origin, names=names, ids=ids, shard=shard)


def truth_of(pictures=400, seed=9, classes=5):
    """Classes of all pictures, a quarter of them of none."""
    random = np.random.default_rng(seed)
    return np.where(random.random(pictures) < 0.25, -1, random.integers(0, classes, pictures))


def sql(labels, truth, threshold):
    """A duckdb relation of the table, with truth and whether a label reaches the threshold."""
    rows = {"id": labels.ids, "class": labels.predicted, "confidence": labels.confidence.astype(np.float32)}
    import pandas as pd

    connection = duckdb.connect()
    connection.register("labels", pd.DataFrame(rows))
    connection.register("truth", pd.DataFrame({"id": np.arange(len(truth)), "truth": truth}))
    limit = float(np.float16(threshold))
    connection.execute(
        f'create table rows as select id, "class" as predicted, confidence, truth, confidence >= {limit} as reached, '
        'predicted = truth as "right" from labels join truth using (id)'
    )
    return lambda query: connection.execute(query).fetchall()


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.73, 1.0])
def test_counts_precision_and_recall_equal_sql(tmp_path, threshold):
    labels, truth = table(tmp_path), truth_of()
    found, ask = quality(labels, LABELED, threshold, truth=truth), sql(labels, truth, threshold)
    wanted = ("true", "reached", 'reached and "right"', "reached and truth = -1")
    sums = ", ".join(f"sum(({condition})::int)" for condition in wanted)
    rows, reached, right, no_class = ask(f"select {sums} from rows")[0]
    assert (found["rows"], found["reached"], found["coverage"]) == (rows, reached, reached / rows)
    assert found["mean_confidence"] == pytest.approx(ask("select avg(confidence) from rows")[0][0], rel=1e-6)
    known = found["truth"]
    assert (known["reached"], known["right"], known["no_class"]) == (reached, right, no_class)
    assert known["with_class"] == (truth >= 0).sum() and known["recall"] == right / (truth >= 0).sum()
    in_class = ask('select avg("right"::int) from rows where truth >= 0')[0][0]
    assert known["in_class_accuracy"] == pytest.approx(in_class)
    low, high = wilson_interval(right, reached)
    assert (known["low"], known["high"]) == (float(low), float(high))
    assert known["precision"] == (right / reached if reached else None)
    for number, row in enumerate(found["classes"]):
        of = f"from rows where predicted = {number}"
        predicted, kept, hits = ask(
            f'select count(*), coalesce(sum(reached::int), 0), coalesce(sum((reached and "right")::int), 0) {of}'
        )[0]
        assert (row["class"], row["predicted"], row["reached"]) == (CLASSES[number], predicted, kept)
        assert (row["right"], row["truth"]) == (hits, (truth == number).sum())
        assert row["labeled"] == (LABELED == number).sum()
        assert row["coverage"] == (kept / predicted if predicted else None)
        assert row["precision"] == (hits / kept if kept else None) and row["recall"] == hits / row["truth"]


def test_each_step_is_that_threshold(tmp_path):
    labels, truth = table(tmp_path), truth_of()
    known = quality(labels, LABELED, 0.5, truth=truth)["truth"]
    for step, threshold in enumerate(STEPS):
        alone = quality(labels, LABELED, threshold, truth=truth)
        row = known["by_threshold"][step]
        assert row["threshold"] == threshold
        assert {name: row[name] for name in ("reached", "right", "precision", "low", "high")} == {
            name: alone["truth"][name] for name in ("reached", "right", "precision", "low", "high")
        }
        for name in ("reached", "right"):
            by_class = [counts[step] for counts in known["by_class_and_threshold"][name]]
            assert by_class == [row[name] for row in alone["classes"]]


def test_reliability_is_that_of_the_rows(tmp_path):
    labels, truth = table(tmp_path), truth_of()
    right = labels.predicted == truth[labels.ids]
    expected, known = (
        reliability_table(labels.confidence, right),
        quality(labels, LABELED, 0.5, truth=truth)["truth"],
    )
    full = expected.count > 0
    rows = known["reliability"]
    assert [row["pictures"] for row in rows] == expected.count[full].tolist()
    assert np.allclose([row["confidence"] for row in rows], expected.confidence[full])
    assert np.allclose([row["accuracy"] for row in rows], expected.accuracy[full])
    assert np.allclose([row["from"] for row in rows], expected.edges[:-1][full])
    assert known["ece"] == pytest.approx(expected.expected_calibration_error)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


def test_classes_are_compared_with_the_labeled_ones(tmp_path):
    labels = table(tmp_path)
    found = quality(labels, LABELED, 0.6)["against_labeled"]
    for name, rows in (
        ("predicted", labels.predicted >= 0),
        ("reached", labels.confidence >= np.float16(0.6)),
    ):
        here = np.bincount(labels.predicted[rows], minlength=5) / rows.sum()
        there = np.bincount(LABELED, minlength=5) / len(LABELED)
        assert found[name]["total_variation"] == pytest.approx(np.abs(here - there).sum() / 2)
        assert found[name]["kl"] is None  # a class that no labeled picture has
    every = quality(labels, np.append(LABELED, 4), 0.6)["against_labeled"]["predicted"]
    here, there = np.bincount(labels.predicted, minlength=5), np.bincount(np.append(LABELED, 4), minlength=5)
    assert every["kl"] == pytest.approx(entropy(here, there))
    assert found["never_predicted"] == [CLASSES[i] for i in np.flatnonzero(here == 0)]
    same = quality(labels, labels.predicted, 0.6)["against_labeled"]["predicted"]
    assert same == {"total_variation": 0, "kl": 0}


def test_a_class_that_is_never_predicted_is_named(tmp_path):
    labels = write_labels(tmp_path, np.array([[0.9, 0.1, 0], [0.3, 0.7, 0]]), Origin(("a", "b", "$c"), "t"))
    found = quality(labels, np.array([0, 1, 2]), 0.8)["against_labeled"]
    assert found["never_predicted"] == ["$c"] and found["never_reached"] == ["b", "$c"]


@pytest.mark.parametrize("classes, top", [(3, 0), (40, 0), (40, 40), (40, 5), (40, 1)])
def test_entropy_is_that_of_the_whole_distributions(classes, top):
    import torch

    random = np.random.default_rng(0)
    probabilities = torch.tensor(random.dirichlet(np.full(classes, 0.2), 100), dtype=torch.float32)
    kept = rows_of(np.arange(100), probabilities, top).vectors
    expected = entropy(kept.dense().astype(np.float64), axis=1)
    np.testing.assert_allclose(entropies(kept.probabilities, classes), expected, atol=2e-5)


def test_certain_and_uniform_labels_have_entropy_0_and_log_classes():
    certain, even = np.eye(4, dtype=np.float16)[:2], np.full((2, 4), 0.25, np.float16)
    assert entropies(certain, 4).tolist() == [0, 0] and entropies(certain[:, :1], 4)[0] == 0
    assert np.allclose(entropies(even, 4), np.log(4)) and np.allclose(entropies(even[:, :2], 4), np.log(4))


def test_mean_entropy_is_over_all_labels_in_however_small_parts(tmp_path, monkeypatch):
    labels = table(tmp_path, top=2)
    expected = entropy(labels.vectors.dense().astype(np.float64), axis=1).mean()
    monkeypatch.setattr(quality_module, "CELLS", 50)
    found = quality(labels, LABELED, 0.5)
    assert found["mean_entropy"] == pytest.approx(expected, abs=1e-5)
    assert found["relative_entropy"] == pytest.approx(expected / np.log(5), abs=1e-5)


def by_hand(labels, before, threshold):
    """Agreement from dictionaries."""
    limit, sides = np.float16(threshold), []
    for side in (labels, before):
        columns = (side.ids.tolist(), side.predicted.tolist(), (side.confidence >= limit).tolist())
        sides.append({i: (k, reached) for i, k, reached in zip(*columns, strict=True)})
    now, then = sides
    both = sorted(now.keys() & then.keys())
    flips = {}
    for i in both:
        if now[i][0] != then[i][0]:
            pair = (CLASSES[then[i][0]], CLASSES[now[i][0]])
            flips[pair] = flips.get(pair, 0) + 1
    reached = [i for i in both if now[i][1] and then[i][1]]
    return {
        "both": len(both),
        "agreement": np.mean([now[i][0] == then[i][0] for i in both]),
        "reached_both": len(reached),
        "agreement_of_reached": np.mean([now[i][0] == then[i][0] for i in reached]),
        "gained": sum(now[i][1] and not then[i][1] for i in both),
        "lost": sum(then[i][1] and not now[i][1] for i in both),
        "flipped": sum(flips.values()),
    }, flips


@pytest.mark.parametrize("shards", [(70, 33), (300, 20), (20, 300)])
def test_agreement_and_flips_equal_a_loop_over_the_pictures(tmp_path, shards, monkeypatch):
    monkeypatch.setattr(decided_module, "ROWS", 50)
    labels = table(tmp_path / "2", 290, seed=2, round=2, shard=shards[0], top=3)
    before = table(tmp_path / "1", 250, seed=1, shard=shards[1])
    found = quality(labels, LABELED, 0.6, before=before)["before"]
    expected, flips = by_hand(labels, before, 0.6)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert (found["round"], found["teacher"]) == (1, "teacher 1")
    counts = [row["count"] for row in found["flips"]]
    assert {(row["from"], row["to"]): row["count"] for row in found["flips"]} == flips
    assert counts == sorted(counts, reverse=True) and sum(counts) == found["flipped"] > 0


def test_only_the_twenty_most_frequent_flips_are_listed(tmp_path):
    classes = tuple(f"c{i}" for i in range(12))
    one, other = (table(tmp_path / str(s), seed=s, classes=classes) for s in (1, 2))
    found = quality(one, np.arange(12), 0.3, before=other)["before"]
    assert len(found["flips"]) == 20 and sum(row["count"] for row in found["flips"]) < found["flipped"]


def test_a_table_agrees_with_itself(tmp_path):
    labels = table(tmp_path)
    found = quality(labels, LABELED, 0.6, before=labels)["before"]
    assert found["agreement"] == found["agreement_of_reached"] == 1 and found["both"] == len(labels)
    assert found["gained"] == found["lost"] == found["flipped"] == 0 and found["flips"] == []


def test_rounds_of_no_common_picture_share_nothing(tmp_path):
    one = write_labels(tmp_path / "1", np.eye(2), Origin(("a", "b"), "t"), ids=[0, 1])
    two = write_labels(tmp_path / "2", np.eye(2), Origin(("a", "b"), "t"), ids=[2, 3])
    found = quality(one, np.array([0, 1]), 0.5, before=two)["before"]
    assert found["both"] == 0 and found["agreement"] is None and found["agreement_of_reached"] is None


def test_tables_of_other_classes_or_pictures_are_not_compared(tmp_path):
    labels = table(tmp_path / "1")
    other = table(tmp_path / "2", classes=("ant", "bee", "cat", "dog", "emu"))
    with pytest.raises(NsfastError, match="cannot be compared: class 4 is 'emu' instead of '\\$e'"):
        quality(labels, LABELED, 0.5, before=other)


def test_without_truth_and_round_before_nothing_is_said_of_them(tmp_path):
    found = quality(table(tmp_path), LABELED, 0.5)
    assert found["truth"] is found["before"] is found["estimate"] is None
    assert not {"truth", "right", "precision", "recall"} & {*found["classes"][0]}


def test_each_class_may_have_a_threshold_of_its_own(tmp_path):
    labels, truth = table(tmp_path), truth_of()
    one, other = (quality(labels, LABELED, t, truth=truth) for t in (0.5, 0.9))
    found = quality(labels, LABELED, 0.5, truth=truth, thresholds={"bee": 0.9})
    names = ("reached", "right", "precision")
    for number, row in enumerate(found["classes"]):
        expected = (other if number == 1 else one)["classes"][number]
        assert {name: row[name] for name in names} == {name: expected[name] for name in names}
    assert found["reached"] == sum(row["reached"] for row in found["classes"])
    assert found["thresholds"] == {"bee": 0.9} and found["threshold"] == 0.5


def test_confidence_at_another_temperature_is_that_of_the_whole_distributions(tmp_path):
    labels = table(tmp_path, top=3)
    sure = labels.vectors.dense(2.0).max(1)
    found = quality(labels, LABELED, 0.5, temperature=2.0)
    assert found["mean_confidence"] == pytest.approx(sure.mean(), abs=1e-3)
    assert found["reached"] == (sure.astype(np.float16) >= np.float16(0.5)).sum()
    assert found["reached"] < quality(labels, LABELED, 0.5)["reached"]


def test_the_estimate_is_near_the_truth_and_says_what_it_assumes(tmp_path):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(5, 0.3), 6000)
    truth = (probabilities.cumsum(1) > random.random((6000, 1))).argmax(1)  # a calibrated teacher
    pool, known = slice(0, 4000), slice(4000, None)
    labels = write_labels(tmp_path, probabilities[pool], Origin(CLASSES, "t"))
    predicted, sure = probabilities[known].argmax(1), probabilities[known].max(1)
    found = quality(
        labels,
        truth[known],
        0.7,
        truth=truth[pool],
        validation=(predicted, sure, truth[known]),
        thresholds={"ant": 0.9},
    )
    estimate = found["estimate"]
    # how often the interval holds the truth: test_estimate
    assert abs(estimate["precision"] - found["truth"]["precision"]) < 0.04
    assert estimate["low"] < estimate["precision"] < estimate["high"] < estimate["low"] + 0.08
    assert estimate["n"] == 2000 and "no class" in estimate["assumes"]
    for row, true in zip(estimate["by_threshold"], found["truth"]["by_threshold"], strict=True):
        assert row["threshold"] == true["threshold"] and row["labels"] == true["reached"]
        if row["labels"]:
            assert abs(row["precision"] - true["precision"]) < 0.05


def test_it_is_json_without_nan_and_comes_back_from_its_file(tmp_path):
    labels = table(tmp_path / "labels")
    known = (labels.predicted, labels.confidence, truth_of()[labels.ids])
    found = quality(labels, LABELED, 1.0, before=labels, truth=truth_of(), validation=known)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    write_quality(tmp_path / "quality.json", found)
    assert read_quality(tmp_path / "quality.json") == found


@pytest.mark.parametrize(
    "text, message", [("{", "is damaged"), ("[]", "schema None"), ('{"schema": 9}', "schema 9")]
)
def test_another_file_is_refused(tmp_path, text, message):
    (tmp_path / "quality.json").write_text(text)
    with pytest.raises(NsfastError, match=message):
        read_quality(tmp_path / "quality.json")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"thresholds": {"be": 0.5}}, "unknown class 'be'; did you mean 'bee'"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"truth": np.zeros(3, int)}, "the truth is of 3 pictures, the labels in .* of 400"),
        ({"truth": np.full(400, 5)}, "from 5 to 5; it must be from -1"),
        ({"labeled_classes": np.array([], int)}, "at least one picture"),
        ({"labeled_classes": np.array([5])}, "from 0 to 4"),
        ({"validation": (np.zeros(1), np.zeros(1), np.zeros(1))}, "at least 2 pictures"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, arguments, message):
    with pytest.raises(NsfastError, match=message):
        quality(table(tmp_path), **({"labeled_classes": LABELED, "threshold": 0.5} | arguments))


def test_a_table_without_labels_has_no_shares(tmp_path):
    labels = write_labels(
        tmp_path, np.zeros((0, 5)), Origin(CLASSES, "t"), names=["a"], ids=np.array([], int)
    )
    found = quality(
        labels, LABELED, 0.5, before=labels, truth=np.array([2]), validation=([0, 1], [0.5, 1], [0, 0])
    )
    assert found["rows"] == found["reached"] == 0 and found["coverage"] is found["mean_entropy"] is None
    assert found["truth"]["recall"] == 0 and found["truth"]["reliability"] == []
    assert found["estimate"]["precision"] is None and found["against_labeled"]["reached"]["kl"] is None


def test_quarantined_pictures_count_against_recall(tmp_path):
    labels = table(tmp_path, n=10, pictures=20)
    truth = np.zeros(20, int)
    truth[labels.ids] = labels.predicted
    found = quality(labels, LABELED, 0.0, truth=truth)
    assert found["truth"]["precision"] == 1 and found["truth"]["recall"] == 0.5
    assert read_json(tmp_path / "manifest.json")["pictures"] == 20
