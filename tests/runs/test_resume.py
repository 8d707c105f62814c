"""A run that is killed again and again ends as one that never was."""

import hashlib
import random
import signal
import subprocess
import sys
import time

import pytest

ALIKE = (
    "teacher/model.safetensors",
    "control/model.safetensors",
    "round-1/labels/part-00000.parquet",
    "round-1/selection.parquet",
    "round-1/model.safetensors",
    "round-1/metrics.json",
    "analysis/tables/models.csv",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_five_times_at_random_ends_byte_identical(
    finished, command, quick, plain_environment, tmp_path
):
    draw = random.Random()
    seed = draw.randrange(10**6)
    draw.seed(seed)
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *quick]
    killed = 0
    while killed < 5:
        with open(tmp_path / "output", "wb") as output:
            process = subprocess.Popen(
                line, cwd=tmp_path, env=plain_environment, stdout=output, stderr=output
            )
        time.sleep(draw.uniform(2, 14))
        if process.poll() is not None:
            assert process.returncode == 0, (tmp_path / "output").read_text()
            break  # it was faster than the kills
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    command("run", "digits", *quick, cwd=tmp_path)
    assert killed >= 2
    for path in ALIKE:
        one, other = ((home / "runs/digits" / path).read_bytes() for home in (finished[0], tmp_path))
        assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest(), (
            f"{path} (kill times of seed {seed})"
        )
    assert "nothing to do" in command("run", "digits", *quick, cwd=tmp_path).stdout


@pytest.mark.slow
def test_a_killed_run_leaves_no_training_behind(quick, plain_environment, tmp_path):
    longer = [*quick, "--set", "teacher.epochs=200", "--until", "teacher"]
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *longer]
    process = subprocess.Popen(line, cwd=tmp_path, env=plain_environment, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "runs/digits/teacher/checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = checkpoint.stat().st_mtime_ns
    time.sleep(3)  # what it had started has ended with it, or writes on and is seen here
    after = checkpoint.stat().st_mtime_ns
    time.sleep(2)
    assert checkpoint.stat().st_mtime_ns == after, "a killed run left a training behind"
    assert after >= before
