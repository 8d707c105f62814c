"""What the settings of the tests themselves promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = """
import pytest
@pytest.mark.browser
def test_marked(): pytest.skip("no Chromium")
def test_unmarked(): pytest.skip("no matter")
@pytest.mark.browser
@pytest.mark.xfail(reason="known")
def test_expected(): raise ValueError
"""


def test_one_thread():
    assert torch.get_num_threads() == 1 and os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("required", [True, False])
def test_a_skipped_browser_test_fails_exactly_when_required(tmp_path, required):
    conftest = Path(__file__).with_name("conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser: x\n")
    (tmp_path / "test_one.py").write_text(TESTS)
    (tmp_path / "browser").mkdir()
    (tmp_path / "browser" / "test_two.py").write_text(
        "import pytest\npytest.importorskip('no_such_module')\n"
    )
    environment = {**os.environ, "NSFAST_BROWSER_TESTS": "required" if required else ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run([*command, "."], cwd=tmp_path, env=environment, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1]
    if required:
        assert last.startswith("1 failed, 1 skipped, 1 xfailed, 1 error"), done.stdout
        assert "no Chromium" in done.stdout and "no_such_module" in done.stdout and done.returncode
    else:
        assert last.startswith("3 skipped, 1 xfailed") and not done.returncode, done.stdout
