"""The figure without a browser: marks have the numbers of the charts, and a click on one finds as many pictures."""

import json
import subprocess
import sys

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core import Answers, Filter, PseudoLabels, ThresholdPreview, charts, select
from nsfast.explore.live.figure import ChartFigure
from nsfast.labels import Balancing

CLASSES = ("ant", "bee", "<img src=x onerror=alert(1)>", "dog & <b>co</b> $x^2$")
KEYS = {"alt": False, "ctrl": False, "meta": False, "shift": False, "button": 0, "buttons": 1}


def made(n=400, seed=0, classes=CLASSES, **change):
    random, count = np.random.default_rng(seed), len(classes)
    predicted = random.integers(0, count, n)
    known = {
        "truth": np.where(random.random(n) < 0.7, predicted, random.integers(-1, count, n)),
        "others": {
            "round 1": Answers(np.where(random.random(n) < 0.6, predicted, random.integers(-1, count, n)))
        },
        "round": 2,
        "embedding": random.normal(size=(n, 2)),
    }
    confidence = random.permutation(np.arange(n) / n)  # no two are equal, as float16 too
    return PseudoLabels(classes, predicted, confidence, **{**known, **change})


class Front:
    """A figure and what its front-end sends: the only place that knows plotly's private names."""

    def __init__(self, labels, how=None, validation=None, threshold=0.5):
        self.labels, self.selected, self.thresholds = labels, [], []
        self.preview = ThresholdPreview.of_labels(labels, how or Balancing(threshold))
        self.chart = ChartFigure(labels, self.preview, threshold, validation)
        self.chart.on_select(self.selected.append)
        self.chart.on_threshold(self.thresholds.append)
        self.buttons, self.against, self.hint = self.chart.widget.children[0].children
        self.figure = self.chart.figure

    def traces(self, name):
        """The traces that are seen: of the histogram, or of the chart beside it."""
        right = name != "confidence"
        return [t for t in self.figure.data if t.visible and (t.xaxis == "x2") == right]

    def click(self, trace, point):
        place = next(i for i, known in enumerate(self.figure.data) if known is trace)
        self._points("plotly_click", None, trace_indexes=[place], point_indexes=[point], xs=[0], ys=[0])
        return self.selected[-1] if self.selected else None

    def _points(self, event, selector, **points):
        message = {"event_type": event, "device_state": KEYS, "selector": selector, "points": points}
        self.figure._js2py_pointsCallback = message

    def drag(self, **line):
        self.figure._js2py_relayout = {
            "relayout_data": {f"shapes[0].{side}": value for side, value in line.items()},
            "source_view_id": "page",
        }

    def encircle(self, *outlines, axis="x2"):
        drawn = [
            {
                "xref": axis,
                "yref": axis.replace("x", "y"),
                "type": "path",
                "path": path,
                "opacity": "_undefined_",
            }
            for path in outlines
        ]
        self.figure._js2py_relayout = {"relayout_data": {"selections": drawn}, "source_view_id": "page"}

    def drawn(self, edit):
        """A page says that it has drawn the figure up to some edit."""
        self.figure._js2py_traceDeltas = {
            "trace_deltas": [{"uid": trace.uid} for trace in self.figure.data],
            "trace_edit_id": edit,
        }

    def count(self, keywords):
        return len(select(self.labels, Filter(**keywords)))

    @property
    def line(self):
        shape = self.figure.layout.shapes[0]
        return shape.x0, shape.x1, shape.y0, shape.y1


@pytest.fixture(scope="module")
def one():
    return Front(made())


@pytest.fixture
def front(one):
    """The same one for all, for a figure takes a second, put back to where it begins."""
    one.chart.show("classes", "truth")
    one.chart.update(one.preview, 0.5)
    one.selected.clear()
    one.thresholds.clear()
    return one


def test_only_what_the_labels_allow_can_be_chosen():
    def views(**change):
        labels = made(40, **change)
        return ChartFigure(labels, ThresholdPreview.of_labels(labels, Balancing()), 0.5).views

    assert views() == ["classes", "confusion", "reliability", "precision", "changed", "map"]
    assert views(truth=None) == ["classes", "confusion", "changed", "map"]
    assert views(truth=None, others={}, embedding=None) == ["classes"]
    assert views(others={}, embedding=None) == ["classes", "confusion", "reliability", "precision", "changed"]


