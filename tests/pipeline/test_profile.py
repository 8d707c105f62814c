"""A profile is resolved from notebooks, file and settings, and is refused with one line before anything runs."""

from pathlib import Path

import pytest
import yaml

from nsfast.errors import NsfastError
from nsfast.pipeline.notebooks import NOTEBOOKS, code_fingerprint, declared_parameters, notebook_path
from nsfast.pipeline.profile import GROUPS, profile_names, resolve, stage_parameters
from nsfast.pipeline.round_labels import check_labels
from nsfast.pipeline.run_folder import read_run, write_profile
from nsfast.training import Recipe


def refused(*settings, profile="digits"):
    with pytest.raises(NsfastError) as caught:
        resolve(profile, settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_settings_win_over_the_file_and_the_file_over_the_notebook(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("student: {epochs: 7, ratio: 2}\nseed: 3\n")
    profile = resolve(str(path), ("student.ratio=5", "seed=4"))
    student = profile.groups["student"]
    assert (profile.name, profile.seed, student["epochs"], student["ratio"]) == ("mine", 4, 7, 5)
    assert student["dropout"] == declared_parameters("student")["dropout"].default
    assert resolve(str(path), (), seed=9).seed == 9


@pytest.mark.parametrize("name", ["digits", "folder"])
def test_every_shipped_profile_resolves(name):
    assert name in profile_names()
    settings = ("data.path=somewhere",) if name == "folder" else ()
    assert resolve(name, settings).rounds == 3


def test_the_digits_profile_is_what_the_notebooks_do_by_default():
    profile = resolve("digits")
    for group in set(GROUPS) - {"data", "control"}:
        own = {"per_class": "largest"} if group == "balancing" else {}  # the paper's is for larger pools
        default = {name: parameter.default for name, parameter in stage_parameters(group).items()}
        assert profile.groups[group] == default | own, group


def test_recipe_parameters_of_the_notebooks_have_the_types_of_the_recipe():
    kinds = {name: field.type for name, field in Recipe.__dataclass_fields__.items()}
    for stage in ("teacher", "student"):
        for name, parameter in declared_parameters(stage).items():
            if name in kinds:
                assert parameter.type == kinds[name], (stage, name)
            assert parameter.help, (stage, name)
    assert set(kinds) <= set(declared_parameters("student"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("balancing.thresold=0.5", ["thresold", "balancing", "did you mean 'threshold'"]),
        ("balncing.threshold=0.5", ["balncing", "did you mean 'balancing'"]),
        ("balancing.threshold=high", ["balancing.threshold", "'high'", "float"]),
        ("student.epochs=2.5", ["student.epochs", "2.5", "int"]),
        ("student.epochs=true", ["student.epochs", "True", "int"]),
        ("balancing.threshold=1.5", ["threshold", "1.5", "between 0 and 1"]),
        ("balancing.threshold=-0.1", ["threshold", "-0.1", "between 0 and 1"]),
        ("balancing.threshold=.nan", ["threshold", "nan", "between 0 and 1"]),
        ("balancing.method=topp", ["method", "topp", "did you mean 'top'"]),
        ("teacher.dropout=2", ["teacher", "dropout", "2.0"]),
        ("student.targets=softt", ["targets", "softt", "did you mean 'soft'"]),
        ("iterate.rounds=0", ["rounds", "0", "at least 1"]),
        ("iterate.size=[2, 0]", ["size", "0", "at least 1"]),
        ("data.name=digit", ["data.name", "digit", "did you mean 'digits'"]),
        ("data.sise=3", ["sise", "did you mean 'size'"]),
        ("seed=-1", ["seed", "-1", "at least 0"]),
        ("seed=x", ["seed", "'x'", "int"]),
        ("threads=0", ["threads", "0", "at least 1"]),
        ("analysis.corruptions=[contrst]", ["contrst", "did you mean 'contrast'"]),
        ("analysis.severities=[9]", ["severity", "9", "between 1 and 5"]),
        ("labeling.shard_size=0", ["shard_size", "0", "at least 1"]),
        ("data.name=[1]", ["data.name", "[1]"]),
        ("teacher.epochs=[1", ["teacher.epochs=[1", "YAML"]),
        ("epochs", ["'epochs'", "stage.name=value"]),
        ("teacher=3", ["'teacher=3'", "stage.name=value"]),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_the_way_out(setting, words):
    message = refused(setting)
    assert all(word in message for word in words), message


def test_a_float_may_be_written_as_yaml_does_not_read_it():
    assert resolve("digits", ("teacher.learning_rate=1e-3",)).groups["teacher"]["learning_rate"] == 1e-3


def test_unknown_profiles_and_broken_files_are_refused(tmp_path):
    assert "did you mean 'digits'" in refused(profile="digit")
    assert "no profile" in refused(profile=str(tmp_path / "none.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    assert "broken.yaml" in refused(profile=str(broken))
    broken.write_text("- 1")
    assert "list" in refused(profile=str(broken))
    assert "data.path" in refused(profile="folder")


def test_rounds_may_differ_and_the_last_value_repeats():
    profile = resolve("digits", ("iterate.rounds=3", "iterate.size=[3, 4]", "iterate.ratio=[7]"))
    assert [profile.student(n)["size"] for n in (1, 2, 3)] == [3, 4, 4]
    assert [profile.student(n)["ratio"] for n in (1, 2, 3)] == [7, 7, 7]


def test_the_control_has_the_last_students_network_noise_and_steps_and_no_pseudo_labels():
    profile = resolve("digits", ("iterate.size=[2, 5]", "student.dropout=0.7", "student.epochs=33"))
    control, student = Recipe.from_parameters(profile.control()), profile.student(3)
    assert control.ratio == 0
    assert control.epochs == 33  # more than the profile's 20: never fewer than the student's
    shared = set(profile.control()) & set(student)
    assert {"size", "dropout", "epochs", "steps_per_epoch", "randaugment_m", "stochastic_depth"} <= shared
    assert all(profile.control()[name] == student[name] for name in shared)
    assert resolve("digits", ("control.epochs=50",)).control()["epochs"] == 50
    assert resolve("digits", ("control.epochs=1",)).control()["epochs"] == student_epochs()


def student_epochs():
    """Epochs of the last student of the digits."""
    return resolve("digits").student(3)["epochs"]


def test_a_run_keeps_its_profile_and_refuses_another(tmp_path):
    profile = resolve("digits", ("student.epochs=3",))
    write_profile(tmp_path / "run", profile)
    assert read_run(tmp_path / "run") == profile
    other = tmp_path / "other.yaml"
    other.write_text("seed: 1")
    with pytest.raises(NsfastError, match="made by profile 'digits', not 'other'"):
        write_profile(tmp_path / "run", resolve(str(other)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(NsfastError, match="no run folder"):
        write_profile(tmp_path / "full", profile)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_the_profile_of_a_run_is_plain_yaml(tmp_path):
    write_profile(tmp_path, resolve("digits"))
    assert yaml.safe_load((tmp_path / "profile.yaml").read_text())["iterate"]["rounds"] == 3


@pytest.fixture
def copied_notebooks(tmp_path, monkeypatch):
    """The notebooks' folder, copied, so that a test may edit it."""
    import shutil

    from nsfast.pipeline import notebooks

    folder = tmp_path / "notebooks"
    shutil.copytree(notebook_path("teacher").parent, folder)
    monkeypatch.setattr(notebooks, "notebooks_folder", lambda: folder)
    notebooks._code_cells.cache_clear()
    notebooks.declared_parameters.cache_clear()
    yield folder
    notebooks._code_cells.cache_clear()
    notebooks.declared_parameters.cache_clear()


def edit(folder: Path, old: str, new: str) -> str:
    """The fingerprint of the balancing notebook after an edit."""
    from nsfast.pipeline import notebooks

    path = folder / "03_balancing.ipynb"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    notebooks._code_cells.cache_clear()
    return code_fingerprint("balancing")


def test_comments_outputs_and_prose_do_not_change_the_code_but_code_does(copied_notebooks):
    before = code_fingerprint("balancing")
    call = "balanced = stage.select(labels)"
    assert edit(copied_notebooks, call, f"{call}  # what the student will see") == before
    assert edit(copied_notebooks, '"outputs": []', '"outputs": [{"output_type": "stream"}]') == before
    assert edit(copied_notebooks, "# 3 · Balancing", "# 3 · Something else") == before
    assert edit(copied_notebooks, "stage.select(labels)", "stage.select(labels[:5])") != before


@pytest.mark.parametrize(
    "setting, words",
    [
        ("labeling.top=4", "top is 4; keep 1 to 3 classes"),
        ("labeling.also=[nowhere]", "no model in .*nowhere"),
        ("balancing.thresholds={4: high}", r"must be of type dict\[str, float\]"),
        ("balancing.thresholds={4: 0.5}", "unknown class '4'"),
        ("balancing.decisions=nowhere.jsonl", "there is no such file"),
    ],
)
def test_what_labeling_or_balancing_would_refuse_is_refused_before_a_teacher_is_trained(tiny, setting, words):
    with pytest.raises(NsfastError, match=words):
        check_labels(resolve("digits", (setting,)), tiny)


def test_every_parameter_says_what_it_is():
    for stage in NOTEBOOKS:
        for name, parameter in declared_parameters(stage).items():
            assert parameter.help, (stage, name)


def test_notebooks_are_stripped_and_declare_where_they_work():
    for stage in NOTEBOOKS:
        text = notebook_path(stage).read_text(encoding="utf-8")
        assert '"output_type"' not in text and '"execution_count": 1' not in text
        assert {"run", "profile"} <= set(declared_parameters(stage))


def test_the_control_trains_as_long_as_a_student_that_trains_twice():
    profile = resolve("digits", ("student.order=pretrain", "student.epochs=30", "control.epochs=1"))
    assert profile.control()["epochs"] == 60
    said = refused("student.epoch_by=pseudo", "student.steps_per_epoch=0")
    assert "set control.steps_per_epoch" in said
    settings = ("student.epoch_by=pseudo", "student.steps_per_epoch=0", "control.steps_per_epoch=99")
    assert resolve("digits", settings).control()["steps_per_epoch"] == 99
