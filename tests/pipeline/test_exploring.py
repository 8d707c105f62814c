"""The explorer of a run sees what the run folder holds, aligned by id, and what balancing would make of it."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.files import write_csv
from nsfast.images import load_images
from nsfast.labels import Origin, read_labels
from nsfast.labels.decisions import DecisionLog
from nsfast.labels.table import write_labels
from nsfast.models import build_model
from nsfast.pipeline import explored
from nsfast.pipeline.balancing import balance_table
from nsfast.pipeline.exploring import explore_run, explorer_of, labeled_round, noised, write_choice
from nsfast.pipeline.origin import expected_origin
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.round_labels import RoundLabels
from nsfast.pipeline.run_folder import lock, prepare_images, read_run, write_profile
from nsfast.pipeline.stages import stages_of
from nsfast.training import Recipe
from nsfast.training.model_file import save_model
from nsfast.training.show import noised_views
from nsfast.training.train import Trained

SETTINGS = ("iterate.rounds=3", "balancing.per_class=40", "balancing.threshold=0.5", "student.crop=pad")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose rounds 1 and 2 are labeled, of networks that were never trained; round 2 without some pictures."""
    run = tmp_path_factory.mktemp("exploring") / "digits"
    profile = resolve("digits", SETTINGS)
    write_profile(run, profile)
    images = prepare_images(run, profile)
    random = np.random.default_rng(0)
    for number, folder in enumerate(("teacher", "round-1", "round-2")):
        torch.manual_seed(number)
        network = build_model("small", 10, 1, 1).eval()
        save_model(run / folder, Trained(network, deepcopy(network), []), Recipe(size=1), images.classes, 16)
    for number, ids in ((1, np.arange(len(images.unlabeled))), (2, random.permutation(np.arange(7, 600)))):
        ours = of_round(run, number, images)
        origin = expected_origin(run, ours.stage, images, Origin(images.classes, "", number))
        whole = random.dirichlet(np.full(10, 0.15), len(ids)).astype(np.float32)
        write_labels(ours.folder / "labels", whole, origin, images.unlabeled.ids, ids)
        logits = random.normal(size=(len(images.validation), 10)) + 2 * np.eye(10)[images.validation.labels]
        sure = torch.tensor(4 * logits).softmax(1).float().numpy()  # twice as sure as it is right
        write_labels(ours.folder / "validation", sure, origin, images.validation.ids)
    return run, images


def of_round(run, number, images, kind="balancing", **parameters) -> RoundLabels:
    stages = {stage.kind: stage for stage in stages_of(read_run(run)) if stage.round == number}
    stage = replace(stages[kind], parameters={**stages[kind].parameters, **parameters})
    return RoundLabels(run, stage, images)


def opened(ours, **more):
    """The explorer of a round with other parameters of balancing."""
    student = of_round(ours.run, ours.stage.round, ours.images, "student").stage
    return explorer_of(ours, read_labels(ours.folder / "labels"), student, **more)


def test_the_last_labeled_round_is_opened_and_everything_is_aligned_by_id(made):
    run, images = made
    explorer = explore_run(run)
    labels, table, before = (
        explorer.labels,
        read_labels(run / "round-2/labels"),
        read_labels(run / "round-1/labels"),
    )
    assert labels.round == 2 and explorer.title == "digits, round 2" and list(labels.others) == ["round 1"]
    assert (labels.predicted == table.predicted).all() and (labels.confidence == table.confidence).all()
    assert labels.names(np.arange(len(table))) == images.unlabeled.ids[table.ids].tolist()
    assert (labels.truth == images.truth[table.ids]).all()
    place = {int(number): row for row, number in enumerate(before.ids)}
    rows = [place[number] for number in table.ids.tolist()]
    assert (labels.others["round 1"].predicted == before.predicted[rows]).all()
    for row in (0, 100, len(table) - 1):
        assert (labels.pictures[row] == images.unlabeled.pixels[table.ids[row]]).all()
        assert np.allclose(
            labels.others["round 1"].distributions([row])[0], before.vectors.dense()[rows[row]]
        )
    assert (explorer.labeled == np.bincount(images.labeled.labels)).all()
    assert (explorer.validation[2] == images.validation.labels).all()
    assert explorer.how.threshold == 0.5 and explorer.how.per_class == 40


def test_a_picture_that_another_round_has_no_label_of_is_seen_as_nothing(made):
    labels = explore_run(made[0], 1).labels
    known = np.zeros(len(labels), bool)
    known[7:600] = True
    assert list(labels.others) == ["round 2"] and ((labels.others["round 2"].predicted >= 0) == known).all()


