"""Progress: the file has every step, the log a line now and then, and the time left is what it will take."""

import pytest

from nsfast.files import read_json
from nsfast.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand."""
    now = [100.0]
    monkeypatch.setattr("nsfast.progress.time.monotonic", lambda: now[0])
    return now


def test_the_file_holds_the_last_step(tmp_path, monkeypatch):
    monkeypatch.setenv("NSFAST_PROGRESS", str(tmp_path / "p" / "progress.json"))
    progress = Progress("epoch", 3)
    for done in (1, 2):
        progress.update(done, f"note {done}")
        assert read_json(tmp_path / "p" / "progress.json") == {
            "name": "epoch", "done": done, "part": 0.0, "total": 3, "note": f"note {done}",
        }  # fmt: skip


def test_without_a_runner_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv("NSFAST_PROGRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    Progress("epoch", 3).update(3)
    assert not list(tmp_path.iterdir())


def test_a_line_comes_every_few_seconds_and_at_the_end(clock, capsys):
    progress = Progress("epoch", 40)
    for done in range(1, 41):
        clock[0] += 1
        progress.update(done, "note")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/40" for n in range(5, 41, 5)]
    assert lines[0] == "epoch 5/40  35 s left  note" and lines[-1] == "epoch 40/40  0 s left  note"


@pytest.mark.parametrize("step", [1, 10, 1000])
@pytest.mark.parametrize("first", [0, 2000])
def test_steps_of_equal_time_are_foretold_exactly(clock, capsys, step, first):
    progress = Progress("picture", first + 5 * step, first, every=0)
    for k in range(1, 6):
        clock[0] += 7
        progress.update(first + k * step)
    lefts = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert lefts == ["28", "21", "14", "7", "0"]


def test_the_rate_is_of_what_was_done_since_it_began(clock, capsys):
    progress = Progress("picture", 12_000, first=2000, every=0, rate=True)
    for done in (4000, 12_000):
        clock[0] += 0.5
        progress.update(done)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["picture 4000/12000  4,000/s  2 s left", "picture 12000/12000  10,000/s  0 s left"]


def test_a_continued_work_divides_by_no_zero(clock, capsys):
    Progress("epoch", 5, 2, every=0).update(2, "continued")
    assert capsys.readouterr().out == "epoch 2/5  0 s left  continued\n"
