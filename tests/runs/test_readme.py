"""Every command of the README does what it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs.fronts import free_port, serving

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def commands() -> list[str]:
    """The lines of the README's bash blocks, comments aside."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    return [
        line.split("  #")[0].split("   #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line
    ]


@pytest.fixture
def home(copy_of_finished) -> Path:
    """A folder with a finished run, the notebooks, the Makefile and some pictures of a person's own."""
    from PIL import Image

    from nsfast.images.digits import digits

    shutil.copytree(ROOT / "notebooks", copy_of_finished / "notebooks")
    shutil.copy2(ROOT / "Makefile", copy_of_finished)
    shutil.copy2(ROOT / "pyproject.toml", copy_of_finished)
    pool = digits(labeled_per_class=8).labeled
    for pixels, label, name in zip(pool.pixels, pool.labels, pool.ids, strict=True):
        for folder in (f"labeled/{label}", "unlabeled"):
            path = copy_of_finished / "pictures" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[:, :, 0]).save(path)
    return copy_of_finished


def test_the_readme_has_its_two_commands_first():
    assert commands()[:2] == ["make run", "make test"]


@pytest.mark.slow
@pytest.mark.parametrize("line", [c for c in commands() if not c.startswith("make")])
def test_a_command_of_the_readme_works(line, home, quick, plain_environment):
    words = shlex.split(line)
    if words[:2] == ["nsfast", "explore"]:
        port = free_port()
        line = [BIN / words[0], *words[1:], "--no-browser", "--port", str(port)]
        with serving(line, port, home, plain_environment):  # until it answers
            return
    if words[:2] == ["nsfast", "run"]:
        settings = [s for s in quick if s != "--set" and not (s.startswith("data.") and "folder" in words)]
        words += [part for s in settings for part in ("--set", s)]  # last, so that they win over the README's
        words += ["--until", "teacher"] if "--until" not in words else []
    environment = {**plain_environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]


def make(target: str, home: Path, arguments: str) -> list[str]:
    """The command line of a make target that finds everything installed already."""
    for stamp in (".installed", ".installed-lab", ".installed-dev"):
        (home / "venv").mkdir(exist_ok=True)
        (home / "venv" / stamp).touch()
    return ["make", target, f"VENV={home / 'venv'}", f"BIN={BIN}", f"ARGS={arguments}"]


def test_make_run_runs_the_digits_and_make_test_the_tests(home, quick, plain_environment):
    options = {"cwd": home, "env": plain_environment, "capture_output": True, "text": True, "timeout": 280}
    done = subprocess.run(make("run", home, shlex.join(quick)), **options)
    assert done.returncode == 0 and "report.html" in done.stdout, done.stderr[-2000:]
    (home / "tests").mkdir()
    (home / "tests" / "test_one.py").write_text("def test_one():\n    pass\n")
    done = subprocess.run(make("test", home, ""), **options)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-2000:]


def test_make_lab_serves_the_notebooks(home, plain_environment):
    arguments = "--no-browser --allow-root --ServerApp.port=0 --IdentityProvider.token=secret"
    with open(home / "log", "wb") as log:
        environment = {**plain_environment, "HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")}
        process = subprocess.Popen(
            make("lab", home, arguments),
            cwd=home,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while "is running at" not in (home / "log").read_text() and time.monotonic() < deadline:
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.3)
        assert "is running at" in (home / "log").read_text()
    finally:
        os.killpg(process.pid, 15)
        process.wait()
