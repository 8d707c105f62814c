"""Where a training starts from, and what is refused before it does."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from nsfast.errors import NsfastError
from nsfast.files import read_json
from nsfast.images import save_images
from nsfast.models import build_model
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.session import Session
from nsfast.pipeline.stages import stages_of
from nsfast.pipeline.training_stage import TrainingStage

QUICK = (
    *("teacher.epochs=1", "teacher.steps_per_epoch=2", "student.epochs=1", "student.steps_per_epoch=2"),
    *("iterate.rounds=1", "student.size=1", "data.labeled_per_class=2", "data.validation=20", "data.test=10"),
)


@pytest.fixture
def opened(tmp_path, tiny):
    """A function that opens the teacher's or the student's stage of a run over the tiny pictures."""
    save_images(tiny, tmp_path / "images")

    def open(kind, *settings):
        stages = stages_of(resolve("digits", (*QUICK, *settings)))
        stage = next(s for s in stages if s.kind == kind and s.folder != "control")
        return TrainingStage(tmp_path, stage, tiny), stages

    return open


def test_weights_of_a_file_are_where_the_training_starts(opened, tmp_path):
    torch.manual_seed(5)
    given = build_model("small", 3, 1, 1).body.state_dict()
    save_file(given, tmp_path / "w.safetensors")
    training, _ = opened("teacher", f"teacher.start={tmp_path / 'w.safetensors'}", "teacher.epochs=0")
    trained = training.train(training.recipe())
    assert trained.history == []
    for network in (trained.model, trained.average):
        assert all(torch.equal(network.body.state_dict()[name], value) for name, value in given.items())


def test_weights_for_other_classes_are_refused_where_they_would_not_be_trained(opened, tmp_path):
    save_file(build_model("small", 5, 1, 1).body.state_dict(), tmp_path / "w.safetensors")
    setting = f"teacher.start={tmp_path / 'w.safetensors'}"
    training, _ = opened("teacher", setting, "teacher.epochs=0")
    with pytest.raises(NsfastError, match="final layer is not for these 3 classes"):
        training.train(training.recipe())
    training, _ = opened("teacher", setting)
    assert len(training.train(training.recipe()).history) == 1


def test_a_student_may_start_from_its_teacher_alone(opened, tmp_path):
    from nsfast.training.model_file import load_model, save_model

    training, _ = opened("teacher")
    trained = training.train(training.recipe())
    save_model(tmp_path / "teacher", trained, training.recipe(), training.images.classes, 8)
    warm, _ = opened("student", "student.start=teacher", "student.ratio=0")
    weights, statistics, source = warm._start(warm.recipe())
    there = load_model(tmp_path / "teacher").state_dict()
    assert all(torch.equal(weights[name], value) for name, value in there.items())
    assert source == read_json(tmp_path / "teacher/model.json")["fingerprint"]
    assert statistics[0] == pytest.approx(training.images.statistics()[0])
    with pytest.raises(NsfastError, match="whose size is 1, but the student's is 2; make them equal"):
        warm._start(replace(warm.recipe(), size=2))
    with pytest.raises(NsfastError, match="only a student has one"):
        training._start(replace(training.recipe(), start="teacher"))


def test_a_teacher_that_knows_other_classes_labels_nothing(opened, tmp_path):
    from nsfast.training.model_file import save_model

    training, stages = opened("teacher")
    trained = training.train(training.recipe())
    save_model(tmp_path / "teacher", trained, training.recipe(), ("ant", "bee", "dog"), 8)
    profile = resolve("digits", QUICK)
    labeling = next(stage for stage in stages if stage.kind == "labeling")
    session = Session(tmp_path, profile, stages, labeling)
    session.__dict__["images"] = training.images
    try:
        with pytest.raises(
            NsfastError, match="knows the classes 'ant', 'bee', 'dog', the pictures have 'ant', 'bee', 'cat'"
        ):
            session.label()
    finally:
        session._lock.release(force=True)
    assert not (tmp_path / "round-1/labels").exists()


def test_validation_is_measured_as_the_model_labels(opened, tmp_path):
    """At its own resolution, which is not that of the pictures; a transformer takes no other."""
    from nsfast.labels.predict import predict
    from nsfast.training.model_file import load_model

    training, stages = opened("teacher", "teacher.resolution=32", "teacher.architecture=test_vit")
    session = Session(tmp_path, resolve("digits", QUICK), stages, training.stage)
    session.__dict__["images"] = images = training.images
    try:
        session.train(session.recipe())
    finally:
        session._lock.release(force=True)
    said = predict(load_model(tmp_path / "teacher"), images.validation.pixels).argmax(1).numpy()
    right = int((said == images.validation.labels).sum())
    assert read_json(tmp_path / "teacher/metrics.json")["validation_correct"] == right
    assert read_json(tmp_path / "teacher/model.json")["pixels"] == 32


def test_other_weights_under_the_same_name_are_another_stage(opened, tmp_path):
    from nsfast.pipeline.stages import Records

    path = tmp_path / "w.safetensors"
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_file(build_model("small", 3, 1, 1).body.state_dict(), path)
        training, _ = opened("teacher", f"teacher.start={path}")
        found.append((Records(tmp_path).fingerprint(training.stage), training._start(training.recipe())[2]))
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]
