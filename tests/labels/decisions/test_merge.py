"""Files of several people become one, in which nobody's line is lost, doubled or moved before an earlier one."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.labels.decisions import DecisionLog, merge_decisions, read_decisions


def line(action, name=None, minute=0, who="ann", **others):
    return {"ts": f"2026-01-01T12:{minute:02}:00Z", "id": name, "action": action, "who": who, **others}


@pytest.fixture
def write(tmp_path):
    def make(name, *records, end="\n"):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, records)) + (end if records else ""))
        return path

    return make


def ids(path):
    return [json.loads(text)["id"] for text in path.read_text().splitlines()]


def test_lines_are_in_the_order_of_time_and_of_their_files(write, tmp_path):
    ann = write("ann", line("accept", "a1", 1), line("accept", "a5", 5), line("accept", "late clock", 2))
    bob = write(
        "bob", line("reject", "b3", 3, "bob"), line("reject", "b4", 4, "bob"), line("reject", "b6", 6, "bob")
    )
    found = merge_decisions([ann, bob], tmp_path / "out")
    assert ids(tmp_path / "out") == ["a1", "b3", "b4", "a5", "late clock", "b6"]
    assert found.accepted == {"a1", "a5", "late clock"} and found.path == tmp_path / "out"
    zone = write(
        "zone",
        {"id": "z", "action": "accept", "ts": "2026-01-01T14:02:30+02:00"},
        {"id": "y", "action": "accept"},
    )
    none = write("none", {"id": "first", "action": "accept"})
    merge_decisions([ann, zone, none], tmp_path / "out2")
    assert ids(tmp_path / "out2") == ["first", "a1", "z", "y", "a5", "late clock"]


def test_the_latest_counts_and_every_conflict_is_told(write):
    ann = write("ann", line("accept", "q", 1), line("accept", "r", 1), line("reject", "p", 5))
    bob = write("bob", line("reject", "q", 2, "bob"), line("relabel", "p", 3, "bob", to="cat"))
    found = merge_decisions([ann, bob])
    assert found.rejected == {"p", "q"} and found.accepted == {"r"}
    assert found.disagreement("p") == "'p': 'bob' relabel 'cat', 'ann' reject" and set(found.conflicts) == {
        "p",
        "q",
    }
    assert not (ann.parent / "out").exists()


def test_copies_of_a_file_are_there_once_and_what_both_took_back_is_taken_back_once(write, tmp_path):
    common = [line("accept", "a", 1), line("accept", "a", 2), line("reject", "b", 3)]
    home = write("home", *common, line("undo", None, 5), line("undo", "a", 6))
    work = write("work", *common, line("undo", "b", 7), line("accept", "c", 8))
    found = merge_decisions([home, work], tmp_path / "out")
    assert found.accepted == {"a", "c"} and not found.rejected
    assert ids(tmp_path / "out") == ["a", "a", "b", "b", "a", "c"]  # and an undo of any says of which
    again = merge_decisions([tmp_path / "out", work, home], tmp_path / "out")
    assert again.verdicts == found.verdicts and len(ids(tmp_path / "out")) == 6


def test_what_both_copies_took_back_takes_nothing_more_with_it(write):
    common = [line("accept", "b", 1), line("reject", "b", 2)]
    home, work = (
        write(name, *common, line("undo", "b", minute)) for name, minute in (("home", 3), ("work", 4))
    )
    assert merge_decisions([home, work]).accepted == {"b"}


def test_equal_lines_of_one_file_stay(write):
    plain = {"id": "a", "action": "reject"}
    twice = write("twice", plain, {"id": "a", "action": "undo"}, plain)
    assert merge_decisions([twice]).rejected == merge_decisions([twice, twice]).rejected == {"a"}


STEPS = st.lists(st.tuples(st.sampled_from("aru"), st.integers(0, 2), st.integers(0, 9)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.tuples(STEPS, STEPS, STEPS))
def test_people_with_files_of_their_own_lose_nothing(tmp_path_factory, people):
    """Each one's last words after merging are those before, and merging what was merged changes nothing."""
    folder, paths, alone = tmp_path_factory.mktemp("merge"), [], []
    for number, steps in enumerate(people):
        lines, actions = [], 0
        for seq, (what, picture, minute) in enumerate(steps):
            actions += 1 if what != "u" else -1
            if actions < 0:
                actions = 0
                continue
            action = {"a": "accept", "r": "reject", "u": "undo"}[what]
            name = None if what == "u" else f"p{picture}"
            lines.append(line(action, name, minute, f"person {number}", seq=seq))
        paths.append(folder / f"{number}")
        paths[-1].write_text("".join(json.dumps(record) + "\n" for record in lines))
        alone.append(read_decisions(paths[-1]).verdicts)
    found = merge_decisions(paths, folder / "out")
    read = read_decisions(folder / "out")
    assert (read.verdicts, read.conflicts) == (found.verdicts, found.conflicts)
    for number, verdicts in enumerate(alone):
        last = {name: found.conflicts.get(name, (counted,)) for name, counted in found.verdicts.items()}
        said = {name: v for name, said in last.items() for v in said if v.who == f"person {number}"}
        assert said.items() <= verdicts.items()
        for name in verdicts.keys() - said.keys():  # they agree, and somebody else said it later
            assert name not in found.conflicts and found.verdicts[name].action == verdicts[name].action
    records = Counter(
        text for path in paths for text in path.read_text().splitlines() if '"undo"' not in text
    )
    merged = [text for text in (folder / "out").read_text().splitlines() if '"undo"' not in text]
    assert Counter(merged) == records
    again = merge_decisions([folder / "out", *reversed(paths)])
    assert again.verdicts.keys() == found.verdicts.keys()
    assert len((folder / "out").read_text().splitlines()) == sum(
        len(p.read_text().splitlines()) for p in paths
    )


