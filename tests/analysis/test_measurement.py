"""All parts of a measurement together, on tiny pictures and networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nsfast.analysis.measured_figures import FIGURES, figure_of
from nsfast.analysis.measurement import CLEAN, TABLES, Measurement
from nsfast.errors import NsfastError
from nsfast.images import SPLITS
from nsfast.models import build_model
from nsfast.pipeline.robustness import protocol_of
from tests.robustness.sets.released_folders import write_cifar_c

SMALL = {
    **{"corruptions": ["shot_noise", "contrast"], "severities": [1, 5], "pictures": 5},
    **{"perturbations": ["shot_noise", "translate"], "sequences": 2},
    **{"epsilons": [4.0, 8.0], "attacked": 3, "steps": 2},
}
NOTHING = {"corruptions": [], "perturbations": [], "attacks": []}


@pytest.fixture(scope="module")
def models():
    made = {}
    for number, name in enumerate(("control", "teacher", "student")):
        torch.manual_seed(number)
        made[name] = build_model("small", 3, 1, 1).eval()
    return made


@pytest.fixture(scope="module")
def measured(models, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    made = measurement(models, tiny, folder)
    for name in TABLES:
        made.table(name)
    return made, folder


def measurement(models, tiny, folder=None, changes=SMALL, **keywords):
    marks = {name: f"mark of {name}" for name in models} if folder else None
    arguments = {
        "control": "control",
        "teacher": "teacher",
        "folder": folder,
        "fingerprints": marks,
    } | keywords
    test, classes = (tiny.test, tiny.classes) if tiny else (None, ("ant", "bee", "cat"))
    return Measurement(models, test, protocol_of(changes), classes, **arguments)


class Silent(torch.nn.Module):
    """A model that must not be asked."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        raise AssertionError("asked again")


def test_what_was_asked_is_not_asked_again(measured, tiny):
    made, folder = measured
    again = measurement({name: Silent() for name in made.models}, tiny, folder)
    for name in ("corruptions", "corruption_scores", "line", "flips", "natural", "attacks", "calibration"):
        assert again.table(name) == made.table(name), name


def test_two_measurements_agree_to_the_last_digit(measured, models, tiny):
    fresh = measurement(models, tiny)
    for name in TABLES:
        assert fresh.table(name) == measured[0].table(name), name


def test_rows_are_what_the_models_say(measured, models, tiny):
    made, _ = measured
    row = next(r for r in made.table("natural") if r["model"] == "student" and r["set"] == "clean")
    x = torch.from_numpy(tiny.test.pixels.copy()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        said = models["student"](x).argmax(1).numpy()
    assert row["accuracy"] == np.mean(said == tiny.test.labels) and row["n"] == 6
    assert (made.clean[CLEAN]["student"].predicted == said).all()
    assert {r["n"] for r in made.table("corruptions")} == {5}
    assert {r["n"] for r in made.table("attacks")} == {3}
    assert {r["sequences"] for r in made.table("flips")} == {2}


def test_hard_pictures_are_those_that_the_teacher_gets_wrong(measured):
    made, _ = measured
    wrong = int((~made.clean[CLEAN]["teacher"].right).sum())
    hard = [r for r in made.table("natural") if r["set"] == "hard"]
    assert {r["n"] for r in hard} == {wrong} and "teacher gets wrong" in hard[0]["chosen"]
    assert next(r["accuracy"] for r in hard if r["model"] == "teacher") == 0
    differences = {r["model"]: (r["minus_control"], r["mcnemar_p"]) for r in hard}
    assert differences["teacher"] == ("", "") and differences["student"] != ("", "")


def test_each_figure_is_drawn_or_left_out_with_its_part(measured, models, tiny):
    drawn = {name: figure_of(measured[0], name) for name in FIGURES}
    assert all(drawn.values())
    bare = measurement(models, tiny, changes=NOTHING)
    assert {name for name in FIGURES if figure_of(bare, name)} == {"natural"}
    assert {name for name in TABLES if bare.table(name)} == {
        "natural",
        "calibration",
        "headline",
        "robustness",
    }


def test_fewer_pictures_are_a_part_of_more(models, tiny):
    made = measurement(models, tiny)
    few, more = made.some(2), made.some(4)
    assert set(few.ids) < set(more.ids) and len(few) == 2
    assert list(more.ids) == [name for name in tiny.test.ids if name in set(more.ids)]


def test_a_set_that_is_not_there_is_said_before_anything_is_asked(tiny, tmp_path):
    models = {name: Silent() for name in ("control", "teacher")}
    changes = {**SMALL, "sets": [f"imagenet-a={tmp_path / 'nowhere'}"]}
    with pytest.raises(NsfastError, match="imagenet-a") as error:
        measurement(models, tiny, changes=changes)
    assert "nowhere" in str(error.value) and "<wnid>" in str(error.value)


def test_a_released_set_has_its_own_rows_beside_those_made_here(tiny, tmp_path):
    models = {name: build_model("small", 3, 3, 1).eval() for name in ("control", "teacher")}
    tiny = replace(
        tiny, **{s: replace(getattr(tiny, s), pixels=getattr(tiny, s).pixels.repeat(3, 3)) for s in SPLITS}
    )
    write_cifar_c(tmp_path, ["fog", "contrast"], n=40)
    made = measurement(models, tiny, changes={**SMALL, "sets": [f"cifar10-c={tmp_path}"]})
    for name, counts in (("corruptions", {("corrupted", 5), ("cifar10-c", 4)}), ("corruption_scores", None)):
        rows = made.table(name)
        assert counts is None or {(row["set"], row["n"]) for row in rows} == counts
        assert {row["set"] for row in rows} == {"corrupted", "cifar10-c"}
    assert {row["set"] for row in made.table("natural")} == {"clean", "hard"}
    assert {row["corruption_set"] for row in made.table("headline")} == {"corrupted"}
    assert figure_of(made, "corruptions") and figure_of(made, "corruption_scores")
    alone = measurement(models, None, changes={**SMALL, "sets": [f"cifar10-c={tmp_path}"]})
    assert {row["corruption_set"] for row in alone.table("headline")} == {"cifar10-c"}
    assert {name for name in TABLES if alone.table(name)} >= {
        "corruptions",
        "corruption_scores",
        "robustness",
    }


def test_the_control_must_be_a_model(models, tiny):
    with pytest.raises(NsfastError, match=r"control is 'nobody'.*control, teacher, student"):
        measurement(models, tiny, control="nobody")


def test_a_table_that_there_is_not_names_the_nearest(measured):
    with pytest.raises(NsfastError, match="did you mean 'headline'"):
        measured[0].table("headlin")
