"""Several processes write one decisions file at once, and any may be killed: no line is lost or torn."""

import json
import signal
import subprocess
import sys
import time

from nsfast.labels.decisions import DecisionLog, read_decisions


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


PROCESS = """
import sys, time
from nsfast.labels.decisions import DecisionLog
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = DecisionLog(path, who)
print("ready", flush=True), sys.stdin.readline()
for number in range(count):
    log.reject(f"{who}-{number}", why="ü" * (number % 50))
    if number % 5 == 4:
        log.undo()
    if number % 10 == 0:
        log.accept("the same")
    time.sleep(0.002)
"""


def start(path, who, count):
    line = [sys.executable, "-c", PROCESS, str(path), who, str(count)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_write_at_once_lose_nothing_and_tear_nothing(tmp_path):
    path, count = tmp_path / "decisions.jsonl", 60
    processes = [start(path, who, count) for who in ("ann", "bob")]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n"), process.stdin.flush()
    watching = DecisionLog(path)
    while any(process.poll() is None for process in processes):
        len(watching)  # whoever looks meanwhile sees whole lines only
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        process.stdin.close(), process.stdout.close()
    records = lines(path)
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    whos = [record["who"] for record in records]
    assert whos != sorted(whos)  # they did write at once
    expected = {f"{who}-{n}" for who in ("ann", "bob") for n in range(count) if n % 5 != 4}
    for found in (read_decisions(path), watching.decisions):
        assert found.rejected == expected and found.accepted == {"the same"}
    for who in ("ann", "bob"):
        own = [record["id"] for record in records if record["who"] == who and record["action"] == "reject"]
        assert own == [f"{who}-{n}" for n in range(count)]


def test_a_killed_writer_leaves_a_file_that_goes_on(tmp_path, capsys):
    path = tmp_path / "decisions.jsonl"
    process = start(path, "ann", 100_000)
    process.stdout.readline()
    process.stdin.write("go\n"), process.stdin.flush()
    while not path.exists() or path.stat().st_size < 4000:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(), process.stdin.close(), process.stdout.close()
    with open(path, "ab") as file:
        file.write('{"seq": 999, "id": "half a pictü'.encode()[:-1])
    log = DecisionLog(path, "bob")
    before = len(log)
    log.reject("b")  # the lock of a dead process holds nobody up
    assert len(log) == before + 1 and "torn" in capsys.readouterr().out
    assert [r["seq"] for r in lines(path)] == list(range(1, len(lines(path)) + 1))
