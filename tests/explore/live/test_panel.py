"""The panel without a browser: what is typed, dragged and set from Python comes to the same balancing and numbers."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.explore.core import PseudoLabels, ThresholdPreview
from nsfast.explore.live.panel import A_NUMBER, ThresholdPanel
from nsfast.explore.static.summary import classes_html, describe
from nsfast.labels import Balancing, balance, write_labels
from nsfast.labels.histogram import CODES, codes_of
from nsfast.labels.origin import Origin
from nsfast.labels.quality.estimate import estimate_precision

CLASSES = ("cat", "<script>alert('$x^')</script>", "dog & co $")


def made(n=90, truth=True, seed=0):
    generator = np.random.default_rng(seed)
    predicted = generator.integers(0, 3, n)
    known = np.where(generator.random(n) < 0.8, predicted, -1) if truth else None
    return PseudoLabels(CLASSES, predicted, generator.random(n), truth=known)


@pytest.fixture
def preview():
    return ThresholdPreview.of_labels(made(), Balancing(0.2))


@pytest.fixture
def panel(preview):
    panel = ThresholdPanel(preview, Balancing(0.2, 20))
    assert panel.widget.has_trait("children")
    return panel


def part(panel, hook):
    """The widget with a public CSS hook."""

    def all_of(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from all_of(child)

    return next(widget for widget in all_of(panel.widget) if f"nsf-{hook}" in widget._dom_classes)


def text_of(widget):
    return re.sub("<[^>]+>", " ", widget.value)


def test_a_dragged_slider_moves_the_threshold_the_sentence_and_the_table(panel, preview):
    seen = []
    panel.observe(lambda change: seen.append(change["new"]), "threshold")
    for value in (0.3, 0.75):
        part(panel, "threshold").set_state({"value": value})  # what a front-end sends
        table = preview.asking(Balancing(value, 20)).at(value)
        assert panel.how == Balancing(value, 20) and panel.table.rows() == table.rows()
        assert describe(table) in text_of(part(panel, "summary")).replace("&#x27;", "'")
        assert classes_html(table) in panel.classes.value
    assert seen == [0.3, 0.75]


def test_it_follows_what_python_sets(panel):
    panel.threshold, panel.per_class, panel.method = 0.6, "auto", "official"
    assert part(panel, "threshold").value == 0.6
    assert part(panel, "per-class").value == "auto" and part(panel, "number").layout.display == "none"
    assert part(panel, "method").value == "official"
    panel.per_class = np.int64(33)
    assert part(panel, "per-class").value == A_NUMBER and part(panel, "number").value == 33
    assert part(panel, "number").layout.display == "" and panel.how == Balancing(0.6, 33, "official")


def test_a_number_begins_where_the_rule_was_and_is_typed(panel):
    panel.per_class = "largest"
    asked = panel.table.per_class
    part(panel, "per-class").value = A_NUMBER
    assert panel.per_class == asked == part(panel, "number").value > 1
    part(panel, "number").value = 7
    assert panel.how.per_class == 7 and panel.table.seen.tolist() == [7, 7, 7]
    part(panel, "per-class").value = "paper"
    assert panel.how.per_class == "paper"


def test_what_has_no_widget_stays(preview):
    how = Balancing(
        0.3, 30, thresholds={"cat": 0.9}, seed=5, floor=4, max_copies=3, empty="error", temperature=2
    )
    panel = ThresholdPanel(preview, how)
    assert panel.how == how
    panel.threshold, panel.per_class = 0.5, "largest"
    assert panel.how == replace(how, threshold=0.5, per_class="largest")


def test_the_balancing_that_it_tells_does_what_it_shows(tmp_path):
    given = np.random.default_rng(0).dirichlet(np.full(3, 0.5), 200)
    table = write_labels(tmp_path, given, Origin(CLASSES, "teacher"))
    labels = PseudoLabels(CLASSES, table.predicted, table.confidence)
    panel = ThresholdPanel(ThresholdPreview.of_labels(labels, Balancing()))
    for threshold, per_class, method in ((0.5, 40, "top"), (0.8, "largest", "top"), (0.7, "paper", "none")):
        panel.threshold, panel.per_class, panel.method = threshold, per_class, method
        assert panel.table.rows() == balance(table, panel.how, tmp_path).rows


def test_what_does_not_go_together_is_one_sentence_and_cannot_be_written(panel):
    before, sentence = panel.how, part(panel, "summary").value
    assert "20 pictures of each class" in sentence and panel.wrong == ""
    panel.method = "none"
    said = text_of(part(panel, "summary"))
    assert "per_class is 20, but method &#x27;none&#x27; only filters" in said and said.count(".") == 0
    assert panel.wrong and panel.how == before and panel.classes.value == ""
    assert part(panel, "write").disabled
    panel.per_class = "largest"
    assert panel.wrong == "" and not part(panel, "write").disabled
    assert panel.how == Balancing(0.2, "largest", "none") and "<table" in panel.classes.value


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("per_class", "papre", "unknown per_class 'papre'; did you mean 'paper'"),
        ("per_class", 0, "per_class is 0"),
        ("per_class", 2.5, "must be a whole number"),
        ("method", "tops", "unknown balancing method 'tops'; did you mean 'top'"),
    ],
)
def test_what_does_not_exist_is_refused_and_changes_nothing(panel, name, value, message):
    before = panel.how
    with pytest.raises(NsfastError, match=message):
        setattr(panel, name, value)
    assert panel.how == before and getattr(panel, name) == getattr(before, name)


def test_the_button_calls_and_what_comes_of_it_is_said(panel):
    calls = []
    panel.on_write(lambda: calls.append(panel.how))
    part(panel, "threshold").value = 0.5
    part(panel, "write").click()
    assert calls == [Balancing(0.5, 20)]
    panel.say("written to <b>")
    assert "written to &lt;b&gt;" in part(panel, "written").value


def test_without_the_truth_the_precision_of_the_kept_is_estimated():
    """Of those that stand in the selection, so of the most confident where there is a cap."""
    labels, generator = made(300, truth=False), np.random.default_rng(3)
    confidence = generator.random(80)
    validation = np.zeros(80, int), confidence, (generator.random(80) > confidence).astype(int)
    panel = ThresholdPanel(
        ThresholdPreview.of_labels(labels, Balancing(0.4, 50)),
        labeled=np.array([5, 10, 15]),
        validation=validation,
    )
    kept = []
    for number in range(3):
        mine = np.sort(labels.confidence[labels.predicted == number])[::-1]
        kept.append(mine[mine >= np.float16(0.4)][:50])
    pool = np.bincount(codes_of(np.concatenate(kept)), minlength=CODES)
    expected = estimate_precision(validation, [pool])["sets"][0]
    assert panel.table.estimated == pytest.approx(expected)
    assert "5.0 times the 30 labeled ones" in text_of(part(panel, "summary"))
    assert f"about {100 * expected['precision']:.1f} % of the kept" in text_of(part(panel, "summary"))
    known = ThresholdPanel(ThresholdPreview.of_labels(made(), Balancing()), validation=validation)
    assert known.table.estimated is None  # what is known is not estimated


def test_other_counts_are_shown_at_once(panel):
    other = ThresholdPreview.of_labels(made(40, seed=9), Balancing())
    panel.preview = other
    assert panel.table.rows() == other.asking(panel.how).at(panel.how.threshold).rows()
    assert "of 40 pseudo-labels" in part(panel, "summary").value


def test_class_names_are_text(panel):
    panel.per_class = "largest"
    for value in (panel.classes.value, part(panel, "summary").value):
        assert "<script>" not in value
    assert "&lt;script&gt;" in panel.classes.value


def test_a_slider_over_a_million_labels_of_1000_classes_is_followed():
    generator, n = np.random.default_rng(0), 1_000_000
    predicted, confidence = generator.integers(0, 1000, n), generator.random(n)
    labels = PseudoLabels([f"class {i}" for i in range(1000)], predicted, confidence)
    validation = predicted[:2000], confidence[:2000], np.where(confidence[:2000] > 0.4, predicted[:2000], 0)
    panel = ThresholdPanel(ThresholdPreview.of_labels(labels, Balancing()), validation=validation)
    slider = part(panel, "threshold")
    assert panel.classes.value.count("<tr>") == 1 + 30 + 1 + 1
    begun = time.process_time()
    for value in np.linspace(0, 1, 11):
        slider.value = float(value)
    assert (time.process_time() - begun) / 11 < 0.1
