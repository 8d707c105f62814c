"""A wheel holds the notebooks and profiles, and runs from an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_folder(tmp_path, quick):
    def run(*line, **options):
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=280, **options)

    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("nsfast-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    below = [path for folder in ("nsfast", "notebooks") for path in (ROOT / folder).rglob("*")]
    made = ("__pycache__", ".ipynb_checkpoints")
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in below
        if path.is_file() and not set(path.parts) & set(made)
    }
    assert {f"nsfast/{name}" if name.startswith("notebooks/") else name for name in ours} <= set(names)
    assert not [name for name in names if ".ipynb_checkpoints" in name or name.startswith("tests/")]
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    where = run(
        sys.executable, "-c", "import nsfast; print(nsfast.__file__)", cwd=empty, env=environment
    ).stdout
    assert where.startswith(str(tmp_path / "site"))
    line = [sys.executable, "-m", "nsfast.cli", "run", "digits", *quick, "--until", "teacher"]
    run(*line, cwd=empty, env=environment)
    assert (empty / "runs/digits/teacher/model.safetensors").is_file()
