"""The explorer as one picture: its numbers are those of a plain count, every part is drawn, and names are text."""

import io
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from nsfast.analysis.figures.page import COPIED, DROPPED, KEPT, RIGHT, WRONG
from nsfast.explore.core import Filter, PseudoLabels, ThresholdPreview, select
from nsfast.explore.static.figure import SmallFigure
from nsfast.explore.static.panels import panels_of
from nsfast.explore.static.report import report_figure
from nsfast.explore.static.sheet import draw_sheet, sheet_of
from nsfast.labels.balancing.balance import Balancing
from nsfast.labels.decisions import DecisionLog

HOW = Balancing(threshold=0.5, per_class=30)


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB"))


def ink(image, color, near=12):
    """How many pixels have a colour, about."""
    wanted = 255 * np.array(to_rgb(color))
    return int((np.abs(image - wanted).max(-1) < near).sum())


def texts(figure):
    return [text.get_text().replace(r"\$", "$") for text in figure.findobj(Text) if text.get_text()]


def report(labels, filter=None, **more):
    preview = ThresholdPreview.of_labels(labels, HOW)
    return report_figure(labels, preview, 0.5, select(labels, filter), **more)


def panels(labels, **more):
    return {
        panel.name: panel for panel in panels_of(labels, ThresholdPreview.of_labels(labels, HOW), 0.5, **more)
    }


def sheet(labels, filter=None, decisions=None):
    """The pictures of a selection alone."""
    found = sheet_of(select(labels, filter), decisions)
    figure = SmallFigure(found.height)
    draw_sheet(figure, found)
    return figure


@pytest.fixture(scope="module")
def whole(made):
    """The labels, and their report."""
    labels = made()
    return labels, report(labels)


def drawn(panel):
    figure = SmallFigure(panel.height)
    panel.draw(figure)
    return figure


def validation(n=50):
    random = np.random.default_rng(1)
    predicted = random.integers(0, 3, n)
    return predicted, random.random(n), np.where(random.random(n) < 0.8, predicted, random.integers(0, 3, n))


def test_every_part_of_the_report_has_ink_of_its_colors(whole):
    _, figure = whole
    image = pixels(figure)
    assert image.shape[1] == 850
    wanted = [(), (RIGHT, WRONG), (KEPT, DROPPED, COPIED), (KEPT, RIGHT), (WRONG,)]
    assert len(figure.subfigs) == len(wanted)
    for part, colors in zip(figure.subfigs, wanted, strict=True):
        box = part.bbox
        area = image[round(len(image) - box.y1) : round(len(image) - box.y0), round(box.x0) : round(box.x1)]
        assert (area < 100).all(-1).sum() > 50, "no text"
        for color in colors:
            assert ink(area, color) > 100, color


@pytest.mark.parametrize(
    ("name", "colors"),
    [
        ("confidence", (RIGHT, WRONG)),
        ("classes", (KEPT, COPIED)),
        ("confusion", (WRONG,)),
        ("reliability", (RIGHT, KEPT)),
    ],
)
def test_every_panel_can_stand_alone(made, name, colors):
    image = pixels(drawn(panels(made())[name]))
    for color in colors:
        assert ink(image, color) > 100


def test_the_headline_and_the_answers_are_a_plain_count(whole):
    labels, figure = whole
    said = " ".join(texts(figure))
    above = labels.confidence >= np.float16(0.5)
    of_class = np.bincount(labels.predicted[above], minlength=3)
    kept = np.minimum(of_class, 30)
    assert "What does a threshold of 0.5 keep?" in said
    assert f"{kept.sum()} of 120 pseudo-labels kept" in said
    assert (
        f"{above.sum()} of 120 reach 0.5; {(labels.truth != labels.predicted).sum()} of all are wrong."
        in said
    )
    assert f"{kept.sum()} kept, {120 - kept.sum()} dropped, {(30 - kept).sum()} copies." in said
    assert f"{np.mean(labels.truth == labels.predicted):.1%}".replace("%", " %") in said


