"""Grids of corrupted pictures and strips of frames show the pictures given, each in its place."""

import numpy as np
import pytest

from nsfast.analysis import figures
from nsfast.errors import NsfastError
from nsfast.robustness.names import CORRUPTIONS


def pictures(names, count, side=8, channels=1, seed=0):
    draw = np.random.default_rng(seed)
    return {n: draw.integers(0, 256, (count, side, side, channels), dtype=np.uint8) for n in names}


def rows_of(figure):
    """Pictures by name: those right of it, from left to right, up to the next name of the same line."""
    axes = figure.axes[0]
    names = [text for text in axes.texts if text.get_ha() == "left"]
    found = {}
    for text in names:
        x, y = text.get_position()
        ends = [t.get_position()[0] for t in names if t.get_position()[1] == y and t.get_position()[0] > x]
        inside = []
        for image in axes.images:
            left, right, bottom, top = image.get_extent()
            if top < y < bottom and x < left < min(ends, default=np.inf):
                inside.append((left, image.get_array()))
        found[text.get_text().replace("\n", " ")] = [
            np.asarray(array) for _, array in sorted(inside, key=lambda one: one[0])
        ]
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side, severities", [(16, (0, 1, 2, 3, 4, 5)), (16, (0, 1, 3, 5)), (80, (0, 5))])
def test_each_picture_stands_in_its_row_and_column(channels, side, severities, words):
    given = pictures(CORRUPTIONS, len(severities), side, channels)
    figure = figures.corrupted_grid(given, severities)
    found = rows_of(figure)
    assert list(found) == [name.replace("_", " ") for name in CORRUPTIONS]
    for name, pixels in given.items():
        expected = pixels[..., 0] if channels == 1 else pixels
        assert np.array_equal(found[name.replace("_", " ")], expected)
    heads = [t.get_text() for t in figure.axes[0].texts if t.get_va() == "bottom"]
    row = ["clean", *map(str, severities[1:])]
    assert heads == row * (len(heads) // len(row))


def test_small_pictures_keep_their_pixels_visible():
    figure = figures.corrupted_grid(pictures(["fog"], 6, side=16))
    assert {image.get_interpolation() for image in figure.axes[0].images} == {"nearest"}


def test_severities_are_named_where_they_are_known():
    def heads(count):
        texts = figures.corrupted_grid(pictures(["fog"], count)).axes[0].texts
        return [text.get_text() for text in texts if text.get_va() == "bottom"]

    assert heads(6) == ["clean", "1", "2", "3", "4", "5"]
    assert heads(4) == ["clean", "", "", ""]


def test_a_strip_shows_the_first_frame_the_last_and_some_between():
    given = (
        pictures(["gaussian_noise"], 31) | pictures(["translate"], 16, seed=1) | pictures(["tilt"], 3, seed=2)
    )
    figure = figures.perturbation_strip(given, shown=11)
    found = rows_of(figure)
    assert np.array_equal(found["gaussian noise"], given["gaussian_noise"][::3, ..., 0])
    assert np.array_equal(found["tilt"], given["tilt"][..., 0])
    assert np.array_equal(found["translate"][0], given["translate"][0, ..., 0])
    assert np.array_equal(found["translate"][-1], given["translate"][-1, ..., 0])
    numbers = [text.get_text() for text in figure.axes[0].texts if text.get_va() == "top"]
    assert numbers[:11] == [str(frame) for frame in range(1, 32, 3)] and numbers[-3:] == ["1", "2", "3"]


@pytest.mark.parametrize("names", [("fog",), ("$x_{$ <b>", "_hidden", "c" * 200, "a b " * 40, "")])
def test_nothing_is_cut_off_whatever_the_names(names, whole, words):
    for draw, count in ((figures.corrupted_grid, 6), (figures.perturbation_strip, 31)):
        figure = draw(pictures(names, count))
        assert whole(figure)
        assert r"\\$" not in words(figure)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: figures.corrupted_grid({}), "at least one corruption"),
        (lambda: figures.perturbation_strip({}), "at least one perturbation"),
        (
            lambda: figures.corrupted_grid(pictures(["fog"], 4), (0, 1, 5)),
            "fog has 4 pictures for 3 severities",
        ),
        (lambda: figures.corrupted_grid({"fog": np.zeros((6, 8, 8))}), "float64 of shape"),
        (lambda: figures.perturbation_strip(pictures(["tilt"], 31), shown=1), "shown"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(NsfastError, match=message):
        wrong()
