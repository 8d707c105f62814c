"""The prepared pictures of a run: used again only when they are of the folder that was named."""

import shutil

import numpy as np
import pytest
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.pipeline.profile import resolve
from nsfast.pipeline.run_folder import images_stand, prepare_images, verify_images


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes and an unlabeled pool."""
    for number in range(24):
        for folder in ("labeled/a", "labeled/b", "unlabeled"):
            path = tmp_path / "pictures" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number * 9, np.uint8)).save(path)
    return tmp_path / "pictures"


def profile_of(folder):
    return resolve("folder", (f"data.path={folder}", "data.size=8"))


def test_pictures_are_prepared_once_and_anew_when_a_file_is_added(tmp_path, pictures):
    run, profile = tmp_path / "run", profile_of(pictures)
    assert not images_stand(run, profile)
    before = prepare_images(run, profile)
    assert images_stand(run, profile)
    shutil.copy(pictures / "unlabeled" / "3.png", pictures / "unlabeled" / "new.png")
    assert not images_stand(run, profile)
    assert len(prepare_images(run, profile).unlabeled) == len(before.unlabeled) + 1


def test_a_source_that_is_gone_goes_on_but_another_missing_folder_is_refused(tmp_path, pictures, capsys):
    run, profile = tmp_path / "run", profile_of(pictures)
    prepare_images(run, profile)
    with pytest.raises(NsfastError, match="pictres"):
        prepare_images(run, profile_of(tmp_path / "pictres"))
    shutil.rmtree(pictures)
    capsys.readouterr()
    assert len(prepare_images(run, profile).unlabeled) == 24
    assert "is gone" in capsys.readouterr().out


def test_a_flipped_byte_in_prepared_pictures_is_named(tmp_path, pictures):
    run = tmp_path / "run"
    prepare_images(run, profile_of(pictures))
    verify_images(run)
    path = run / "images" / "unlabeled.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(NsfastError, match="unlabeled.npy is damaged"):
        verify_images(run)


def test_one_import_gives_a_notebook_the_parts():
    names: dict = {}
    exec("from nsfast.all import *", names)
    assert {"Recipe", "begin", "train", "label", "balance", "Explorer", "accuracy_by_model"} <= set(names)