def test_the_bars_of_confidence_are_a_plain_count(made):
    labels = made()
    axes = drawn(panels(labels)["confidence"]).axes[0]
    heights = np.zeros(40)
    for bar in axes.containers[0].patches + axes.containers[1].patches:
        heights[round(bar.get_x() * 40)] += bar.get_height()
    confidence = labels.confidence.astype(float)
    edges = np.linspace(0, 1, 41).astype(np.float16).astype(float)
    expected = [
        ((confidence >= a) & ((confidence < b) | (b == 1))).sum()
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    assert heights.tolist() == expected and sum(expected) == 120


@pytest.mark.parametrize("against", ["truth", "round 1"])
def test_the_numbers_in_the_confusion_are_a_plain_count(made, against):
    labels = made()
    panel = panels(labels, against=against)["confusion"]
    said = labels.truth if against == "truth" else labels.others["round 1"].predicted
    axes = drawn(panel).axes[0]
    found = {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in axes.texts}
    expected = {}
    for row in range(4 if against == "truth" else 3):
        for column in range(3):
            count = sum(
                s == (-1 if row == 3 else row) and p == column
                for s, p in zip(said, labels.predicted, strict=True)
            )
            if count:
                expected[row, column] = str(count)
    assert found == expected
    compared = said >= 0 if against == "round 1" else np.ones(120, bool)
    differ = (said != labels.predicted) & compared
    assert panel.answer.startswith(f"{differ.sum()} of {compared.sum()} differ, most often ")
    assert panel.title == {"truth": "Truth against label", "round 1": "Round 1 against label"}[against]


def test_reliability_shows_how_many_stand_behind_each_point(made):
    labels = made()
    upper, lower = drawn(panels(labels)["reliability"]).axes
    place = np.minimum((labels.confidence.astype(float) * 15).astype(int), 14)
    counts = np.bincount(place, minlength=15)
    assert [round(bar.get_height()) for bar in lower.patches] == counts.tolist()
    assert [text.get_text() for text in lower.texts] == [str(count) for count in counts if count]
    points = [line for line in upper.lines if line.get_marker() == "o"]
    right = [np.mean((labels.truth == labels.predicted)[place == bin]) for bin in np.flatnonzero(counts)]
    assert [float(point.get_ydata()[0]) for point in points] == pytest.approx(right)


def test_what_cannot_be_known_is_left_out(made):
    assert list(panels(made(truth=None, others={}))) == ["confidence", "classes"]
    assert list(panels(made(truth=None))) == ["confidence", "classes", "confusion"]
    later = made(truth=None, round=1)
    assert "confusion" not in panels(later), "round 1 is not before round 1"
    found = panels(made(truth=None, others={}), validation=validation())
    assert "of 50 validation pictures are right" in found["reliability"].answer
    assert len(report(made(truth=None), validation=validation()).subfigs) == 5
    assert len(report(made(truth=None, others={})).subfigs) == 4


def test_pictures_say_what_they_are_and_what_was_decided(made, tmp_path):
    labels = made()
    path = tmp_path / "decisions.jsonl"
    ann, bob = DecisionLog(path, who="ann"), DecisionLog(path, who="bob")
    chosen = select(labels)
    names = chosen.names
    ann.accept(names[0])
    ann.reject(names[1])
    ann.relabel(names[2], labels.classes[1])
    bob.reject(names[2])
    ann.reject(names[30])
    said = texts(sheet(labels, decisions=ann.decisions))
    rows = chosen.rows[:24]
    assert "The first 24 of all 120 pictures" in said
    assert [text for text in said if re.fullmatch(r"\d\.\d{3}", text)] == [
        f"{labels.confidence[row]:.3f}" for row in rows
    ]
    assert said.count("✓ right") == (labels.truth[rows] == labels.predicted[rows]).sum()
    assert said.count("✗ of no class") == (labels.truth[rows] == -1).sum()
    assert said.count("✓ accepted") == 1 and said.count("people differ") == 1
    assert said.count("✗ rejected") == 1 + (ann.decisions.verdicts[names[2]].action == "reject")


def test_without_a_truth_pictures_say_what_the_round_before_saw(made):
    labels = made(truth=None)
    said = texts(sheet(labels))
    rows = select(labels).rows[:24]
    before = labels.others["round 1"].predicted[rows]
    changed = (before >= 0) & (before != labels.predicted[rows])
    assert sum(text.startswith("round 1: ") for text in said) == changed.sum() > 0


def test_names_are_shown_as_they_are(whole):
    said = texts(whole[1])
    assert any(text.startswith("$x^2$") for text in said) and any(
        text.startswith("</script>") for text in said
    )


def test_a_picture_that_is_missing_is_grey_and_says_so(made):
    class SomePictures:
        def __len__(self):
            return 120

        def read(self, rows):
            return np.zeros((len(rows) - 1, 8, 8, 1), np.uint8), np.arange(1, len(rows)), {0: "no such file"}

    figure = sheet(made(pictures=SomePictures()))
    assert sum(text.startswith("missing") for text in texts(figure)) == 1
    assert (figure.axes[0].images[0].get_array() == 200).all()
    said = texts(sheet(made(pictures=None)))
    assert sum(text.startswith("missing") for text in said) == 24
    assert any("no pictures are known" in text for text in said)


def test_an_empty_selection_says_so(made):
    said = texts(sheet(made(), Filter(confidence=(0, 0))))
    assert "0 of 120 pictures" in said and "select(confidence=(0, 0)): no picture is left" in " ".join(said)


def test_one_class_and_a_thousand_can_be_drawn():
    one = PseudoLabels(["only"], [0, 0], [0.4, 0.9], truth=[0, -1])
    assert "1 of 2 differ, most often (no class) → only (1)." in " ".join(texts(report(one)))
    random = np.random.default_rng(0)
    predicted = random.integers(0, 1000, 5000)
    names = [f"class number {number} of a long name" for number in range(1000)]
    many = PseudoLabels(names, predicted, random.random(5000), truth=np.roll(predicted, 1))
    figure = report(many)
    assert f"{(many.truth != predicted).sum():,} of 5,000 differ" in " ".join(texts(figure))
    assert ink(pixels(figure), KEPT) > 100


def test_photographs_stay_small_enough_for_a_notebook(made, whole):
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 300, 3)).astype(np.uint8)
    assert len(report(made(pictures=noise)).png()) < 500_000
    assert len(whole[1].png()) < 300_000
