"""A person opens 03_balancing in JupyterLab, runs it all, drags the threshold, and the run has it."""

import shutil

import pytest

from nsfast.pipeline.notebooks import notebook_path
from nsfast.pipeline.run_folder import read_run
from nsfast.pipeline.runner import plan
from tests.runs.fronts import LAB, served, visiting

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def lab(copy_of_finished, plain_environment):
    """A JupyterLab over a folder that holds a finished run and the notebooks; its address."""
    shutil.copytree(notebook_path("teacher").parent, copy_of_finished / "notebooks")
    with served(LAB, copy_of_finished, plain_environment) as address:
        yield address


@pytest.mark.timeout(300)
def test_a_threshold_is_dragged_in_03_balancing_and_written_into_the_profile(lab, copy_of_finished):
    with visiting(LAB, lab, height=1600) as visit:
        visit.open("notebooks/03_balancing.ipynb")
        visit.run_all()
        slider = visit.page.locator(".nsf-threshold .noUi-handle").first
        slider.wait_for(timeout=60_000)
        slider.scroll_into_view_if_needed()
        summary = visit.page.locator(".nsf-summary").first
        before, box = summary.inner_text(), slider.bounding_box()
        middle = box["y"] + box["height"] / 2
        visit.drag((box["x"] + box["width"] / 2, middle), (box["x"] + 50, middle))
        changed = "before => document.querySelector('.nsf-summary').innerText !== before"
        try:
            visit.page.wait_for_function(changed, arg=before, timeout=10_000)
            visit.page.locator(".nsf-write").first.click()
            visit.page.get_by_text("go on with: nsfast run").first.wait_for(timeout=10_000)
        finally:
            visit.screenshot("balancing")
    run = copy_of_finished / "runs/digits"
    chosen = read_run(run).groups["balancing"]["threshold"]
    assert 0.3 < chosen < 1
    assert "runs" in [state for stage, state in plan(run, read_run(run)) if stage.kind == "balancing"]
