"""The command shows what people decided, where they differ, and merges their files; names are shown as text."""

import pytest
from typer.testing import CliRunner

from nsfast.cli import app
from nsfast.errors import NsfastError
from nsfast.files import read_csv
from nsfast.labels.decisions import COLUMNS, DecisionLog, read_decisions


@pytest.fixture
def people(tmp_path):
    ann, bob = (DecisionLog(tmp_path / f"{who}.jsonl", who) for who in ("ann", "bob"))
    for number in range(25):
        ann.reject(f"p{number:02}\n[red]")
    for number in range(23):
        bob.relabel(f"p{number:02}\n[red]", "<b>")
    bob.accept("q")
    return ann.path, bob.path


def run(*arguments):
    done = CliRunner().invoke(app, ["decisions", *map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.output


def test_counts_and_the_first_twenty_conflicts_are_shown(people):
    said = run(*people)
    assert said.splitlines()[1].split() == ["26", "1", "2", "23", "23"]
    shown = [line for line in said.splitlines() if line.startswith("  'p")]
    assert len(shown) == 20 and shown[0] == r"  'p00\n[red]': 'ann' reject, 'bob' relabel '<b>'"
    assert "... 23 in all" in said and "differ, the" not in run(people[0])


def test_files_are_merged_and_written_as_a_table(people, tmp_path):
    said = run(*people, "--out", tmp_path / "all.jsonl", "--csv", tmp_path / "all.csv")
    assert f"written: {tmp_path / 'all.jsonl'}" in said and f"written: {tmp_path / 'all.csv'}" in said
    found, rows = read_decisions(tmp_path / "all.jsonl"), read_csv(tmp_path / "all.csv", COLUMNS)
    assert len(found) == len(rows) == 26 and {row["name"] for row in rows} == {*found.verdicts}
    assert sum(row["conflict"] == "yes" for row in rows) == 23


def test_a_torn_line_is_said_and_a_bad_file_is_one_line(people, tmp_path):
    with open(people[0], "a") as file:
        file.write('{"half')
    assert "ann.jsonl is torn and was left out" in run(*people)
    with pytest.raises(NsfastError, match="no decisions in .*nowhere"):
        run(tmp_path / "nowhere")
