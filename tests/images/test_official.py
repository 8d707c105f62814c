"""CIFAR, SVHN and STL-10 in their official files, compared with torchvision's own readers."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from nsfast.images import SPLITS, ImageProblem, load_images, save_images
from nsfast.images.official import FILES, cifar10, cifar100, stl10, svhn
from nsfast.images.tiny import CLASSES, write_tiny

READ = {"cifar10": cifar10, "cifar100": cifar100, "svhn": svhn, "stl10": stl10}


@pytest.fixture(scope="module")
def tiny_sets(tmp_path_factory):
    return {name: write_tiny(name, tmp_path_factory.mktemp(name)) for name in READ}


@pytest.fixture
def unchecked(monkeypatch):
    """Let torchvision read files whose md5 is not the official one."""
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)


def place(ids) -> np.ndarray:
    return np.array([int(id.split("-")[1]) for id in ids])


def everything(images) -> dict[str, tuple[np.ndarray, int]]:
    """Pixels and true class of each picture by its id."""
    found = {}
    for split in SPLITS:
        part = getattr(images, split)
        labels = images.truth if split == "unlabeled" else part.labels
        labels = np.full(len(part), -1) if labels is None else labels
        found |= {id: (p, y) for id, p, y in zip(part.ids, part.pixels, labels, strict=True)}
    return found


@pytest.mark.parametrize("name, head", [("cifar10", 1), ("cifar100", 2)])
def test_a_cifar_record_is_its_label_and_three_planes(tiny_sets, name, head):
    found = everything(READ[name](**tiny_sets[name]))
    folder = Path(tiny_sets[name]["path"])
    files = [folder / file for file in FILES[name] if file.endswith(".bin")]
    number = {"train": 0, "test": 0}
    for file in files:
        split = "test" if "test" in file.name else "train"
        content = file.read_bytes()
        for start in range(0, len(content), head + 3072):
            record = content[start : start + head + 3072]
            planes = [
                Image.frombytes("L", (32, 32), record[head + 1024 * c : head + 1024 * (c + 1)])
                for c in range(3)
            ]
            pixels, label = found.pop(f"{split}-{number[split]:06}")
            assert (
                np.array_equal(pixels, np.asarray(Image.merge("RGB", planes))) and label == record[head - 1]
            )
            number[split] += 1
    assert not found and min(number.values()) >= 40


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_splits_are_stratified_disjoint_and_hold_everything(tiny_sets, name):
    images = READ[name](**tiny_sets[name])
    assert [len(getattr(images, s)) for s in SPLITS] == [40, 120, 40, 40] and images.classes == CLASSES
    for split in ("labeled", "validation"):
        assert np.bincount(getattr(images, split).labels).tolist() == [4] * 10
    assert images.unlabeled.labels is None and np.bincount(images.truth).tolist() == [12] * 10
    train = np.concatenate([place(getattr(images, s).ids) for s in ("labeled", "unlabeled", "validation")])
    assert sorted(train) == list(range(200))
    assert all(id.startswith("test-") for id in images.test.ids)


@pytest.mark.parametrize("name", READ)
def test_a_seed_gives_the_same_splits_and_another_one_others(tiny_sets, name):
    one, again, other = (READ[name](**tiny_sets[name], seed=seed) for seed in (0, 0, 1))
    for split in SPLITS:
        assert np.array_equal(getattr(one, split).ids, getattr(again, split).ids)
    assert set(one.validation.ids) != set(other.validation.ids)
    assert np.array_equal(one.test.ids, other.test.ids)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_fewer_labels_are_a_part_of_more_and_leave_validation_as_it_is(tiny_sets, name):
    few, many = (READ[name](**{**tiny_sets[name], "labeled": count}) for count in (10, 20))
    assert set(few.labeled.ids) < set(many.labeled.ids)
    assert np.array_equal(few.validation.ids, many.validation.ids)


def test_svhn_is_what_torchvision_reads(tiny_sets, unchecked):
    images = svhn(**tiny_sets["svhn"])
    found = everything(images)
    for part in ("train", "test", "extra"):
        theirs = datasets.SVHN(tiny_sets["svhn"]["path"], part)
        for number in range(len(theirs)):
            picture, label = theirs[number]
            pixels, known = found.pop(f"{part}-{number:06}")
            assert np.array_equal(pixels, np.asarray(picture)) and known == label
    assert not found and set(images.labeled.labels) == set(range(10))


def test_svhn_splits_are_the_released_ones_in_size(tiny_sets):
    images = svhn(**tiny_sets["svhn"])
    assert [len(getattr(images, s)) for s in SPLITS] == [60, 100, 20, 40]
    assert all(id.startswith("extra-") for id in images.unlabeled.ids) and images.unlabeled.labels is None
    assert images.classes == tuple("0123456789")
    assert images.statistics() == ([0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970])


def test_svhn_with_few_labels_has_the_rest_in_its_pool(tiny_sets):
    both = svhn(**tiny_sets["svhn"], labeled=20)
    assert [len(getattr(both, s)) for s in SPLITS] == [20, 140, 20, 40]
    assert np.bincount(both.labeled.labels).tolist() == [2] * 10
    alone = svhn(**tiny_sets["svhn"], labeled=20, extra=False)
    assert len(alone.unlabeled) == 40 and not any(id.startswith("extra") for id in alone.unlabeled.ids)
    known = everything(svhn(**tiny_sets["svhn"]))
    for images in (both, alone):
        assert [known[id][1] for id in images.unlabeled.ids] == images.truth.tolist()


def test_svhn_pool_may_be_limited(tiny_sets):
    whole, few, more = (svhn(**tiny_sets["svhn"], labeled=20, unlabeled=n) for n in (0, 30, 50))
    assert len(few.unlabeled) == 30 and set(few.unlabeled.ids) < set(more.unlabeled.ids) < set(
        whole.unlabeled.ids
    )
    truth = dict(zip(whole.unlabeled.ids, whole.truth, strict=True))
    assert [truth[id] for id in few.unlabeled.ids] == few.truth.tolist()


def test_svhn_without_a_pool_says_so(tiny_sets):
    with pytest.raises(ImageProblem, match="extra is false and data.labeled is 0"):
        svhn(**tiny_sets["svhn"], extra=False)


def test_stl10_is_what_torchvision_reads(tiny_sets, unchecked):
    images = stl10(**{**tiny_sets["stl10"], "size": 96})
    found = everything(images)
    for part in ("train", "test", "unlabeled"):
        theirs = datasets.STL10(tiny_sets["stl10"]["path"], part)
        for number in range(len(theirs)):
            picture, label = theirs[number]
            pixels, known = found.pop(f"{part}-{number:06}")
            assert np.array_equal(pixels, np.asarray(picture)) and known == label
    assert not found and images.truth is None and images.unlabeled.labels is None
    assert np.bincount(images.validation.labels).tolist() == [2] * 10 and images.classes == CLASSES


def test_stl10_is_not_read_into_memory_at_its_own_size(tiny_sets, tmp_path):
    images = stl10(**{**tiny_sets["stl10"], "size": 96})
    base = images.unlabeled.pixels
    while not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    assert isinstance(base, np.memmap) and not images.unlabeled.pixels.flags.writeable
    save_images(images, tmp_path)
    assert np.array_equal(load_images(tmp_path).unlabeled.pixels, images.unlabeled.pixels)


def test_stl10_is_made_smaller_as_pil_does(tiny_sets):
    large, small = (stl10(**{**tiny_sets["stl10"], "size": size}) for size in (96, 32))
    for row in (0, 30):
        image = Image.fromarray(np.ascontiguousarray(large.unlabeled.pixels[row]))
        expected = image.resize((32, 32), Image.Resampling.BICUBIC)
        assert np.array_equal(small.unlabeled.pixels[row], np.asarray(expected))


# What is missing, damaged or too much


@pytest.mark.parametrize("name", READ)
def test_every_missing_file_is_named_with_the_way_out(tiny_sets, name):
    for file in FILES[name]:
        path = Path(tiny_sets[name]["path"]) / file
        path.rename(path.with_suffix(".away"))
        with pytest.raises(ImageProblem, match=f"no {path}; expected .*data.download=true") as caught:
            READ[name](**tiny_sets[name])
        path.with_suffix(".away").rename(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageProblem, match=r"no .*nowhere"):
        READ[name]("nowhere")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_every_damaged_file_is_named(tmp_path, name, damage):
    parameters = write_tiny(name, tmp_path)
    for file in FILES[name]:
        if file.endswith(".txt"):
            continue
        path = tmp_path / file
        whole = path.read_bytes()
        noise = np.random.default_rng(0).integers(100, 256, len(whole), dtype=np.uint8).tobytes()
        path.write_bytes({"cut": whole[: len(whole) // 2 - 1], "empty": b"", "noise": noise}[damage])
        if damage == "noise" and file.endswith("_X.bin"):  # any bytes are pixels
            path.write_bytes(whole)
            continue
        with pytest.raises(ImageProblem) as caught:
            READ[name](**parameters)
        assert Path(file).name in str(caught.value) or file.replace("_y", "_X") in str(caught.value)
        assert "damaged" in str(caught.value) and "\n" not in str(caught.value)
        path.write_bytes(whole)


def test_asking_for_more_than_there_is_names_the_class(tiny_sets):
    with pytest.raises(
        ImageProblem, match="labeled=170 asks for 17 pictures of class 'airplane', which has 16 left"
    ):
        cifar10(**{**tiny_sets["cifar10"], "labeled": 170})
    with pytest.raises(ImageProblem, match="has no unlabeled pictures"):
        cifar10(**{**tiny_sets["cifar10"], "labeled": 160})
    with pytest.raises(
        ImageProblem, match="validation=70 asks for 7 pictures of class 'airplane', which has 6"
    ):
        stl10(**{**tiny_sets["stl10"], "validation": 70})
    with pytest.raises(ImageProblem, match="validation=80 takes all of 80"):
        svhn(**{**tiny_sets["svhn"], "validation": 80})


# Downloads, without a network


def test_an_archive_is_fetched_where_files_are_missing(tmp_path, monkeypatch):
    write_tiny("cifar10", tmp_path / "source")
    calls = []

    def fetch(url, root, md5=None):
        calls.append((url, md5))
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            tar.add(tmp_path / "source", ".")
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            tar.extractall(root, filter="data")

    monkeypatch.setattr(datasets.utils, "download_and_extract_archive", fetch)
    for _ in range(2):
        images = cifar10(str(tmp_path / "fetched"), labeled=40, validation=40, download=True)
    assert calls == [
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
    ]
    assert len(images.labeled) == 40


def test_of_single_files_only_the_missing_ones_are_fetched(tmp_path, monkeypatch):
    parameters = write_tiny("svhn", tmp_path)
    content = (tmp_path / "test_32x32.mat").read_bytes()
    (tmp_path / "test_32x32.mat").unlink()
    calls = []

    def fetch(url, root, md5=None):
        calls.append((url, md5))
        (Path(root) / url.rsplit("/", 1)[1]).write_bytes(content)

    monkeypatch.setattr(datasets.utils, "download_url", fetch)
    svhn(**parameters, download=True)
    assert calls == [(datasets.SVHN.split_list["test"][0], datasets.SVHN.split_list["test"][2])]


def test_a_download_that_fails_or_lacks_a_file_is_said_in_a_line(tmp_path, monkeypatch):
    def fail(url, root, md5=None):
        raise OSError("no route\nto host")

    monkeypatch.setattr(datasets.utils, "download_and_extract_archive", fail)
    with pytest.raises(
        ImageProblem, match=r"cannot download http.*stl10_binary.tar.gz \(no route to host\); fetch it"
    ):
        stl10(str(tmp_path), download=True)
    monkeypatch.setattr(datasets.utils, "download_and_extract_archive", lambda *a, **k: None)
    with pytest.raises(ImageProblem, match="was downloaded into .* lacks cifar-100-binary/train.bin"):
        cifar100(str(tmp_path), download=True)
