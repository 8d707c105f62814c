"""ImageNet and Imagenette in their official layouts, compared with torchvision's folders and PIL."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets
from torchvision.datasets.imagenet import load_meta_file, parse_devkit_archive

from nsfast.images import SPLITS, ImageProblem, PictureFiles, files
from nsfast.images.decode import verify
from nsfast.images.imagenet import NAMES, _archive, imagenet, imagenette
from nsfast.images.tiny import WNIDS, write_tiny

VARIANTS = [{}, {"val": "flat"}, {"shards": True}, {"val": "flat", "shards": True}]


@pytest.fixture(scope="module", params=VARIANTS, ids=["folders", "flat", "shards", "flat shards"])
def any_layout(request, tmp_path_factory):
    return write_tiny("imagenet", tmp_path_factory.mktemp("imagenet"), **request.param)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_tiny("imagenet", tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return write_tiny("imagenette", tmp_path_factory.mktemp("ten") / "imagenette2")


def by_name(split, labels=None) -> dict[str, tuple[int, bytes]]:
    """Class and pixels by the file's name: the same whatever the layout."""
    labels = split.labels if labels is None else labels
    return {
        id.rsplit("/", 1)[1]: (int(label), pixels.tobytes())
        for id, label, pixels in zip(split.ids, labels, split.pixels[:], strict=True)
    }


def test_every_layout_holds_the_same_pictures_with_the_same_classes(any_layout, folders):
    one, two = imagenet(**folders), imagenet(**any_layout)
    assert one.classes == two.classes == tuple(sorted(WNIDS)) and two.left_out == ()
    assert by_name(one.test) == by_name(two.test)
    train = [by_name(images.labeled) | by_name(images.validation) for images in (one, two)]
    assert train[0] == train[1] and len(train[0]) == 80
    pools = [by_name(images.unlabeled, np.zeros(60)) for images in (one, two)]
    assert pools[0] == pools[1] and two.truth is None and two.unlabeled.labels is None
    assert all(id.startswith("unlabeled/") for id in two.unlabeled.ids)
    assert all(isinstance(getattr(two, split).pixels, PictureFiles) for split in SPLITS)
    assert [len(getattr(two, split)) for split in SPLITS] == [68, 60, 12, 20]


def test_classes_are_those_of_torchvision(folders):
    images, root = imagenet(**folders), folders["path"]
    for folder, splits in {"train": ("labeled", "validation"), "val": ("test",)}.items():
        theirs = datasets.ImageFolder(f"{root}/{folder}")
        assert tuple(theirs.classes) == images.classes
        expected = {str(Path(path).relative_to(root)): label for path, label in theirs.samples}
        found = {}
        for split in splits:
            part = getattr(images, split)
            found |= dict(zip(part.ids, part.labels, strict=True))
        assert found == expected


def test_the_devkit_says_what_torchvision_reads_in_it(tmp_path, monkeypatch):
    parameters = write_tiny("imagenet", tmp_path / "set", val="flat")
    with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "set" / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    monkeypatch.setattr(datasets.imagenet, "_verify_archive", lambda *a: None)
    parse_devkit_archive(tmp_path)
    wnids = load_meta_file(tmp_path)[1]
    images = imagenet(**parameters)
    assert [images.classes[label] for label in images.test.labels] == wnids and len(set(wnids)) == 4


def test_the_share_is_labeled_class_by_class_and_the_rest_is_the_pool_with_its_truth(folders):
    whole = imagenet(**folders)
    images = imagenet(**{**folders, "unlabeled": "", "labeled_share": 0.25})
    assert np.array_equal(images.validation.ids, whole.validation.ids)
    per_class = np.bincount(whole.labeled.labels)
    assert np.bincount(images.labeled.labels).tolist() == np.floor(per_class / 4 + 0.5).tolist()
    truth = dict(zip(whole.labeled.ids, whole.labeled.labels, strict=True))
    assert [truth[id] for id in images.unlabeled.ids] == images.truth.tolist()
    assert images.unlabeled.labels is None
    ids = np.concatenate([images.labeled.ids, images.unlabeled.ids])
    assert sorted(ids) == sorted(whole.labeled.ids)
    fewer = imagenet(**{**folders, "unlabeled": "", "labeled_share": 0.1})
    assert set(fewer.labeled.ids) < set(images.labeled.ids)


