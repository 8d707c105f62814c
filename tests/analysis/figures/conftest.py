"""What tests of figures look at: the words of a figure, its page, the points and the intervals of its dots."""

import io

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from nsfast.analysis.figures.page import WIDTH


@pytest.fixture
def hostile():
    """Names of models that would be a formula, be left out of a legend, or run off the page."""
    return ["control", "$a$ <b>_x^{", "_hidden", "a student with a long name " * 10, ""]


@pytest.fixture
def words():
    """A function from a figure to all it says, in one line."""
    return lambda figure: " ".join(
        text.get_text().replace("\n", " ").replace("\xa0", " ") for text in figure.findobj(Text)
    )


@pytest.fixture
def whole():
    """A function: whether a figure has ink, and none on its edges, where it would be cut off."""

    def look(figure):
        page = np.asarray(Image.open(io.BytesIO(figure.png())).convert("L"))
        edges = (page[:2], page[-2:], page[:, :2], page[:, -2:])
        wide = page.shape[1] == 100 * WIDTH
        return wide and (page < 250).any() and all((edge > 250).all() for edge in edges)

    return look


@pytest.fixture
def dots():
    """A function from an axes to the dots on it {(name of the line, place of the model): (value, low, high)}."""

    def read(axes):
        names = [label.get_text() for label in axes.get_yticklabels()]
        found = {}
        for model, container in enumerate(axes.containers):
            segments = container.lines[2][0].get_segments()
            for (x, y), segment in zip(container.lines[0].get_xydata(), segments, strict=True):
                found[names[round(y)], model] = (x, *segment[:, 0])
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert all(left <= end <= right for ends in found.values() for end in ends)
        assert all(top < y < bottom for one in axes.containers for y in one.lines[0].get_ydata())
        return found

    return read
