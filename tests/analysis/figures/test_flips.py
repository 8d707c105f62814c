"""Flip probabilities show the rows, and those of noise stay apart from the others."""

import pytest

from nsfast.analysis import figures
from nsfast.errors import NsfastError

NOISE, OTHER = ("gaussian_noise", "shot_noise"), ("motion_blur", "rotate", "scale")


def rows_of(models, names=(*NOISE, *OTHER)):
    rows = []
    for m, model in enumerate(models):
        kinds = {name: name in NOISE for name in names}
        kinds |= {"mean_noise": True, "mean_other": False, "mean": ""}
        for n, (name, noise) in enumerate(kinds.items()):
            fp = 0.01 * (n + 1) + 0.002 * m + (0.3 if noise is True else 0)
            found = dict(fp=fp, low=fp - 0.003, high=fp + 0.004)
            found = found if name != "mean" else dict(fp="", low="", high="")
            rows.append(dict(model=model, perturbation=name, noise=noise, **found))
    return rows


def test_noise_has_a_panel_and_a_mean_of_its_own(dots):
    models = ["control", "teacher", "student 1"]
    rows = rows_of(models)
    before, first = figures.flip_bars(rows).axes
    assert "frame before" in before.get_title(loc="left") and "first, clean frame" in first.get_title(
        loc="left"
    )
    for axes, names, mean in ((before, OTHER, "mean_other"), (first, NOISE, "mean_noise")):
        found = dots(axes)
        known = {name.replace("_", " "): name for name in names} | {"mean": mean}
        assert [label.get_text() for label in axes.get_yticklabels()] == list(known)
        assert len(found) == len(known) * len(models)
        for (name, model), seen in found.items():
            (row,) = [r for r in rows if r["model"] == models[model] and r["perturbation"] == known[name]]
            assert seen == pytest.approx((row["fp"], row["low"], row["high"]))


def test_the_headline_gives_either_mean_and_no_mean_of_both(words):
    rows = rows_of(["teacher"])
    share = {row["perturbation"]: row["fp"] for row in rows}
    said = words(figures.flip_bars(rows))
    assert f"Mean from frame to frame: teacher {100 * share['mean_other']:.1f} %." in said
    assert f"Mean of noise against the first, clean frame: teacher {100 * share['mean_noise']:.1f} %." in said


def test_their_scales_are_their_own():
    before, first = figures.flip_bars(rows_of(["teacher"])).axes
    assert before.get_xlim()[1] < 0.2 < first.get_xlim()[1]


@pytest.mark.parametrize("names", [NOISE[:1], OTHER[:1], (*NOISE, "$x_{$ <b>", "p" * 200)])
def test_nothing_is_cut_off_whatever_the_names_and_however_few(names, hostile, whole, words):
    rows = [row for row in rows_of(hostile, names) if "mean" not in row["perturbation"]]
    figure = figures.flip_bars(rows)
    assert whole(figure)
    assert len(figure.axes) == len({row["noise"] for row in rows})
    assert r"\$a\$ <b>_x^{" in words(figure) and r"\\$" not in words(figure)


def test_no_row_is_an_error_that_says_what_to_give():
    with pytest.raises(NsfastError, match="give one row per model and perturbation"):
        figures.flip_bars([dict(model="teacher", perturbation="mean", noise="", fp="")])
