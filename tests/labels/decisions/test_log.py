"""The pen of a decisions file: whole lines whatever happens, everybody's seen, nobody's lost."""

import json
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.files import read_csv
from nsfast.labels.decisions import COLUMNS, DecisionLog, read_decisions

HOSTILE = [
    "<img onerror=alert(1)>",
    "a\nb",
    "q\"u,o'te\\",
    "ü/d ☃ 猫.png",
    "x" * 300,
    "../../etc",
    "[red]",
    " ",
    "\x00",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_an_action_is_one_whole_line_that_says_who_what_when_and_why(path):
    log = DecisionLog(path, "ann", run="runs/pets", teacher="ab12", round=2)
    assert not path.exists() and not len(log)  # looking makes no file
    confidence = np.float16(0.61)
    log.relabel("p", "cat", predicted="dog", confidence=confidence, selection="margin < 0.1", why="ears")
    (record,) = lines(path)
    assert path.read_bytes().endswith(b"}\n") and abs(time.time() - _seconds(record.pop("ts"))) < 60
    assert record.pop("nsfast") and record.pop("conf") == pytest.approx(0.61, abs=1e-3)
    assert record == {
        **{"seq": 1, "id": "p", "action": "relabel", "from": "dog", "to": "cat", "who": "ann", "why": "ears"},
        **{"round": 2, "selection": "margin < 0.1", "run": "runs/pets", "teacher": "ab12"},
    }


def _seconds(ts):
    from datetime import datetime

    return datetime.fromisoformat(ts.replace("Z", "+00:00")).timestamp()


def test_the_state_is_that_of_the_file_read_anew(path):
    log = DecisionLog(path, "ann")
    log.accept("a"), log.reject("b"), log.relabel("c", "cat"), log.reject("a")
    taken = log.undo("b")
    assert (taken.id, taken.action) == ("b", "reject")
    for found in (log.decisions, DecisionLog(path).decisions, read_decisions(path)):
        assert (found.accepted, found.rejected, found.relabeled) == (set(), {"a"}, {"c": "cat"})
    assert len(log) == 2 and [r["action"] for r in log.records()][-1] == "undo" and len(log.records()) == 5
    assert log.undo().id == "a" and log.decisions.accepted == {"a"}
    assert [record["seq"] for record in lines(path)] == [1, 2, 3, 4, 5, 6]


def test_what_is_decided_is_the_same_object_until_something_is_added(path):
    log, other = DecisionLog(path, "ann"), DecisionLog(path, "bob")
    empty = log.decisions
    assert log.decisions is empty
    other.reject("a")
    one = log.decisions
    assert one is not empty and one is log.decisions and one.rejected == {"a"}


def test_nobody_undoes_what_others_did(path):
    ann, bob = DecisionLog(path, "ann"), DecisionLog(path, "bob")
    ann.reject("a"), bob.accept("a")
    with pytest.raises(NsfastError, match="no action by 'bob' on 'b'"):
        bob.undo("b")
    assert ann.undo().who == "ann" and ann.decisions.accepted == {"a"} and not ann.decisions.conflicts
    with pytest.raises(NsfastError, match="no action by 'ann' to take back"):
        ann.undo()
    assert len(lines(path)) == 3  # what is refused leaves no line
    assert [record["seq"] for record in lines(path)] == [1, 2, 3]


def test_a_log_of_a_round_shows_and_undoes_what_holds_there(path):
    first, third = DecisionLog(path, "ann", round=1), DecisionLog(path, "ann", round=3)
    first.accept("a"), third.reject("a")
    assert first.decisions.accepted == {"a"} and third.decisions.rejected == {"a"}
    assert first.undo().action == "accept" and not len(first) and third.decisions.rejected == {"a"}
    assert read_decisions(path, 1).later == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.text(), st.text()), min_size=1, max_size=4))
