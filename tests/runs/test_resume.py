"""A run that is killed again and again ends as one that never was."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from nsfast.training.checkpoint_file import read_checkpoint

ALIKE = (
    "teacher/model.safetensors",
    "control/model.safetensors",
    "round-1/labels/part-00000.parquet",
    "round-1/selection.parquet",
    "round-1/model.safetensors",
    "round-1/metrics.json",
    "analysis/tables/models.csv",
)


KILLED_IN = ("teacher", "round-1/labeling", "round-1/balancing", "round-1/student", "analysis")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_in_five_stages_ends_byte_identical(
    finished, command, quick, plain_environment, tmp_path
):
    draw = random.Random()
    seed = draw.randrange(10**6)
    draw.seed(seed)
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *quick]
    for stage in KILLED_IN:
        process = subprocess.Popen(
            line, cwd=tmp_path, env=plain_environment, stdout=subprocess.PIPE, text=True
        )
        shown = []
        for text in process.stdout:
            shown.append(text)
            if text.startswith(f"{stage}: started"):
                break
        assert shown and shown[-1].startswith(f"{stage}: started"), "".join(shown)
        time.sleep(draw.uniform(0.5, 6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    command("run", "digits", *quick, cwd=tmp_path)
    for path in ALIKE:
        one, other = ((home / "runs/digits" / path).read_bytes() for home in (finished[0], tmp_path))
        assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest(), (
            f"{path} (kill times of seed {seed})"
        )
    run = tmp_path / "runs/digits"
    assert {p.relative_to(run) for p in run.rglob("*.ipynb")} == {
        p.relative_to(finished[0] / "runs/digits") for p in (finished[0] / "runs/digits").rglob("*.ipynb")
    }
    assert not list(run.rglob(".*.tmp")) and not list(run.rglob("checkpoint*"))
    assert "nothing to do" in command("run", "digits", *quick, cwd=tmp_path).stdout


@pytest.mark.slow
def test_a_killed_run_leaves_no_training_behind(quick, plain_environment, tmp_path):
    longer = [*quick, "--set", "teacher.epochs=200", "--until", "teacher"]
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *longer]
    process = subprocess.Popen(line, cwd=tmp_path, env=plain_environment, stdout=subprocess.DEVNULL)
    folder, found = tmp_path / "runs/digits/teacher", []
    deadline = time.monotonic() + 120
    while not found and time.monotonic() < deadline:
        time.sleep(0.1)
        found = [path for path in folder.glob("checkpoint-*.safetensors") if "previous" not in path.name]
    (checkpoint,) = found
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = checkpoint.stat().st_mtime_ns
    time.sleep(3)  # what it had started has ended with it, or writes on and is seen here
    after = checkpoint.stat().st_mtime_ns
    time.sleep(2)
    assert checkpoint.stat().st_mtime_ns == after, "a killed run left a training behind"
    assert after >= before


def test_ctrl_c_ends_a_run_with_one_line_and_leaves_nothing_running(quick, plain_environment, tmp_path):
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *quick, "--until", "teacher"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen(line, cwd=tmp_path, env=plain_environment, **options)
    for text in process.stdout:
        if text.startswith("teacher: started"):
            break
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines() == ["nsfast: stopped; run the same command again to continue"]
    assert not (tmp_path / "runs/digits/teacher/stage.json").exists()


@pytest.mark.slow
def test_a_training_killed_within_its_epoch_goes_on_from_there(
    quick, plain_environment, command_here, tmp_path
):
    run, long = tmp_path / "runs/digits", ["teacher.epochs=1", "teacher.steps_per_epoch=600"]
    arguments = [*quick, *(part for setting in long for part in ("--set", setting)), "--until", "teacher"]
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *arguments]
    process = subprocess.Popen(
        [*line, "--set", "teacher.checkpoint_minutes=0"], cwd=tmp_path, env=plain_environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(run.glob("teacher/checkpoint-*.previous.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (before,) = [p for p in (run / "teacher").glob("checkpoint-*") if "previous" not in p.name]
    about, _ = read_checkpoint(before)
    assert about["epoch"] == 0 and about["batches"] >= 2, "no checkpoint within the epoch"
    time.sleep(2)  # its notebook ends by itself
    command_here("run", "digits", *arguments, cwd=tmp_path)
    assert len((run / "teacher/history.csv").read_text().splitlines()) == 2
