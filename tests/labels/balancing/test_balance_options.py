"""Each option of balancing, alone and together, against a slow reference; what-if says what balancing does."""

import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.labels import Balancing, balance, what_if, write_labels
from nsfast.labels.balancing.decided import Decided
from nsfast.labels.balancing.limits import limits_of
from nsfast.labels.histogram import Histogram
from nsfast.labels.origin import Origin
from nsfast.labels.table import LabelTable

CLASSES = ("ant", "bee", "cat", "dog")
MANY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plain(selection) -> list[tuple]:
    columns = selection.ids, selection.classes, selection.copies
    return list(zip(*(column.tolist() for column in columns), strict=True))


def number_of(how: Balancing, sizes: list[int], labels: int) -> int:
    """N, by trying."""
    if how.per_class == "largest":
        return max(*sizes, 1)
    if how.per_class == "paper":
        return max(1, round(Fraction(130_000 * 1000, 300_000_000) * labels / len(sizes)))
    if how.per_class == "auto":
        sizes = [size for size in sizes if size]
        enough = [
            n for n in range(1, 2 * max(sizes) + 2)
            if Fraction(sum(min(size, n) for size in sizes), n * len(sizes)) >= Fraction(81, 130)
        ]  # fmt: skip
        return enough[-1]
    return how.per_class


def slow(rows: list[tuple], how: Balancing, slow_hash, relabeled, accepted, dropped) -> list[tuple]:
    """One class and one picture at a time, as the words of `Balancing` have it; rows are (id, class, confidence)."""
    members, candidates = {k: [] for k in range(4)}, {}
    for i, k, confidence in rows:
        if i not in dropped:
            sure = i in relabeled or i in accepted
            members[relabeled.get(i, k)].append((i, 1.0 if sure else float(np.float16(confidence))))
    for k, pictures in members.items():
        pictures.sort(key=lambda picture: (-picture[1], slow_hash(picture[0], how.seed, "ties")))
        limit = float(np.float16(how.thresholds.get(CLASSES[k], how.threshold)))
        reached = sum(confidence >= limit for _, confidence in pictures)
        candidates[k] = pictures[: max(reached, how.floor)], reached, limit
    if not any(found for found, _, _ in candidates.values()):
        return []
    number = number_of(how, [len(found) for found, _, _ in candidates.values()], len(rows))
    chosen = []
    for k, (found, reached, limit) in candidates.items():
        if not found:
            continue
        seen = number
        if how.method == "none":
            inside, seen = found, len(found)
        elif how.method == "top":
            inside = found[:number]
        else:
            for hundredths in range(100, -1, -1):
                bound = max(float(np.float16(hundredths / 100)), limit)
                total = sum(confidence >= bound for _, confidence in found[:reached])
                if total >= number:
                    break
            inside = found[: max(total, min(how.floor, number, len(found)))]
        seen = min(seen, len(inside) * how.max_copies) if how.max_copies else seen
        whole, rest = divmod(seen, len(inside))
        draw = {i: slow_hash(i, how.seed, "copies") for i, _ in inside}
        first = sorted(draw, key=draw.get)[:rest]
        for i, _ in inside:
            more = draw[i] * len(inside) < rest << 64 if how.method == "official" else i in first
            chosen += [(i, k, whole + more)] if whole + more else []
    return sorted(chosen)