def test_labels_of_a_teacher_that_has_changed_since_are_told_of_and_not_compared(made, tmp_path, capsys):
    run, images = made
    save_model(run / "round-2/kept", *model(9, images))
    for name in ("model.json", "model.safetensors"):
        (run / "round-1" / name).rename(tmp_path / name)
    try:
        save_model(run / "round-1", *model(9, images))
        assert list(explore_run(run, 1).labels.others) == []
        assert "round 2 is not compared: " in capsys.readouterr().out
        with pytest.raises(NsfastError, match="label again"):
            explore_run(run, 2)
    finally:
        for name in ("model.json", "model.safetensors"):
            (tmp_path / name).rename(run / "round-1" / name)


def model(seed, images):
    torch.manual_seed(seed)
    network = build_model("small", 10, 1, 1).eval()
    return Trained(network, deepcopy(network), []), Recipe(size=1), images.classes, 16


@pytest.mark.parametrize("calibrate", [False, True])
def test_the_explorer_says_what_balancing_does(made, tmp_path, calibrate):
    """Whatever is decided of single pictures, the preview at the threshold is what `balance.csv` comes to."""
    run, images = made
    labels, path = read_labels(run / "round-1/labels"), tmp_path / "decisions.jsonl"
    surest = labels.names[np.argsort(-labels.confidence.astype(float))[:4]].tolist()
    log = DecisionLog(path, "Ann", round=1)
    log.reject(surest[0]), log.relabel(surest[1], "7"), log.accept(labels.names[5])
    write_csv(labels.folder / "leaked.csv", leaked(labels, surest[2:]))
    write_csv(labels.folder / "duplicates.csv", leaked(labels, labels.names[:9:3]))
    try:
        asked = {"decisions": str(path), "calibrate": calibrate, "duplicates": False}
        ours = of_round(run, 1, images, **asked)
        explorer = opened(ours)
        assert explorer.labels.left_out.sum() == 5
        for threshold in (0.2, 0.5, 0.9):
            how = replace(ours.balancing, threshold=threshold)
            balanced = balance_table(labels, tmp_path / "again", how, ours.decided)
            for row, known in zip(explorer.preview.at(threshold).rows(), balanced.rows, strict=True):
                assert {name: row[name] for name in known} == known
    finally:
        for name in ("leaked.csv", "duplicates.csv"):
            (labels.folder / name).unlink()


def leaked(labels, names):
    ids = [labels.names.tolist().index(name) for name in names]
    return [
        {"id": i, "name": n, "split": "", "held_out": "", "same_as": ""}
        for i, n in zip(ids, names, strict=True)
    ]


def test_with_calibrate_every_probability_is_the_recalibrated_one(made):
    run, images = made
    ours = of_round(run, 2, images, calibrate=True)
    labels, temperature = opened(ours).labels, ours.balancing.temperature
    softer = read_labels(run / "round-2/labels").vectors.dense().astype(np.float64) ** (1 / temperature)
    softer /= softer.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    assert 1.5 < temperature < 2.5
    assert np.allclose(labels.confidence, softer.max(1), atol=2e-3)
    assert np.allclose(labels.distributions(rows), softer, atol=2e-3)
    falling = np.sort(softer, 1)[:, ::-1]
    assert np.allclose(labels.scores.margin, falling[:, 0] - falling[:, 1], atol=2e-3)
    assert labels.names(rows[:3]) == explore_run(run).labels.names(rows[:3])
    assert labels.rows(labels.names(rows[[4, 2]])).tolist() == [2, 4]


def test_a_student_is_asked_where_no_later_round_has_its_labels(made, monkeypatch, capsys):
    run, images = made
    assert list(explore_run(run, 1, student=True).labels.others) == ["round 2"]
    labels = explore_run(run, student=True).labels
    assert list(labels.others) == ["round 1", "student 2"]
    from nsfast.labels.predict import predict
    from nsfast.training.model_file import load_model

    ids = read_labels(run / "round-2/labels").ids
    said = predict(load_model(run / "round-2"), images.unlabeled.pixels[ids]).softmax(1).numpy()
    assert (labels.others["student 2"].predicted == said.argmax(1)).all()
    assert np.allclose(labels.others["student 2"].distributions([3, 0]), said[[3, 0]], atol=1e-6)
    monkeypatch.setattr(explored, "ASKED", 100)
    assert list(explore_run(run, student=True).labels.others) == ["round 1"]
    assert "593 pictures are more than 100" in capsys.readouterr().out


