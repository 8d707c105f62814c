"""The same of pictures that stay in their files, with crops in workers, parts of a step and fine-tuning."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["imagenet", "imagenet-b0"])
def test_profiles_of_large_pictures_run_through(tmp_path, command, profile):
    command("run", profile, "--smoke", "--run", tmp_path / "run", cwd=tmp_path)
    run = tmp_path / "run"
    about = json.loads((run / "round-1/model.json").read_text())
    assert about["recipe"]["crop"] == "inception" and about["architecture"].startswith("efficientnet")
    assert (run / "images/labeled.files.parquet").is_file() and (run / "analysis/report.html").is_file()
    history = (run / "round-1/history.csv").read_text().splitlines()
    if profile == "imagenet":
        assert about["recipe"]["accumulate"] == 2 and about["pixels"] == 40
        assert len(history) == 3  # a row of the joint batches and one of the fine-tuning
    else:
        assert about["pixels"] == 32 and len(history) == 2


@pytest.mark.slow
def test_a_training_killed_within_its_epoch_goes_on_from_there(tmp_path, command, plain_environment):
    settings = [
        "--set",
        "teacher.steps_per_epoch=400",
        "--set",
        "teacher.checkpoint_minutes=0",
        "--until",
        "teacher",
    ]
    arguments = ["run", "cifar10", "--smoke", "--run", tmp_path / "run", *settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "nsfast.cli", *map(str, arguments)], cwd=tmp_path, env=plain_environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / "run").glob("teacher/checkpoint-*.previous.safetensors"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (before,) = [p for p in (tmp_path / "run/teacher").glob("checkpoint-*") if "previous" not in p.name]
    from nsfast.training.checkpoint_file import read_checkpoint

    about, _ = read_checkpoint(before)
    assert about["epoch"] == 0 and about["batches"] >= 2, "no checkpoint within the epoch"
    time.sleep(2)  # its notebook ends by itself
    command(*arguments[:-4], "--set", "teacher.checkpoint_minutes=10", "--until", "teacher", cwd=tmp_path)
    history = (tmp_path / "run/teacher/history.csv").read_text().splitlines()
    assert len(history) == 2