@MANY
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 120), method=st.sampled_from(["top", "official", "none"]),
    threshold=st.sampled_from([0, 0.3, 0.61, 0.8, 0.95]),
    per_class=st.sampled_from(["paper", "largest", "auto", 1, 7, 30, 200]), floor=st.sampled_from([0, 1, 5, 30]),
    max_copies=st.integers(0, 4), thresholds=st.dictionaries(st.sampled_from(CLASSES), st.sampled_from([0, 0.7, 1])),
    decide=st.booleans(),
)  # fmt: skip
def test_all_options_together_agree_with_the_slow_reference(
    tmp_path, table_of, random_labels, slow_hash, seed, n, decide, **asked
):
    labels, folder, random = random_labels(seed, n), tmp_path / uuid4().hex, np.random.default_rng(seed)
    if asked["method"] == "none":  # which refuses these
        asked |= {"per_class": "largest", "max_copies": 0}
    if isinstance(asked["per_class"], int):
        asked["floor"] = min(asked["floor"], asked["per_class"])
    how, decisions = Balancing(seed=seed, **asked), ({}, set(), set())
    if decide:  # of ids that are there and of some that are not, in all three lists at times
        ids = np.append(labels.ids, [10_000, 10_001])
        some = [random.choice(ids, random.integers(0, len(ids)), replace=False).tolist() for _ in range(3)]
        decisions = {i: int(random.integers(0, 4)) for i in some[0]}, set(some[1]), set(some[2])
    table = table_of(folder, labels.predicted, labels.confidence, labels.ids, shards=1 + seed % 2)
    rows = list(zip(labels.ids.tolist(), labels.predicted.tolist(), labels.confidence.tolist(), strict=True))
    expected = slow(rows, how, slow_hash, *decisions)
    if not expected:
        with pytest.raises(NsfastError, match="no pseudo-label reaches|no label left"):
            balance(table, how, folder, *decisions)
        return
    balanced = balance(table, how, folder, *decisions)
    assert plain(balanced.selection) == expected
    assert balanced.unmet == len((set(decisions[0]) | decisions[1]) - set(labels.ids.tolist()))
    # the same numbers from the histogram alone; of coin flips, those that are expected
    limits = limits_of(Decided(table, 1, *decisions).histogram(), CLASSES, how)
    assert (limits.per_class, limits.why) == (balanced.per_class, balanced.why)
    if how.method == "official":
        by_lot = [row["class"] for row, rest in zip(balanced.rows, limits.rest, strict=True) if rest]
        left = [[r for r in rows if r["class"] not in by_lot] for rows in (balanced.rows, limits.rows())]
        assert left[0] == left[1]
        assert [r["above"] for r in balanced.rows] == limits.above.tolist()
    else:
        assert limits.rows() == balanced.rows


@pytest.mark.parametrize("method", ["top", "official", "none"])
def test_a_floor_may_split_equals_of_whom_some_are_copied(tmp_path, table_of, slow_hash, method):
    """Who is copied is known only after who of the equals is in."""
    predicted, confidence = np.zeros(15, int), np.array([0.8] * 3 + [0.7] * 12, np.float16)
    table = table_of(tmp_path, predicted, confidence)
    rows = list(zip(range(15), predicted.tolist(), confidence.tolist(), strict=True))
    for seed in range(20):
        how = Balancing(0.9, "paper" if method == "none" else 17, method, seed, floor=7)
        balanced = balance(table, how, tmp_path)
        assert plain(balanced.selection) == slow(rows, how, slow_hash, {}, (), ())
        assert balanced.rows[0]["kept"] == 7 and balanced.rows[0]["above"] == 0


def test_what_if_expects_of_coin_flips_their_mean(tmp_path, table_of, random_labels):
    labels = random_labels(0, 400)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    for number in (20, 130):
        expected = what_if(table.histogram, CLASSES, Balancing(0.3, number, "official")).rows()
        rows = [
            balance(table, Balancing(0.3, number, "official", seed), tmp_path).rows for seed in range(100)
        ]
        for k, row in enumerate(expected):
            for name in ("kept", "seen"):
                assert np.mean([each[k][name] for each in rows]) == pytest.approx(row[name], rel=0.06)
        assert expected[0]["seen"] == number and expected[3]["seen"] == 0


def test_what_if_of_1000_classes_takes_less_than_50_ms_for_any_threshold_and_number():
    histogram, random = Histogram(1000), np.random.default_rng(0)
    confidence = random.beta(2, 1, 300_000)
    histogram.add(random.integers(0, 1000, 300_000).astype(np.uint16), confidence)
    names, taken = tuple(map(str, range(1000))), []
    for method in ("top", "official"):
        for how in (Balancing(0.9, 50, method), Balancing(0, 10_000, method), Balancing(0.5, "auto", method)):
            start = time.process_time()
            what_if(histogram, names, how).rows()
            taken.append(time.process_time() - start)
    assert np.median(taken) < 0.05  # the first also sums up, once


