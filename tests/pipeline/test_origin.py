"""A student is trained on the labels of its own teacher, classes, preprocessing and pictures, or not at all."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.files import read_json, write_json
from nsfast.images import Split, save_images
from nsfast.labels import LabelTable, write_labels
from nsfast.labels.balancing.balance import Balancing, balance
from nsfast.labels.predict import predict
from nsfast.labels.storage import write_targets
from nsfast.models import build_model
from nsfast.pipeline.labeling import LabelingJob
from nsfast.pipeline.origin import expected_origin
from nsfast.pipeline.stages import Stage
from nsfast.pipeline.training_stage import TrainingStage
from nsfast.training import Recipe
from nsfast.training.model_file import load_model, save_model
from nsfast.training.train import Trained

STUDENT = Stage("student", "round-1", {}, 1)


def save_teacher(folder, images, seed=0) -> str:
    torch.manual_seed(seed)
    teacher = build_model("small", 3, 1, 1, mean=[0.4], std=[0.2])
    return save_model(
        folder, Trained(teacher, deepcopy(teacher), []), Recipe(size=1), images.classes, images.size
    )


def balanced(labels, folder, threshold=None) -> None:
    """Balance, by default so that half of the labels are sure enough."""
    threshold = float(np.median(labels.confidence)) if threshold is None else threshold
    balance(labels, Balancing(threshold=threshold, per_class="largest"), folder)
    write_targets(labels, folder / "selection.parquet", folder / "selection.labels.npy")


@pytest.fixture
def training(tmp_path, tiny) -> TrainingStage:
    """A round whose teacher has labeled, and whose labels are balanced."""
    save_images(tiny, tmp_path / "images")
    save_teacher(tmp_path / "teacher", tiny)
    job = LabelingJob(
        (str(tmp_path / "teacher"),), str(tmp_path / "round-1/labels"), run=str(tmp_path), shard=25
    )
    balanced(job.label(), tmp_path / "round-1")
    return TrainingStage(tmp_path, STUDENT, tiny)


def relabel(training, names=None, **changes) -> LabelTable:
    """Write another table, and a selection from it, in place of the round's; `changes` are of its origin."""
    from nsfast.labels import read_labels

    before = read_labels(training.folder / "labels")
    preprocessing = {**before.origin.preprocessing, **changes.pop("preprocessing", {})}
    origin = replace(before.origin, **{"preprocessing": preprocessing, **changes})
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(origin.classes)), len(before))
    names = training.images.unlabeled.ids if names is None else names
    labels = write_labels(training.folder / "labels", probabilities[: len(names)], origin, names)
    balanced(labels, training.folder)
    return labels


def test_a_student_gets_its_selected_pictures_with_what_the_teacher_says_of_them(training, tiny, monkeypatch):
    with monkeypatch.context() as patch:  # nothing of the table is needed but what it says of itself
        patch.setattr(LabelTable, "batches", lambda *a, **k: pytest.fail("the table was read"))
        pseudo = training.pseudo_labeled()
    said = predict(load_model(training.run / "teacher"), tiny.unlabeled.pixels).softmax(1).numpy()
    confidence = said.astype(np.float16).max(1)
    rows = np.flatnonzero(confidence >= np.median(confidence))
    assert 0 < len(rows) < 60 and np.array_equal(pseudo.pixels, tiny.unlabeled.pixels[rows])
    assert np.allclose(pseudo.distributions.probabilities, said[rows], atol=1e-3)
    assert isinstance(pseudo.distributions.probabilities, np.memmap)
    classes = said.argmax(1)[rows]
    assert (np.bincount(classes, pseudo.copies)[np.unique(classes)] == np.bincount(classes).max()).all()


def refused(training, said: str) -> None:
    with pytest.raises(NsfastError, match=said) as caught:
        training.pseudo_labeled()
    assert "\n" not in str(caught.value) and " again" in str(caught.value)


