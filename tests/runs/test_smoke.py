"""`nsfast run PROFILE --smoke`: every stage, a few steps, tiny pictures in the data set's official layout."""

import json

import pytest

STAGES = ("control", "teacher", "round-1", "iterate", "analysis")


def smoke(home, command, profile, *settings):
    """Run a profile in `home` and return the run folder, after what every such run must have left."""
    command("run", profile, "--smoke", "--run", home / "run", *settings, cwd=home)
    run = home / "run"
    for stage in STAGES:
        assert (run / stage / "stage.json").is_file(), stage
    for model in ("control", "teacher", "round-1"):
        about = json.loads((run / model / "model.json").read_text())
        assert (
            about["recipe"]["steps_per_epoch"] == 2
            and len((run / model / "history.csv").read_text().splitlines()) >= 2
        )
    assert (run / "analysis/report.html").stat().st_size > 10_000
    return run


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["svhn", "cifar10", "stl10"])
def test_profiles_of_small_pictures_run_through(tmp_path, command_here, profile):
    run = smoke(tmp_path, command_here, profile)
    recipe = json.loads((run / "round-1/model.json").read_text())["recipe"]
    assert recipe["optimizer"] == "rmsprop" and recipe["schedule"] == "staircase" and recipe["crop"] == "pad"
    assert (run / "images/labeled.npy").is_file()
