"""Attack curves show the rows, a panel for each attack, and in each the control of the same norm."""

import itertools

import numpy as np
import pytest

from nsfast.analysis import figures
from nsfast.errors import NsfastError

EPSILONS = (0, 2, 4, 8, 16, 32)


def rows_of(models, attacks=("random_sign", "fgsm", "pgd"), norms=("linf",), epsilons=EPSILONS):
    rows = []
    for place, (model, attack, norm, epsilon) in enumerate(
        itertools.product(models, attacks, norms, epsilons)
    ):
        accuracy = 0.05 + 0.9 * ((place * 0.377) % 1)
        about = dict(model=model, attack=attack, norm=norm, epsilon=float(epsilon))
        rows.append(about | dict(accuracy=accuracy, low=accuracy - 0.04, high=accuracy + 0.03))
    return rows


def curve(rows, **about):
    mine = [row for row in rows if all(row[key] == value for key, value in about.items())]
    return sorted([row["epsilon"], row["accuracy"]] for row in mine)


@pytest.mark.parametrize("norms", [("linf",), ("linf", "l2")])
def test_every_panel_has_the_curves_of_its_attack_and_the_dotted_control_of_its_norm(norms):
    models = ("control", "teacher", "student 1")
    rows = rows_of(models, norms=norms)
    panels = [axes for axes in figures.attack_curves(rows[::-1]).axes if axes.axison]
    kinds = [(attack, norm) for norm in norms for attack in ("pgd", "fgsm")]
    titles = {"fgsm": "FGSM (one step)", "pgd": "PGD (many steps)"}
    assert len(panels) == len(kinds)
    for axes, (attack, norm) in zip(panels, kinds, strict=True):
        assert axes.get_title(loc="left") == titles[attack] + (", L2" if norm == "l2" else "")
        dotted, solid = axes.lines[::2], axes.lines[1::2]
        for model, control, attacked in zip(models[::-1], dotted, solid, strict=True):
            assert control.get_xydata().tolist() == curve(rows, model=model, attack="random_sign", norm=norm)
            assert attacked.get_xydata().tolist() == curve(rows, model=model, attack=attack, norm=norm)
            assert control.get_linestyle() == "--" and attacked.get_linestyle() == "-"
            assert control.get_color() == attacked.get_color()


def test_bands_are_the_intervals_of_the_attack():
    rows = rows_of(["teacher"], attacks=("random_sign", "pgd"))
    (axes,) = figures.attack_curves(rows).axes
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    attacked = [row for row in rows if row["attack"] == "pgd"]
    assert corners == {(row["epsilon"], row[end]) for row in attacked for end in ("low", "high")}


def test_doubled_epsilons_take_equal_steps_and_zero_one_more():
    figure = figures.attack_curves(rows_of(["teacher"]))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    place = axes.transData.transform([(epsilon, 0) for epsilon in EPSILONS])[:, 0]
    assert np.diff(place) == pytest.approx(np.diff(place).mean())
    assert sorted(axes.get_xticks()) == list(EPSILONS)


def test_many_epsilons_keep_their_ticks_apart():
    figure = figures.attack_curves(rows_of(["teacher"], epsilons=range(40)))
    figure.draw_without_rendering()
    boxes = sorted(
        (label.get_window_extent() for label in figure.axes[0].get_xticklabels()), key=lambda b: b.x0
    )
    assert len(boxes) > 3
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_headline_speaks_of_the_epsilon_asked_for_else_of_the_middle_one(words):
    rows = rows_of(["teacher"])
    for epsilon, told in ((4, 4), (None, 8), (7, 8)):
        (accuracy,) = [row["accuracy"] for row in rows if row["attack"] == "pgd" and row["epsilon"] == told]
        said = words(figures.attack_curves(rows, epsilon))
        assert f"PGD (many steps) with epsilon {told}/255 leaves teacher {100 * accuracy:.1f} %" in said


def test_random_signs_alone_have_a_panel_of_their_own():
    rows = rows_of(["teacher"], attacks=("random_sign",))
    (axes,) = figures.attack_curves(rows).axes
    assert axes.get_title(loc="left") == "Random signs"
    assert axes.lines[0].get_xydata().tolist() == curve(rows, model="teacher")


@pytest.mark.parametrize("missing", ["", None, float("nan")])
def test_unknown_intervals_and_hostile_names_draw(missing, hostile, whole, words):
    rows = rows_of(hostile, attacks=("random_sign", "$x_{$ <b>", "autoattack"))
    figure = figures.attack_curves([dict(row, low=missing, high=missing) for row in rows])
    assert whole(figure)
    assert r"\$x {\$ <b>" in words(figure) and r"\\$" not in words(figure)


def test_one_epsilon_draws_and_none_says_what_to_give(whole):
    assert whole(figures.attack_curves(rows_of(["teacher"], epsilons=(8,))))
    assert whole(figures.attack_curves(rows_of(["teacher"], epsilons=(0,))))
    with pytest.raises(NsfastError, match="give one row per model, attack and epsilon"):
        figures.attack_curves([])
