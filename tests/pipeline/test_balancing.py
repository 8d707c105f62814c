"""Balancing heeds decisions: what is selected differs in exactly what was decided, and the files say so."""

import json

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.files import read_csv, read_json
from nsfast.labels import Balancing, Origin, write_labels
from nsfast.labels.decisions import COLUMNS, DecisionLog
from nsfast.pipeline.balancing import balance_table, decisions_file, decisions_of
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.round_labels import check_labels

CLASSES, N = ("ant", "bee", "cat"), 60
HOSTILE = "<img onerror=alert(1)>\n☃"
NAMES = [f"p{i:02}.png" if i else HOSTILE for i in range(N)]


@pytest.fixture
def labels(tmp_path):
    """A table of round 2: 20 of each class, confidences from 0.4 to 0.99."""
    confidence = np.linspace(0.4, 0.99, N)
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(N), np.arange(N) % 3] = confidence
    return write_labels(tmp_path / "labels", probabilities, Origin(CLASSES, "t", round=2), names=NAMES)


@pytest.fixture
def log(tmp_path):
    return DecisionLog(tmp_path / "decisions.jsonl", "ann", round=2)


def pairs(balanced):
    found = balanced.selection
    return set(zip(found.ids.tolist(), found.classes.tolist(), strict=True))


@pytest.mark.parametrize("how", [Balancing(0.6, method="none"), Balancing(0.6, per_class=50, method="top")])
def test_five_rejected_and_five_relabeled_pictures_are_all_that_differs(how, labels, log, tmp_path):
    before = pairs(balance_table(labels, tmp_path / "before", how, decisions_of(labels)))
    kept = sorted(before)
    rejected, relabeled = kept[::8][:5], kept[3::8][:5]
    for number, _ in rejected:
        log.reject(NAMES[number])
    for number, klass in relabeled:
        log.relabel(NAMES[number], CLASSES[(klass + 1) % 3])
    after = pairs(balance_table(labels, tmp_path / "after", how, decisions_of(labels, log.path)))
    assert len({*rejected, *relabeled}) == 10 and before - after == {*rejected, *relabeled}
    assert after - before == {(number, (klass + 1) % 3) for number, klass in relabeled}
    for _ in range(10):
        log.undo()
    undone = balance_table(labels, tmp_path / "undone", how, decisions_of(labels, log.path))
    assert pairs(undone) == before
    files = [(tmp_path / name / "selection.parquet").read_bytes() for name in ("before", "undone")]
    assert files[0] == files[1]


def test_the_round_folder_says_what_was_heeded_and_where_people_differ(labels, log, tmp_path, capsys):
    bob = DecisionLog(log.path, "bob", round=1)
    for name, why in ((HOSTILE, HOSTILE), ("p05.png", ""), ("p07.png", ""), ("p08.png", ""), ("p09.png", "")):
        log.reject(name, predicted="ant", confidence=0.5, why=why)
    for name in ("p05.png", "p07.png", "p08.png", "p09.png"):
        bob.relabel(name, "cat")
    DecisionLog(log.path, "cem", round=3).reject("p10.png")
    log.reject("elsewhere.png")
    capsys.readouterr()
    how = Balancing(0.6, method="none")
    balance_table(labels, tmp_path / "out", how, decisions_of(labels, log.path))
    said = capsys.readouterr().out
    assert "decisions on 5 pictures were heeded; 1 of later rounds were not" in said
    assert (
        "people differ on 4 pictures, and the latest decision counts: 'p05.png': 'ann' reject, 'bob'" in said
    )
    assert said.count("p09.png") == 0 and said.count("...") == 1  # three are named
    told = read_json(tmp_path / "out" / "balancing.json")
    assert [told[name] for name in ("rejected", "relabeled", "accepted", "conflicts")] == [1, 4, 0, 4]
    rows = read_csv(tmp_path / "out" / "decisions.csv", COLUMNS)
    assert list(rows[0]) == ["id", *COLUMNS] and [row["id"] for row in rows] == [0, 5, 7, 8, 9]
    first, second = rows[:2]
    assert first["name"] == first["why"] == HOSTILE and first["who"] == "ann" and first["conflict"] == ""
    assert (first["action"], first["from"], first["confidence"], first["round"]) == (
        "reject",
        "ant",
        "0.5",
        "2",
    )
    assert (second["action"], second["to"], second["who"], second["conflict"]) == (
        "relabel",
        "cat",
        "bob",
        "yes",
    )


