"""Balancing against an independent SQL query and hand-made tables; order and shards never change a byte."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.files import read_csv, read_json
from nsfast.labels import Balancing, about_selection, balance, what_if
from nsfast.labels.balancing import decided, lots, pieces
from nsfast.labels.balancing.selection import read_selection
from nsfast.labels.histogram import above, codes_of
from nsfast.labels.shards import read_parquet

CLASSES = ("ant", "bee", "cat", "dog")
MANY = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
ASKED = dict(
    seed=st.integers(0, 10**6), n=st.integers(1, 150), decimals=st.integers(1, 4),
    threshold=st.sampled_from([0, 0.1, 0.3, 0.5, 0.7, 0.777, 0.9]), per_class=st.integers(1, 60),
    weights=st.sampled_from([(0.5, 0.3, 0.2, 0.0), (0.0, 0.0, 1.0, 0.0), (0.9, 0.05, 0.03, 0.02)]),
)  # fmt: skip

TOP = """
    WITH ranked AS (
        SELECT *, row_number() OVER (PARTITION BY class ORDER BY confidence DESC, ties) AS place FROM labels
        WHERE confidence >= $threshold),
    kept AS (
        SELECT *, row_number() OVER (PARTITION BY class ORDER BY copies) AS draw,
            count(*) OVER (PARTITION BY class) AS n
        FROM ranked WHERE place <= $number)
    SELECT id, class, $number // n + (draw <= $number % n)::INT AS copies FROM kept ORDER BY id"""

OFFICIAL = """
    WITH counted AS (
        SELECT class, least_confidence, count(*) AS total FROM labels JOIN bins ON confidence >= least_confidence
        GROUP BY ALL),
    enough AS (SELECT class, max(least_confidence) AS reached FROM counted WHERE total >= $number GROUP BY class),
    inside AS (
        SELECT id, class, copies AS coin, count(*) OVER (PARTITION BY class) AS n
        FROM labels LEFT JOIN enough USING (class) WHERE confidence >= coalesce(reached, $threshold)),
    flipped AS (
        SELECT id, class, $number // n + (coin::DOUBLE / 18446744073709551616.0 < ($number % n) / n)::INT AS copies
        FROM inside)
    SELECT * FROM flipped WHERE copies > 0 ORDER BY id"""

NONE = "SELECT id, class, 1 AS copies FROM labels WHERE confidence >= $threshold ORDER BY id"


def queried(labels, query: str, threshold: float, number: int, seed: int, slow_hash) -> list[tuple]:
    """What a query selects; the hashes are columns."""
    hashes = {
        name: pa.array([slow_hash(i, seed, name) for i in labels.ids.tolist()], pa.uint64())
        for name in ("ties", "copies")
    }
    columns = {
        "id": labels.ids,
        "class": labels.predicted,
        "confidence": labels.confidence.astype(np.float32),
    }
    bins = np.unique(np.maximum(np.float16(np.arange(101) / 100), np.float16(threshold))).astype(np.float32)
    with duckdb.connect() as database:
        database.register("labels", pa.table(columns | hashes))
        database.register("bins", pa.table({"least_confidence": bins}))
        values = {"threshold": float(np.float16(threshold)), "number": number}
        used = {name: value for name, value in values.items() if f"${name}" in query}
        return database.execute(query, used).fetchall()


def plain(selection) -> list[tuple]:
    columns = selection.ids, selection.classes, selection.copies
    return list(zip(*(column.tolist() for column in columns), strict=True))


