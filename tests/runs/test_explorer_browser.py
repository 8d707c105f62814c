"""A person explores a run in JupyterLab, Notebook 7 and Voila: drags, clicks, decides, and finds it all again."""

import ast
import json
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest

from nsfast.images import load_images
from nsfast.labels import read_labels
from tests.runs import fronts

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
# what front ends say of themselves
NOT_OURS = ("404", "favicon", "Failed to load resource", "ResizeObserver", "Unsatisfied version", "WebSocket")


@pytest.fixture
def folder(copy_of_finished) -> Path:
    """A folder with a finished run and a notebook that explores it."""
    code = [
        "from nsfast.pipeline.exploring import explore_run",
        "explorer = explore_run('runs/digits', round=1)\nexplorer",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in code]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), copy_of_finished / "explore.ipynb")
    return copy_of_finished


@contextmanager
def opened(kind, folder, environment):
    """A person before the notebook in a front end."""
    with fronts.served(kind, folder, {**environment, "NSFAST_WHO": "ann"}) as address:
        with fronts.visiting(kind, address, height=1600) as visit:
            visit.open("explore.ipynb")
            yield visit


def call_of(page) -> dict:
    """The selection that stands beneath the figure, as keywords."""
    text = page.locator(".nsf-selection code").inner_text()
    return {word.arg: ast.literal_eval(word.value) for word in ast.parse(text).body[0].value.keywords}


def expected(folder: Path, found: dict) -> list[str]:
    """The names of the first 24 pictures that a selection should show, from the files alone."""
    labels, images = (
        read_labels(folder / "runs/digits/round-1/labels"),
        load_images(folder / "runs/digits/images"),
    )
    classes, confidence = np.array(labels.classes), labels.confidence
    wanted = np.ones(len(labels), bool)
    if "predicted" in found:
        wanted &= classes[labels.predicted] == found["predicted"]
    if "truth" in found:
        truth = images.truth[labels.ids]
        wanted &= (truth >= 0) & (classes[truth] == found["truth"])
        wanted &= truth < 0 if found["truth"] == "(no class)" else True
    if "confidence" in found:
        low, high = np.float16(found["confidence"][0]), np.float16(found["confidence"][1])
        wanted &= (confidence >= low) & ((confidence < high) | (high == 1))
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(confidence[rows], kind="stable")][:24]
    return [str(images.unlabeled.ids[i]) for i in labels.ids[rows]]


def click_and_see(visit, folder, x: float, y: float, words: set[str]) -> list[str]:
    """Click a mark and check the pictures that come."""
    before = visit.page.locator(".nsf-selection").inner_text()
    visit.click(x, y)
    changed = "before => document.querySelector('.nsf-selection').innerText !== before"
    visit.page.wait_for_function(changed, arg=before, timeout=15_000)
    found = call_of(visit.page)
    assert words <= set(found)
    names = expected(folder, found)
    assert names
    visit.page.wait_for_function(
        "names => JSON.stringify([...document.querySelectorAll('.nsf-tile')].map(t => t.dataset.name)) === names",
        arg=json.dumps(names, separators=(",", ":")),
        timeout=15_000,
    )
    return names


def decisions(folder: Path) -> list[dict]:
    path = folder / "runs/digits/decisions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for_decisions(visit, folder, count: int) -> list[dict]:
    for _ in range(300):
        if len(found := decisions(folder)) >= count:
            return found
        visit.page.wait_for_timeout(100)
    raise AssertionError(f"{len(found)} decisions instead of {count}")


def wait_for_explorer(visit) -> None:
    visit.page.locator(".nsf-explorer").first.wait_for(timeout=120_000)
    visit.page.locator(".nsf-tile").first.wait_for(timeout=60_000)
    visit.page.locator(".js-plotly-plot .barlayer .point path").first.wait_for(
        state="attached", timeout=60_000
    )


def box_at_rest(locator) -> dict[str, float]:
    """Return where a part of a figure lies, once it does not move: the figure may be drawn anew just then."""
    deadline, before = time.monotonic() + 15, None
    while (box := locator.bounding_box()) is None or box != before:
        assert time.monotonic() < deadline, f"not drawn, or not at rest: {box}"
        before = box
        locator.page.wait_for_timeout(100)
    return box


