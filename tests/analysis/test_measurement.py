"""All parts of a measurement together, on tiny pictures and networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nsfast.analysis.measured_figures import FIGURES, figure_of
from nsfast.analysis.measurement import CLEAN, TABLES, Measurement
from nsfast.errors import NsfastError
from nsfast.images import SPLITS, Split
from nsfast.images.records import numbered
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


def test_checks_are_kept_with_the_answers_and_made_anew_for_others(measured, models, tiny, monkeypatch):
    from nsfast.analysis import measurement as module

    made, folder = measured
    asked = []
    monkeypatch.setattr(module, "sanity", lambda *args, **named: asked.append(named) or [])
    again = measurement(models, tiny, folder)
    assert again.table("checks") == made.table("checks") and not asked
    other = measurement(models, tiny, folder, changes={**SMALL, "steps": 3})
    assert other.table("checks") == [] and len(asked) == 1


def test_parameters_of_the_protocol_reach_what_is_asked(models, tiny):
    changes = {**SMALL, "norm": "l2", "difficulty": 2, "epsilons": [255.0]}
    made = measurement(models, tiny, changes=changes)
    assert {row["norm"] for row in made.table("attacks")} == {"l2"}
    assert made.table("headline")[0]["fgsm_accuracy"] != "" and made.table("headline")[0]["norm"] == "l2"
    compared = {row["perturbation"]: row["comparisons"] / row["sequences"] for row in made.table("flips")}
    first = measurement(models, tiny).table("flips")
    before = {row["perturbation"]: row["comparisons"] / row["sequences"] for row in first}
    assert before["translate"] - compared["translate"] == 1  # steps of two frames
    assert before["shot_noise"] == compared["shot_noise"]
    assert len(made.checks) and made.told == []


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
    assert "cifar10-c: " in made.table("warnings")[0]["warning"] + made.told[0]
    assert {row["set"] for row in made.table("line")} == {
        "corrupted"
    }  # its clean pictures are not among the test's
    few = measurement(models, None, changes={**SMALL, "sets": [f"cifar10-c={tmp_path}"], "limit": 2})
    assert {row["n"] for row in few.table("corruptions")} == {2}
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


def test_the_test_pictures_are_the_clean_ones_of_a_released_set_that_has_corrupted_them(tmp_path):
    classes = ("airplane", "automobile", "bird")
    models = {name: build_model("small", 3, 3, 1).eval() for name in ("control", "teacher")}
    write_cifar_c(tmp_path, ["fog", "contrast"], n=40)
    labels = np.load(tmp_path / "labels.npy")[:40]
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    rows = np.flatnonzero(labels < 3)
    test = Split(numbered("test", 40)[rows], pixels[rows], labels[rows].astype(np.int64))
    changes = {**NOTHING, "sets": [f"cifar10-c={tmp_path}"]}
    made = Measurement(models, test, protocol_of(changes), classes, "control", "teacher")
    line = made.table("line")
    assert {(row["set"], row["n"]) for row in line} == {("cifar10-c", len(rows))}
    assert line[0]["clean_error"] == np.mean(~made.clean[CLEAN]["control"].right)
    assert figure_of(made, "line")
    other = Split(test.ids, test.pixels, (test.labels + 1) % 3)
    assert Measurement(models, other, protocol_of(changes), classes, "control", "teacher").table("line") == []
