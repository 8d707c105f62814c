"""Tar shards are read as tarfile reads them, and what is wrong in one costs that picture alone."""

import io
import tarfile
from pathlib import Path

import pytest

from nsfast.images.listing import list_split
from nsfast.images.shards import open_shards


def write_tar(path: Path, files: dict[str, bytes], mode="w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def opened(root: Path, in_classes=True, names=None):
    listing = open_shards(list_split(root, "labeled", in_classes, shards=True), in_classes, names)
    return listing, {f.id: f for f in listing.pictures}, {f.id: f.problem for f in listing.others}


def test_a_picture_is_a_range_of_bytes_with_the_class_beside_it(tmp_path):
    files = {"a.jpg": b"first", "a.cls": b"cat\n", "x/b.cls": b" dog", "x/b.PNG": b"second", "a.json": b"{}",
             "x/._b.png": b"junk", "long" * 60 + ".webp": b"third", "long" * 60 + ".cls": b"cat"}  # fmt: skip
    write_tar(tmp_path / "labeled" / "0.tar", files)
    listing, found, others = opened(tmp_path)
    assert listing.classes == ["cat", "dog"] and others == {}
    assert {id: f.class_name for id, f in found.items()} == {
        "labeled/0.tar/a.jpg": "cat", "labeled/0.tar/x/b.PNG": "dog", f"labeled/0.tar/{'long' * 60}.webp": "cat",
    }  # fmt: skip
    for id, file in found.items():
        content = Path(file.path).read_bytes()[file.offset : file.offset + file.size]
        assert content == files[id.removeprefix("labeled/0.tar/")]


def test_numbers_are_places_among_the_names(tmp_path):
    files = {f"{i}.{kind}": str(i).encode() for i in (0, 2, 10) for kind in ("jpg", "cls")}
    write_tar(tmp_path / "labeled" / "0.tar", files)
    listing, found, others = opened(tmp_path, names=["a", "b", "c"])
    assert listing.classes == ["a", "c"] and [f.label for f in found.values()] == ["a", "c"]
    assert others == {"labeled/0.tar/10.jpg": "class 10, but there are 3 classes, from 0 on"}
    assert opened(tmp_path)[0].classes == ["0", "2", "10"]


def test_unlabeled_shards_need_no_class(tmp_path):
    write_tar(tmp_path / "labeled" / "deep" / "0.tar", {"a.jpg": b"1", "b.jpg": b"2", "b.cls": b"cat"})
    listing, found, others = opened(tmp_path, in_classes=False)
    assert list(found) == ["labeled/deep/0.tar/a.jpg", "labeled/deep/0.tar/b.jpg"] and not others
    assert not listing.classes and all(f.label == "" for f in found.values())


def test_what_is_of_no_use_is_named_and_the_rest_goes_on(tmp_path):
    write_tar(tmp_path / "labeled" / "0.tar", {"a.jpg": b"1", "b.jpg": b"", "c.jpg": b"3", "c.cls": b"cat"})
    with tarfile.open(tmp_path / "labeled" / "0.tar", "a") as tar:
        about = tarfile.TarInfo("c.jpg")
        about.size = 1
        tar.addfile(about, io.BytesIO(b"4"))
    write_tar(tmp_path / "labeled" / "1.tar", {"a.jpg": b"1", "a.cls": b"cat"}, "w:gz")
    (tmp_path / "labeled" / "2.tar").write_bytes(b"no tar" * 200)
    (tmp_path / "labeled" / "3.tar").write_bytes(b"")
    write_tar(tmp_path / "labeled" / "4.tar", {"a.cls": b"\xff", "a.jpg": b"1"})
    _, found, others = opened(tmp_path)
    assert list(found) == ["labeled/0.tar/c.jpg"] and found["labeled/0.tar/c.jpg"].size == 1
    said = {"0.tar/a.jpg": "no .cls beside it", "0.tar/b.jpg": "empty file", "0.tar/c.jpg": "holds this name twice",
            "1.tar": "without compression", "2.tar": "without compression", "3.tar": "empty file (0 bytes)",
            "4.tar": "can't decode"}  # fmt: skip
    assert others.keys() == {f"labeled/{name}" for name in said}
    for name, why in said.items():
        assert why in others[f"labeled/{name}"] and "\n" not in others[f"labeled/{name}"]


@pytest.mark.parametrize("cut", [100, 700, 1024 + 512 + 100])
def test_of_a_tar_that_is_cut_short_what_is_whole_is_kept(tmp_path, cut):
    """Each member is a header of 512 bytes and its content, filled up to 512."""
    path = write_tar(
        tmp_path / "labeled" / "0.tar", {name: b"x" * 400 for name in ("a.jpg", "b.jpg", "c.jpg")}
    )
    path.write_bytes(path.read_bytes()[:cut])
    _, found, others = opened(tmp_path, in_classes=False)
    assert [id[-5:] for id in found] == {100: [], 700: [], 1636: ["a.jpg"]}[cut]
    assert others and all("tar" in id for id in others)