def test_any_text_survives_the_round_trip(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("any") / "d.jsonl"
    log, expected = DecisionLog(path, "ann"), {}
    for name, why, selection in texts:
        try:
            log.reject(name, why=why, selection=selection)
        except NsfastError as error:
            assert "it must be" in str(error)
            name.encode("utf-16", "surrogatepass"), why.encode()
        else:
            expected[name] = why
    found = read_decisions(path) if expected else log.decisions
    assert {name: verdict.why for name, verdict in found.verdicts.items()} == expected


def test_hostile_names_survive_in_every_form(path, tmp_path):
    log = DecisionLog(path, HOSTILE[0])
    for name in HOSTILE:
        log.relabel(name, name, predicted=name, confidence=0.5, why=name)
    assert read_decisions(path).relabeled == dict(zip(HOSTILE, HOSTILE, strict=True))
    frame = log.to_frame()
    assert frame.columns.tolist() == COLUMNS and frame.name.tolist() == frame.to.tolist() == HOSTILE
    rows = read_csv(log.write_csv(tmp_path / "d.csv"), COLUMNS)
    assert [row["why"] for row in rows] == HOSTILE and {row["who"] for row in rows} == {HOSTILE[0]}
    empty = DecisionLog(tmp_path / "none.jsonl")
    assert empty.to_frame().columns.tolist() == COLUMNS and not empty.records()
    assert empty.write_csv(tmp_path / "none.csv").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda log: log.accept(""), "id is ''; it must be the name of a picture"),
        (lambda log: log.accept(None), "id is None; it must be the name"),
        (lambda log: log.accept("\ud800"), "it must be the name of a picture"),
        (lambda log: log.relabel("a", ""), "a relabel to ''; 'to' must be the name of a class"),
        (lambda log: log.reject("a", why=3), "why is 3; it must be text"),
        (lambda log: DecisionLog(log.path, who=5), "who is 5; it must be text"),
        (lambda log: DecisionLog(log.path, round="1"), "round is '1'; it must be a whole number"),
    ],
)
def test_what_is_no_decision_is_refused_and_leaves_nothing(call, message, path):
    with pytest.raises(NsfastError, match=message):
        call(DecisionLog(path, "ann"))
    assert not path.parent.exists() or not list(path.parent.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    log = DecisionLog(tmp_path / "file" / "d.jsonl", "ann")
    with pytest.raises(NsfastError, match="cannot write decisions to .*d.jsonl .*give a file in a folder"):
        log.accept("a")
    log = DecisionLog(tmp_path / "new" / "folder" / "d.jsonl", "ann")
    log.accept("a")  # a folder is made
    monkeypatch.setattr(
        os, "fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(NsfastError, match="No space left on device") as caught:
        log.accept("b")
    assert "\n" not in str(caught.value)


def test_a_write_that_does_not_fit_leaves_the_file_as_it_was(path, monkeypatch):
    log = DecisionLog(path, "ann")
    log.accept("a")
    before, write = path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
    with pytest.raises(NsfastError, match="only 20 of .* bytes fit"):
        log.reject("b")
    monkeypatch.undo()
    assert path.read_bytes() == before
    log.reject("b")
    assert read_decisions(path).rejected == {"b"}


def test_who_decides_is_said_by_the_environment_or_the_login(path, monkeypatch):
    monkeypatch.setenv("NSFAST_WHO", "ann")
    assert DecisionLog(path).who == "ann" and DecisionLog(path, "bob").who == "bob"
    monkeypatch.delenv("NSFAST_WHO")
    monkeypatch.setattr("getpass.getuser", lambda: "login")
    assert DecisionLog(path).who == "login"
    monkeypatch.setattr("getpass.getuser", lambda: {}["no such user"])
    assert DecisionLog(path).who == ""


def test_wherever_a_line_is_torn_it_is_cut_off_once_and_the_file_goes_on(path, capsys):
    DecisionLog(path, "ann").accept("a")
    first = path.read_bytes()
    DecisionLog(path, "ann").reject("ü")
    whole = path.read_bytes()
    for end in range(len(first) + 1, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        log = DecisionLog(path, "bob")
        assert log.decisions.accepted == {"a"} and len(log) == 1
        log.reject("b"), log.reject("c")
        assert capsys.readouterr().out.count("was torn and is cut off") == 1
        assert [(r["id"], r["seq"]) for r in lines(path)] == [("a", 1), ("b", 2), ("c", 3)]
    path.write_bytes(whole[:-1])  # only its newline is missing: the line counts
    log = DecisionLog(path, "bob")
    log.reject("b")
    assert [r["id"] for r in lines(path)] == ["a", "ü", "b"] and log.decisions.rejected == {"ü", "b"}
    assert not capsys.readouterr().out


def test_a_file_that_is_replaced_changed_or_deleted_is_read_anew(path):
    log = DecisionLog(path, "ann")
    log.accept("a"), log.accept("b")
    text = path.read_text()
    path.write_text(text.replace('"accept"', '"reject"'))  # in place, as long as it was
    assert log.decisions.rejected == {"a", "b"}
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)
    assert log.decisions.accepted == {"a", "b"}
    path.write_text(text.splitlines()[0] + "\n")
    assert log.decisions.accepted == {"a"}
    for number in range(20):
        log.accept(f"p{number:02}")
    other.write_text(path.read_text().replace('"accept"', '"reject"', 1))  # only its beginning differs
    os.replace(other, path)
    assert log.decisions.rejected == {"a"}
    path.unlink()
    assert not len(log)
    log.reject("z")
    assert log.decisions.rejected == {"z"} and lines(path)[0]["seq"] == 1


def test_a_line_that_is_no_record_is_named_and_nothing_is_written_after_it(path):
    log = DecisionLog(path, "ann")
    log.accept("a")
    with open(path, "a") as file:
        file.write("{}\n")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(NsfastError, match="decisions.jsonl, line 2: no 'action'"):
            log.accept("b")
    assert path.read_bytes() == before
    more = before[:-3] + before[:-3].replace(b'"a"', b'"c"')
    path.write_bytes(more + b'{"action": "undo", "id": "z"}\n')
    for _ in range(2):
        with pytest.raises(NsfastError, match="line 3: an undo, but there is no action on 'z'"):
            len(log)
    path.write_bytes(more)
    log.accept("b"), log.undo("c")
    assert log.decisions.accepted == {"a", "b"}


def test_ten_thousand_decisions_do_not_make_the_next_one_slow(path):
    some = [{"seq": i, "id": f"p{i}", "action": "accept", "who": "bob"} for i in range(10_000)]
    path.write_text("".join(json.dumps(record) + "\n" for record in some))
    log = DecisionLog(path, "ann")
    assert len(log) == 10_000
    spent = []
    for number in range(9):
        begun = time.process_time()
        log.reject(f"p{number}")
        assert len(log.decisions.rejected) == number + 1
        spent.append(time.process_time() - begun)
    assert sorted(spent)[4] < 0.02, spent
    assert lines(path)[-1]["seq"] == 10_008
