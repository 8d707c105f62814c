"""Models and pictures without a run, and the page that `nsfast robustness` writes."""

import json
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.files import read_csv
from nsfast.models import build_model
from nsfast.pipeline.report_robustness import headline_html, headline_text, robustness_sections
from nsfast.pipeline.robustness import measure_robustness, open_models, read_changes, run_of
from nsfast.training.model_file import save_model
from nsfast.training.recipe import Recipe

QUICK = {
    **{"corruptions": ["contrast"], "severities": [2], "perturbations": ["translate"], "sequences": 2},
    **{"epsilons": [8.0], "attacked": 2, "steps": 2},
}


def save(folder, classes):
    model = build_model("small", len(classes), 3, 1)
    trained = SimpleNamespace(model=model, average=deepcopy(model))
    save_model(folder, trained, Recipe(size=1), classes, 8)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two models of classes "ant" and "<b>", and a folder of pictures that they know."""
    folder = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(0)
    for number, name in enumerate(("control", "student")):
        torch.manual_seed(number)
        save(folder / name, ("ant", "<b>"))
    for name in ("ant", "<b>"):
        (folder / "test" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.fromarray(random.integers(0, 256, (10, 12, 3), dtype=np.uint8))
            picture.save(folder / "test" / name / f"{number}.png")
    return folder


def test_models_are_named_by_their_folder_or_as_is_said(home):
    models = open_models([str(home / "control"), f"other={home / 'student'}"])
    assert list(models) == ["control", "other"] and models["other"].classes == ("ant", "<b>")
    assert models["other"].fingerprint == json.loads((home / "student/model.json").read_text())["fingerprint"]
    assert not models["control"].network.training


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["no model is given"]),
        (["{home}/control", "{home}/control"], ["two models", "'control'", "other="]),
        (["{home}"], ["model.json", "control", "student"]),
        (["{home}/nowhere"], ["nowhere", "model.json"]),
        (["{home}/control", "{home}/three"], ["three", "other classes", "control"]),
    ],
)
def test_models_that_cannot_be_compared_are_refused(home, given, words):
    if not (home / "three").exists():
        save(home / "three", tuple("abc"))
    with pytest.raises(NsfastError) as error:
        open_models([text.format(home=home) for text in given])
    assert all(word in str(error.value) for word in words), error.value


def test_it_is_measured_on_a_folder_and_written_whole(home, tmp_path, capsys):
    models = [str(home / "control"), str(home / "student")]
    out = tmp_path / "out"
    (out / "tables").mkdir(parents=True)
    (out / "tables/line.csv").write_text("of a measurement before")
    (out / "tables/mine.csv").write_text("not ours")
    measured, page = measure_robustness(models, out, str(home / "test"), changes={**QUICK, "corruptions": []})
    assert not (out / "tables/line.csv").exists() and (out / "tables/mine.csv").exists()
    assert measured.control == "control" and measured.teacher == "control"
    assert {row["n"] for row in read_csv(out / "tables/natural.csv") if row["set"] == "clean"} == {8}
    assert (out / "figures/attacks.png").stat().st_size > 1000
    text = page.read_text()
    assert "Mind</b>" not in text and 'src="data:image/png' in text
    assert len(list((out / "answers").rglob("*.parquet"))) == 7  # clean twice, hard, 3 attacks; 1 sequence


def test_pictures_of_an_unknown_class_are_refused_before_anything_is_asked(home, tmp_path):
    (tmp_path / "test/wasp").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "test/wasp/1.png")
    with pytest.raises(NsfastError, match="'wasp'.*do not know: ant, <b>"):
        measure_robustness([str(home / "control")], tmp_path / "out", str(tmp_path / "test"))
    with pytest.raises(NsfastError, match=r"no pictures to measure on.*--pictures"):
        measure_robustness([str(home / "control")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_run_of_models_is_found(tmp_path):
    (tmp_path / "run/teacher").mkdir(parents=True)
    (tmp_path / "run/profile.yaml").write_text("")
    run, teacher = str(tmp_path / "run"), str(tmp_path / "run/teacher")
    assert run_of([run]) == tmp_path / "run" == run_of([teacher, f"t={teacher}"])
    assert run_of([teacher, str(tmp_path)]) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("severities", ["no value"]), ("severity=1", ["severity", "did you mean 'severities'"])],
)
def test_a_change_names_a_parameter_and_a_value(text, words):
    assert read_changes(["severities=[1, 2]", "steps=3"]) == {"severities": [1, 2], "steps": 3}
    with pytest.raises(NsfastError) as error:
        read_changes([text])
    assert all(word in str(error.value) for word in words)


def test_a_run_says_before_it_starts_that_a_released_set_is_not_there(tmp_path):
    from nsfast.pipeline.profile import resolve
    from nsfast.pipeline.runner import run_profile

    there, nowhere = tmp_path / "there", tmp_path / "nowhere"
    there.mkdir()
    profile = resolve("digits", (f"analysis.sets=[imagenet-r={there}, imagenet-a={nowhere}]",))
    with pytest.raises(NsfastError, match="imagenet-a: no folder .*nowhere.*expected <wnid>"):
        run_profile(tmp_path / "run", profile)
    assert not (tmp_path / "run" / "images").exists()


def row(model, **values):
    from nsfast.analysis.robustness import HEADLINE

    ends = ("", "_low", "_high", "_n", "_minus_control", "_minus_control_low", "_minus_control_high")
    empty = {f"{name}{end}": "" for name in HEADLINE for end in ends}
    about = {"natural_set": "hard", "corruption_set": "corrupted", "flip_set": "perturbed", "epsilon": 8.0}
    about |= {"corruption_baseline": "control", "flip_baseline": "control", "norm": "linf"}
    about |= {"corruption_note": "mean of 13 of the 15 corruptions", "flip_note": ""}
    return {"model": model} | about | empty | values


def measure(name, value, low, high, n, change=0.0, change_low=0.0, change_high=0.0):
    ends = ("", "_low", "_high", "_n", "_minus_control", "_minus_control_low", "_minus_control_high")
    numbers = (value, low, high, n, change, change_low, change_high)
    return {f"{name}{end}": v for end, v in zip(ends, numbers, strict=True)}


ROWS = [
    row("control", **measure("accuracy", 0.5, 0.4, 0.6, 90), **measure("mce", 1.0, 1.0, 1.0, 90)),
    row(
        "<i>student</i>",
        **measure("accuracy", 0.75, 0.7, 0.8, 90, 0.25, 0.2, 0.3),
        **measure("mce", 0.5, 0.4, 0.6, 90, -0.5, -0.6, -0.4),
    ),
]


def test_the_headline_has_values_and_differences_of_what_was_measured():
    assert headline_text(ROWS) == [
        {"model": "control", "accuracy, clean": "50.0%", "mCE, control = 100": "100"},
        {"model": "<i>student</i>", "accuracy, clean": "75.0% (+25.0)", "mCE, control = 100": "50 (-50)"},
    ]


def test_the_headline_escapes_names_and_sets_the_paper_apart():
    page = headline_html(ROWS)
    assert "<i>" not in page and "&lt;i&gt;student" in page
    assert "[70.0%, 80.0%]<br>+25.0 [+20.0, +30.0]" in page and "<small>n = 90</small>" in page
    assert "mCE, control = 100<br><small>n = 90; mean of 13 of the 15 corruptions</small>" in page
    assert "[100, 100]" not in page  # a ratio to itself has no interval
    assert page.count("paper: ") == 2 and "88.4 (ImageNet; v2)" in page and "28.3 (ImageNet-C; v2)" in page


def test_a_report_without_robustness_has_no_section(tmp_path):
    assert robustness_sections(tmp_path) == []