@pytest.mark.parametrize(("temperature", "top"), [(0.5, 0), (2.0, 0), (2.0, 3), (0.7, 3), (1.5, 1)])
def test_a_temperature_recalibrates_the_stored_distributions(tmp_path, slow_hash, temperature, top):
    random, names = np.random.default_rng(0), tuple("abcdefg")
    given = random.dirichlet(np.full(7, 0.3), 150)
    table = write_labels(tmp_path, given, Origin(names, "teacher", top=top), shard=40)
    rows = []
    for i in range(150):
        kept = np.sort(np.float16(np.float32(given[i])).astype(float))[::-1].tolist()
        if top:
            rest = max(0, 1 - sum(kept[:top])) / (7 - top)
            kept = kept[:top] + [rest] * (7 - top)
        powers = [p ** (1 / temperature) for p in kept]
        rows.append((i, int(table.predicted[i]), max(powers) / sum(powers)))
    whole = table.vectors.dense(temperature).max(1)
    assert np.float16([row[2] for row in rows]) == pytest.approx(whole, abs=1e-3)
    members = {k: [row for row in rows if row[1] == k] for k in range(7)}
    how = Balancing(0.6, 8, temperature=temperature)
    balanced = balance(table, how, tmp_path)
    found = {i: copies for i, _, copies in plain(balanced.selection)}
    assert balanced.rows != balance(table, replace(how, temperature=1), tmp_path).rows
    for k, mine in members.items():
        reached = [row for row in mine if np.float16(row[2]) >= np.float16(0.6)]
        assert balanced.rows[k]["above"] == len(reached) and balanced.rows[k]["predicted"] == len(mine)
        reached.sort(key=lambda row: (-np.float16(row[2]), slow_hash(row[0], 0, "ties")))
        assert {i for i, _, _ in reached[:8]} == {i for i, _, _ in mine if i in found}


def test_dropped_ids_may_be_an_array_and_more_than_the_table_has(tmp_path, table_of, random_labels):
    labels = random_labels(1, 100)
    table = table_of(tmp_path, labels.predicted, labels.confidence, labels.ids)
    odd = np.arange(1, 100_000, 2, dtype=np.int32)
    balanced = balance(table, Balancing(0.3, "largest"), tmp_path, dropped=odd)
    assert not (balanced.selection.ids % 2).any()
    kept = (labels.ids % 2 == 0) & (labels.confidence >= np.float16(0.3))
    assert len(balanced.selection) == kept.sum()
    # they are counted among the predicted, and so among what is not kept
    assert [row["predicted"] for row in balanced.rows] == np.bincount(labels.predicted, minlength=4).tolist()
    assert sum(row["dropped"] for row in balanced.rows) == 100 - kept.sum()


def test_the_papers_number_is_130000_of_300_million_pictures_of_1000_classes():
    histogram = Histogram(1000)
    histogram.below[:] = 300_000
    names = tuple(map(str, range(1000)))
    assert what_if(histogram, names, Balancing()).per_class == 130_000
    histogram.below[:] = 1
    assert what_if(histogram, names, Balancing()).per_class == 1


