"""The figures of quality say and draw what the numbers say, for few classes and for many."""

import io

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from scipy.special import softmax

from nsfast.analysis import figures
from nsfast.analysis.figures.page import WIDTH
from nsfast.errors import NsfastError
from nsfast.labels import Origin, write_labels
from nsfast.labels.quality.quality import quality


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


def clean(figure):
    """Whether a figure has ink, and none on its edges, where it would be cut off."""
    page = np.asarray(Image.open(io.BytesIO(figure.png())).convert("L"))
    edges = (page[:2], page[-2:], page[:, :2], page[:, -2:])
    return page.shape[1] == 100 * WIDTH and (page < 250).any() and all((edge > 250).all() for edge in edges)


def rounds(folder, classes, n=400):
    """Qualities of two rounds of equally many pictures, with names that are long, odd and formulas."""
    names = [f"class number {i} with a name that goes on" for i in range(classes)]
    names[:3] = "$x_{$ <b>", "costs $5", "a" * 300
    truth = np.random.default_rng(0).integers(-1, classes, n)
    found, before = [], None
    for round in (1, 2):
        logits = np.random.default_rng(round).normal(0, 8, (n, classes))
        logits[:, 0] = -np.inf  # never predicted
        probabilities = softmax(logits, axis=1)
        table = write_labels(folder / str(round), probabilities, Origin(tuple(names), "t", round))
        known = (table.predicted[::2], table.confidence[::2], np.abs(truth[::2]))
        labeled = np.arange(classes).repeat(3)
        found.append(quality(table, labeled, 0.5, before=before, truth=truth, validation=known))
        before = table
    return found


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return rounds(tmp_path_factory.mktemp("few"), 10)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return rounds(tmp_path_factory.mktemp("many"), 1000)


@pytest.mark.parametrize("which", ["few", "many"])
def test_nothing_is_cut_off_whatever_the_names_and_however_many(which, request):
    found = request.getfixturevalue(which)
    assert clean(figures.classes_against_labeled(found[1]))
    assert clean(figures.agreement_between_rounds(found))
    assert clean(figures.estimated_and_true_precision(found[1]))


def test_bars_are_the_shares_of_the_classes_and_marks_those_of_the_labeled(few):
    figure = figures.classes_against_labeled(few[1])
    left, right = figure.axes
    rows = few[1]["classes"]
    for bars, name in zip(left.containers, ("predicted", "reached"), strict=True):
        count = np.array([row[name] for row in rows])
        assert np.allclose([bar.get_width() for bar in bars], count / count.sum())
    assert np.allclose(left.lines[0].get_xdata(), 0.1)
    assert np.allclose([bar.get_width() for bar in right.patches], [row["coverage"] or 0 for row in rows])
    said = texts(figure)
    assert f"{few[1]['reached']:,} of 400 pseudo-labels" in said and "no label" in said
    assert r"1 class has none of those: \$x_{\$ <b>." in said


def test_of_many_classes_the_lines_fall_from_the_most_to_the_least_frequent(many):
    left, right = figures.classes_against_labeled(many[1]).axes
    predicted, reached = (line.get_ydata() for line in left.lines[:2])
    assert (np.diff(predicted) <= 0).all() and (np.diff(reached) <= 0).all()
    most = max(row["predicted"] for row in many[1]["classes"])
    assert predicted[0] == pytest.approx(1000 * most / 400)  # all classes have as many labeled pictures
    assert right.lines[0].get_ydata()[0] == max(row["coverage"] or 0 for row in many[1]["classes"])


def test_agreement_and_the_most_frequent_changes_are_said_and_drawn(few):
    figure = figures.agreement_between_rounds(few)
    before, said = few[1]["before"], texts(figure)
    left, right = figure.axes
    assert left.lines[0].get_ydata()[0] == before["agreement_of_reached"]
    assert left.lines[1].get_ydata()[0] == before["agreement"]
    assert [bar.get_width() for bar in right.patches] == [flip["count"] for flip in before["flips"][:10]]
    assert f"{before['gained']} reach it now, {before['lost']} no longer" in said
    assert f"{100 * before['agreement']:.1f} % of 400 pictures have the class of round 1" in said


def test_rounds_that_agree_say_so(tmp_path):
    table = write_labels(tmp_path, np.eye(2), Origin(("a", "b"), "t"))
    found = quality(table, np.array([0, 1]), 0.5, before=table)
    figure = figures.agreement_between_rounds([found])
    assert "none" in texts(figure) and "100.0 % of 2 pictures" in texts(figure) and clean(figure)


def test_estimate_and_truth_stand_side_by_side_and_each_may_be_missing(few):
    found = few[1]
    figure = figures.estimated_and_true_precision(found)
    left = figure.axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in left.lines}
    for name, key in (("estimated", "estimate"), ("true", "truth")):
        rows = [row["precision"] for row in found[key]["by_threshold"]]
        assert drawn[name] == [share for share in rows if share is not None]
    assert len(figure.axes) == 2 and "Reliability" in texts(figure) and "of no class" in texts(figure)
    alone = figures.estimated_and_true_precision(found | {"truth": None})
    assert len(alone.axes) == 1 and "True" not in texts(alone) and clean(alone)
    known = figures.estimated_and_true_precision(found | {"estimate": None})
    assert len(known.axes) == 2 and "Estimated" not in texts(known) and clean(known)
    with pytest.raises(NsfastError, match="neither validation pictures nor a truth"):
        figures.estimated_and_true_precision(found | {"estimate": None, "truth": None})


def test_thresholds_of_their_own_are_not_given_as_one(few):
    figure = figures.estimated_and_true_precision(few[1] | {"thresholds": {"costs $5": 0.9}})
    assert "reach their class's threshold" in texts(figure)


def test_a_table_without_labels_above_the_threshold_is_drawn(tmp_path):
    table = write_labels(tmp_path, np.full((4, 3), 1 / 3), Origin(("a", "b", "c"), "t"))
    known = (np.zeros(4, int), np.full(4, 0.4), np.zeros(4, int))
    found = quality(table, np.arange(3), 0.9, truth=np.zeros(4, int), validation=known)
    assert "no label reaches it" in texts(figures.estimated_and_true_precision(found))
    for draw in (figures.estimated_and_true_precision, figures.classes_against_labeled):
        assert clean(draw(found))
