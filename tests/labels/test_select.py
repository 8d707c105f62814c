"""Filtering and balancing against a slow reference, on random tables with many ties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.labels import LabelTable, class_counts, read_labels, read_selection, select, write_selection
from nsfast.labels.select import METHODS, Selection, above
from nsfast.labels.table import shard_name, write_shard
from nsfast.streams import hash_order

CLASSES = ("ant", "bee", "cat", "dog")


def table(seed=0, n=120, weights=(0.5, 0.3, 0.2, 0.0), decimals=2) -> LabelTable:
    """Random pseudo-labels; nobody predicts the last class, and rounding makes many ties."""
    random = np.random.default_rng(seed)
    predicted = random.choice(4, n, p=weights)
    confidence = np.maximum(random.beta(2, 1, n), 0.26).round(decimals)
    probabilities = np.repeat(((1 - confidence) / 3)[:, None], 4, 1)
    probabilities[np.arange(n), predicted] = confidence
    ids = np.array([f"{i:04}.png" for i in random.permutation(n)])
    return LabelTable(ids, probabilities.astype(np.float16), CLASSES, {"teacher": "x"})


def plain(selection: Selection) -> list[tuple]:
    return list(zip(*(a.tolist() for a in (selection.ids, selection.classes, selection.copies)), strict=True))


def slow(labels: LabelTable, threshold: float, per_class: int, method: str, seed: int) -> list[tuple]:
    """One class and one picture at a time, as the docstring of `select` and the released filter say it."""
    draw = dict(zip(labels.ids.tolist(), hash_order(labels.ids, seed, "copies").tolist(), strict=True))
    members = {number: [] for number in range(4)}
    for name, row in zip(labels.ids.tolist(), labels.probabilities, strict=True):
        number = max(range(4), key=lambda k, row=row: (row[k], -k))
        if np.float16(row[number]) >= np.float16(threshold):
            members[number].append((float(row[number]), name))
    target = per_class or max(map(len, members.values()))
    chosen = []
    for number, pictures in members.items():
        if not pictures:
            continue
        if method == "none":
            chosen += [(name, number, 1) for _, name in pictures]
        elif method == "top":
            surest = [name for _, name in sorted(pictures, key=lambda p: (-p[0], draw[p[1]]))][:target]
            extra = sorted(surest, key=draw.get)
            for place, name in enumerate(extra):
                copies = target // len(surest) + (place < target % len(surest))
                chosen.append((name, number, copies))
        else:
            hundredths, inside = 100, []
            while True:  # lower the bin until enough pictures are in it or above
                limit = max(hundredths / 100, threshold)
                inside = [name for confidence, name in pictures if confidence >= np.float16(limit)]
                if len(inside) >= target or hundredths / 100 <= threshold:
                    break
                hundredths -= 1
            share = target / len(inside)
            for name in inside:
                copies = math.floor(share) + (draw[name] / 2**64 < share - math.floor(share))
                chosen += [(name, number, copies)] if copies else []
    return sorted(chosen)


@settings(deadline=None, max_examples=120)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 150), decimals=st.integers(1, 4),
    threshold=st.sampled_from([0, 0.1, 0.3, 0.5, 0.7, 0.777, 0.9]), per_class=st.integers(0, 60),
    method=st.sampled_from(METHODS),
)  # fmt: skip
def test_every_method_agrees_with_the_slow_reference(seed, n, decimals, threshold, per_class, method):
    labels = table(seed, n, decimals=decimals)
    if not above(labels.confidence, threshold).any():
        with pytest.raises(NsfastError, match="no pseudo-label reaches"):
            select(labels, threshold, per_class, method, seed)
        return
    assert plain(select(labels, threshold, per_class, method, seed)) == slow(
        labels, threshold, per_class, method, seed
    )


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), per_class=st.integers(1, 200), threshold=st.sampled_from([0, 0.3, 0.6]))
def test_top_gives_every_class_exactly_its_number_of_the_surest(seed, per_class, threshold):
    labels = table(seed)
    selection = select(labels, threshold, per_class, "top", seed)
    confidence = dict(zip(labels.ids.tolist(), labels.confidence.tolist(), strict=True))
    for number in range(3):
        mine = selection.classes == number
        candidates = labels.ids[(labels.predicted == number) & above(labels.confidence, threshold)]
        if not len(candidates):
            continue
        assert selection.copies[mine].sum() == per_class and mine.sum() == min(per_class, len(candidates))
        dropped = set(candidates.tolist()) - set(selection.ids[mine].tolist())
        worst = min(confidence[name] for name in selection.ids[mine].tolist())
        assert all(confidence[name] <= worst for name in dropped)
        assert np.ptp(selection.copies[mine]) <= 1
    assert not (selection.classes == 3).any()


@pytest.mark.parametrize("method", ["top", "official"])
def test_without_a_number_every_class_gets_as_many_as_the_largest_keeps(method):
    labels = table(1, 400)
    largest = np.bincount(labels.predicted[above(labels.confidence, 0.5)]).max()
    counts = [
        np.bincount(s.classes, weights=s.copies, minlength=4)[:3]
        for s in (select(labels, 0.5, 0, method, seed) for seed in range(60))
    ]
    if method == "top":
        assert (np.array(counts) == largest).all()
    else:  # right on average: the fraction is a coin flip per picture
        assert np.abs(np.mean(counts, axis=0) / largest - 1).max() < 0.03


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(METHODS), per_class=st.sampled_from([0, 7, 40]))
def test_the_order_of_the_pictures_does_not_matter(seed, method, per_class):
    labels = table(seed)
    order = np.random.default_rng(seed + 1).permutation(len(labels))
    other = LabelTable(labels.ids[order], labels.probabilities[order], CLASSES, {})
    assert plain(select(labels, 0.3, per_class, method, 5)) == plain(select(other, 0.3, per_class, method, 5))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shard", [1, 17, 50])
def test_the_shards_do_not_matter_to_the_byte(tmp_path, method, shard):
    labels = table(3)
    order = np.random.default_rng(0).permutation(len(labels))
    for number, start in enumerate(range(0, len(labels), shard)):
        rows = order[start : start + shard]
        write_shard(
            tmp_path / "l" / shard_name(number), labels.ids[rows], labels.probabilities[rows], CLASSES, {}
        )
    write_selection(tmp_path / "a.parquet", select(labels, 0.3, 40, method, 1))
    write_selection(tmp_path / "b.parquet", select(read_labels(tmp_path / "l"), 0.3, 40, method, 1))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_the_seed_decides_which_are_copied_and_which_of_equals_are_kept():
    labels = table(2, decimals=1)
    runs = [plain(select(labels, 0.3, 25, "top", seed)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_every_picture_has_the_same_chance_of_a_copy():
    labels = LabelTable(np.array([f"{i}" for i in range(10)]), np.full((10, 4), [0.7, 0.1, 0.1, 0.1], np.float16),
                        CLASSES, {})  # fmt: skip
    copies = sum(select(labels, 0.3, 15, "top", seed).copies for seed in range(400)) - 400
    assert np.abs(copies / 400 - 0.5).max() < 0.12


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_the_threshold_is_compared_in_float16(threshold, method):
    """float16(0.3) is above 0.3 and float16(0.1) below 0.1; both are kept, the next smaller numbers are not."""
    exact = np.float16(threshold)
    below = np.nextafter(exact, np.float16(0), dtype=np.float16)
    probabilities = np.zeros((3, 4), np.float16)
    probabilities[:, 0] = exact, below, exact
    labels = LabelTable(np.array(["a", "b", "c"]), probabilities, CLASSES, {})
    selection = select(labels, threshold, 2, method)
    assert selection.ids.tolist() == ["a", "c"] and selection.copies.tolist() == [1, 1]
    assert above(np.array([exact, below]), threshold).tolist() == [True, False]
    assert above(np.float32([threshold, threshold - 1e-6]), threshold).tolist() == [True, True]


def test_official_takes_whole_bins_and_thins_them():
    """300 pictures, of which 100 lie in the bins down to 0.95: 50 wanted gives each of those 100 half a copy."""
    confidence = np.concatenate(
        [np.linspace(0.955, 0.999, 40), np.full(60, 0.953), np.linspace(0.4, 0.9, 200)]
    )
    probabilities = np.zeros((300, 4), np.float16)
    probabilities[:, 1] = confidence
    labels = LabelTable(np.array([f"{i:03}" for i in range(300)]), probabilities, CLASSES, {})
    seen = [select(labels, 0.3, 50, "official", seed) for seed in range(80)]
    assert all(s.copies.max() == 1 and max(s.ids.tolist()) < "100" for s in seen)
    assert np.mean([len(s) for s in seen]) == pytest.approx(50, abs=2)
    more = select(labels, 0.3, 750, "official")
    assert len(more) == 300 and set(more.copies.tolist()) == {2, 3}


def test_an_empty_class_is_left_empty_and_counted():
    labels = table()
    selection = select(labels, 0.5, 30)
    rows = class_counts(labels, selection, 0.5)
    assert rows[3] == {
        "class": "dog",
        "predicted": 0,
        "above": 0,
        "kept": 0,
        "dropped": 0,
        "copies": 0,
        "seen": 0,
    }
    for number, row in enumerate(rows[:3]):
        mine = labels.predicted == number
        assert row["predicted"] == mine.sum() and row["above"] == (mine & above(labels.confidence, 0.5)).sum()
        assert (
            row["kept"] + row["dropped"] == row["predicted"]
            and row["kept"] + row["copies"] == row["seen"] == 30
        )


@pytest.mark.parametrize("method", METHODS)
def test_nothing_above_the_threshold_says_how_sure_the_surest_is(method):
    labels = LabelTable(np.array(["a"]), np.array([[0.5, 0.2, 0.2, 0.1]], np.float16), CLASSES, {})
    with pytest.raises(
        NsfastError, match="no pseudo-label reaches threshold 0.9; the surest has 0.500: lower it"
    ):
        select(labels, 0.9, 5, method)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"threshold": 1.1}, "threshold is 1.1"), ({"threshold": -0.1}, "threshold is -0.1"),
     ({"per_class": -1}, "per_class is -1"), ({"method": "topp"}, "unknown balancing method 'topp'.*'top'")],
)  # fmt: skip
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(NsfastError, match=said):
        select(table(), **arguments)


def test_a_selection_comes_back_and_is_equal_to_the_byte(tmp_path):
    selection = select(table(), 0.3, 40)
    for name in "ab":
        write_selection(tmp_path / name, selection)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_selection(tmp_path / "a")
    assert plain(again) == plain(selection) and again.copies.dtype == again.classes.dtype == np.int64
    assert again.ids.tolist() == sorted(again.ids.tolist())
    write_selection(tmp_path / "c", again)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("content", [b"", b"garbage", "cut", "labels"])
def test_a_damaged_selection_is_one_line_that_names_it(tmp_path, content):
    path = tmp_path / "selection.parquet"
    write_selection(path, select(table(), 0.3, 40))
    if content == "labels":
        labels = table()
        write_shard(path, labels.ids, labels.probabilities, CLASSES, {})
    else:
        path.write_bytes(path.read_bytes()[:-5] if content == "cut" else content)
    with pytest.raises(NsfastError, match="selection.parquet is damaged") as caught:
        read_selection(path)
    assert "\n" not in str(caught.value)
