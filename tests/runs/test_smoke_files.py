"""The same of pictures that stay in their files, with crops in workers, parts of a step and fine-tuning."""

import json

import pytest


@pytest.mark.slow
def test_the_profile_of_imagenet_runs_through(tmp_path, command_here):
    run, about = run_through("imagenet", command_here, tmp_path)
    assert about["recipe"]["accumulate"] == 2 and about["pixels"] == 40
    assert len((run / "round-1/history.csv").read_text().splitlines()) == 3  # joint batches, then fine-tuning


@pytest.mark.slow
def test_the_profile_of_imagenet_with_a_tenth_of_the_labels_runs_through(tmp_path, command_here):
    run, about = run_through("imagenet-b0", command_here, tmp_path)
    assert about["pixels"] == 32 and len((run / "round-1/history.csv").read_text().splitlines()) == 2


def run_through(profile, command, home):
    """The run folder, and what the student's model file says of itself."""
    command("run", profile, "--smoke", "--run", home / "run", cwd=home)
    run = home / "run"
    about = json.loads((run / "round-1/model.json").read_text())
    assert about["recipe"]["crop"] == "inception" and about["architecture"].startswith("efficientnet")
    assert (run / "images/labeled.files.parquet").is_file() and (run / "analysis/report.html").is_file()
    return run, about
