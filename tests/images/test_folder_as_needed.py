"""A folder whose pictures are decoded as needed is the same set, and may hold shards."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.images import SPLITS, ImageProblem, PictureFiles
from nsfast.images.folder import list_folder, read_folder
from nsfast.images.tiny import write_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(write_tiny("folder", tmp_path_factory.mktemp("set") / "tiny")["path"])


def into_tar(root: Path, split: str, labels=None) -> None:
    """Move the pictures of a split into one shard; `labels` gives the text of each class's .cls."""
    files = sorted((root / split).rglob("*.png"))
    with tarfile.open(root / f"{split}.tar", "w") as tar:
        for number, file in enumerate(files):
            tar.add(file, f"{number:03}.png")
            if labels is not None:
                file.write_text(labels(file.parent.name))
                tar.add(file, f"{number:03}.cls")
            file.unlink()
    for rest in sorted((root / split).iterdir()):
        rest.rmdir()
    (root / f"{split}.tar").rename(root / split / "a.tar")


def same_pictures(one, two) -> bool:
    return all(np.array_equal(np.asarray(getattr(one, s).pixels), getattr(two, s).pixels[:]) for s in SPLITS)


def test_the_pictures_are_those_that_are_decoded_at_once(folder):
    now, later = (read_folder(folder, size=16, decode=decode) for decode in ("now", "as_needed"))
    assert same_pictures(now, later) and later.classes == now.classes and later.left_out == now.left_out == ()
    for split in SPLITS:
        one, two = getattr(now, split), getattr(later, split)
        assert isinstance(two.pixels, PictureFiles) and two.pixels.root == str(folder)
        assert np.array_equal(one.ids, two.ids) and np.array_equal(one.labels, two.labels)


@pytest.mark.parametrize("size", [24, 64, 96])
def test_large_and_odd_pictures_are_the_same_too(tmp_path, size):
    root, random = Path(write_tiny("folder", tmp_path)["path"]), np.random.default_rng(0)
    for number in range(12):
        small = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        picture = small.resize((100 + 37 * number, 131), Image.Resampling.BICUBIC)
        picture.save(root / "unlabeled" / f"{number}.{'jpg' if number % 2 else 'webp'}")
    now, later = (read_folder(root, size=size, decode=decode) for decode in ("now", "as_needed"))
    assert same_pictures(now, later) and len(later.unlabeled) == 72
    assert later.unlabeled.pixels.whole and later.left_out == ()


def test_setting_aside_takes_the_same_pictures(tmp_path):
    root = Path(write_tiny("folder", tmp_path)["path"])
    for split in ("validation", "test"):
        for file in sorted((root / split).rglob("*.png")):
            file.rename(root / "labeled" / file.parent.name / f"{split}-{file.name}")
    now, later = (read_folder(root, size=16, decode=decode, seed=3) for decode in ("now", "as_needed"))
    assert same_pictures(now, later) and now.notes == later.notes and len(later.test) == 20


@pytest.mark.parametrize("labels", ["names", "numbers", "numbers with names"])
def test_shards_hold_the_same_pictures(tmp_path, folder, labels):
    root = Path(write_tiny("folder", tmp_path)["path"])
    expected = read_folder(root, size=16)
    if labels == "numbers with names":
        (root / "classes.txt").write_text("\n".join(expected.classes))
    number = (lambda name: name) if labels == "names" else (lambda name: str(expected.classes.index(name)))
    for split in SPLITS:
        into_tar(root, split, None if split == "unlabeled" else number)
    found = read_folder(root, size=16, decode="as_needed")
    assert same_pictures(expected, found) and found.left_out == ()
    assert found.classes == (expected.classes if labels != "numbers" else tuple("0123456789"))
    assert found.unlabeled.labels is None and found.labeled.ids[0] == "labeled/a.tar/000.png"
    assert np.array_equal(expected.labeled.labels, found.labeled.labels)


def test_shards_and_files_may_be_mixed(tmp_path):
    root = Path(write_tiny("folder", tmp_path)["path"])
    kept = root / "unlabeled" / "000.png"
    kept.rename(root / "kept.png")
    into_tar(root, "unlabeled")
    (root / "kept.png").rename(kept)
    assert list(read_folder(root, decode="as_needed", size=16).unlabeled.ids[:2]) == [
        "unlabeled/000.png", "unlabeled/a.tar/000.png"]  # fmt: skip
    assert [name for name, _ in read_folder(root, size=16).left_out] == ["unlabeled/a.tar"]


def test_what_cannot_be_opened_is_left_out(tmp_path):
    root = Path(write_tiny("folder", tmp_path)["path"])
    (root / "unlabeled" / "000.png").write_bytes(b"text")
    (root / "unlabeled" / "notes.txt").write_text("x")
    calls = []
    found = read_folder(root, size=16, decode="as_needed", progress=lambda *count: calls.append(count))
    assert found.left_out == (
        ("unlabeled/000.png", "not a picture that can be read"),
        ("unlabeled/notes.txt", "not a picture format: .txt"),
    )
    assert len(found.unlabeled) == 59 and calls == [(i + 1, 140) for i in range(140)]
    assert found.unlabeled.pixels[:].shape == (59, 16, 16, 3)


def test_nothing_is_decoded_while_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(Image.Image, "resize", lambda *a, **k: pytest.fail("a picture was decoded"))
    assert len(read_folder(folder, decode="as_needed").labeled) == 40


def test_a_relative_path_is_kept_as_an_absolute_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for path in (".", "../tiny", Path(".")):
        assert read_folder(path, size=16, decode="as_needed").test.pixels.root == str(folder)


def test_the_description_knows_shards_and_class_names(tmp_path):
    root = Path(write_tiny("folder", tmp_path)["path"])
    into_tar(root, "unlabeled")
    (root / "classes.txt").write_text("x")
    names = [name for name, *_ in list_folder(root)]
    assert "unlabeled/a.tar" in names and "classes.txt" in names


def test_an_unknown_way_to_decode_is_named(folder):
    with pytest.raises(NsfastError, match="unknown data.decode 'as_neded'; did you mean 'as_needed'"):
        read_folder(folder, decode="as_neded")


def test_class_names_that_are_no_text_are_named(tmp_path):
    root = Path(write_tiny("folder", tmp_path)["path"])
    (root / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ImageProblem, match=r"classes.txt is no UTF-8 text"):
        read_folder(root, decode="as_needed")
