"""Claims: one of all processes has a piece of work, the dead lose theirs, the living keep theirs."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from nsfast.errors import NsfastError
from nsfast.labels.labeling import claims as module
from nsfast.labels.labeling.claims import Claims, place_among_processes


def claims(folder, work="w", **options):
    return Claims(folder, work, **options)


def forge(folder, name="a", age=0.0, **changes):
    """Leave a claim as another process would have made it, touched `age` seconds ago."""
    text = json.dumps({**claims(folder)._me, "token": "another", **changes})
    path = folder / f"{name}.claim"
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)
    return path


def ended():
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_has_it_until_it_is_given_up(tmp_path):
    with claims(tmp_path) as one, claims(tmp_path) as two:
        assert one.take("a") and not two.take("a") and two.take("b") and not one.take("a")
        assert one.holds("a") and not two.holds("a")
        two.release("a")
        assert one.holds("a")
        one.release("a")
        assert two.take("a") and not one.holds("a")
    assert not list(tmp_path.iterdir())


def test_at_the_end_all_are_given_up_after_an_error_too(tmp_path):
    with pytest.raises(KeyError), claims(tmp_path / "new") as one:
        one.take("a")
        one.take("b")
        raise KeyError
    assert not list((tmp_path / "new").iterdir())


def test_a_dead_process_of_this_machine_loses_its_claim_at_once(tmp_path):
    forge(tmp_path, process=ended())
    with claims(tmp_path) as one:
        assert one.take("a") and one.holds("a")


def test_a_process_that_has_the_number_of_a_dead_one_is_another(tmp_path):
    forge(tmp_path, started="1")
    with claims(tmp_path) as one:
        assert one.take("a")


def test_a_zombie_is_dead(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    forge(tmp_path, process=process.pid, started=module._started(process.pid))
    with claims(tmp_path) as one:
        assert not one.take("a")
        process.stdin.close()
        while module._started(process.pid):
            time.sleep(0.01)
        assert process.returncode is None and one.take("a")
    process.wait()


def test_a_living_process_of_this_machine_keeps_its_claim_however_old(tmp_path):
    forge(tmp_path, age=10_000)
    with claims(tmp_path) as one:
        assert not one.take("a")


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"machine": "another of this name"}])
@pytest.mark.parametrize(("age", "taken"), [(0, False), (50, False), (70, True)])
def test_another_machine_s_claim_is_taken_over_when_it_is_not_touched(tmp_path, change, age, taken):
    forge(tmp_path, age=age, **change)
    with claims(tmp_path) as one:
        assert one.take("a") is taken


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "\x00\xff"])
def test_a_claim_that_says_nothing_is_taken_over_after_a_while(tmp_path, text):
    path = tmp_path / "a.claim"
    path.write_text(text)
    with claims(tmp_path) as one:
        assert not one.take("a")
        os.utime(path, (time.time() - 6,) * 2)
        assert one.take("a")


def test_the_age_is_by_the_file_system_s_clock(tmp_path, monkeypatch):
    """A machine whose own clock is an hour ahead takes nothing from the living."""
    forge(tmp_path, host="elsewhere")
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600)
    with claims(tmp_path) as one:
        assert not one.take("a")


def test_a_claim_is_touched_while_it_is_held_and_not_any_more_when_it_is_another_s(tmp_path):
    with claims(tmp_path, stale=0.3) as one:
        one.take("a")
        path = tmp_path / "a.claim"
        os.utime(path, (1, 1))
        until = time.monotonic() + 10
        while path.stat().st_mtime == 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1
        forge(tmp_path, age=1000)
        time.sleep(0.2)
        assert time.time() - path.stat().st_mtime > 500
    assert path.is_file()


def test_whoever_sees_the_dead_one_late_does_not_bury_the_living(tmp_path):
    path = forge(tmp_path, process=ended())
    with claims(tmp_path) as one, claims(tmp_path) as two:
        text = path.read_text()
        assert one.take("a")
        assert not two._bury(path, text) and one.holds("a")
        assert [p.name for p in tmp_path.iterdir()] == ["a.claim"]


def test_of_many_that_see_a_dead_claim_at_once_one_gets_it(tmp_path):
    dead, barrier, got = ended(), threading.Barrier(8), []

    def race(one):
        barrier.wait()
        got.append(one.take("a"))

    for _ in range(20):
        forge(tmp_path, process=dead)
        many, got[:] = [claims(tmp_path) for _ in range(8)], []
        threads = [threading.Thread(target=race, args=(one,)) for one in many]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(one.holds("a") for one in many) == 1 and sum(got) >= 1
        for one in many:
            one.release("a")
        assert not list(tmp_path.iterdir())


def test_a_living_process_that_does_something_else_here_is_an_error(tmp_path):
    with claims(tmp_path, "other") as other, claims(tmp_path) as one:
        other.take("a")
        with pytest.raises(NsfastError, match=f"another labeling is at work.*process {os.getpid()}.*wait"):
            one.take("a")
        with pytest.raises(NsfastError, match="another labeling"):
            one.remove("a")
        assert other.holds("a")
    forge(tmp_path, process=ended(), work="other")
    with claims(tmp_path) as one:
        assert one.take("a")


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"round": 1, "mean": [0.5]}, r"\(process \d+ of .*\): its mean is \[0.5\] instead of \[0.4\]; wait"),
        ({"round": 1}, r"\): its mean is None instead of \[0.4\]; wait"),
        ({"round": 1, "mean": [0.4], "flip": True}, r"\): its flip is True instead of None; wait"),
        ({"round": 1, "mean": [0.4]}, r"\); wait"),
        ({"round": "9" * 100}, rf"\): its round is {'9' * 40} instead of 1; wait"),
    ],
)
def test_of_other_work_the_first_thing_that_differs_is_said(tmp_path, theirs, said):
    with (
        claims(tmp_path, "other", about=theirs) as other,
        claims(tmp_path, about={"round": 1, "mean": (0.4,)}) as one,
    ):
        other.take("a")
        with pytest.raises(NsfastError, match=said) as caught:
            one.take("a")
        assert "\n" not in str(caught.value)
    forge(tmp_path, work="of an older version").write_text(
        json.dumps({name: value for name, value in other._me.items() if name != "about"})
    )
    with claims(tmp_path, about={"round": 1}) as one, pytest.raises(NsfastError, match="another labeling"):
        one.take("a")


def test_where_nothing_can_be_written_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(NsfastError, match="cannot write into .*give another folder"),
        claims(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "5", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (2, 5)),
        ({"RANK": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (1, 3)),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "6"}, (3, 6)),
        (
            {"SLURM_ARRAY_TASK_ID": "20", "SLURM_ARRAY_TASK_COUNT": "4"}
            | {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "10"},
            (2, 4),
        ),
        ({"SLURM_ARRAY_TASK_ID": "50", "SLURM_ARRAY_TASK_COUNT": "3"}, (2, 3)),
        (
            {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_NTASKS": "9"}
            | {"SLURM_PROCID": "8"},
            (1, 2),
        ),
        ({"RANK": "", "WORLD_SIZE": "x"}, (0, 1)),
    ],
)
def test_the_place_is_what_torchrun_or_slurm_say(environment, place):
    assert place_among_processes(environment=environment) == place
    assert place_among_processes(4, 9, environment) == (4, 9)


@pytest.mark.parametrize(("rank", "processes"), [(0, None), (None, 2), (2, 2), (-1, 2), (0, 0)])
def test_a_place_that_cannot_be_is_an_error(rank, processes):
    with pytest.raises(NsfastError):
        place_among_processes(rank, processes, {})