def drag_the_threshold(visit) -> None:
    """By its slider, then by its line; the sentence follows."""
    page = visit.page
    summary = page.locator(".nsf-summary").first
    slider = page.locator(".nsf-threshold .noUi-handle").first
    slider.scroll_into_view_if_needed()
    changed = "before => document.querySelector('.nsf-summary').innerText !== before"
    before, box = summary.inner_text(), slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    visit.drag((box["x"] + box["width"] / 2, middle), (box["x"] - 40, middle))
    page.wait_for_function(changed, arg=before, timeout=15_000)
    page.wait_for_timeout(600)
    before, line = summary.inner_text(), box_at_rest(page.locator(".js-plotly-plot .shapelayer path").first)
    x, y = line["x"] + line["width"] / 2, line["y"] + line["height"] / 2
    visit.drag((x, y), (x + 40, y))
    page.wait_for_function(changed, arg=before, timeout=15_000)


def explore(visit, folder) -> list[str]:
    """Click a bar and a cell of the confusion; return the names of the pictures that are shown then."""
    page = visit.page
    bars = page.locator(".js-plotly-plot .subplot.xy .barlayer .point path").all()
    sizes = [bar.bounding_box() for bar in bars]
    bar = max((box for box in sizes if box and box["height"] > 8), key=lambda box: box["height"])
    click_and_see(visit, folder, bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2, {"confidence"})
    page.locator(".nsf-view button", has_text="confusion").click()
    heat = page.locator(".heatmaplayer image").first
    heat.wait_for(state="attached", timeout=15_000)
    box = box_at_rest(heat)
    labels, images = (
        read_labels(folder / "runs/digits/round-1/labels"),
        load_images(folder / "runs/digits/images"),
    )
    truth = images.truth[labels.ids]
    cell = np.bincount(truth[truth >= 0] * 10 + labels.predicted[truth >= 0], minlength=100).argmax()
    # where the fullest cell lies is read from the figure's own ticks
    name = labels.classes[cell // 10]
    across = [t.bounding_box() for t in page.locator(".x2tick text").all() if t.text_content() == name][0]
    down = [t.bounding_box() for t in page.locator(".y2tick text").all() if t.text_content() == name][0]
    x, y = across["x"] + across["width"] / 2, down["y"] + down["height"] / 2
    assert box["x"] < x < box["x"] + box["width"] and box["y"] < y < box["y"] + box["height"]
    return click_and_see(visit, folder, x, y, {"truth", "predicted"})


def decide(visit, folder, names: list[str]) -> None:
    """Reject the first, take it back, relabel the second, all by keys; each is in the file at once."""
    page = visit.page
    tile = page.locator(".nsf-tile").first
    tile.scroll_into_view_if_needed()
    tile.click()
    cells = page.locator(".jp-Cell").count()
    page.keyboard.press("r")
    found = wait_for_decisions(visit, folder, 1)
    assert (found[0]["action"], found[0]["id"], found[0]["who"]) == ("reject", names[0], "ann")
    page.locator(".nsf-tile .nsf-decision").first.wait_for(timeout=10_000)
    page.keyboard.press("u")
    assert wait_for_decisions(visit, folder, 2)[1]["action"] == "undo"
    page.wait_for_function("!document.querySelector('.nsf-tile .nsf-decision')", timeout=10_000)
    tile.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")
    last = wait_for_decisions(visit, folder, 3)[2]
    assert (last["action"], last["id"], last["to"]) == ("relabel", names[1], "3")
    page.locator(".nsf-tile .nsf-decision").first.wait_for(timeout=10_000)
    assert page.locator(".jp-Cell").count() == cells  # no key went to the notebook


def nothing_of_ours_complains(visit) -> None:
    ours = [text for text in visit.errors if not any(word in text for word in NOT_OURS)]
    assert not ours, ours


@pytest.mark.parametrize("kind", [fronts.LAB, fronts.NOTEBOOK])
def test_explores_decides_and_finds_the_decisions_after_a_restart(folder, plain_environment, kind):
    with opened(kind, folder, plain_environment) as visit:
        visit.run_all()
        wait_for_explorer(visit)
        drag_the_threshold(visit)
        names = explore(visit, folder)
        decide(visit, folder, names)
        visit.screenshot(f"explorer-{kind}")
        assert visit.page.evaluate("document.querySelector('.nsf-explorer').scrollWidth") <= 1280
        visit.restart_kernel()
        visit.run_all()
        visit.page.wait_for_function(
            "document.querySelector('.nsf-decisions')?.innerText.includes('1 relabeled')", timeout=60_000
        )
        nothing_of_ours_complains(visit)


def test_the_app_shows_the_same(folder, plain_environment):
    kind = fronts.VOILA
    with opened(kind, folder, plain_environment) as visit:
        wait_for_explorer(visit)
        drag_the_threshold(visit)
        decide(visit, folder, explore(visit, folder))
        visit.screenshot(f"explorer-{kind}")
        nothing_of_ours_complains(visit)