def test_with_nothing_decided_the_list_is_only_a_header(labels, log, tmp_path, capsys):
    log.path.write_text("")
    for name, path in (("none", None), ("empty", log.path)):
        balance_table(labels, tmp_path / name, Balancing(0.6, method="none"), decisions_of(labels, path))
        assert (tmp_path / name / "decisions.csv").read_text() == ",".join(["id", *COLUMNS]) + "\n"
    assert "decisions" not in capsys.readouterr().out


def test_a_label_that_was_accepted_in_an_earlier_round_counts_as_what_it_was(labels, log, tmp_path):
    DecisionLog(log.path, "ann", round=1).accept("p03.png", predicted="bee")  # now an ant
    log.accept("p04.png", predicted="bee"), log.accept("p06.png")
    decided = decisions_of(labels, log.path)
    assert decided.relabeled == {3: 1} and decided.accepted == {4, 6}
    found = pairs(balance_table(labels, tmp_path / "out", Balancing(0.99, method="none"), decided))
    assert {(3, 1), (4, 1), (6, 0)} <= found and (3, 0) not in found
    assert [row["to"] for row in read_csv(tmp_path / "out" / "decisions.csv")] == ["bee", "", ""]


def test_the_parameter_means_the_runs_file_first_and_then_a_path(tmp_path, monkeypatch):
    run, here = tmp_path / "run", tmp_path / "here"
    run.mkdir(), here.mkdir()
    monkeypatch.chdir(here)
    for folder, names in ((here, ("decisions.jsonl", "both", "mine")), (run, ("both",))):
        for name in names:
            (folder / name).write_text(json.dumps({"action": "accept", "id": str(folder)}))
    assert decisions_file(run, "") is None and decisions_file(run, "decisions.jsonl") is None
    assert decisions_file(run, "both") == run / "both" and decisions_file(run, "mine").samefile(here / "mine")
    assert decisions_file(run, str(here / "both")) == here / "both"
    (run / "decisions.jsonl").write_text("")
    assert decisions_file(run, "decisions.jsonl") == run / "decisions.jsonl"
    with pytest.raises(NsfastError, match="balancing.decisions is 'nowhere', but there is no such file in"):
        decisions_file(run, "nowhere")


def test_bad_decisions_are_refused_before_a_teacher_is_trained(tiny, tmp_path):
    profile, log = resolve("digits"), DecisionLog(tmp_path / "decisions.jsonl", "ann")
    check_labels(profile, tiny, tmp_path)  # the run's own file need not be there
    log.relabel("p", tiny.classes[0])
    check_labels(profile, tiny, tmp_path)
    log.relabel("p", "no such class")
    with pytest.raises(
        NsfastError, match="decisions.jsonl: 'p' is relabeled to an unknown class 'no such class'"
    ):
        check_labels(profile, tiny, tmp_path)
    log.path.write_text("[]\n")
    with pytest.raises(NsfastError, match="line 1"):
        check_labels(profile, tiny, tmp_path)
    check_labels(resolve("digits", ("balancing.decisions=''",)), tiny, tmp_path)
    log.path.rename(tmp_path / "mine.jsonl")
    with pytest.raises(NsfastError, match="line 1"):
        check_labels(resolve("digits", ("balancing.decisions=mine.jsonl",)), tiny, tmp_path)
    with pytest.raises(NsfastError, match="there is no such file in"):
        check_labels(resolve("digits", ("balancing.decisions=./mine.jsonl",)), tiny, tmp_path)


def test_a_profile_keeps_a_name_for_the_run_folder_and_makes_a_path_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decisions.jsonl").write_text("not the run's")
    asked = ("decisions.jsonl", "mine.jsonl", "", "./mine.jsonl", "a/b.jsonl", "/c/d.jsonl")
    found = [resolve("digits", (f"balancing.decisions='{given}'",)).groups["balancing"] for given in asked]
    whole = [str(tmp_path / "mine.jsonl"), str(tmp_path / "a" / "b.jsonl"), "/c/d.jsonl"]
    assert [group["decisions"] for group in found] == [*asked[:3], *whole]
    assert resolve("digits").groups["balancing"]["decisions"] == "decisions.jsonl"
