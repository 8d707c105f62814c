"""Accuracy on the line shows the rows, the line foretells what they foretell, and no name touches anything."""

import itertools

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nsfast.analysis import figures
from nsfast.errors import NsfastError

N = 200


def odds_of_right(error):
    return np.log((N * (1 - error) + 0.5) / (N * error + 0.5))


def rows_of(errors):
    """Rows by the definition of `line_rows`: slope 1 in log-odds through the first."""
    rows, (clean, corrupted) = [], next(iter(errors.values()))
    for model, (x, y) in errors.items():
        line = odds_of_right(corrupted) + odds_of_right(x) - odds_of_right(clean)
        residual = odds_of_right(y) - line
        rows.append(
            dict(model=model, n=N, clean_error=x, clean_low=0.8 * x, clean_high=1.2 * x)
            | dict(corruption_error=y, low=0.9 * y, high=1.1 * y, expected_error=1 / (1 + np.exp(line)))
            | dict(residual=residual, residual_low=residual - 0.1, residual_high=residual + 0.1)
        )
    return rows


FIVE = {
    "control": (0.09, 0.35),
    "teacher": (0.18, 0.43),
    "student 1": (0.055, 0.34),
    "student 2": (0.045, 0.31),
    "student 3": (0.045, 0.10),
}


def points(axes):
    return [tuple(container.lines[0].get_xydata()[0]) for container in axes.containers]


def test_points_and_both_intervals_are_those_of_the_rows():
    rows = rows_of(FIVE)
    (axes,) = figures.accuracy_on_the_line(rows).axes
    assert points(axes) == list(FIVE.values())
    for row, container in zip(rows, axes.containers, strict=True):
        across, along = (bars.get_segments()[0] for bars in container.lines[2])
        assert across[:, 0] == pytest.approx([row["clean_low"], row["clean_high"]])
        assert along[:, 1] == pytest.approx([row["low"], row["high"]])


def test_the_line_goes_through_what_each_row_expects():
    rows = rows_of(FIVE)
    (axes,) = figures.accuracy_on_the_line(rows).axes
    (line,) = [one for one in axes.lines if one.get_label() == "as the control foretells"]
    # smoothing by half a picture bends the line by less than a point
    for row in rows:
        foretold = np.interp(row["clean_error"], *line.get_xydata().T)
        assert foretold == pytest.approx(row["expected_error"], abs=0.01)


def test_the_headline_names_who_is_more_robust_and_who_is_less(words):
    said = words(figures.accuracy_on_the_line(rows_of(FIVE)))
    assert "(below its line): teacher, student 3; less: student 1, student 2." in said


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dpi", [100, 130])
def test_no_name_touches_another_or_a_point_or_an_interval(seed, dpi):
    draw = np.random.default_rng(seed)
    errors = {f"student {i} of {i}": tuple(draw.uniform([0.03, 0.2], [0.1, 0.4])) for i in range(8)}
    figure = figures.accuracy_on_the_line(rows_of({"control": (0.06, 0.3)} | errors))
    figure.dpi = dpi
    figure.draw_without_rendering()
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert len(boxes) == 9
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for container in axes.containers:
        middle = axes.transData.transform(container.lines[0].get_xydata()[0])
        bars = [axes.transData.transform(bars.get_segments()[0]) for bars in container.lines[2]]
        for box in boxes:
            assert not box.overlaps(Bbox([middle - 4, middle + 4]))
            assert not any(box.overlaps(Bbox(ends)) for ends in bars)
    page = axes.get_window_extent()
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 for box in boxes)


def test_errors_of_0_and_1_stay_on_the_page(whole):
    rows = rows_of({"control": (0.0, 1.0), "teacher": (0.0, 0.0)})
    figure = figures.accuracy_on_the_line(rows)
    assert whole(figure)
    assert points(figure.axes[0]) == [(0.5 / N, 1 - 0.5 / N), (0.5 / N, 0.5 / N)]


def test_without_a_control_or_intervals_the_points_remain(hostile, whole, words):
    rows = [
        dict(
            model=model, n=N, clean_error=0.1 + 0.01 * i, corruption_error=0.3, expected_error="", residual=""
        )
        for i, model in enumerate(hostile)
    ]
    figure = figures.accuracy_on_the_line(rows)
    assert whole(figure)
    assert not [line for line in figure.axes[0].lines if line.get_label() == "as the control foretells"]
    assert "foretells (below" not in words(figure) and r"\\$" not in words(figure)


def test_one_model_draws_and_none_says_what_to_give(whole):
    assert whole(figures.accuracy_on_the_line(rows_of({"control": (0.1, 0.2)})))
    with pytest.raises(NsfastError, match="give one row per model"):
        figures.accuracy_on_the_line([])
