"""A decisions file is a fold over its lines; torn, wrong and unknown things are said in one line."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.labels.decisions import DecisionLog, Verdict, read_decisions
from nsfast.labels.origin import Origin
from nsfast.labels.table import write_labels

CLASSES = ("ant", "bee", "cat")


def line(action, name=None, to=None, **others):
    record = {"seq": 1, "ts": "2026-01-01T00:00:00Z", "id": name, "action": action, "from": "ant", "to": to}
    return json.dumps({**record, "conf": 0.5, **others}, ensure_ascii=False)


def read(tmp_path, *lines, end="\n"):
    path = tmp_path / "decisions.jsonl"
    path.write_text("\n".join(lines) + end if lines else "", encoding="utf-8")
    return read_decisions(path)


def test_the_last_action_on_a_picture_counts(tmp_path):
    found = read(
        tmp_path,
        *(line("accept", "a"), line("reject", "b"), line("relabel", "c", "bee"), line("reject", "a")),
        *(line("relabel", "b", "ant"), line("relabel", "b", "cat"), line("accept", "ü/d $1.png")),
    )
    assert found.accepted == {"ü/d $1.png"} and found.rejected == {"a"}
    assert found.relabeled == {"b": "cat", "c": "bee"} and len(found) == 4 and not found.warning


def test_an_undo_takes_back_the_last_action_of_its_picture_or_of_any(tmp_path):
    lines = [line("accept", "a"), line("reject", "b"), line("reject", "a")]
    assert read(tmp_path, *lines, line("undo", "a")).accepted == {"a"}
    assert read(tmp_path, *lines, line("undo")).rejected == {"b"}
    assert read(tmp_path, *lines, '{"action": "undo"}').rejected == {"b"}
    assert read(tmp_path, *lines, line("undo", "b"), line("undo")).accepted == {"a"}
    gone = read(tmp_path, *lines, line("undo"), line("undo"), line("undo"))
    assert not gone.accepted and not gone.rejected and not len(gone)
    assert read(tmp_path, *lines, line("undo", "a"), line("undo", "a"), line("accept", "a")).accepted == {"a"}


def slowly(steps):
    """The state after each step, kept whole: what an undo goes back to is found by trying."""
    actions = []
    for action, name in steps:
        if action != "undo":
            actions.append((action, name))
            continue
        of = [i for i, (_, other) in enumerate(actions) if name in (None, other)]
        if not of:
            return None
        del actions[of[-1]]
    return {name: action for action, name in actions}


STEP = st.tuples(st.sampled_from(["accept", "reject", "undo", "undo"]), st.sampled_from(["a", "b", "c"]))
UNDO = st.just(("undo", None))


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP | UNDO, max_size=25))
def test_any_history_equals_a_slow_fold(tmp_path_factory, steps):
    path, expected = tmp_path_factory.getbasetemp() / "some.jsonl", slowly(steps)
    path.write_text("".join(line(*step) + "\n" for step in steps), encoding="utf-8")
    if expected is None:
        with pytest.raises(NsfastError, match="there is no action"):
            read_decisions(path)
        return
    found = read_decisions(path)
    state = {name: "accept" for name in found.accepted} | {name: "reject" for name in found.rejected}
    assert state == expected and len(found) == len(expected)


def test_wherever_the_last_line_is_torn_it_is_left_out_with_a_warning(tmp_path):
    path, first, last = tmp_path / "d.jsonl", line("accept", "a"), line("reject", "ü")
    whole = f"{first}\n{last}".encode()
    begin = len(first.encode()) + 1
    for end in range(begin + 1, len(whole)):
        path.write_bytes(whole[:end])
        found = read_decisions(path)
        assert found.accepted == {"a"} and not found.rejected
        assert "d.jsonl is torn" in found.warning
    path.write_bytes(whole)  # only its newline is missing
    assert read_decisions(path).rejected == {"ü"} and not read_decisions(path).warning


def test_a_last_line_with_its_newline_is_not_torn(tmp_path):
    with pytest.raises(NsfastError, match="line 2: no JSON"):
        read(tmp_path, line("accept", "a"), '{"seq": 2, "acti')


def test_an_empty_file_and_empty_lines_decide_nothing(tmp_path):
    assert not len(read(tmp_path)) and not len(read(tmp_path, "", "  ", ""))


@pytest.mark.parametrize(
    "bad, message",
    [
        ('{"seq": 2, "acti', "line 2: no JSON"),
        ("[1]", r"line 2: \[1\] is no record"),
        (line("acept", "a"), "line 2: unknown action 'acept'; did you mean 'accept'?"),
        ('{"id": "a"}', "line 2: no 'action'"),
        ('{"id": "a", "action": 3}', "line 2: action is 3"),
        (line("accept"), "line 2: id is None; it must be the name"),
        (line("accept", 5), "line 2: id is 5; it must be the name"),
        (line("undo", ""), "line 2: id is ''"),
        (line("relabel", "a"), "line 2: a relabel to None"),
        (line("relabel", "a", ""), "line 2: a relabel to ''"),
        (line("undo", "z"), "line 2: an undo, but there is no action on 'z'"),
        (line("undo", "a", who="bob"), "line 2: an undo, but there is no action by 'bob' on 'a'"),
        (line("accept", "a", who=7), "line 2: who is 7; it must be text"),
        (line("accept", "a", why=["x"]), r"line 2: why is \['x'\]; it must be text"),
        (line("accept", "a", round=1.5), "line 2: round is 1.5; it must be a whole number"),
        (line("accept", "a", round=True), "line 2: round is True; it must be a whole number"),
        (line("accept", "a", conf="high"), "line 2: conf is 'high'; it must be a number"),
        (line("accept", "a", conf=float("nan")), "line 2: conf is nan; it must be a number"),
        ('{"action": "accept", "id": "\\ud800"}', "line 2: id is .*; it must be the name of a picture"),
        ("[" * 100_000, "line 2: no JSON"),
    ],
)
def test_any_other_bad_line_is_an_error_that_names_it(bad, message, tmp_path):
    with pytest.raises(NsfastError, match=message) as caught:
        read(tmp_path, line("accept", "a"), bad, line("accept", "b"))
    assert "decisions.jsonl, line 2" in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_line_says_beside_the_action_is_kept_and_may_be_missing_or_null(tmp_path):
    about = {"who": "ann", "why": "ears", "round": 2}
    found = read(
        tmp_path, line("relabel", "a", "cat", **about), '{"action": "reject", "id": "b", "who": null}'
    )
    known = Verdict("a", "relabel", "cat", "ant", 0.5, "ann", "ears", "2026-01-01T00:00:00Z", 2, 1)
    assert found.verdicts == {"a": known, "b": Verdict("b", "reject")}
    assert [row["from"] for row in found.rows()] == ["ant", None]
    assert [sorted(read_decisions(found.path, round).verdicts) for round in (1, 2)] == [["b"], ["a", "b"]]


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(NsfastError, match="no decisions in .*nowhere"):
        read_decisions(tmp_path / "nowhere")


@pytest.fixture
def table(tmp_path):
    names = ["b/2.png", "a", "ü", "d"]
    return write_labels(
        tmp_path / "labels", np.eye(3)[[0, 1, 2]], Origin(CLASSES, "t"), names=names, ids=[0, 2, 3]
    )


def test_names_become_ids_of_the_files_table_also_of_pictures_without_a_label(table, tmp_path, capsys):
    found = read(
        tmp_path,
        line("accept", "ü"),
        line("reject", "b/2.png"),
        line("relabel", "a", "cat"),
        line("reject", "d"),
    )
    assert found.by_id(table.folder, CLASSES) == ({2}, {0, 3}, {1: 2})
    assert not capsys.readouterr().out


def test_pictures_that_are_not_there_are_reported(table, tmp_path, capsys):
    found = read(tmp_path, line("accept", "ü"), *(line("reject", f"x{i}") for i in range(4)))
    assert found.by_id(table.folder, CLASSES) == ({2}, set(), {})
    said = capsys.readouterr().out
    assert "4 of 5 pictures in" in said and "'x0', 'x1', 'x2', ..." in said


def test_decisions_on_other_pictures_are_refused(table, tmp_path):
    with pytest.raises(NsfastError, match="decides of 'x', none of which is a picture"):
        read(tmp_path, line("accept", "x")).by_id(table.folder, CLASSES)
    assert read(tmp_path).by_id(table.folder, CLASSES) == (frozenset(), frozenset(), {})


def test_an_unknown_class_names_picture_and_the_nearest_class(table, tmp_path):
    found = read(tmp_path, line("relabel", "a", "bea"))
    with pytest.raises(NsfastError, match="'a' is relabeled to an unknown class 'bea'; did you mean 'bee'?"):
        found.by_id(table.folder, CLASSES)


def test_a_damaged_files_table_is_one_line(table, tmp_path):
    (table.folder / "files.parquet").write_bytes(b"no parquet")
    with pytest.raises(NsfastError, match="files.parquet is damaged"):
        read(tmp_path, line("accept", "a")).by_id(table.folder, CLASSES)


def test_a_mark_that_an_editor_put_before_the_first_line_is_nothing(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "p", "action": "reject"}\n')
    assert read_decisions(path).rejected == {"p"}
    log = DecisionLog(path, who="ann")
    log.accept("q")
    assert log.decisions.rejected == {"p"} and read_decisions(path).accepted == {"q"}


def test_an_accepted_class_must_exist_too(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": "p", "action": "accept", "from": "zebra"}\n')
    with pytest.raises(NsfastError, match="d.jsonl: 'p' is accepted as an unknown class 'zebra'"):
        read_decisions(path).numbered({}, ("cat", "dog"))
