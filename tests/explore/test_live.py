"""The explorer without a browser: traits, what a notebook shows, and that static mode builds no widget."""

import asyncio
import base64
import subprocess
import sys

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore import live
from nsfast.explore.core import ThresholdPreview
from nsfast.explore.static import describe, threshold_figure

VIEW = "application/vnd.jupyter.widget-view+json"
PNG = b"\x89PNG\r\n\x1a\n"
CLASSES = ("cat", "<script>alert('$x^')</script>", "dog & co $")


@pytest.fixture
def preview():
    generator = np.random.default_rng(0)
    predicted = generator.integers(0, 3, 90)
    truth = np.where(generator.random(90) < 0.8, predicted, -1)
    return ThresholdPreview(predicted, generator.random(90), CLASSES, per_class=20, truth=truth)


@pytest.fixture
def environment(monkeypatch):
    for name in ("NSFAST_DISPLAY", *live.FRONT_ENDS):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["JPY_SESSION_NAME", "VOILA_KERNEL_ID", "VSCODE_PID"])
def test_is_live_where_a_front_end_is(name):
    assert live.display_mode({name: "x"}) == "live"
    assert live.display_mode({name: "x", "NSFAST_DISPLAY": "auto"}) == "live"
    assert live.display_mode({name: "x", "NSFAST_DISPLAY": "static"}) == "static"
    assert live.display_mode({name: ""}) == "static"


def test_is_static_where_none_is():
    assert live.display_mode({}) == "static"
    assert live.display_mode({"NSFAST_DISPLAY": "live"}) == "live"
    with pytest.raises(NsfastError, match="unknown NSFAST_DISPLAY 'statik'; did you mean 'static'"):
        live.display_mode({"NSFAST_DISPLAY": "statik"})


def test_static_mode_shows_a_picture_and_a_text_and_builds_no_widget(preview, environment):
    explorer = live.ThresholdExplorer(preview, 0.4)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(PNG)
    assert bundle["text/plain"] == describe(preview.at(0.4))
    explorer.threshold = 0.6
    assert "widget" not in vars(explorer)


def test_static_mode_does_not_even_import_ipywidgets():
    code = (
        "import sys, numpy as np\n"
        "from nsfast.explore.core import ThresholdPreview\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from nsfast.explore.live import ThresholdExplorer\n"
        "ThresholdExplorer(ThresholdPreview(np.array([0]), np.array([.5]), ['a']))._repr_mimebundle_()\n"
        "assert not {'ipywidgets', 'matplotlib.pyplot', 'torch', 'plotly'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"NSFAST_DISPLAY": "static", "PYTHONPATH": ":".join(sys.path)},
    )


def test_live_mode_keeps_the_fallback_beside_the_widget(preview, environment):
    environment.setenv("NSFAST_DISPLAY", "live")
    explorer = live.ThresholdExplorer(preview, 0.4)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {VIEW, "image/png", "text/plain"}
    assert bundle[VIEW]["model_id"] == explorer.widget.model_id
    assert explorer._repr_mimebundle_()[VIEW] == bundle[VIEW]


def test_the_slider_moves_the_threshold_the_table_and_the_picture(preview):
    explorer = live.ThresholdExplorer(preview, 0.2)
    slider, summary, picture = explorer.widget.children
    before = summary.value, picture.value
    slider.set_state({"value": 0.75})  # what a front-end sends
    assert explorer.threshold == 0.75
    assert summary.value == live.summary_html(preview.at(0.75)) != before[0]
    assert picture.value == threshold_figure(preview, 0.75).png() != before[1]


def test_the_threshold_moves_the_slider(preview):
    explorer = live.ThresholdExplorer(preview, 0.2)
    slider = explorer.widget.children[0]
    explorer.threshold = 0.6
    assert slider.value == 0.6
    assert explorer.table.above.tolist() == preview.at(0.6).above.tolist()


def test_a_dragged_slider_draws_once_it_rests(preview, monkeypatch):
    explorer = live.ThresholdExplorer(preview, 0.2)
    slider, summary, picture = explorer.widget.children
    monkeypatch.setattr(live, "REST", 0.02)
    drawn = []
    monkeypatch.setattr(explorer, "png", lambda: drawn.append(explorer.threshold) or PNG)

    async def drag():
        for value in (0.3, 0.4, 0.5):
            slider.value = value
            assert summary.value == live.summary_html(preview.at(value))  # counts follow at once
        assert drawn == []
        await asyncio.sleep(0.2)

    asyncio.run(drag())
    assert drawn == [0.5] and picture.value == PNG


def test_threshold_can_be_observed_and_stays_in_its_range(preview):
    explorer = live.ThresholdExplorer(preview, 0.2)
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "threshold")
    explorer.threshold = 0.9
    assert seen == [0.9]
    with pytest.raises(NsfastError, match="threshold is 30"):
        live.ThresholdExplorer(preview, 30)


def test_class_names_are_escaped(preview):
    text = live.summary_html(preview.at(0.5))
    assert "<script>" not in text and "&lt;script&gt;" in text and "dog &amp; co" in text


def test_many_classes_are_shortened_but_counted():
    predicted = np.arange(200) % 50
    table = ThresholdPreview(predicted, np.full(200, 0.9), [f"class {i}" for i in range(50)]).at(0.5)
    text = live.summary_html(table)
    assert text.count("<tr>") == 1 + 30 + 1 + 1 and "and 20 smaller classes" in text and ">200<" in text


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_every_threshold_can_be_drawn(preview, threshold):
    assert threshold_figure(preview, threshold).png().startswith(PNG)


def test_describe_says_what_is_kept():
    predicted, confidence = np.repeat([0, 1], [30, 10]), np.repeat([0.9, 0.4], 20)
    table = ThresholdPreview(predicted, confidence, ["a", "b"], truth=predicted).at(0.3)
    text = describe(table)
    assert text.startswith("40 of 40 pseudo-labels kept (100.0 %); 100.0 % of the kept are right")
    assert "3.0 before balancing, 3.0 after" in text
    assert "a class is empty" in describe(ThresholdPreview(predicted, confidence, ["a", "b"]).at(0.5))
