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
from nsfast.robustness.sets.classes import CIFAR10, CIFAR100
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


def test_each_version_has_its_own_pictures_and_none_is_cropped(tmp_path):
    write_c(tmp_path, ["shot_noise"])
    random = np.random.default_rng(0)
    for file in tmp_path.glob("*/*/*/*"):
        Image.fromarray(random.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(file, "PNG")
    for question in open_set("imagenet-c", tmp_path, WNIDS):
        _, corruption, severity = question.version
        files = [tmp_path / corruption / str(severity) / id for id in question.ids]
        assert np.array_equal(
            np.asarray(question.pictures()[:]), np.stack([np.asarray(Image.open(file)) for file in files])
        )
        assert "80x80 are shown whole" in question.description
        resized = [np.asarray(Image.open(file).resize((64, 64), Image.Resampling.BICUBIC)) for file in files]
        assert np.abs(question.pictures().at(64)[:].astype(int) - np.stack(resized)).max() <= 1


def test_names_that_are_no_corruption_never_become_versions(tmp_path):
    write_c(tmp_path, ["fog", "..fog", "noise/fog2", "fog/1/n01440764/deep"], severities=(1,))
    (question,) = open_set("imagenet-c", tmp_path, WNIDS)
    assert question.version == ("imagenet-c", "fog", 1)


def test_a_limit_draws_the_same_pictures_of_every_version(tmp_path):
    write_c(tmp_path, ["fog", "snow"])
    questions = open_set("imagenet-c", tmp_path, WNIDS, limit=4)
    assert {tuple(question.ids) for question in questions} == {tuple(questions[0].ids)}
    assert len(questions[0].ids) == 4


def test_cifar_pictures_of_classes_that_the_model_lacks_are_left_out(tmp_path):
    numbers, pixels = write_cifar_c(tmp_path, ["fog"])
    questions = open_set("cifar10-c", tmp_path, ("ship", "dog", "monkey"))
    rows = np.flatnonzero(np.isin(numbers, [CIFAR10.index("ship"), CIFAR10.index("dog")]))
    for severity, question in enumerate(questions):
        assert np.array_equal(np.asarray(question.pictures()[:]), pixels["fog"][severity * 20 + rows])
        assert [("ship", "dog")[label] for label in question.labels] == [CIFAR10[n] for n in numbers[rows]]
    assert "16 pictures of 8 classes" in questions[0].description
    few = open_set("cifar10-c", tmp_path, CIFAR10, limit=3)
    for severity, question in enumerate(few):
        rows = [int(id.split("-")[1]) for id in question.ids]
        assert len(rows) == 3 and np.array_equal(
            np.asarray(question.pictures()[:]), pixels["fog"][severity * 20 + np.array(rows)]
        )


def test_damaged_arrays_are_errors_that_name_the_file_the_layout_and_the_source(tmp_path):
    write_cifar_c(tmp_path, ["fog"])
    good, labels = (tmp_path / "fog.npy").read_bytes(), np.load(tmp_path / "labels.npy")

    def fails(said, **options):
        with pytest.raises(NsfastError, match=said):
            open_set("cifar10-c", tmp_path, CIFAR10, **options)

    def save(name, array):
        np.save(tmp_path / name, array, allow_pickle=True)

    (tmp_path / "fog.npy").write_bytes(good[:-1])
    fails("fog.npy is damaged or half unpacked.*labels.npy in .*CIFAR-10-C.tar")
    (tmp_path / "fog.npy").write_bytes(b"")
    fails("fog.npy is damaged")
    save("fog.npy", np.array([{}], dtype=object))
    fails("fog.npy is damaged")
    save("fog.npy", np.zeros((100, 32, 32, 3), np.float32))
    fails("no square pictures in colour")
    save("fog.npy", np.zeros((50, 32, 32, 3), np.uint8))
    fails("fog.npy has 50 pictures and labels.npy 100")
    (tmp_path / "fog.npy").write_bytes(good)
    fails("32 pixels a side and the model takes 64", size=64)
    fails("takes 1 channel", channels=1)
    for wrong, said in (
        (labels[:-1], "99 rows"),
        (labels[:0], "0 rows"),
        (labels + 1, "no classes from 0 to 9"),
        (labels.astype(float), "no classes from 0 to 9"),
        (np.sort(labels), "same of all five"),
        (labels[None], "no array of 1 dimension"),
    ):
        save("labels.npy", wrong)
        fails(said)
    (tmp_path / "labels.npy").unlink()
    fails("no labels.npy")


def test_an_empty_picture_is_found_at_once_and_a_damaged_one_by_its_name(tmp_path):
    file = next((write_c(tmp_path, ["fog"]) / "fog" / "3" / WNIDS[1]).iterdir())
    file.write_bytes(b"x")
    question = by_version(open_set("imagenet-c", tmp_path, WNIDS))["fog", 3]
    with pytest.raises(NsfastError, match=f"fog/3/{WNIDS[1]}/{file.name}"):
        question.pictures()[:]
    file.write_bytes(b"")
    with pytest.raises(NsfastError, match=f"{file.name} is empty"):
        open_set("imagenet-c", tmp_path, WNIDS)


def test_cifar100_has_its_official_classes():
    assert len(set(CIFAR100)) == 100 and list(CIFAR100) == sorted(CIFAR100)