def test_a_torn_line_is_left_out_with_a_warning_and_a_bad_one_is_named(write, tmp_path):
    torn = write("torn", line("accept", "a"), {"id": "half"}, end="")
    torn.write_text(torn.read_text()[:-4])
    found = merge_decisions([torn, torn], tmp_path / "out")
    assert found.warning.count("torn is torn") == 2 and ids(tmp_path / "out") == ["a"]
    bad = write("bad", line("accept", "a"), line("undo", "a"), line("undo", "a"))
    with pytest.raises(NsfastError, match="bad, line 3: an undo, but there is no action"):
        merge_decisions([torn, bad])


def test_another_file_is_never_overwritten(write, tmp_path):
    one, two = write("one", line("accept", "a")), write("two", line("accept", "b"))
    with pytest.raises(NsfastError, match="two exists; give another file, or merge it, too"):
        merge_decisions([one], two)
    assert merge_decisions([one, two], two).accepted == read_decisions(two).accepted == {"a", "b"}
    with pytest.raises(NsfastError, match="no decisions in .*nowhere"):
        merge_decisions([one, tmp_path / "nowhere"])
    with pytest.raises(NsfastError, match="no decisions to merge"):
        merge_decisions([])


def test_a_log_goes_on_with_a_file_that_was_merged_under_it(write, tmp_path):
    path = tmp_path / "d.jsonl"
    log = DecisionLog(path, "ann")
    log.accept("a"), log.accept("c")
    bob = DecisionLog(tmp_path / "bob.jsonl", "bob")
    bob.reject("b")
    merge_decisions([bob.path, path], path)
    log.accept("d")
    assert log.decisions.accepted == {"a", "c", "d"} and log.decisions.rejected == {"b"}
    assert read_decisions(path).verdicts == log.decisions.verdicts


def test_an_undo_takes_back_what_it_was_of_and_nothing_later_of_the_other_file(tmp_path):
    def write(name, *records):
        lines = [{"id": "p", "who": "ann", "seq": i, **record} for i, record in enumerate(records, 1)]
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    at = "2026-01-01T00:00:0{}Z"
    first = write("a.jsonl", {"action": "reject", "ts": at.format(1)}, {"action": "undo", "ts": at.format(3)})
    second = write("b.jsonl", {"action": "accept", "from": "cat", "ts": at.format(2)})
    for paths in ((first, second), (second, first)):
        found = merge_decisions(paths, tmp_path / f"{paths[0].stem}.out.jsonl")
        assert found.accepted == {"p"} and not found.rejected
        assert read_decisions(found.path).verdicts == found.verdicts