def test_labels_of_another_teacher_are_refused(training, tiny):
    save_teacher(training.run / "teacher", tiny, seed=1)
    refused(
        training, r"the labels in .* are others: teacher is \w{12}\.\.\. instead of \w{12}\.\.\.; label again"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ("ant", "bee", "dog")}, "class 2 is 'dog' instead of 'cat'"),
        ({"classes": ("ant", "bee", "cat", "dog")}, "it has 4 classes instead of 3"),
        ({"round": 2}, "round is 2 instead of 1"),
        ({"preprocessing": {"pixels": 16}}, "pixels is 16 instead of 8"),
        ({"preprocessing": {"mean": [0.5]}}, r"mean is \[0.5\] instead of \[0.4\]"),
        ({"preprocessing": {"flip": True}}, "flip is True instead of False"),
        ({"teacher": "a+b"}, "teacher is a.b instead of"),
    ],
)
def test_labels_of_other_classes_another_round_or_another_preprocessing_are_refused(training, changes, said):
    relabel(training)
    training.pseudo_labeled()
    relabel(training, **changes)
    refused(training, said)


def test_the_device_that_labeled_and_how_many_classes_are_kept_make_no_difference(training):
    relabel(training, preprocessing={"precision": "bfloat16"}, top=2)
    assert training.pseudo_labeled().distributions.top == 2


def test_what_the_labeling_stage_recorded_is_expected(training, tiny):
    other = save_teacher(training.run / "other", tiny, seed=2)
    parameters = {"flip": True, "also": [str(training.run / "other")]}
    entry = {"fingerprint": "x", "outputs": {}, "parameters": parameters}
    write_json(training.folder / "stage.json", {"labeling": entry})
    refused(training, "teacher is")
    first = read_json(training.run / "teacher/model.json")["fingerprint"]
    same = expected_origin(training.run, STUDENT, tiny, relabel(training).origin).preprocessing
    assert same["flip"] and same["mean"] == pytest.approx([0.4])
    relabel(training, teacher=f"{first}+{other}", preprocessing=same)
    training.pseudo_labeled()


def test_labels_of_other_pictures_are_refused(training, tiny):
    names = tiny.unlabeled.ids.copy()
    relabel(training, names=names[:50])
    refused(training, "are of other pictures: of 50, but the run has 60 unlabeled ones; run labeling again")
    names[[3, 7]] = names[[7, 3]]
    relabel(training, names=names)
    refused(training, "number 3 is 'unlabeled-007' there and 'unlabeled-003' in the run; run labeling again")


def test_a_selection_from_other_labels_and_a_map_of_another_selection_are_refused(training):
    before = {
        name: (training.folder / name).read_bytes() for name in ("selection.parquet", "selection.labels.npy")
    }
    relabel(training, pictures="others")
    (training.folder / "selection.parquet").write_bytes(before["selection.parquet"])
    refused(training, "selection.parquet was made from other labels than .*labels; run balancing again")
    labels = relabel(training)
    whole = (training.folder / "selection.labels.npy").read_bytes()
    balanced(labels, training.folder, 0.6)
    (training.folder / "selection.labels.npy").write_bytes(whole)
    refused(training, r"selection.labels.npy has \d+ rows, the selection beside it \d+; run balancing again")
    (training.folder / "selection.labels.npy").unlink()
    refused(training, "cannot read .*selection.labels.npy")


def test_pictures_in_files_are_seen_by_the_teacher_as_the_labeling_says(tmp_path, tiny):
    """The stand-in for a network without its weights says what the network itself says, of files too."""
    from PIL import Image

    from nsfast.images.files import PictureFiles
    from nsfast.labels import Origin
    from nsfast.labels.labeling.teachers import preprocessing_of

    save_teacher(tmp_path / "teacher", tiny)
    for i in range(2):
        Image.fromarray(tiny.unlabeled.pixels[i, ..., 0]).save(tmp_path / f"{i}.png")
    for size, whole in ((8, True), (96, False)):
        files = PictureFiles(str(tmp_path), ["0.png", "1.png"], size, 1, whole=whole)
        images = type(
            "Images", (), {"classes": tiny.classes, "unlabeled": Split(np.array(["0", "1"]), files)}
        )
        found = preprocessing_of(load_model(tmp_path / "teacher"), images.unlabeled)
        origin = Origin(tiny.classes, read_json(tmp_path / "teacher/model.json")["fingerprint"], 1, found)
        assert expected_origin(tmp_path, STUDENT, images, origin) == origin