@MANY
@given(method=st.sampled_from(["top", "official", "none"]), **ASKED)
def test_every_method_selects_what_an_sql_query_selects(
    tmp_path, table_of, random_labels, slow_hash, method, seed, n, decimals, threshold, per_class, weights
):  # fmt: skip
    labels, folder = random_labels(seed, n, decimals, weights), tmp_path / uuid4().hex
    table = table_of(folder, labels.predicted, labels.confidence, labels.ids, shards=1 + seed % 3)
    how = Balancing(threshold, "paper" if method == "none" else per_class, method, seed)
    if not above(labels.confidence, threshold).any():
        with pytest.raises(NsfastError, match="no pseudo-label reaches"):
            balance(table, how, folder)
        return
    query = {"top": TOP, "official": OFFICIAL, "none": NONE}[method]
    balanced = balance(table, how, folder)
    assert plain(balanced.selection) == queried(labels, query, threshold, per_class, seed, slow_hash)
    # and what is said of it is so
    kept = Counter(balanced.selection.classes.tolist())
    reached = Counter(labels.predicted[above(labels.confidence, threshold)].tolist())
    seen = np.bincount(balanced.selection.classes, balanced.selection.copies, 4)
    for k, row in enumerate(balanced.rows):
        assert row["predicted"] == (labels.predicted == k).sum() and row["above"] == reached[k]
        assert row["kept"] == kept[k] == row["predicted"] - row["dropped"]
        assert row["seen"] == seen[k] == row["kept"] + row["copies"]
    assert balanced.empty == [name for k, name in enumerate(CLASSES) if not kept[k]]
    assert read_csv(folder / "balance.csv", text=("class",)) == balanced.rows


@pytest.mark.parametrize("near", [8.0, 0.0])
def test_of_many_equals_and_many_copies_the_same_are_drawn_as_by_sql(
    tmp_path, monkeypatch, table_of, slow_hash, near
):
    """Hashes near the deciding one are enough, and where they were not the pass is made again."""
    monkeypatch.setattr(lots, "NEAR", near)
    random, n = np.random.default_rng(0), 12_000
    labels = SimpleNamespace(ids=np.arange(n), predicted=random.choice(4, n, p=[0.5, 0.25, 0.2, 0.05]))
    labels.confidence = random.choice([0.5, 0.75, 1], n).astype(np.float16)
    table = table_of(tmp_path, labels.predicted, labels.confidence, shards=3)
    passes, parts = [], decided.Decided.parts
    monkeypatch.setattr(
        decided.Decided, "parts", lambda self, ids=True: passes.append(ids) or parts(self, ids)
    )
    number = 2700
    found = balance(table, Balancing(0.4, number), tmp_path).selection
    assert plain(found) == queried(labels, TOP, 0.4, number, 0, slow_hash)
    assert passes == [True] * (2 if near else 3)  # the histogram is there, one to draw (or two), one to write


def test_only_hashes_near_the_deciding_one_are_held():
    """Of 100,000 equals the hashes near the deciding one are a few thousand."""
    wanted, among = np.array([30_000]), np.array([100_000])
    smallest = lots._Smallest(wanted, among, np.array([True]), np.array([False]))
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    for some in np.array_split(hashes, 7):
        smallest.add(np.zeros(len(some), np.uint16), some)
    largest = np.zeros(1, np.uint64)
    smallest.settle(largest)
    assert largest[0] == np.sort(hashes)[29_999] and not smallest.missed.any()
    assert sum(len(held) for _, held in smallest._held) < 3000