def test_asking_for_another_chart_names_the_ones_there_are():
    labels = made(40, truth=None)
    chart = ChartFigure(labels, ThresholdPreview.of_labels(labels, Balancing()), 0.5)
    with pytest.raises(NsfastError, match="unknown chart 'precison'; valid names: changed, classes"):
        chart.show("precison")
    with pytest.raises(NsfastError, match="unknown model 'round 3'; did you mean 'round 1'"):
        chart.show("changed", "round 3")


def test_plotly_is_imported_with_the_first_widget_only():
    code = (
        "import sys, numpy as np\n"
        "from nsfast.explore.core import PseudoLabels, ThresholdPreview\n"
        "from nsfast.explore.live.figure import ChartFigure\n"
        "from nsfast.explore.live.panel import ThresholdPanel\n"
        "from nsfast.labels import Balancing\n"
        "labels = PseudoLabels(['a'], np.zeros(3, int), np.ones(3))\n"
        "preview = ThresholdPreview.of_labels(labels, Balancing())\n"
        "chart = ChartFigure(labels, preview, 0.5); chart.show('classes'); chart.move(0.3)\n"
        "ThresholdPanel(preview).threshold = 0.4\n"
        "assert not {'ipywidgets', 'matplotlib.pyplot', 'torch', 'plotly'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_nothing_is_sent_to_a_server_and_only_the_line_can_be_dragged(front):
    config = front.figure._config
    assert config["showSendToCloud"] is False and config["edits"] == {"shapePosition": True}
    assert "endChart" not in json.dumps(config) and "loud" not in json.dumps(config["modeBarButtons"])
    assert len(front.figure.layout.shapes) == 1


# numbers and clicks


def test_the_histogram_has_the_numbers_of_the_preview_and_all_of_a_bar_is_found(front):
    bins = charts.confidence_bins(front.labels)
    wrong, right, target = front.traces("confidence")
    assert (wrong.y == bins.wrong).all() and (wrong.y + right.y == bins.count).all()
    for bin in (0, 17, 39):
        assert bins.edges[bin] < target.x[bin] < bins.edges[bin + 1]
        keywords = front.click(target, bin)
        assert keywords == bins.selects(bin) and front.count(keywords) == bins.count[bin] > 0
    assert len(front.selected) == 3
    faded = np.array(right.marker.opacity) < 1
    assert faded[:20].all() and not faded[20:].any()


def test_without_the_truth_the_histogram_has_one_colour():
    front = Front(made(truth=None))
    (bars, target) = front.traces("confidence")
    assert bars.y.sum() == 400 and not bars.showlegend
    assert front.count(front.click(target, 30)) == bars.y[30]


@pytest.mark.parametrize(
    "how", [Balancing(0.5, 30), Balancing(0.5, "largest"), Balancing(0.5, method="none")]
)
def test_a_bar_of_a_class_finds_what_is_kept_or_dropped_of_it(front, how):
    front.chart.update(front.preview.asking(how), 0.5)
    table = front.preview.asking(how).at(0.5)
    dropped, kept, copies = front.traces("classes")
    assert (
        (dropped.x == -table.dropped).all()
        and (kept.x == table.kept).all()
        and (copies.x == table.copies).all()
    )
    for number, name in enumerate(CLASSES):
        assert front.count(front.click(kept, number)) == table.kept[number] > 0
        assert front.selected[-1]["predicted"] == name
        assert front.count(front.click(dropped, number)) == table.dropped[number] > 0
        assert front.click(copies, number) == front.click(kept, number)


def test_where_nothing_is_kept_a_bar_finds_the_whole_class(front):
    front.chart.update(front.preview, 1.0)
    dropped, kept, _ = front.traces("classes")
    assert not kept.x.any()
    assert front.click(dropped, 1) == {"predicted": "bee"}
    assert front.count(front.selected[-1]) == -dropped.x[1]


@pytest.mark.parametrize("against", ["truth", "round 1"])
def test_a_cell_of_the_confusion_finds_its_pictures(front, against):
    front.chart.show("confusion", against)
    expected = charts.confusion(front.labels, against)
    (heatmap,) = front.traces("confusion")
    counts = [[int(cell or 0) for cell in line] for line in heatmap.text]
    assert counts == expected.counts.tolist() and sum(map(sum, counts)) > 200
    for row, column in ((0, 0), (1, 3), (len(counts) - 1, 2)):
        assert front.count(front.click(heatmap, [row, column])) == counts[row][column] > 0
    z = np.array(heatmap.z)
    mistakes = expected.counts[~np.eye(*z.shape, dtype=bool)]
    assert (
        heatmap.zmax == mistakes.max() and (np.diag(z) <= 0.12 * mistakes.max()).all()
    )  # what agrees is faint
    assert (z[~np.eye(*z.shape, dtype=bool)] == mistakes).all()


def test_a_bin_of_the_reliability_finds_its_pictures(front):
    front.chart.show("reliability")
    expected = charts.reliability(front.labels)
    line, points, bars = front.traces("reliability")
    assert (points.y == expected.accuracy).all() and (points.x == expected.confidence).all()
    assert points.y + points.error_y.array == pytest.approx(expected.high)
    assert points.y - points.error_y.arrayminus == pytest.approx(expected.low)
    assert (bars.y == expected.count).all() and bars.yaxis == "y3" and front.figure.layout.yaxis3.visible
    for trace in (points, bars):
        assert front.count(front.click(trace, 4)) == expected.count[4] > 0
    assert front.click(line, 0) == front.selected[-1] and len(front.selected) == 2


def test_empty_bins_have_no_mark_and_validation_stands_in_for_the_truth():
    confidence = np.repeat([0.3, 0.95], 20)
    validation = np.zeros(40, int), confidence, np.repeat([1, 0, 1, 0], 10)
    front = Front(made(truth=None), validation=validation)
    front.chart.show("reliability")
    _, points, bars = front.traces("reliability")
    assert points.x == pytest.approx([0.3, 0.95], abs=1e-3) and points.y.tolist() == [0.5, 0.5]
    assert bars.y.tolist() == [20, 20]
    low, high = front.click(points, 1)["confidence"]
    assert low < 0.95 < high
    assert "Validation pictures" in front.figure.layout.annotations[1].text


def test_a_point_of_the_precision_finds_what_reaches_the_threshold(front):
    front.chart.show("precision")
    expected = charts.precision_by_threshold(front.labels)
    low, high, every, *lines = front.traces("precision")
    reached, right = expected.reached.sum(0), expected.right.sum(0)
    places = np.flatnonzero(reached)
    share = np.array([every.y[place] for place in places])
    assert share == pytest.approx(right[places] / reached[places])
    assert all(low.y[place] <= every.y[place] <= high.y[place] for place in places)
    assert low.y[6] < every.y[6] < high.y[6]
    assert [value is None for value in every.y] == (reached == 0).tolist()
    for number, line in enumerate(lines):
        assert line.y[6] == expected.precision[number, 6]
        assert front.count(front.click(line, 6)) == expected.reached[number, 6] > 0
    assert front.count(front.click(every, 6)) == reached[6]
    assert front.click(low, 6) == front.selected[-1] and len(front.selected) == 5


@pytest.mark.parametrize("against", ["truth", "round 1"])
def test_a_bar_of_the_changes_finds_them(front, against):
    front.chart.show("changed", against)
    expected = charts.changes(front.labels, against, 0.5, most=15)
    (bars,) = front.traces("changed")
    assert (bars.x == expected.count).all() and len(bars.x) > 5
    for place in (0, 3):
        assert front.count(front.click(bars, place)) == bars.x[place] > 0
    front.chart.update(front.preview, 0.9)
    assert (front.traces("changed")[0].x == charts.changes(front.labels, against, 0.9, most=15).count).all()


def test_points_on_the_map_are_pictures_and_wrong_ones_are_outlined(front):
    front.chart.show("map")
    points, names = front.traces("map")
    assert (points.x == front.labels.embedding[:, 0]).all()
    wrong = front.labels.truth != front.labels.predicted
    assert ((np.array(points.marker.line.width) > 0) == wrong).all()
    assert front.click(points, 17) == {"pictures": ("17",)}
    assert front.click(names, 1) == front.selected[-1] and len(front.selected) == 1
    assert front.figure.layout.dragmode == "lasso"


def test_encircled_points_are_selected_and_a_mere_click_keeps_them(front):
    front.chart.show("map")
    front.encircle("M-1,-1L0.5,-1L0.5,0.2L-1,0.2Z", "M1,1L9,1L9,9L1,9L1,1Z")
    x, y = front.labels.embedding.T
    inside = ((x > -1) & (x < 0.5) & (y > -1) & (y < 0.2)) | ((x > 1) & (y > 1))
    names = tuple(str(row) for row in np.flatnonzero(inside))
    assert front.selected == [{"pictures": names}] and len(names) > 20
    front.encircle()  # a click on the ground takes the outline away
    front.encircle("M50,50L51,50L51,51Z")
    front.encircle("M-9,-9L9,-9L9,9L-9,9Z", axis="x")  # on the histogram
    assert len(front.selected) == 1
    front.encircle("M-9,-9L9,-9L9,9L-9,9Z")
    assert len(front.selected[-1]["pictures"]) == 400
    front.chart.show("classes")
    assert front.figure.layout.to_plotly_json()["selections"] == [] and front.figure.layout.dragmode is False
    assert all(trace.selectedpoints is None for trace in front.traces("classes") + front.traces("confidence"))


def test_what_is_not_seen_cannot_be_clicked(front):
    kept = front.traces("classes")[1]
    front.chart.show("reliability")
    assert front.click(kept, 0) is None and front.selected == []


# the line of the threshold


@pytest.mark.parametrize(
    "dragged, threshold",
    [
        ({"x0": 0.337, "x1": 0.337}, 0.34),
        ({"x0": 0.91, "x1": 0.91, "y0": 0.2, "y1": 1.2}, 0.91),
        ({"x1": 0.2, "y1": 0.7}, 0.2),  # by one of its ends
        ({"x0": 1.3, "x1": 1.3}, 1.0),
        ({"x0": -0.2, "x1": -0.2}, 0.0),
    ],
)
def test_a_dragged_line_tells_the_threshold_once_and_stands_upright(front, dragged, threshold):
    front.drag(**dragged)
    assert front.thresholds == [threshold]
    assert front.line == (threshold, threshold, 0, 1)


def test_a_line_that_comes_back_tells_nothing(front):
    front.drag(x0=0.503, x1=0.503, y0=0.1, y1=1.1)
    assert front.thresholds == [] and front.line == (0.5, 0.5, 0, 1)


def test_a_line_that_is_moved_from_python_tells_nothing_and_draws_nothing_else(front):
    before = repr(front.figure.to_dict()["data"])
    for threshold in (0.1, 0.737, 1.0):
        front.chart.move(threshold)
        assert front.line == (threshold, threshold, 0, 1)
    assert front.thresholds == [] and repr(front.figure.to_dict()["data"]) == before


# the widgets


def test_buttons_and_python_choose_the_same(front):
    front.buttons.value = "confusion"
    assert front.chart.view == "confusion" and front.against.layout.display == ""
    front.against.value = "round 1"
    cells = front.traces("confusion")[0].text
    counts = charts.confusion(front.labels, "round 1").counts
    assert [[int(cell or 0) for cell in line] for line in cells] == counts.tolist()
    assert front.chart.against == "round 1"
    front.chart.show("precision", "truth")
    assert (front.buttons.value, front.against.value) == ("precision", "truth")
    assert front.against.layout.display == "none"
    front.chart.show("changed", "round 1")
    assert (front.chart.view, front.chart.against, front.buttons.value) == ("changed", "round 1", "changed")
    assert (front.traces("changed")[0].x == charts.changes(front.labels, "round 1", 0.5, most=15).count).all()


def test_what_cannot_be_drawn_is_said():
    front = Front(made(embedding=np.zeros((400, 3))))
    front.chart.show("map")
    assert "embedding has shape (400, 3)" in front.hint.value


def test_a_front_end_that_asks_anew_gets_what_is_shown_now(front):
    def asked():
        state = front.figure.get_state()
        kept = [state["_widget_data"], state["_widget_layout"]]
        return json.loads(json.dumps(kept, default=lambda buffer: bytes(buffer).hex()))

    front.drawn(1)
    seen = asked()
    front.chart.show("confusion")
    front.drag(x0=0.25, x1=0.25)
    now = asked()
    assert now != seen and now[1]["shapes"][0]["x0"] == 0.25
    assert [trace["visible"] for trace in now[0]] == [trace.visible for trace in front.figure.data]


def test_a_page_that_draws_it_first_is_made_to_measure_the_cell_once():
    front = Front(made(40))
    sent = []
    front.figure.layout.on_change(lambda layout, meta: sent.append(meta), "meta")
    front.drawn(4)
    assert len(sent) == 1
    for edit in (5, 6, 7):  # edits that it has drawn
        front.drawn(edit)
    assert len(sent) == 1
    front.drawn(7)  # the page was loaded again
    assert len(sent) == 2


# what comes from data


def strings(found):
    if isinstance(found, dict):
        return [text for key, value in found.items() if key != "template" for text in strings(value)]
    if isinstance(found, (list, tuple, np.ndarray)):
        return [text for value in found for text in strings(value)]
    return [found] if isinstance(found, str) else []


def test_names_are_text_in_every_chart():
    hostile = {"<a href='http://x'>1</a>": Answers(np.zeros(400, np.int32))}
    front = Front(made(others=hostile))
    for against in ("truth", *hostile):
        for view in front.chart.views:
            front.chart.show(view, against)
            texts = strings(front.figure.to_dict())
            ours = [text.replace("<b>", "").replace("</b>", "") for text in texts]
            assert not [text for text in ours if "<" in text or ">" in text.replace("->", "")]
    assert any("&lt;img src=x onerror=alert(1)&gt;" in text for text in texts)
    assert front.figure._config["typesetMath"] is False  # $...$ is no formula


def test_long_names_are_cut_so_that_they_can_be_told_apart():
    names = [f"a very long name of a class\nnumber {number}" for number in range(3)]
    front = Front(made(classes=names))
    ticks = front.figure.layout.yaxis2.ticktext
    assert len(set(ticks)) == 3 and all(len(tick) <= 16 and "\n" not in tick for tick in ticks)
    assert "a very long name of a class number 2: " in front.traces("classes")[1].hovertext[2]


def test_one_class_can_be_drawn_in_every_chart():
    front = Front(made(30, classes=["only"]), Balancing(0.5, 10))
    for view in front.chart.views:
        front.chart.show(view)
        assert front.chart.view == view and front.traces(view)
    assert front.count(front.click(front.traces("map")[0], 3)) == 1


def test_nothing_that_changed_can_be_drawn():
    labels = made()
    front = Front(made(others={"round 1": Answers(labels.predicted)}))
    front.chart.show("changed", "round 1")
    (bars,) = front.traces("changed")
    assert len(bars.x) == 0 and "0 changed" in front.figure.layout.xaxis2.title.text


def test_of_1000_classes_the_largest_are_drawn():
    front = Front(
        made(20_000, classes=[f"class {i}" for i in range(1000)], embedding=None), Balancing(0.5, 30)
    )
    kept = front.traces("classes")[1]
    table = front.preview.at(0.5)
    largest = np.argsort(-table.predicted, kind="stable")[:30]
    assert (kept.x == table.kept[largest]).all()
    assert front.figure.layout.yaxis2.ticktext[0] == f"class {largest[0]}"
    assert front.click(kept, 2)["predicted"] == f"class {largest[2]}"
    front.chart.show("confusion")
    assert np.array(front.traces("confusion")[0].z).shape == (21, 20)
    front.chart.show("precision")
    precision = charts.precision_by_threshold(front.labels)
    lines = front.traces("precision")[3:]
    assert [line.y[0] for line in lines] == precision.precision[precision.shown, 0].tolist() and len(
        lines
    ) == 10
    assert front.click(lines[3], 0)["predicted"] == f"class {precision.shown[3]}"
    sizes = {trace.type: front.figure.layout.height for trace in front.figure.data}
    assert max(sizes.values()) < 600
