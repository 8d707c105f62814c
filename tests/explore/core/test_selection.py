"""Selections against plain loops over the pictures, and as they are typed."""

import struct
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.explore.core import SORTS, Answers, Filter, PseudoLabels, select
from nsfast.explore.core.scores import Scores
from nsfast.explore.core.selection import DECISIONS, NO_CLASS

CLASSES = ("ant", "bee", "cat")
ONE_BELOW = 1 - 2**-11
"""The float16 number before 1."""

confidences = st.sampled_from([0, 0.1, 0.2999, 0.3, 0.30004, 0.5, 0.9, ONE_BELOW, 0.9999, 1]) | st.floats(
    0, 1
)
classes = st.integers(0, 2)
pictures = st.lists(
    st.fixed_dictionaries(
        {
            "predicted": classes,
            "confidence": confidences,
            "truth": st.integers(-1, 2),
            "round 1": st.integers(-1, 2),
            "student": st.integers(-1, 2),
            "margin": st.sampled_from([0, 0.25, 0.5]),
            "entropy": st.sampled_from([0, 0.25, 0.5]),
            "decision": st.sampled_from([None, "accept", "reject", "relabel"]),
            "conflict": st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)
some = st.sampled_from(CLASSES) | st.lists(st.sampled_from(CLASSES), max_size=3).map(tuple)
some_or_none = some | st.just(NO_CLASS) | st.just(("bee", NO_CLASS))
conditions = st.fixed_dictionaries(
    {"sort": st.sampled_from(SORTS), "descending": st.sampled_from([None, True, False])},
    optional={
        "confidence": st.tuples(confidences, confidences).map(sorted).map(tuple),
        "predicted": some,
        "truth": some_or_none,
        "wrong": st.booleans(),
        "changed_since_round": st.just(1),
        "disagrees_with": st.sampled_from(["round 1", "student"]),
        "seen_as": st.dictionaries(st.sampled_from(["round 1", "student"]), some_or_none),
        "decision": st.sampled_from(DECISIONS),
        "pictures": st.lists(st.sampled_from([f"p{i}" for i in range(14)]), max_size=3).map(tuple),
    },
)


def half(number):
    """The float16 number nearest to a number, without numpy."""
    return struct.unpack("e", struct.pack("e", number))[0]


def labels_of(pictures):
    def column(name, kind=np.int64):
        return np.array([picture[name] for picture in pictures], kind)

    return PseudoLabels(
        CLASSES,
        column("predicted"),
        column("confidence", np.float64),
        [f"p{i}" for i in range(len(pictures))],
        scores=lambda: Scores(column("predicted"), column("margin", float), column("entropy", float)),
        truth=column("truth"),
        others={name: Answers(column(name)) for name in ("round 1", "student")},
        round=2,
    )


def decisions_of(pictures, decided):
    verdicts = {f"p{i}": picture["decision"] for i, picture in enumerate(pictures) if picture["decision"]}
    names = [f"p{i}" for i, picture in enumerate(pictures) if picture["conflict"]]
    return decided(dict.fromkeys(names, []), **verdicts, elsewhere="accept")


def holds(place, picture, asked):
    """Whether a picture meets every condition, one after the other."""

    def is_one_of(number, wanted):
        name = NO_CLASS if number < 0 else CLASSES[number]
        return name in ((wanted,) if isinstance(wanted, str) else wanted)

    for name, value in asked.items():
        if name == "confidence":
            low, high = value
            met = half(low) <= half(picture["confidence"])
            met = met and (high == 1 or half(picture["confidence"]) < half(high))
        elif name in ("predicted", "truth"):
            met = is_one_of(picture[name], value)
        elif name == "wrong":
            met = (picture["predicted"] != picture["truth"]) is value
        elif name in ("changed_since_round", "disagrees_with"):
            said = picture["round 1" if value == 1 else value]
            met = said != -1 and said != picture["predicted"]
        elif name == "seen_as":
            met = all(is_one_of(picture[model], wanted) for model, wanted in value.items())
        elif name == "decision":
            decision = picture["decision"]
            met = {"decided": decision is not None, "undecided": decision is None}.get(value)
            met = picture["conflict"] if value == "conflict" else decision == value if met is None else met
        elif name == "pictures":
            met = f"p{place}" in value
        else:
            continue
        if not met:
            return False
    return True


def slow(pictures, asked):
    """The rows in order; a label's quality rises with its confidence less the mean of its class."""

    def quality(picture):
        same = [half(p["confidence"]) for p in pictures if p["predicted"] == picture["predicted"]]
        return half(picture["confidence"]) - sum(same) / len(same)

    flipped = [p["round 1"] not in (-1, p["predicted"]) for p in pictures]
    columns = {name: [p[name] for p in pictures] for name in ("margin", "entropy")}
    columns |= {"confidence": [half(p["confidence"]) for p in pictures], "flips": flipped}
    columns |= {"quality": [quality(p) for p in pictures]}
    rows = sorted(range(len(pictures)), key=lambda i: columns[asked["sort"]][i])
    falling = asked["descending"]
    if falling if falling is not None else asked["sort"] in ("entropy", "flips"):
        rows.reverse()
    return [i for i in rows if holds(i, pictures[i], asked)], columns[asked["sort"]]


@settings(max_examples=300, deadline=None)
@given(pictures=pictures, asked=conditions)
def test_agrees_with_a_slow_loop(pictures, asked, decided):
    selection = select(labels_of(pictures), Filter(**asked), decisions_of(pictures, decided))
    rows, column = slow(pictures, asked)
    if asked["sort"] == "quality":  # of which the slow one rounds otherwise
        found = [column[row] for row in selection.rows.tolist()]
        assert sorted(selection.rows) == sorted(rows)
        assert found == pytest.approx(sorted(found, reverse=bool(asked["descending"])), abs=1e-6)
    else:
        assert selection.rows.tolist() == rows
    assert selection.rows.dtype == np.int64 and len(selection) == len(rows)
    assert selection.names == [f"p{row}" for row in selection.rows.tolist()]


@settings(max_examples=150, deadline=None)
@given(pictures=pictures, asked=conditions)
def test_what_is_shown_can_be_typed(pictures, asked, decided):
    labels, decisions = labels_of(pictures), decisions_of(pictures, decided)
    selection = select(labels, Filter(**asked), decisions)
    typed = eval(
        str(selection.filter), {"select": lambda **given: select(labels, Filter(**given), decisions)}
    )
    assert typed.rows.tolist() == selection.rows.tolist() and typed.filter == selection.filter


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("sort", SORTS)
def test_many_pictures(sort, decision, everything, decided):
    """Another size than the random ones, so that a page ends in the middle."""
    labels = everything()
    decisions = decided(
        {"p003": []}, p001="accept", p002="reject", p003=("relabel", "dog"), p150="accept", gone="reject"
    )
    found = select(labels, Filter(decision=decision, sort=sort), decisions)
    names = {
        "accept": {"p001", "p150"},
        "reject": {"p002"},
        "relabel": {"p003"},
        "decided": {"p001", "p002", "p003", "p150"},
        "conflict": {"p003"},
    }
    wanted = names.get(decision, set(labels.names(range(300))) - names["decided"])
    assert set(found.names) == wanted and len(found) == len(wanted)


def test_pages_hold_every_picture_once_in_order(everything):
    selection = select(everything(), Filter(sort="margin"))
    assert selection.pages() == 13 and selection.pages(300) == 1 and selection.pages(299) == 2
    pages = [selection.page(number) for number in range(selection.pages())]
    assert np.concatenate(pages).tolist() == selection.rows.tolist()
    assert [len(page) for page in pages] == [24] * 12 + [12]
    assert (
        selection.page(13).tolist() == [] and selection.page(1, 7).tolist() == selection.rows[7:14].tolist()
    )
    nothing = select(everything(), Filter(predicted=()))
    assert nothing.pages() == 1 and len(nothing.page(0)) == 0 and nothing.names == []


def test_begins_with_the_most_doubtful(everything):
    labels = everything()
    scores = labels.scores
    columns = {"confidence": labels.confidence, "margin": scores.margin, "quality": labels.quality}
    columns |= {"entropy": -scores.entropy, "flips": -labels.flips}
    for sort in SORTS:
        rows = select(labels, Filter(sort=sort)).rows
        assert (np.diff(columns[sort][rows].astype(np.float64)) >= 0).all()
        assert select(
            labels, Filter(sort=sort, descending=sort in ("entropy", "flips"))
        ).rows.tolist() == list(rows)


@pytest.mark.parametrize("edge", [0.0, 2**-24, 0.3, 0.5, 0.975, ONE_BELOW, 1.0])
def test_an_edge_belongs_to_the_interval_above_it(edge):
    """And 1 to the last one, so that intervals that follow each other hold every picture once."""
    around = np.array([edge, np.nextafter(np.float16(edge), np.float16(0)), 0.0, 1.0])
    labels = PseudoLabels(["a", "b"], np.zeros(4, int), around)
    low, high = (select(labels, Filter(confidence=some)).rows.tolist() for some in ((0, edge), (edge, 1)))
    there = labels.confidence >= np.float16(edge)
    assert sorted(high) == np.flatnonzero(there).tolist()
    assert sorted(low) == (np.flatnonzero(~there).tolist() if edge < 1 else [0, 1, 2, 3])


@pytest.mark.parametrize(
    "given, text",
    [
        ({}, "select()"),
        (dict(confidence=(0.3, 0.5), predicted="7"), "select(confidence=(0.3, 0.5), predicted='7')"),
        (dict(confidence=np.array([0.25, 0.5])), "select(confidence=(0.25, 0.5))"),
        (dict(wrong=np.True_, changed_since_round=np.int64(1)), "select(wrong=True, changed_since_round=1)"),
        (dict(predicted=["a", np.str_("b")]), "select(predicted=('a', 'b'))"),
        (dict(seen_as={"round 1": ["a"]}), "select(seen_as={'round 1': ('a',)})"),
        (dict(pictures=np.array(["a", "b"])), "select(pictures=('a', 'b'))"),
        (dict(pictures="a long name"), "select(pictures='a long name')"),
        (dict(pictures=tuple("abcd")), "select(pictures=[4 names])"),
        (dict(sort="margin", descending=False), "select(sort='margin', descending=False)"),
        (dict(sort="confidence", descending=None), "select()"),
    ],
)
def test_reads_as_it_is_typed(given, text):
    assert str(Filter(**given)) == text


def test_says_how_many(everything):
    assert repr(select(everything(), Filter(predicted=()))) == "0 of 300 pictures: select(predicted=())"


def test_a_picture_is_found_by_its_name_alone(everything):
    assert select(everything(), Filter(pictures="p017")).rows.tolist() == [17]
    nameless = everything(names=None)
    assert select(nameless, Filter(pictures=(17, "5", "05", "300", "-1", "\u0663"))).names in (
        ["5", "17"],
        ["17", "5"],
    )
    twice = everything(names=["same", *(f"p{i}" for i in range(298)), "same"])
    assert sorted(select(twice, Filter(pictures=("same", "p7"))).rows.tolist()) == [0, 8, 299]


def test_a_class_may_be_called_as_pictures_of_none_are():
    labels = PseudoLabels(["a", NO_CLASS], [0, 1, 1], [0.5, 0.6, 0.7], truth=[-1, 1, -1])
    assert select(labels, Filter(truth=NO_CLASS)).rows.tolist() == [1]


def test_a_table_of_everything_that_is_known(everything):
    labels = everything()
    selection = select(labels, Filter(wrong=True, sort="entropy"))
    table = selection.to_frame()
    assert list(table) == [
        *("picture", "class", "confidence", "second", "margin", "entropy", "quality", "truth"),
        *("round 1", "round 2", "student 3"),
    ]
    names = [*labels.classes, NO_CLASS]
    for row, line in zip(selection.rows.tolist(), table.to_dict("records"), strict=True):
        assert line["picture"] == f"p{row:03}" and line["class"] == names[labels.predicted[row]]
        assert line["truth"] == names[labels.truth[row]] and line["confidence"] == labels.confidence[row]
        assert line["second"] == names[labels.scores.second[row]]
        for name, answers in labels.others.items():
            said = answers.predicted[row]
            assert pd.isna(line[name]) if said < 0 else line[name] == names[said]
    plain = PseudoLabels(["a", "b"], [0, 1], [0.5, 0.6])
    assert list(select(plain).to_frame()) == ["picture", "class", "confidence", "quality"]


@pytest.mark.parametrize(
    "asked, message",
    [
        (dict(confidence=0.5), r"confidence is 0.5; give low and high, such as \(0.3, 0.5\)"),
        (dict(confidence=(0.5,)), "give low and high"),
        (dict(confidence=("a", "b")), "give low and high"),
        (dict(confidence=(0.5, 0.3)), "give the lower one first"),
        (dict(confidence=(0.5, 30)), "confidence is 30.0; it must be between 0 and 1"),
        (dict(confidence=(-1, 0.5)), "confidence is -1.0; it must be between 0 and 1"),
        (dict(confidence=(float("nan"), 1)), "confidence is nan"),
        (dict(predicted="bea"), "unknown class 'bea'; did you mean 'bee'?"),
        (dict(predicted=("ant", "zebra")), "unknown class 'zebra'; valid names: ant, bee, cat, dog"),
        (dict(predicted=NO_CLASS), r"unknown class '\(no class\)'"),
        (dict(predicted=7), "unknown class '7'"),
        (dict(truth="elephants"), "unknown class 'elephants'"),
        (dict(changed_since_round=7), "unknown model 'round 7'; did you mean 'round [12]'?"),
        (dict(disagrees_with="studnt 3"), "unknown model 'studnt 3'; did you mean 'student 3'?"),
        (dict(seen_as={"round 9": "ant"}), "unknown model 'round 9'"),
        (dict(seen_as={"round 1": "aunt"}), "unknown class 'aunt'; did you mean 'ant'?"),
        (dict(seen_as="ant"), "seen_as is 'ant'; give the class by the model"),
        (dict(decision="accepted"), "unknown decision 'accepted'; did you mean 'accept'?"),
        (dict(decision="accept"), "there is no file of decisions"),
        (dict(sort="margn"), "unknown sort 'margn'; did you mean 'margin'?"),
    ],
)
def test_says_what_is_wrong(asked, message, everything):
    with pytest.raises(NsfastError, match=message):
        select(everything(), Filter(**asked))


@pytest.mark.parametrize(
    "asked, message",
    [
        (dict(truth="a"), "truth is asked for, but the truth of these pictures is not known; leave it out"),
        (dict(wrong=True), "wrong is asked for, but the truth"),
        (dict(changed_since_round=1), "'round 1' is asked for, but only the labels of one round are known"),
        (dict(disagrees_with="student 2"), "'student 2' is asked for, but only the labels of one round"),
        (dict(sort="margin"), "no probabilities but the confidence.*sort by confidence or quality"),
        (dict(sort="entropy"), "no probabilities but the confidence"),
    ],
)
def test_says_what_is_not_known(asked, message):
    with pytest.raises(NsfastError, match=message):
        select(PseudoLabels(["a", "b"], [0, 1], [0.5, 0.6]), Filter(**asked))


def test_a_wrong_order_is_told_before_anything_is_counted():
    labels = PseudoLabels(["a", "b"], [0, 1], [0.5, 0.6])
    with pytest.raises(NsfastError, match="unknown sort"):
        select(labels, Filter(wrong=True, sort="size"))


@pytest.mark.parametrize(
    "make",
    [
        dict(classes=["one"], predicted=[0, 0], confidence=[1, 0.9]),
        dict(classes=["one", "two"], predicted=[1, 1], confidence=[1, 0.9]),
        dict(classes=[f"c{i}" for i in range(1000)], predicted=[999, 0], confidence=[0, 0.9]),
    ],
)
def test_one_class_or_very_many(make):
    labels = PseudoLabels(**make)
    for sort in ("confidence", "quality", "flips"):
        assert sorted(select(labels, Filter(sort=sort)).rows.tolist()) == [0, 1]
    assert select(labels, Filter(predicted=labels.classes[-1])).rows.tolist() == sorted(
        np.flatnonzero(labels.predicted == len(labels.classes) - 1).tolist(),
        key=lambda i: labels.confidence[i],
    )


def test_a_million_are_filtered_and_sorted_at_once():
    generator, n = np.random.default_rng(0), 1_000_000
    predicted, truth = generator.integers(0, 1000, (2, n), dtype=np.int32)
    scores = Scores(predicted.astype(np.uint16), *generator.random((2, n), np.float32))
    others = {"round 1": Answers(truth), "student 2": Answers(truth[::-1].copy())}
    labels = PseudoLabels(
        [f"c{i}" for i in range(1000)], predicted, generator.random(n), [f"{i:07}" for i in range(n)],
        scores=lambda: scores, truth=truth, others=others, round=2,
    )  # fmt: skip
    for sort in SORTS:
        labels.order(sort)
    labels.rows(["0000001"])  # builds the index of names
    some = tuple(f"{i:07}" for i in range(0, n, 200))
    asked = dict(confidence=(0.1, 0.99), predicted=tuple(labels.classes[:900]), wrong=True)
    asked |= dict(changed_since_round=1, disagrees_with="student 2", seen_as={"round 1": "c1"}, pictures=some)
    for conditions in ({}, dict(confidence=(0.3, 0.5)), dict(wrong=True), asked):
        for sort in SORTS:
            start = time.process_time()
            select(labels, Filter(**conditions, sort=sort))
            assert time.process_time() - start < 0.3


def test_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "import nsfast.explore.core, nsfast.explore.core.charts, nsfast.explore.core.page\n"
        "import nsfast.explore.core.pictures\n"
        "heavy = ('torch', 'matplotlib', 'pandas', 'ipywidgets', 'plotly', 'scipy', 'sklearn', 'fastai')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