def test_noised_views_are_those_of_the_rounds_student(made):
    run, images = made
    explorer, ids = explore_run(run), read_labels(run / "round-2/labels").ids
    stage = of_round(run, 2, images, "student").stage
    recipe = Recipe.from_parameters(stage.parameters)
    assert recipe.crop == "pad"
    views = explorer.noised(11)
    assert views.shape == (6, 16, 16, 1) and views.dtype == np.uint8 and (views == explorer.noised(11)).all()
    assert (views == noised_views(images.unlabeled.pixels[ids[[11]]], recipe, 6, seed=11)).all()
    assert (views != images.unlabeled.pixels[ids[11]]).any()


def test_noised_views_of_pictures_that_are_spared_randaugment_are_without_it(made):
    run, images = made
    stage = of_round(run, 2, images, "student").stage
    pixels, few = images.unlabeled.pixels, {"crop": "none", "flip": False, "cutout": 0, "ratio": 2}
    for spared, pseudo_noise in ((True, "dropout"), (False, "randaugment")):
        student = replace(stage, parameters={**stage.parameters, **few, "pseudo_noise": pseudo_noise})
        assert (noised(pixels, student)(11) == pixels[11]).all() == spared


def test_a_map_is_made_once_for_a_teacher(made, monkeypatch):
    run, images = made
    labels = explore_run(run, map=True).labels
    assert labels.embedding.shape == (593, 2) and np.isfinite(labels.embedding).all()
    with monkeypatch.context() as patch:
        patch.setattr("nsfast.labels.embedding.penultimate", None)
        assert (explore_run(run, map=True).labels.embedding == labels.embedding).all()
    with np.load(run / "round-2/map.npz") as kept:
        np.savez(run / "round-2/map.npz", map=kept["map"] * 0, about=np.array(["another teacher", ""]))
    assert (explore_run(run, map=True).labels.embedding == labels.embedding).all()
    (run / "round-2/map.npz").unlink()


def test_decisions_are_written_into_the_run_and_say_of_what(made):
    run, _ = made
    explorer = explore_run(run, who="Ann")
    name = explorer.labels.names(np.array([0]))[0]
    explorer.reject(name)
    try:
        (record,) = explorer.decisions.records()
        assert explorer.decisions.path == run / "decisions.jsonl"
        assert (
            record["who"] == "Ann"
            and record["round"] == 2
            and record["id"] == name
            and record["run"] == "digits"
        )
        assert record["teacher"] == read_labels(run / "round-2/labels").origin.teacher
        assert list(explore_run(run).decisions.decisions.rejected) == [name]
        assert not len(explore_run(run, 1).decisions)  # it holds from round 2 on
    finally:
        (run / "decisions.jsonl").unlink()
    unheard = opened(of_round(run, 2, load_images(run / "images"), decisions=""))
    assert "no decision is heeded" in unheard.title and "heeded" not in explore_run(run).title


def test_a_choice_is_written_into_the_profile_and_nothing_else_changes(made):
    run, _ = made
    before, text = read_run(run), (run / "profile.yaml").read_text()
    explorer = explore_run(run)
    explorer.threshold = 0.65
    said = explorer.write_parameters()
    after = read_run(run)
    assert said.endswith(f"go on with: nsfast run {run}/profile.yaml --run {run}")
    assert (
        after.groups["balancing"].pop("threshold") == 0.65
        and before.groups["balancing"].pop("threshold") == 0.5
    )
    assert after == before
    (run / "profile.yaml").write_text(text)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [({"threshold": 1.5}, "threshold"), ({"method": "best"}, "best"), ({"per_class": [1]}, "per_class is")],
)
def test_a_choice_that_balancing_refuses_is_not_written(made, chosen, words):
    text = (made[0] / "profile.yaml").read_text()
    with pytest.raises(NsfastError, match=words):
        write_choice(made[0], chosen)
    assert (made[0] / "profile.yaml").read_text() == text


def test_a_choice_is_not_written_while_a_run_works(made):
    from filelock import FileLock

    held = FileLock(made[0] / ".lock")
    with held, pytest.raises(NsfastError, match="nsfast run is working in"):
        write_choice(made[0], {"threshold": 0.4})
    lock(made[0] / ".lock", 1, "busy").release(force=True)


def test_what_cannot_be_explored_is_said_in_one_line(made, tmp_path):
    run, _ = made
    assert labeled_round(run) == 2
    for number, words in ((3, "round 3 of .* is not labeled yet"), (4, "has 3 round"), (0, "has 3 round")):
        with pytest.raises(NsfastError, match=words) as error:
            explore_run(run, number)
        assert "\n" not in str(error.value)
    with pytest.raises(NsfastError, match="no run in"):
        explore_run(tmp_path)
    write_profile(tmp_path / "new", resolve("digits"))
    with pytest.raises(
        NsfastError, match="no round of .* is labeled yet; label with: nsfast run .*--until round-1/labeling$"
    ):
        explore_run(tmp_path / "new")
