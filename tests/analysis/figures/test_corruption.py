"""Severity curves and the dots of corruptions show the rows, by family, whatever the names and however few."""

import random

import pytest

from nsfast.analysis import figures
from nsfast.errors import NsfastError
from nsfast.robustness.names import CORRUPTIONS, EXTRA_CORRUPTIONS, FAMILIES


def error_rows(models, corruptions, severities=(0, 1, 3, 5)):
    draw, rows = random.Random(0), []
    for model in models:
        for corruption in corruptions:
            for severity in severities:
                error = draw.uniform(0.1, 0.9)
                about = dict(model=model, corruption=corruption, severity=severity)
                rows.append(about | dict(error=error, low=error - 0.05, high=error + 0.07))
    draw.shuffle(rows)
    return sorted(rows, key=lambda row: list(models).index(row["model"]))


def score_rows(models, corruptions, mean=True):
    """Rows whose errors grow from corruption to corruption, so that no panel may set the scale of the others."""
    names = [*corruptions, "mean"] if mean else corruptions
    rows = []
    for m, model in enumerate(models):
        for c, corruption in enumerate(names):
            error = 0.08 + 0.8 * c / len(names) + 0.01 * m
            ends = dict(mean_error=error, low=error - 0.05, high=error + 0.06)
            rows.append(dict(model=model, corruption=corruption, **ends))
    return rows


def shown(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}


def test_every_curve_and_band_is_that_of_the_rows():
    models = ("control", "teacher", "student 1")
    rows = error_rows(models, CORRUPTIONS)
    panels = shown(figures.severity_curves(rows, chance=0.9))
    assert list(panels) == [name.replace("_", " ") for name in CORRUPTIONS]
    for name, axes in panels.items():
        chance, *lines = axes.lines
        assert set(chance.get_ydata()) == {0.9}
        for model, line, band in zip(models, lines, axes.collections, strict=True):
            mine = [r for r in rows if (r["model"], r["corruption"]) == (model, name.replace(" ", "_"))]
            mine.sort(key=lambda row: row["severity"])
            assert line.get_xydata().tolist() == [[r["severity"], r["error"]] for r in mine]
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
            assert corners == {(r["severity"], r[end]) for r in mine for end in ("low", "high")}


def test_families_have_a_row_each_and_a_few_panels_stand_beside_each_other():
    def rows_of(corruptions):
        axes = shown(figures.severity_curves(error_rows(["teacher"], corruptions)))
        place = {title: round(one.get_position().y0, 3) for title, one in axes.items()}
        return [[t for t in place if place[t] == y] for y in sorted(set(place.values()), reverse=True)]

    spoken = [[name.replace("_", " ") for name in members] for members in FAMILIES.values()]
    assert rows_of((*EXTRA_CORRUPTIONS, *CORRUPTIONS)) == spoken
    assert rows_of(("contrast", "gaussian_noise", "fog")) == [["gaussian noise", "fog", "contrast"]]
    assert rows_of(("my own",)) == [["my own"]]


def test_panels_share_their_scales():
    axes = list(shown(figures.severity_curves(error_rows(["teacher"], CORRUPTIONS))).values())
    assert len({one.get_ylim() for one in axes}) == len({one.get_xlim() for one in axes}) == 1
    assert axes[0].get_ylim()[0] == 0


def test_the_mean_counts_corruptions_alike_and_leaves_clean_pictures_out(words):
    rows = [
        dict(model="teacher", corruption=c, severity=s, error=e)
        for c, s, e in (("fog", 0, 0.0), ("fog", 1, 0.2), ("fog", 5, 0.4), ("snow", 1, 0.7))
    ]
    assert "teacher 50.0 %" in words(figures.severity_curves(rows))


def test_dots_and_intervals_are_those_of_the_rows_and_the_mean_is_last(dots):
    models = ["control", "teacher", "student 1"]
    rows = score_rows(models, (*CORRUPTIONS, *EXTRA_CORRUPTIONS))
    figure = figures.corruption_bars(rows)
    panels = shown(figure)
    assert list(panels) == ["Noise", "Blur", "Weather", "Digital", "Extra", "All but extra"]
    found = {}
    for title, axes in panels.items():
        family = [name.replace("_", " ") for name in FAMILIES.get(title.lower(), ["mean"])]
        assert [label.get_text() for label in axes.get_yticklabels()] == family
        found |= dots(axes)
    assert len(found) == len(rows)
    for row in rows:
        seen = found[row["corruption"].replace("_", " "), models.index(row["model"])]
        assert seen == pytest.approx((row["mean_error"], row["low"], row["high"]))


def test_what_a_model_was_not_asked_has_no_dot_and_an_unknown_interval_no_bar(dots):
    rows = [
        dict(model="control", corruption="fog", mean_error=0.5, low="", high=None),
        dict(model="teacher", corruption="snow", mean_error=0.3),
    ]
    (axes,) = shown(figures.corruption_bars(rows)).values()
    assert dots(axes) == {("fog", 0): (0.5, 0.5, 0.5), ("snow", 1): (0.3, 0.3, 0.3)}


def test_a_curve_without_intervals_has_no_band():
    rows = [{k: v for k, v in r.items() if k not in ("low", "high")} for r in error_rows(["a"], ["fog"])]
    (axes,) = shown(figures.severity_curves(rows)).values()
    assert len(axes.lines[0].get_xdata()) == 4
    assert not any(len(band.get_paths()) for band in axes.collections)


@pytest.mark.parametrize("corruptions", [("fog",), ("$x_{$ <b>", "_mine", "b" * 200), CORRUPTIONS[:7]])
def test_nothing_is_cut_off_whatever_the_names(corruptions, hostile, whole, words):
    for figure in (
        figures.severity_curves(error_rows(hostile, corruptions), chance=0.9),
        figures.corruption_bars(score_rows(hostile, corruptions, mean=len(corruptions) > 1)),
    ):
        assert whole(figure)
        assert r"\$a\$ <b>_x^{" in words(figure) and r"\\$" not in words(figure)


def test_many_models_are_summed_up(words):
    rows = score_rows([f"model {i}" for i in range(9)], ["fog"])
    means = {row["model"]: row["mean_error"] for row in rows if row["corruption"] == "mean"}
    low, high = min(means, key=means.get), max(means, key=means.get)
    said = words(figures.corruption_bars(rows))
    assert f"lowest {low} {100 * means[low]:.1f} %; highest {high} {100 * means[high]:.1f} %" in said


@pytest.mark.parametrize("draw", [figures.severity_curves, figures.corruption_bars])
def test_no_row_is_an_error_that_says_what_to_give(draw):
    with pytest.raises(NsfastError, match="give one row per model"):
        draw([])


def test_clean_pictures_alone_still_draw(whole):
    assert whole(figures.severity_curves(error_rows(["teacher"], ["fog"], severities=(0,))))
