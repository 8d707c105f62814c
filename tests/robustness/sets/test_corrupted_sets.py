"""ImageNet-C, Tiny-ImageNet-C and CIFAR-C from their folders: each version whole, no picture changed."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.models import build_model
from nsfast.robustness.answers import ask
from nsfast.robustness.names import CORRUPTIONS
from nsfast.robustness.sets import imagenet_wnids, open_set
from nsfast.robustness.sets.classes import CIFAR10
from tests.robustness.sets.released_folders import WNIDS, write_c, write_cifar_c

THOUSAND = imagenet_wnids()


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """ImageNet-C's layout with two corruptions, one of them below its family's folder as the archive has it."""
    return write_c(tmp_path_factory.mktemp("c") / "imagenet-c", ["noise/gaussian_noise", "fog"])


def by_version(questions):
    return {(q.version.name, q.version.level): q for q in questions}


def test_both_layouts_give_every_corruption_and_severity(released):
    found = by_version(open_set("imagenet-c", released, WNIDS))
    assert set(found) == {(name, s) for name in ("gaussian_noise", "fog") for s in range(1, 6)}
    for question in found.values():
        assert question.version.set == "imagenet-c" and len(question.ids) == 6
        assert sorted(question.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert (
        "12" not in found and "brightness" in found["fog", 1].description
    )  # what lacks for the mean is said


def test_pictures_are_those_of_the_files_uncropped(released):
    question = by_version(open_set("imagenet-c", released, WNIDS))["fog", 3]
    pixels = np.asarray(question.pictures()[:])
    assert pixels.shape == (6, 16, 16, 3)  # as released: no Resize, no CenterCrop
    shades = {}
    for path in (released / "fog/3").rglob("*.JPEG"):
        shades[f"{path.parent.name}/{path.name}"] = np.asarray(Image.open(path))
    for name, picture in zip(question.ids, pixels, strict=True):
        assert (picture == shades["/".join(str(name).split("/")[-2:])]).all()


def test_one_picture_has_one_id_in_all_its_versions(released):
    questions = open_set("imagenet-c", released, WNIDS)
    assert len({tuple(q.ids) for q in questions}) == 1
    assert len({q.key for q in questions}) == len(questions)


def test_answers_are_those_of_a_plain_loop(released):
    torch.manual_seed(0)
    model = build_model("small", 3, 3, 1).eval()
    classes = tuple(reversed(WNIDS))  # not in the order of the folders
    questions = open_set("imagenet-c", released, classes)
    asked = ask({"one": model}, questions)
    question = by_version(questions)["fog", 5]
    right = 0
    for path in sorted((released / "fog/5").rglob("*.JPEG")):
        x = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            right += classes[model(x).argmax().item()] == path.parent.name
    assert asked[question.version]["one"].right.sum() == right


def test_a_severity_that_lacks_a_picture_is_half_unpacked(released, tmp_path):
    copy = shutil.copytree(released, tmp_path / "imagenet-c")
    next((copy / "fog/2").rglob("*.JPEG")).unlink()
    with pytest.raises(NsfastError, match="half unpacked") as error:
        open_set("imagenet-c", copy, WNIDS)
    assert "fog" in str(error.value) and "<corruption>" in str(error.value) and "zenodo" in str(error.value)


@pytest.mark.parametrize("name", ["imagenet-c", "tiny-imagenet-c", "cifar10-c", "cifar100-c"])
def test_a_missing_or_empty_folder_names_layout_and_source(name, tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(NsfastError) as error:
            open_set(name, path, THOUSAND)
        assert all(word in str(error.value) for word in (name, "expected", "unpacked from", str(path)))


def test_tiny_imagenet_c_has_the_same_layout_at_64_pixels(tmp_path):
    write_c(tmp_path / "Tiny-ImageNet-C", ["snow"], severities=(1, 2), side=64)
    questions = open_set("tiny-imagenet-c", tmp_path, WNIDS)
    assert [q.version for q in questions] == [("tiny-imagenet-c", "snow", 1), ("tiny-imagenet-c", "snow", 2)]
    assert np.asarray(questions[0].pictures()[:]).shape == (6, 64, 64, 3)


@pytest.mark.parametrize("name", ["cifar10-c", "cifar100-c"])
def test_rows_of_cifar_c_are_severities_in_turn(name, tmp_path):
    from nsfast.robustness.sets.classes import official_classes

    count = len(official_classes(name))
    numbers, pixels = write_cifar_c(tmp_path / name, ["fog", "saturate"], n=2 * count, classes=count)
    classes = tuple(reversed(official_classes(name)))
    found = by_version(open_set(name, tmp_path / name, classes))
    assert set(found) == {(corruption, s) for corruption in ("fog", "saturate") for s in range(1, 6)}
    for (corruption, severity), question in found.items():
        rows = slice(2 * count * (int(severity) - 1), 2 * count * int(severity))
        assert (np.asarray(question.pictures()[:]) == pixels[corruption][rows]).all()
        assert question.labels.tolist() == (count - 1 - numbers).tolist()  # by name, not by number


def test_an_array_of_objects_is_never_loaded(tmp_path):
    write_cifar_c(tmp_path, ["fog"])
    np.save(tmp_path / "labels.npy", np.array([{"a": 1}] * 100, dtype=object), allow_pickle=True)
    with pytest.raises(NsfastError, match="labels.npy"):
        open_set("cifar10-c", tmp_path, CIFAR10)


def test_a_short_array_is_refused_before_anything_is_asked(tmp_path):
    write_cifar_c(tmp_path, ["fog"])
    np.save(tmp_path / "fog.npy", np.zeros((99, 32, 32, 3), np.uint8))
    with pytest.raises(NsfastError, match=r"fog.npy.*99") as error:
        open_set("cifar10-c", tmp_path, CIFAR10)
    assert "100" in str(error.value)


def test_a_class_of_the_model_without_pictures_is_half_unpacked(released):
    with pytest.raises(NsfastError, match="no picture of 997 of its classes, such as n01443537"):
        open_set("imagenet-c", released, THOUSAND)


def test_a_model_that_knows_none_of_the_classes_is_told_so(released):
    with pytest.raises(NsfastError, match="ant"):
        open_set("imagenet-c", released, ("ant", "bee"))


def test_the_fifteen_are_not_said_to_be_missing_when_they_are_there(tmp_path):
    write_c(tmp_path / "all", CORRUPTIONS, severities=(1,))
    (first, *_), full = open_set("imagenet-c", tmp_path / "all", WNIDS), "no mean over all 15"
    assert full in first.description  # four severities lack
