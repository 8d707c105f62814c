"""ImageNet-A, -R, -V2, -Sketch and ReaL: the right class for every picture, and the right classes beside it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.data import ImageNetInfo, RealLabelsImagenet

from nsfast.errors import NsfastError
from nsfast.robustness.answers import ask
from nsfast.robustness.names import SETS as NAMED
from nsfast.robustness.sets import SETS, imagenet_wnids, open_set
from tests.robustness.sets.released_folders import NUMBERS, WNIDS, write_classes, write_picture

THOUSAND = imagenet_wnids()


def pictures_of(question):
    return np.asarray(question.pictures()[:])


def timm_indices(part):
    import timm.data

    folder = timm.data.__path__[0]
    text = Path(f"{folder}/_info/{part}_indices.txt").read_text(encoding="utf-8")
    return [int(line) for line in text.split()]


def timm_wnids(part):
    return [THOUSAND[index] for index in timm_indices(part)]


@pytest.fixture(scope="module")
def two_hundred(tmp_path_factory):
    """ImageNet-A and -R with a file a class; the official folders are in the order of their wnids."""
    top = tmp_path_factory.mktemp("sets")
    for part in ("imagenet_a", "imagenet_r"):
        folder = top / part.replace("_", "-")
        first = folder / "first.jpg"
        write_picture(first, 0)
        for wnid in timm_wnids(part):
            (folder / wnid).mkdir()
            (folder / wnid / "a.jpg").hardlink_to(first)
        first.unlink()
        (folder / "README.txt").write_text("as released")
    return top


def test_every_set_that_a_profile_may_name_is_described():
    assert set(NAMED) == set(SETS)
    for about in SETS.values():
        assert about.what and about.layout and about.source and not about.what.endswith(".")


def test_the_thousand_wnids_are_timms_and_sorted():
    assert list(THOUSAND) == sorted(THOUSAND) == list(ImageNetInfo("imagenet-1k").label_names())
    assert len(set(THOUSAND)) == 1000


@pytest.mark.parametrize("part", ["imagenet_a", "imagenet_r"])
def test_the_mask_is_timms_list_and_the_folders_place_is_not_the_class(two_hundred, part):
    name = part.replace("_", "-")
    (question,) = open_set(name, two_hundred / name, THOUSAND)
    assert question.classes.tolist() == timm_indices(part) == sorted(timm_indices(part))
    assert len(question.classes) == 200
    assert question.labels.tolist() == timm_indices(part)  # not 0..199
    assert [id.split("/")[0] for id in question.ids] == timm_wnids(part)
    assert "mask: subset" in question.description and "200 classes" in question.description
    assert f"200 of the {SETS[name].pictures:,} pictures" in question.description


def test_imagenet_a_has_the_classes_of_the_paper(two_hundred):
    (question,) = open_set("imagenet-a", two_hundred / "imagenet-a", THOUSAND)
    official = "6 11 13 15 17 22 23 27 30 37 39 42 47 50 57 70 71 76 79 89 90 94 96 97 99 105 107 108 110 113"
    assert question.classes[:30].tolist() == [int(number) for number in official.split()]
    assert question.classes[-5:].tolist() == [981, 984, 986, 987, 988]


def test_without_the_mask_all_classes_count_and_it_is_another_version(two_hundred):
    subset, full = (open_set("imagenet-a", two_hundred, THOUSAND, mask=m)[0] for m in ("subset", "full"))
    assert full.classes is None and "mask: full" in full.description
    assert full.version != subset.version and full.key != subset.key
    assert np.array_equal(full.labels, subset.labels)
    with pytest.raises(NsfastError, match="unknown mask 'sub'"):
        open_set("imagenet-a", two_hundred, THOUSAND, mask="sub")


def test_the_models_order_of_classes_is_heeded(two_hundred):
    reverse = tuple(reversed(THOUSAND))
    (question,) = open_set("imagenet-r", two_hundred / "imagenet-r", reverse)
    assert [reverse[label] for label in question.labels] == [id.split("/")[0] for id in question.ids]
    assert [reverse[label] for label in question.classes] == timm_wnids("imagenet_r")[::-1]


def test_a_model_of_few_classes_is_asked_their_pictures_alone(two_hundred):
    own = ("ant", *timm_wnids("imagenet_a")[5:8], "tench")
    (question,) = open_set("imagenet-a", two_hundred / "imagenet-a", own)
    assert question.labels.tolist() == question.classes.tolist() == [1, 2, 3]
    assert "197 pictures of 197 classes that the model does not know" in question.description


def test_a_class_that_imagenet_a_lacks_is_a_half_unpacked_folder(tmp_path):
    write_classes(tmp_path, timm_wnids("imagenet_a")[:3])
    with pytest.raises(
        NsfastError, match=r"no picture of 197 of its classes.*<wnid>/\*\.jpg.*imagenet-a\.tar"
    ):
        open_set("imagenet-a", tmp_path, THOUSAND)


@pytest.mark.parametrize("name", [name for name in SETS if name not in ("imagenet-p", "cifar10-p")])
def test_a_missing_an_empty_and_a_packed_folder_tell_the_layout_and_the_source(name, tmp_path):
    about = SETS[name]
    where = re.escape(about.layout) + ".*" + re.escape(about.source)
    with pytest.raises(NsfastError, match=f"no folder.*{where}"):
        open_set(name, tmp_path / "nowhere", WNIDS)
    with pytest.raises(NsfastError, match=where):
        open_set(name, tmp_path, WNIDS)
    (tmp_path / "a.tar").touch()
    with pytest.raises(NsfastError, match=f"a.tar lies there packed.*{where}"):
        open_set(name, tmp_path, WNIDS)


def test_an_unknown_set_and_a_model_without_its_classes_are_errors(tmp_path):
    with pytest.raises(NsfastError, match="unknown set 'imagenet-b'"):
        open_set("imagenet-b", tmp_path, WNIDS)
    with pytest.raises(NsfastError, match="unknown set 'imagenet-p'"):
        open_set("imagenet-p", tmp_path, WNIDS)
    write_classes(tmp_path, WNIDS)
    with pytest.raises(NsfastError, match="knows no class of .*'n01440764' and the like, its own 'ant'"):
        open_set("imagenet-sketch", tmp_path, ("ant", "bee"))
    with pytest.raises(NsfastError, match="class 'n01440764' twice"):
        open_set("imagenet-sketch", tmp_path, (WNIDS[0], WNIDS[0]))
    (tmp_path / WNIDS[1] / "1.jpg").write_bytes(b"")
    with pytest.raises(NsfastError, match="1.jpg is empty, so the set is half unpacked"):
        open_set("imagenet-sketch", tmp_path, WNIDS)


def test_v2_folders_are_numbers_and_not_in_the_order_of_their_names(tmp_path):
    folder = write_classes(tmp_path / "imagenetv2-matched-frequency-format-val", ["2", "10", "0", "999"])
    (question,) = open_set("imagenet-v2", tmp_path, [THOUSAND[i] for i in (0, 2, 10, 999)])
    place = {"0": 0, "2": 1, "10": 2, "999": 3}
    assert question.labels.tolist() == [place[id.split("/")[0]] for id in question.ids]
    assert [id.split("/")[0] for id in question.ids][::2] == ["0", "10", "2", "999"]  # as strings sort
    assert question.classes is None
    (folder / "1000").mkdir()
    write_picture(folder / "1000" / "0.jpg", 0)  # no class of ImageNet
    assert len(open_set("imagenet-v2", folder, [THOUSAND[i] for i in (0, 2, 10, 999)])[0].ids) == 8


def test_imagenettes_names_stand_for_their_wnids(tmp_path):
    write_classes(tmp_path, WNIDS)
    (question,) = open_set("imagenet-sketch", tmp_path, ("chain saw", "English springer", "tench"))
    assert question.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert "imagenet-sketch" in question.description and question.classes is None


def test_the_border_that_tests_lose_is_cut_off_as_torchvision_does_it(tmp_path):
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    (tmp_path / WNIDS[0]).mkdir()
    y, x = np.mgrid[:300, :400]
    smooth = np.stack([x * 255 / 399, y * 255 / 299, (x + y) * 255 / 698], 2).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / WNIDS[0] / "0.png")
    (question,) = open_set("imagenet-sketch", tmp_path, WNIDS[:1])
    pixels = pictures_of(question)
    assert pixels.shape == (1, 224, 224, 3)
    theirs = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)])(Image.fromarray(smooth))
    assert np.abs(pixels[0].astype(int) - np.asarray(theirs)).max() <= 2


def test_a_limit_draws_by_id_and_keeps_the_mask(two_hundred):
    drawn = [open_set("imagenet-a", two_hundred, THOUSAND, limit=20, seed=seed)[0] for seed in (0, 0, 1)]
    assert [len(question.ids) for question in drawn] == [20, 20, 20]
    assert drawn[0].ids.tolist() == drawn[1].ids.tolist() != drawn[2].ids.tolist()
    assert drawn[0].key == drawn[1].key != drawn[2].key
    assert [THOUSAND[label] for label in drawn[0].labels] == [id.split("/")[0] for id in drawn[0].ids]
    assert len(drawn[0].classes) == 200


@pytest.fixture
def validation(tmp_path):
    for number in range(1, 7):
        write_picture(tmp_path / "val" / WNIDS[number % 3] / f"ILSVRC2012_val_{number:08}.JPEG", 30 * number)
    return tmp_path


def test_real_accepts_every_right_class_and_leaves_out_what_has_none(validation):
    labels = [[0], [], [217, 491], [491, 0], [5], [217]]
    (validation / "real.json").write_text(json.dumps(labels))
    (question,) = open_set("imagenet-real", validation, THOUSAND)
    numbers = {id: int(id.split("_")[-1].split(".")[0]) for id in question.ids}
    assert sorted(numbers.values()) == [1, 3, 4, 5, 6]
    assert [sorted(one) for one in question.accepted] == [
        sorted(labels[numbers[i] - 1]) for i in question.ids
    ]
    assert "1 pictures without a label" in question.description and "real.json" in question.description
    (few,) = open_set("imagenet-real", validation, ("chain saw", "tench"))  # 491 and 0
    right = {int(id.split("_")[-1].split(".")[0]): one for id, one in zip(few.ids, few.accepted, strict=True)}
    assert right == {1: [1], 3: [0], 4: [0, 1]}
    assert few.key != question.key


def test_real_reads_a_flat_val_and_timms_labels_where_there_is_no_file(validation):
    for file in (validation / "val").glob("*/*"):
        file.rename(validation / "val" / file.name)
    (question,) = open_set("imagenet-real", validation / "val", THOUSAND)
    official = RealLabelsImagenet(range(50_000)).real_labels
    names = [id.split("/")[-1] for id in question.ids]
    assert names == [name for name in sorted(official)[:6] if official[name]]
    assert question.accepted == [official[name] for name in names] and "timm" in question.description


def test_real_labels_that_do_not_fit_are_errors(validation):
    for text, said in (
        ("{", "damaged"),
        ('{"a": 1}', "no list of lists"),
        ("[[1000]]", "0 to 999"),
        ("[[1]]", "1 labels"),
    ):
        (validation / "real.json").write_text(text)
        with pytest.raises(NsfastError, match=said):
            open_set("imagenet-real", validation, THOUSAND)
    for file in (validation / "val").glob("*/*"):
        file.rename(file.with_name(f"{file.stem[-1]}.JPEG"))
    with pytest.raises(NsfastError, match="no ILSVRC2012_val_"):
        open_set("imagenet-real", validation, THOUSAND)


def test_own_pictures_are_told_apart_by_their_folders(tmp_path, tmp_path_factory):
    write_classes(tmp_path, ["bee", "ant", "eel"], each=3, ending="png")
    (tmp_path / "bee" / "0.png").write_bytes(b"no picture")
    (question,) = open_set("natural", tmp_path, ("ant", "bee", "cat"), size=8)
    assert dict(zip(question.ids, question.labels.tolist(), strict=True)) == {
        "ant/0.png": 0,
        "ant/1.png": 0,
        "ant/2.png": 0,
        "bee/1.png": 1,
        "bee/2.png": 1,
    }
    assert "3 pictures of 1 classes" in question.description and "bee/0.png" in question.description
    assert np.abs(pictures_of(question)[:, 4, 4, 0].astype(int) - [50, 51, 52, 11, 12]).max() <= 1
    assert question.pictures().shape == (5, 8, 8, 3) and question.pictures().whole
    (grey,) = open_set("natural", tmp_path, ("ant", "bee"), size=8, limit=2, channels=1)
    assert grey.pictures().shape[0] <= 2 and grey.pictures().shape[1:] == (8, 8, 1)


class Shade(torch.nn.Module):
    """A network that says the class whose shade in `write_classes` is nearest."""

    pixels = 20

    def __init__(self, places):
        super().__init__()
        self.shades = torch.nn.Parameter(torch.tensor([(10 + 40 * place) / 255 for place in places]))

    def forward(self, x):
        assert x.shape[2:] == (20, 20)
        return -(x.mean((1, 2, 3))[:, None] - self.shades).abs()


def test_a_model_is_shown_the_pictures_of_the_labels_at_its_resolution(tmp_path):
    write_classes(tmp_path, WNIDS)
    (question,) = open_set("imagenet-sketch", tmp_path, WNIDS[::-1])
    asked = ask({"right": Shade([2, 1, 0]), "wrong": Shade([0, 2, 1])}, [question])[question.version]
    assert asked["right"].right.all() and not asked["wrong"].right.any()
    numbers = [imagenet_wnids().index(wnid) for wnid in WNIDS]
    assert tuple(numbers) == NUMBERS
    masked = replace(question, classes=np.array([0, 1, 2]))
    assert ask({"right": Shade([2, 1, 0])}, [masked])[question.version]["right"].right.all()
