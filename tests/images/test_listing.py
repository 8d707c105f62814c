"""The quick walk describes what os.walk finds."""

import contextlib
import os

from nsfast.images.listing import describe_files, list_split, walk_files


def test_the_walk_finds_every_file_and_no_hidden_one(tmp_path):
    for name in ("a/1.JPEG", "a/b/2.JPEG", "c/ü.txt", "a/.hidden", ".git/x", "other/3"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_text(name)
    (tmp_path / "train" / "loop").symlink_to(tmp_path / "train")
    (tmp_path / "train" / "nowhere").symlink_to(tmp_path / "gone")
    expected = []
    for folder, folders, names in os.walk(tmp_path / "train"):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.exists(path):
                info = os.stat(path)
                expected.append((os.path.relpath(path, tmp_path), info.st_size, info.st_mtime_ns))
    assert walk_files(tmp_path, "train") == sorted(expected) and len(expected) == 4
    assert walk_files(tmp_path, "val") == []
    assert describe_files(tmp_path, ["train/a/1.JPEG", "gone", "train"]) == [sorted(expected)[0]]


def test_what_may_not_be_read_is_left_out_of_the_walk(tmp_path, monkeypatch):
    """The kernel's refusals are played: whoever runs the tests may read everything."""
    for name in ("open/1.JPEG", "closed/2.JPEG", "listed/3.JPEG"):
        (tmp_path / "train" / name).parent.mkdir(parents=True)
        (tmp_path / "train" / name).write_text(name)
    scandir, listdir = os.scandir, os.listdir

    class Refused:
        name = "3.JPEG"

        def is_dir(self):
            return False

        def is_file(self):
            return True

        def stat(self):
            raise PermissionError(13, "Permission denied")

    def walk(path):
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return contextlib.nullcontext([Refused()]) if path.endswith("listed") else scandir(path)

    def names(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "scandir", walk)
    monkeypatch.setattr(os, "listdir", names)
    assert [name for name, *_ in walk_files(tmp_path, "train")] == ["train/open/1.JPEG"]
    found = [(f.id, f.problem) for f in list_split(tmp_path, "train", True).others]
    assert found == [("train/closed/", "cannot be opened: Permission denied")]


def test_tars_are_shards_only_where_they_may_be(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.tar").write_bytes(b"1")
    closed, listing = (list_split(tmp_path, "x", True, shards=shards) for shards in (False, True))
    assert [f.problem for f in closed.others] == ["not a picture format: .tar"] and not closed.shards
    assert [f.id for f in listing.shards] == ["x/a.tar"] and not listing.others
