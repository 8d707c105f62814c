"""The report names what people decided, once, as text."""

import pytest

from nsfast.files import write_csv
from nsfast.labels.decisions import COLUMNS, DecisionLog
from nsfast.pipeline.report import decisions_html
from nsfast.pipeline.report_decisions import decisions_of_rounds

HOSTILE = "<img onerror=alert(1)>"


@pytest.fixture
def decide(tmp_path):
    """Leave the `decisions.csv` of each round that heeded what a log says."""

    def make(act, rounds=2):
        for number in range(1, rounds + 1):
            log = DecisionLog(tmp_path / "decisions.jsonl", round=number)
            act(log, number)
            heeded = log.decisions.carried_to({"b": "dog"} if number > 1 else {})
            rows = [{"id": i, **row} for i, row in enumerate(heeded.rows())]
            write_csv(tmp_path / f"round-{number}" / "decisions.csv", rows, ["id", *COLUMNS])
        return tmp_path

    return make


def test_every_round_is_counted_and_every_decision_listed_once(decide):
    def act(log, number):
        if number == 1:
            log.who = "ann"
            log.accept("a", predicted="cat"), log.accept("b", predicted="cat")
            log.relabel("c", HOSTILE, predicted="cat", why="ears")
        else:
            log.who = "bob"
            log.reject("a"), log.reject("d\nd")

    counts, decisions = decisions_of_rounds(decide(act), 3)
    assert counts == [
        {"round": 1, "accepted": 2, "rejected": 0, "relabeled": 1, "conflicts": 0},
        {"round": 2, "accepted": 1, "rejected": 2, "relabeled": 1, "conflicts": 1},
    ]
    told = [tuple(row.values()) for row in decisions]
    assert told == [
        ("a", "cat", "accepted", "ann", "", "round 1"),
        ("b", "cat", "accepted", "ann", "", "round 1"),
        ("c", "cat", f"relabeled to {HOSTILE}", "ann", "ears", "round 1"),
        ("a", "", "rejected (people differ)", "bob", "", "round 2"),
        ("d\nd", "", "rejected", "bob", "", "round 2"),
    ]


def test_hostile_text_is_escaped_and_the_first_fifty_are_shown(decide):
    def act(log, number):
        log.who = HOSTILE
        for i in range(60):
            log.reject(f"{HOSTILE} {i:02}", why=HOSTILE, predicted=HOSTILE)

    page = decisions_html(decide(act, 1), 1)
    assert "What people decided" in page and "<img" not in page and page.count("&lt;img") == 4 * 50
    assert " 49</td>" in page and " 50</td>" not in page and "first 50 of 60" in page


def test_where_nobody_decided_anything_the_report_is_silent(decide):
    assert (
        decisions_html(decide(lambda log, number: None), 2)
        == ""
        == decisions_html(decide(lambda *_: None, 0), 3)
    )
