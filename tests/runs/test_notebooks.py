"""Each notebook runs alone under plain papermill, and makes what it needs where that is missing."""

import json
import shutil
import subprocess
import sys

import pytest

from nsfast.pipeline.notebooks import NOTEBOOKS, notebook_path

SHORT = {
    "teacher": ["-p", "epochs", "1", "-p", "steps_per_epoch", "5"],
    "student": ["-p", "epochs", "1", "-p", "steps_per_epoch", "5"],
    "balancing": ["-p", "threshold", "0.2"],
    "iterate": ["-p", "rounds", "1"],
    "analysis": [
        *("-y", "{corruptions: [contrast], severities: [2], pictures: 20, perturbations: []}"),
        *("-y", "{epsilons: [4.0], attacked: 4, steps: 2}"),
    ],
}


@pytest.fixture
def papermill(plain_environment):
    """The function that executes a notebook as anybody would."""

    def execute(path, output, *arguments, cwd, expect=0):
        line = [sys.executable, "-m", "papermill", str(path), str(output), "--no-progress-bar", *arguments]
        options = {"env": plain_environment, "capture_output": True, "text": True, "timeout": 280}
        done = subprocess.run(line, cwd=cwd, **options)
        assert done.returncode == expect, done.stderr[-3000:]
        return done

    return execute


@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_a_notebook_runs_alone_under_plain_papermill(papermill, stage, copy_of_finished):
    output = copy_of_finished / "out.ipynb"
    papermill(notebook_path(stage), output, *SHORT.get(stage, ()), cwd=copy_of_finished)
    streams = [
        o for c in json.loads(output.read_text())["cells"] for o in c.get("outputs", ()) if "text" in o
    ]
    text = "".join("".join(o["text"]) for o in streams)
    assert "is finished" in text


@pytest.mark.slow
def test_a_late_notebook_in_an_empty_folder_runs_what_it_needs_first(papermill, tmp_path, quick):
    import yaml

    groups: dict = {}
    for setting in quick:
        if setting != "--set":
            name, value = setting.split("=")
            group, key = name.split(".")
            groups.setdefault(group, {})[key] = yaml.safe_load(value)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(groups))
    where = ["-r", "run", "runs/tiny", "-r", "profile", "tiny.yaml"]
    papermill(notebook_path("balancing"), tmp_path / "out.ipynb", *where, cwd=tmp_path)
    run = tmp_path / "runs" / "tiny"
    assert (run / "teacher" / "model.safetensors").is_file()
    assert (run / "round-1" / "selection.parquet").is_file()
    assert not (run / "control").exists()


def test_a_wrong_parameter_stops_a_notebook_with_its_name(papermill, copy_of_finished):
    output = copy_of_finished / "out.ipynb"
    wrong = ["-p", "threshold", "7"]
    done = papermill(notebook_path("balancing"), output, *wrong, cwd=copy_of_finished, expect=1)
    assert "threshold is 7" in done.stderr and "between 0 and 1" in done.stderr
    done = papermill(notebook_path("student"), output, "-p", "round", "4", cwd=copy_of_finished, expect=1)
    assert "has rounds 1 to 1" in done.stderr


def test_a_notebook_beside_the_runs_folder_finds_it(papermill, copy_of_finished):
    """JupyterLab starts a kernel in the notebook's own folder, where runs/ is not."""
    folder = copy_of_finished / "notebooks"
    shutil.copytree(notebook_path("teacher").parent, folder)
    papermill("05_iterate.ipynb", "out.ipynb", "-p", "rounds", "1", cwd=folder)
    assert not (folder / "runs").exists()
