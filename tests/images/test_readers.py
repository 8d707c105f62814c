"""Every reader can be called from a profile, and its listing changes when its files do."""

import inspect
import os
from pathlib import Path

import pytest

from nsfast.errors import NsfastError
from nsfast.images import ImageProblem
from nsfast.images.folder import list_folder
from nsfast.images.readers import READERS, listing
from nsfast.images.tiny import WRITERS, write_tiny


@pytest.mark.parametrize("name", READERS)
def test_every_argument_has_a_plain_type_a_default_and_a_sentence(name):
    from nsfast.pipeline.profile import argument_help

    for argument in inspect.signature(READERS[name]).parameters.values():
        if argument.name in ("seed", "progress") or (name, argument.name) == ("folder", "path"):
            continue
        kind = {"int": int, "float": float, "str": str, "bool": bool}[str(argument.annotation)]
        assert type(argument.default) is kind
        assert len(argument_help(READERS[name], argument.name)) > 10


def test_each_has_a_tiny_set_but_those_that_are_made():
    assert set(WRITERS) == set(READERS) - {"digits", "letters"}


def test_what_is_made_depends_on_no_file():
    assert listing("digits", {}) == listing("letters", {}) == []


@pytest.mark.parametrize("name", WRITERS)
def test_the_listing_names_every_file_and_changes_with_it(tmp_path, name):
    parameters = write_tiny(name, tmp_path)
    first = listing(name, parameters)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    listed = [entry for entry in first if not entry[0].endswith("/")]
    assert first == sorted(first) == listing(name, parameters) and len(listed) == len(files)
    assert {entry[1:] for entry in listed} == {(f.stat().st_size, f.stat().st_mtime_ns) for f in files}
    os.utime(files[0], ns=(1, 1))
    second = listing(name, parameters)
    files[-1].unlink()
    third = listing(name, parameters)
    assert first != second != third and len(third) == len(second) - 1


def test_the_folders_listing_is_the_folders(tmp_path):
    path = write_tiny("folder", tmp_path)["path"]
    assert listing("folder", {"path": path, "size": 3}) == list_folder(path)
    with pytest.raises(ImageProblem, match="no folder"):
        listing("folder", {"path": str(tmp_path / "gone")})


def test_the_listing_opens_no_file(tmp_path, monkeypatch):
    parameters = {name: write_tiny(name, tmp_path / name) for name in WRITERS}
    monkeypatch.setattr("builtins.open", lambda *args, **options: pytest.fail("a file was opened"))
    assert all(listing(name, parameters[name]) for name in WRITERS)


def test_imagenets_listing_knows_the_devkit_and_a_pool_elsewhere(tmp_path):
    parameters = write_tiny("imagenet", tmp_path / "set", val="flat", shards=True)
    (tmp_path / "set" / "unlabeled").rename(tmp_path / "elsewhere")
    names = [
        name for name, *_ in listing("imagenet", {**parameters, "unlabeled": str(tmp_path / "elsewhere")})
    ]
    assert "ILSVRC2012_devkit_t12/data/meta.mat" in names and "train/shard-000.tar" in names
    assert "unlabeled:elsewhere/shard-001.tar" in names and len(names) == 26


def test_a_missing_set_has_an_empty_listing_and_defaults_are_the_readers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in WRITERS:
        if name != "folder":
            assert listing(name, {}) == []
    write_tiny("cifar10", Path("data/cifar10"))
    write_tiny("imagenette", Path("data/imagewoof2"))
    assert len(listing("cifar10", {})) == 7 and len(listing("imagenette", {"woof": True})) == 160


def test_an_unknown_name_is_named():
    with pytest.raises(NsfastError, match="unknown data.name 'cifar'; did you mean 'cifar10'"):
        listing("cifar", {})
