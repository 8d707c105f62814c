"""What a threshold keeps, in words and as a table: the numbers of the table it is made of, and names are text."""

import re

import numpy as np

from nsfast.explore.core import ThresholdPreview
from nsfast.explore.static.summary import MOST, classes_html, describe, ratio
from nsfast.labels.quality.estimate import PrecisionFit

CLASSES = ("cat", "<script>alert('$x^')</script>", "dog & co $")


def preview(**more):
    generator = np.random.default_rng(0)
    predicted = generator.integers(0, 3, 90)
    return ThresholdPreview(predicted, generator.random(90), CLASSES, per_class=20, **more)


def rows_of(text):
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]


def test_class_names_are_escaped():
    text = classes_html(preview().at(0.5))
    assert "<script>" not in text and "&lt;script&gt;" in text and "dog &amp; co" in text


def test_a_row_says_what_became_of_the_class():
    table = preview().at(0.5)
    found = rows_of(classes_html(table))
    for row, line in zip(table.rows(), found[1:-1], strict=True):
        names = ("predicted", "above", "kept", "dropped", "copies", "seen")
        assert line[1:] == [str(row[name]) for name in names]
    assert found[0] == ["class", "predicted", "above", "kept", "dropped", "copies", "seen"]
    assert found[-1][1] == "90"


def test_many_classes_are_shortened_but_counted():
    predicted = np.arange(200) % 50
    table = ThresholdPreview(predicted, np.full(200, 0.9), [f"class {i}" for i in range(50)]).at(0.5)
    found = rows_of(classes_html(table))
    assert len(found) == 1 + MOST + 1 + 1
    assert found[-2] == [f"and {50 - MOST} smaller classes"] and found[-1][1] == "200"


def test_describe_says_what_is_kept():
    predicted, confidence = np.repeat([0, 1], [30, 10]), np.repeat([0.9, 0.4], 20)
    known = ThresholdPreview(predicted, confidence, ["a", "b"], truth=predicted)
    text = describe(known.at(0.3))
    assert text.startswith("40 of 40 pseudo-labels kept (100.0 %); 100.0 % of the kept are right")
    assert "3.0 before balancing, 3.0 after" in text
    assert "a class is empty" in describe(ThresholdPreview(predicted, confidence, ["a", "b"]).at(0.5))


def test_describe_compares_with_the_labeled_pictures_and_estimates_where_the_truth_is_not_known():
    asked = preview().knowing(np.array([10, 10, 10]))
    assert "The student sees 60 pictures, 2.0 times the 30 labeled ones" in describe(asked.at(0.1))
    predicted = np.zeros(40, int)
    fit = PrecisionFit((predicted, np.full(40, 0.9), np.repeat([0, 1], [30, 10])))
    assert "about 75.0 % of the kept are right, as validation pictures" in describe(
        preview().knowing(fit=fit).at(0.1)
    )


def test_a_ratio_that_is_no_number_is_said_in_words():
    assert [ratio(value) for value in (2.04, float("inf"), float("nan"))] == [
        "2.0",
        "a class is empty",
        "no labels",
    ]