def test_a_seed_gives_the_same_splits_and_another_one_others(folders):
    one, again, other = (imagenet(**folders, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.validation.ids, again.validation.ids)
    assert set(one.validation.ids) != set(other.validation.ids) and len(other.validation) == 12


def test_the_pool_may_be_limited(folders):
    few, more = (imagenet(**folders, limit=n) for n in (10, 20))
    assert len(few.unlabeled) == 10 and set(few.unlabeled.ids) < set(more.unlabeled.ids)
    known = {**folders, "unlabeled": "", "labeled_share": 0.25}
    whole, part = imagenet(**known), imagenet(**known, limit=9)
    truth = dict(zip(whole.unlabeled.ids, whole.truth, strict=True))
    assert [truth[id] for id in part.unlabeled.ids] == part.truth.tolist() and len(part.truth) == 9


@pytest.mark.parametrize("damage", [0, 3])
def test_no_more_of_the_pool_is_opened_than_the_limit_takes(tmp_path, monkeypatch, damage):
    parameters = write_tiny("imagenet", tmp_path)
    whole = imagenet(**parameters, limit=10)
    for id in whole.unlabeled.ids[:damage]:
        (tmp_path / id).write_bytes(b"broken")
    expected = imagenet(
        **parameters, limit=10 + damage
    ).unlabeled.ids  # the next ones of the draw come in their place
    assert len(expected) == 10 + damage
    opened, calls = [], []
    monkeypatch.setattr(files, "verify", lambda source: opened.append(source) or verify(source))
    images = imagenet(**parameters, limit=10, progress=lambda *count: calls.append(count))
    assert sum("/unlabeled/" in str(source) for source in opened) == 10 + damage
    assert len(images.unlabeled) == 10 and set(images.unlabeled.ids) <= set(expected)
    assert list(images.unlabeled.ids) == sorted(images.unlabeled.ids)
    assert set(dict(images.left_out)) == set(whole.unlabeled.ids[:damage])
    assert calls[-1] == (110 + damage, 110 + damage)
    if not damage:
        assert np.array_equal(images.unlabeled.ids, whole.unlabeled.ids)


def test_a_limit_above_what_can_be_read_takes_all_of_it(tmp_path):
    parameters = write_tiny("imagenet", tmp_path)
    (tmp_path / "unlabeled" / "007.jpg").write_bytes(b"broken")
    for limit in (60, 1000):
        assert len(imagenet(**parameters, limit=limit).unlabeled) == 59


@pytest.mark.parametrize(
    "pool", ["val", "train", f"val/{WNIDS[0]}", f"train/{WNIDS[1]}", ".", "..", "link", "holder", "own"]
)
def test_a_pool_that_shares_pictures_with_train_or_val_is_refused(tmp_path, pool):
    root = tmp_path / "set"
    parameters = write_tiny("imagenet", root)
    (root / "link").symlink_to(root / "val")
    (root / "holder").mkdir()
    (root / "holder" / "more").symlink_to(root / "val" / WNIDS[2])
    if pool == "own":  # a class that is a link to a folder elsewhere
        (root / "val" / WNIDS[3]).rename(root / "own")
        (root / "val" / WNIDS[3]).symlink_to(root / "own")
    with pytest.raises(ImageProblem, match=r"data.unlabeled is .*; give another.*data.labeled_share below 1"):
        imagenet(**{**parameters, "unlabeled": str(root / pool)})
    assert len(imagenet(**parameters).unlabeled) == 60


def test_a_pool_anywhere_may_hold_any_pictures(folders, tmp_path):
    for name in ("train/a.png", "x/y/b.jpg", "notes.txt", "broken.png"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt") or name.startswith("broken"):
            (tmp_path / "train" / name).write_text("x")
        else:
            Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "train" / name)
    images = imagenet(**{**folders, "unlabeled": str(tmp_path / "train")})
    assert list(images.unlabeled.ids) == ["unlabeled/train/a.png", "unlabeled/x/y/b.jpg"]
    assert dict(images.left_out).keys() == {"unlabeled/notes.txt", "unlabeled/broken.png"}


def test_damaged_pictures_are_left_out_only_if_they_are_looked_for(tmp_path):
    parameters = write_tiny("imagenet", tmp_path)
    path = next((tmp_path / "train" / WNIDS[0]).iterdir())
    path.write_bytes(b"broken")
    calls = []
    images = imagenet(**parameters, progress=lambda *count: calls.append(count))
    assert images.left_out == ((str(path.relative_to(tmp_path)), "not a picture that can be read"),)
    assert sorted(calls) == [(i + 1, 160) for i in range(160)]
    images = imagenet(**parameters, verify=False)
    assert images.left_out == () and len(images.labeled) + len(images.validation) == 80
    splits = (images.labeled, images.validation)
    bad = next(split for split in splits if str(path.relative_to(tmp_path)) in split.ids)
    with pytest.raises(ImageProblem, match=f"{path}: not a picture"):
        bad.pixels[:]


def spoil(root: Path, problem: str) -> None:
    import shutil

    if problem.startswith("no "):
        shutil.rmtree(root / problem[3:])
    elif problem == "flat without devkit":
        for file in list((root / "val").rglob("*.JPEG")):
            file.rename(root / "val" / file.name)
        for wnid in WNIDS:
            (root / "val" / wnid).rmdir()
    elif problem == "extra class":
        (root / "val" / "n99999999").mkdir()
    elif problem == "one class":
        for wnid in WNIDS[1:]:
            shutil.rmtree(root / "train" / wnid)


@pytest.mark.parametrize(
    "problem, said",
    [
        ("no train", r"no .*/train; expected train/<wnid>/\*.JPEG or train/\*.tar"),
        ("no val", r"no .*/val; expected"),
        ("flat without devkit", "no .*meta.mat, which says the classes of val"),
        ("extra class", "val/ has class 'n99999999', which train/ lacks"),
        ("one class", r"train has 1 class\(es\)"),
    ],
)
def test_problems_of_the_layout_are_named(tmp_path, problem, said):
    parameters = write_tiny("imagenet", tmp_path)
    spoil(tmp_path, problem)
    with pytest.raises(ImageProblem, match=said) as caught:
        imagenet(**parameters)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"])
def test_a_damaged_devkit_is_named(tmp_path, file):
    parameters = write_tiny("imagenet", tmp_path, val="flat")
    (tmp_path / "ILSVRC2012_devkit_t12" / "data" / file).write_bytes(b"77\n" * 50)
    with pytest.raises(ImageProblem, match="the devkit in .* is damaged"):
        imagenet(**parameters)


def test_a_val_picture_without_a_line_in_the_devkit_is_left_out(tmp_path):
    parameters = write_tiny("imagenet", tmp_path, val="flat")
    first = sorted((tmp_path / "val").iterdir())[0]
    first.rename(first.with_name("ILSVRC2012_val_00000099.JPEG"))
    images = imagenet(**parameters)
    assert len(images.test) == 19 and dict(images.left_out) == {
        "val/ILSVRC2012_val_00000099.JPEG": "the devkit's ground truth has no line for it"
    }


@pytest.mark.parametrize(
    "options, said",
    [
        (
            {"unlabeled": ""},
            "data.unlabeled is empty and data.labeled_share is 1, so no picture is unlabeled",
        ),
        ({"unlabeled": "nowhere"}, "no folder 'nowhere'; data.unlabeled is a folder"),
        ({"validation": 80}, "validation=80 takes all of 80"),
        ({"validation": 0}, "data.validation is 0"),
        ({"labeled_share": 0.0}, "data.labeled_share is 0.0; it must be above 0"),
        ({"size": 0}, "data.size is 0"),
    ],
)
def test_values_that_give_no_set_are_named(folders, options, said):
    with pytest.raises(ValueError, match=said):
        imagenet(**{**folders, **options})


# Imagenette


def test_imagenette_is_what_torchvision_reads(ten):
    images, root = imagenette(**ten), Path(ten["path"])
    train, val = (datasets.Imagenette(root.parent, split) for split in ("train", "val"))
    assert images.classes == tuple(names[0] for names in train.classes)
    found = {}
    for split in ("labeled", "unlabeled", "validation"):
        part = getattr(images, split)
        found |= dict(zip(part.ids, images.truth if split == "unlabeled" else part.labels, strict=True))
    assert found == {str(Path(path).relative_to(root)): label for path, label in train._samples}
    assert dict(zip(images.test.ids, images.test.labels, strict=True)) == {
        str(Path(path).relative_to(root)): label for path, label in val._samples
    }
    row = 7
    with Image.open(root / images.test.ids[row]) as picture:
        left = (picture.width - picture.height + 1) // 2
        square = picture.crop((left, 0, left + picture.height, picture.height))
        assert np.array_equal(images.test.pixels[row], square.resize((32, 32), Image.Resampling.BICUBIC))


def test_imagenette_is_split_class_by_class(ten):
    images = imagenette(**ten)
    assert np.bincount(images.validation.labels).tolist() == [2] * 10
    assert np.bincount(images.labeled.labels).tolist() == [4] * 10
    assert np.bincount(images.truth).tolist() == [6] * 10 and images.unlabeled.labels is None
    other = imagenette(**ten, seed=1)
    assert set(other.labeled.ids) != set(images.labeled.ids)


def test_the_archives_are_torchvisions_and_the_names_too():
    known = {Path(url).stem: (url, md5) for url, md5 in datasets.Imagenette._ARCHIVES.values()}
    assert {top: _archive(top) for top in known} == known
    assert {
        wnid: names[0] for wnid, names in datasets.Imagenette._WNID_TO_CLASS.items()
    }.items() <= NAMES.items()
    assert len(set(NAMES.values())) == len(NAMES) == 20
    assert _archive("imagewoof2-160") == (
        "https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2-160.tgz",
        None,
    )


@pytest.mark.parametrize("woof, name", [(False, "imagenette2-160"), (True, "imagewoof2")])
def test_what_is_missing_is_fetched_beside_it(tmp_path, monkeypatch, woof, name):
    calls = []

    def fetch(url, root, md5=None):
        calls.append((url, md5))
        write_tiny("imagenette", Path(root) / Path(url).stem)

    monkeypatch.setattr(datasets.utils, "download_and_extract_archive", fetch)
    for _ in range(2):
        images = imagenette(str(tmp_path / name), woof=woof, size=32, download=True)
    assert calls == [_archive(name)] and images.name == ("imagewoof" if woof else "imagenette")


def test_imagewoof_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny("imagenette", tmp_path / "data" / "imagewoof2")
    assert len(imagenette(woof=True, size=32).test) == 40
    with pytest.raises(
        ImageProblem, match=r"no data/imagenette2/train; expected imagenette2/train/<wnid>/\*.JPEG"
    ):
        imagenette()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"labeled_share": 1.0}, "data.labeled_share is 1.0; give one below 1"),
        ({"labeled_share": 0.0}, "data.labeled_share is 0.0"),
        ({"validation_share": 0.0}, "data.validation_share is 0.0"),
        ({"validation_share": 1.0}, "data.validation_share is 1.0"),
        ({"path": "x", "download": True}, "must end in imagenette2"),
    ],
)
def test_shares_out_of_range_and_a_folder_that_cannot_be_fetched_are_named(ten, options, said):
    with pytest.raises(ImageProblem, match=said):
        imagenette(**{**ten, **options})