@pytest.mark.parametrize("method", ["top", "official", "none"])
@pytest.mark.parametrize("how", ["shards", "files", "rows", "in turns", "all"])
def test_neither_shards_nor_their_order_nor_that_of_rows_change_a_byte(
    tmp_path, table_of, random_labels, method, how
):
    number = "paper" if method == "none" else 37
    labels, asked = random_labels(3, 200), Balancing(0.4, number, method, seed=5, floor=3)
    order, shards = np.arange(200), 7
    if how == "files":  # whole shards in another order
        order = np.concatenate(np.array_split(order, shards)[::-1])
    elif how == "in turns":  # every shard in order, but they overlap
        order = np.concatenate([np.arange(first, 200, shards) for first in range(shards)])
        order = np.concatenate([np.sort(part) for part in np.array_split(order, shards)])
    elif how == "rows":  # the same shards, another order in each
        order = np.concatenate(
            [np.random.default_rng(0).permutation(part) for part in np.array_split(order, shards)]
        )
    elif how == "all":
        order = np.random.default_rng(0).permutation(200)
    columns = labels.predicted, labels.confidence, labels.ids
    balance(table_of(tmp_path / "a", *columns), asked, tmp_path / "a")
    other = table_of(tmp_path / "b", *(column[order] for column in columns), shards=shards)
    balance(other, asked, tmp_path / "b")
    for name in ("selection.parquet", "balance.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_parts_of_any_size_give_the_same_bytes(tmp_path, monkeypatch, table_of, random_labels):
    """A selection of several row groups, written while the rows come by sevens and at once."""
    labels = random_labels(0, 3000, weights=(0.4, 0.3, 0.2, 0.1))
    monkeypatch.setattr(pieces, "ROW_GROUP", 256)
    monkeypatch.setattr(pieces, "PIECE", 512)
    written = []
    for rows in (7, 1000, 10_000):
        monkeypatch.setattr(decided, "ROWS", rows)
        folder = tmp_path / str(rows)
        table = table_of(folder, labels.predicted, labels.confidence, labels.ids, shards=2)
        balance(table, Balancing(0.3, 500), folder)
        written.append((folder / "selection.parquet").read_bytes())
    assert written[0] == written[1] == written[2]
    found = read_selection(folder / "selection.parquet")
    assert len(found) > 1024 and found.copies.sum() == 4 * 500


def test_the_seed_decides_which_of_equals_are_kept_and_who_is_copied(tmp_path, table_of, random_labels):
    labels = random_labels(2, 120, decimals=1)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    runs = [plain(balance(table, Balancing(0.3, 25, seed=seed), tmp_path).selection) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_every_picture_has_the_same_chance_of_a_place_and_of_a_copy(tmp_path, table_of):
    table = table_of(tmp_path, np.zeros(10, int), np.full(10, 0.75))
    seen = np.zeros((2, 10))
    for seed in range(150):
        found = balance(table, Balancing(0.3, 15, seed=seed), tmp_path).selection
        seen[0, found.ids] += found.copies - 1
        seen[1, balance(table, Balancing(0.3, 5, seed=seed), tmp_path).selection.ids] += 1
    assert np.abs(seen / 150 - 0.5).max() < 0.2 and (seen.sum(1) == 750).all()


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("method", ["top", "official", "none"])
def test_the_threshold_is_compared_in_float16(tmp_path, table_of, method, threshold):
    """float16(0.3) is above 0.3 and float16(0.1) below 0.1; both are kept, the next smaller numbers are not."""
    exact = np.float16(threshold)
    below = np.nextafter(exact, np.float16(0), dtype=np.float16)
    table = table_of(tmp_path, np.zeros(3, int), np.array([exact, below, exact]))
    how = Balancing(threshold, "largest", method)
    selection = balance(table, how, tmp_path).selection
    assert selection.ids.tolist() == [0, 2] and selection.copies.tolist() == [1, 1]


def test_official_takes_whole_bins_and_thins_them(tmp_path, table_of):
    """300 pictures, of which 100 lie in the bins down to 0.95: 50 wanted gives each of those 100 half a copy."""
    parts = np.linspace(0.955, 0.999, 40), np.full(60, 0.953), np.linspace(0.4, 0.9, 200)
    table = table_of(tmp_path, np.ones(300, int), np.concatenate(parts))
    seen = [balance(table, Balancing(0.3, 50, "official", seed), tmp_path).selection for seed in range(80)]
    assert all(s.copies.max() == 1 and s.ids.max() < 100 for s in seen)
    assert np.mean([len(s) for s in seen]) == pytest.approx(50, abs=2)
    more = balance(table, Balancing(0.3, 750, "official"), tmp_path).selection
    assert len(more) == 300 and set(more.copies.tolist()) == {2, 3}


def test_official_reaches_the_thresholds_and_copies_of_the_released_script(tmp_path, table_of):
    """One class after another, as filter_unlabel.py walks down: (confidences, pictures inside)."""
    shapes = [
        ([1.0] * 12 + [0.995] * 5, 12),  # enough at 1.00
        ([1.0] * 9 + [0.995] * 5, 14),  # only at 0.99
        ([0.9] * 4 + [0.31] * 30 + [0.305] * 5 + [0.2] * 9, 39),  # 0.31 and 0.305 reach 0.30, the last bin
        ([0.6, 0.5, 0.4], 3),  # never enough: all that reach the threshold
    ]
    predicted = np.repeat(np.arange(4), [len(confidences) for confidences, _ in shapes])
    confidence = np.concatenate([confidences for confidences, _ in shapes])
    table = table_of(tmp_path, predicted, confidence)
    limits = what_if(table.histogram, CLASSES, Balancing(0.3, 10, "official"))
    # float16(0.31) is below 0.31, but so is the bin: compared in float16 both are the same number
    assert limits.inside.tolist() == [12, 14, 34, 3]
    flips = [balance(table, Balancing(0.3, 10, "official", seed), tmp_path).selection for seed in range(300)]
    for k, inside in enumerate(limits.inside.tolist()):
        mine = [selection.copies[selection.classes == k] for selection in flips]
        assert set(np.concatenate(mine).tolist()) <= {10 // inside, 10 // inside + 1}
        assert np.mean([copies.sum() for copies in mine]) == pytest.approx(10, abs=0.6)


def test_the_selection_says_where_it_is_from(tmp_path, table_of, random_labels):
    labels = random_labels(0, 90)
    table = table_of(tmp_path, labels.predicted, labels.confidence)
    how = Balancing(0.3, "paper", thresholds={"cat": 0.5})
    balanced = balance(table, how, tmp_path)
    about = about_selection(tmp_path / "selection.parquet")
    assert about["labels"] == table.origin.fingerprint and about["teacher"] == "teacher"
    told = read_json(tmp_path / "balancing.json")
    assert Balancing(**told["asked"]) == how and told["per_class"] == balanced.per_class == 10
    assert told["kept"] == len(balanced.selection) and told["seen"] == balanced.selection.copies.sum()
    assert (
        told["why"]
        == balanced.why
        == (
            "10 pictures of each class: the paper's 130,000, scaled from 300 million labels of 1,000 classes to 90 of "
            "4; 1 class has none, for no picture is confident enough"
        )
    )


def test_equal_selections_are_equal_to_the_byte_whatever_was_asked_for(tmp_path, table_of):
    table = table_of(tmp_path, np.array([0, 1, 2, 3]), np.array([0.9, 0.9, 0.9, 0.4]))
    for threshold in (0.5, 0.8):
        balance(table, Balancing(threshold, 2), tmp_path / str(threshold))
    one, two = (tmp_path / name / "selection.parquet" for name in ("0.5", "0.8"))
    assert one.read_bytes() == two.read_bytes()


def test_columns_are_as_they_are_documented(tmp_path, table_of, random_labels):
    labels = random_labels(0, 90)
    balance(table_of(tmp_path, labels.predicted, labels.confidence), Balancing(), tmp_path)
    kinds = {field.name: str(field.type) for field in read_parquet(tmp_path / "selection.parquet").schema}
    assert kinds == {"id": "int64", "class": "uint16", "copies": "uint32"}
    with duckdb.connect() as database:
        found = database.execute(f"SELECT sum(copies) FROM '{tmp_path / 'selection.parquet'}'").fetchone()
    assert found[0] == 30


def test_codes_of_the_threshold_that_is_asked_for_limit_what_a_histogram_can_say(tmp_path, table_of):
    table = table_of(tmp_path, np.array([0, 1]), np.array([0.5, 0.4]))
    low = decided.Decided(table).histogram(int(codes_of(np.array([0.45]))[0]))
    how = Balancing(0.45, 5)
    assert what_if(low, CLASSES, how).above.tolist() == [1, 0, 0, 0]
    for wrong in (replace(how, threshold=0.3), replace(how, floor=1)):
        with pytest.raises(NsfastError, match="does not go down to threshold"):
            what_if(low, CLASSES, wrong)
