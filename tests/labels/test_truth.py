"""The truth of the unlabeled pictures reaches neither a training nor a selection."""

from dataclasses import replace

import numpy as np

from nsfast.files import checksum
from nsfast.images import load_images, save_images
from nsfast.labels import Origin
from nsfast.labels.balancing.balance import Balancing, balance
from nsfast.labels.labeling.label import label
from nsfast.labels.storage import read_targets, write_targets
from nsfast.training import Recipe
from nsfast.training.learner import PseudoLabeled
from nsfast.training.model_file import load_model, save_model
from nsfast.training.train import train


def through(images, folder) -> dict[str, str]:
    """Save and load the pictures, train a teacher, label, select, train a student; checksum every file."""
    save_images(images, folder / "images")
    images = load_images(folder / "images")
    common = (len(images.classes), images.statistics(), images.labeled, images.validation)
    recipe = Recipe(size=1, epochs=2, steps_per_epoch=3, batch=6)
    trained = train(recipe, *common, folder=folder / "teacher")
    fingerprint = save_model(folder / "teacher", trained, recipe, images.classes, images.size)
    origin = Origin(images.classes, fingerprint)
    labels = label(load_model(folder / "teacher"), images.unlabeled, origin, folder / "labels", shard=25)
    selection = balance(labels, Balancing(threshold=0.3, per_class="largest"), folder).selection
    path = write_targets(labels, folder / "selection.parquet", folder / "selection.labels.npy")
    distributions = read_targets(path, len(images.classes))
    pseudo = PseudoLabeled(images.unlabeled.take(selection.ids).pixels, distributions, selection.copies)
    student = replace(recipe, ratio=2)
    trained = train(student, *common, pseudo, folder / "student" / "c.safetensors")
    save_model(folder / "student", trained, student, images.classes, images.size, fingerprint)
    return {str(p.relative_to(folder)): checksum(p) for p in folder.rglob("*") if p.is_file()}


def test_changing_the_truth_changes_no_training_and_no_selection(tiny, tmp_path):
    shuffled = np.random.default_rng(0).permutation(tiny.truth)
    runs = [
        through(replace(tiny, truth=truth), tmp_path / name)
        for name, truth in (("known", tiny.truth), ("shuffled", shuffled), ("none", None))
    ]
    assert runs[0].pop("images/truth.npy") != runs[1].pop("images/truth.npy")
    assert runs[0] == runs[1] == runs[2] and len(runs[0]) > 20


def test_the_comparison_above_would_see_a_change(tiny, tmp_path):
    """Its negative control: one picture more or less in a class of the labeled ones changes the files."""
    labels = tiny.labeled.labels.copy()
    labels[0] = 1
    one = through(tiny, tmp_path / "a")
    two = through(replace(tiny, labeled=replace(tiny.labeled, labels=labels)), tmp_path / "b")
    changed = {name for name in one if one[name] != two[name]}
    assert {"teacher/model.safetensors", "student/model.safetensors", "labels/part-00000.parquet"} <= changed