def test_auto_gives_the_papers_share_of_different_pictures():
    """Two classes of three with enough and one without: 81/130 is reached where the small one is copied most."""
    histogram = Histogram(3)
    for k, size in enumerate((10_000, 10_000, 100)):
        histogram.add(np.full(size, k), np.full(size, 0.9))
    limits = what_if(histogram, ("a", "b", "c"), Balancing(0.3, "auto"))
    share = limits.kept.sum() / limits.seen.sum()
    assert share == pytest.approx(81 / 130, abs=1e-4) and share >= 81 / 130
    assert limits.per_class > 10_000 and "81 of 130" in limits.why


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"threshold": 1.1}, "threshold is 1.1"), ({"threshold": float("nan")}, "threshold is nan"),
     ({"per_class": 0}, "per_class is 0; it must be at least 1$"), ({"per_class": -1}, "per_class is -1"),
     ({"per_class": 2**32}, "per_class is 4,294,967,296; it must be at most 4,294,967,295"),
     ({"per_class": "-3"}, "unknown per_class '-3'; valid: a number, auto, largest, paper$"),
     ({"method": "none", "per_class": 9}, "per_class is 9, but method 'none' only filters; leave it out, or"),
     ({"method": "none", "max_copies": 2}, "max_copies is 2, but method 'none' only filters"),
     ({"per_class": "papr"}, "unknown per_class 'papr'; did you mean 'paper'"),
     ({"per_class": 2.5}, "per_class is 2.5; .* whole"), ({"floor": 1.5}, "floor is 1.5; .* whole"),
     ({"method": "topp"}, "unknown balancing method 'topp'.*'top'"),
     ({"floor": -1}, "floor is -1; it must be at least 0$"),
     ({"per_class": 20, "floor": 21}, "floor is 21, .* 20"),
     ({"max_copies": -1}, "max_copies is -1"), ({"empty": "wrn"}, "unknown empty 'wrn'; did you mean 'warn'"),
     ({"thresholds": {"cat": 2}}, "threshold of 'cat' is 2"), ({"temperature": 0}, "temperature is 0"),
     ({"temperature": float("nan")}, "temperature is nan")],
)  # fmt: skip
def test_wrong_arguments_are_named_before_anything_is_read(arguments, said):
    with pytest.raises(NsfastError, match=said):
        Balancing(**arguments)


def test_unknown_classes_are_named_with_the_nearest(tmp_path, table_of, random_labels):
    labels = random_labels(0, 20)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    with pytest.raises(NsfastError, match="unknown class 'cta'; did you mean 'cat'"):
        balance(table, Balancing(thresholds={"cta": 0.5}), tmp_path)
    with pytest.raises(NsfastError, match="picture 3 is relabeled as class 4; there are 0 to 3"):
        balance(table, Balancing(), tmp_path, relabeled={3: 4})


@pytest.mark.parametrize("method", ["top", "official", "none"])
def test_an_empty_class_is_reported_or_an_error(tmp_path, monkeypatch, table_of, random_labels, method):
    labels = random_labels(0, 90)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    how = Balancing(0.5, "paper" if method == "none" else 20, method)
    balanced = balance(table, how, tmp_path)
    nothing = dict.fromkeys(("predicted", "above", "kept", "dropped", "copies", "seen"), 0)
    assert balanced.empty == ["dog"] and balanced.rows[3] == {"class": "dog", **nothing}
    monkeypatch.setattr(LabelTable, "paths", None)  # it is said before a shard is read
    with pytest.raises(NsfastError, match="no pseudo-label of dog is confident enough; lower the threshold"):
        balance(table, replace(how, empty="error"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_that_coin_flips_leave_empty_is_an_error_too(tmp_path, table_of):
    """Of 4000 equals each with a chance of 1/4000 sometimes none is taken."""
    table = table_of(tmp_path, np.repeat([0, 1, 2, 3], [4000, 9, 9, 9]), np.full(4027, 0.9))
    left_out = 0
    for seed in range(30):
        how = Balancing(0.3, 1, "official", seed)
        empty = balance(table, how, tmp_path).empty
        if "ant" in empty:
            with pytest.raises(NsfastError, match="no pseudo-label of ant"):
                balance(table, replace(how, empty="error"), tmp_path / "out")
            assert not list(tmp_path.glob("out/*"))
            left_out += 1
    assert 2 < left_out < 25


def test_balancing_needs_no_torch():
    """Which takes a quarter of a gigabyte."""
    code = "import sys, nsfast.labels.balancing.balance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
