"""The process that works through arms: it goes on after an error that is said, and is replaced after any other."""

import time

import pytest

from nsfast.study.workers import Worker

UNKNOWN = {"threads": 1, "run": "r", "profile": "dogits", "settings": [], "seed": 0, "last": [], "points": []}
BROKEN = {**UNKNOWN, "profile": "digits", "settings": None}


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path / "answer.json")
    yield worker
    worker.close()


def outcome(worker, job, log) -> str:
    worker.begin(job, log)
    deadline = time.monotonic() + 120
    while (said := worker.outcome()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return said


@pytest.mark.slow
def test_each_job_has_its_own_outcome_and_log_and_an_unforeseen_error_ends_the_process(worker, tmp_path):
    logs = [tmp_path / "logs" / f"{name}.log" for name in "abcd"]
    first = outcome(worker, UNKNOWN, logs[0])
    process = worker._process
    assert "did you mean 'digits'" in first
    second = outcome(worker, UNKNOWN | {"profile": "lettters"}, logs[1])
    assert "did you mean 'letters'" in second and worker._process is process
    third = outcome(worker, BROKEN, logs[2])
    assert third.startswith("TypeError: ") and process.poll() is not None
    fourth = outcome(worker, UNKNOWN, logs[3])
    assert fourth == first and worker._process is not process
    texts = [log.read_text() for log in logs]
    assert ["dogits" in text for text in texts] == [True, False, False, True]
    assert "lettters" in texts[1] and "Traceback" in texts[2]


def test_a_process_that_dies_between_two_jobs_is_replaced(worker, tmp_path):
    worker.begin(UNKNOWN, tmp_path / "a.log")
    worker._process.kill()
    worker._process.wait()
    assert worker.outcome() == "it ended with -9"
    assert "did you mean" in outcome(worker, UNKNOWN, tmp_path / "b.log")


def test_a_job_written_to_a_process_that_is_dying_is_said(worker, tmp_path, monkeypatch):
    worker.begin(UNKNOWN, tmp_path / "a.log")
    process = worker._process
    process.kill()
    monkeypatch.setattr(process, "poll", lambda: None)  # not yet known
    time.sleep(0.5)
    worker.begin(UNKNOWN, tmp_path / "b.log")
    assert worker._process is process and worker.outcome() is None
    monkeypatch.undo()
    process.wait()
    assert worker.outcome() == "it ended with -9"
