"""CIFAR-10-P and ImageNet-P from their files, and the hard pictures of one's own."""

import sys

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.models import build_model
from nsfast.robustness.flips import ask_sequences, flip_probability
from nsfast.robustness.sets import hard_question, imagenet_wnids, open_sequences
from nsfast.robustness.sets.classes import CIFAR10
from tests.robustness.sets.released_folders import WNIDS


@pytest.fixture
def cifar_p(tmp_path):
    random = np.random.default_rng(0)
    frames = {"gaussian_noise": 31, "translate": 16}
    pixels = {}
    for name, count in frames.items():
        pixels[name] = random.integers(0, 256, (7, count, 32, 32, 3), dtype=np.uint8)
        np.save(tmp_path / f"{name}.npy", pixels[name])
    return tmp_path, pixels


def test_sequences_of_cifar_p_are_the_rows_of_the_arrays(cifar_p):
    folder, pixels = cifar_p
    found = {one.name: one for one in open_sequences("cifar10-p", folder, CIFAR10)}
    assert set(found) == set(pixels) and {one.set for one in found.values()} == {"cifar10-p"}
    assert found["gaussian_noise"].noise and not found["translate"].noise
    for name, one in found.items():
        for _ in range(2):  # each call begins anew
            chunks = list(one.chunks())
            assert (np.concatenate([frames for _, frames in chunks]) == pixels[name]).all()
        assert one.total == 7 and len(np.unique(np.concatenate([ids for ids, _ in chunks]))) == 7


def test_flips_of_a_released_set_are_those_of_a_plain_loop(cifar_p):
    folder, pixels = cifar_p
    torch.manual_seed(0)
    model = build_model("small", 10, 3, 1).eval()
    found = ask_sequences({"one": model}, open_sequences("cifar10-p", folder, CIFAR10))
    for name, frames in pixels.items():
        with torch.inference_mode():
            said = [
                model(torch.from_numpy(f).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy() for f in frames
            ]
        answers = found[name]["one"]
        share = answers.flips.sum() / answers.comparisons.sum()
        assert share == pytest.approx(flip_probability(np.stack(said), "noise" in name))


@pytest.mark.parametrize("name", ["cifar10-p", "imagenet-p"])
def test_a_missing_folder_names_layout_and_source(name, tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(NsfastError) as error:
            open_sequences(name, path, imagenet_wnids() if name == "imagenet-p" else CIFAR10)
        assert all(word in str(error.value) for word in (name, "expected", "unpacked from", str(path)))


def test_films_without_a_package_that_reads_them_say_what_to_install(tmp_path, monkeypatch):
    for wnid in WNIDS:
        (tmp_path / "rotate" / wnid).mkdir(parents=True)
        (tmp_path / "rotate" / wnid / "a.mp4").write_bytes(b"no film")
    for package in ("cv2", "torchcodec", "av", "imageio", "imageio_ffmpeg"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NsfastError, match=r"nsfast\[video\]"):
        open_sequences("imagenet-p", tmp_path, imagenet_wnids())


def test_films_are_read_frame_by_frame(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for number, wnid in enumerate(WNIDS):
        (tmp_path / "rotate" / wnid).mkdir(parents=True)
        film = cv2.VideoWriter(
            str(tmp_path / "rotate" / wnid / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (32, 32)
        )
        for frame in range(31):
            film.write(np.full((32, 32, 3), 40 * number + 4 * frame, np.uint8))
        film.release()
    (one,) = open_sequences("imagenet-p", tmp_path, imagenet_wnids())
    ids, frames = next(iter(one.chunks()))
    assert one.total == 3 and frames.shape[1:3] == (31, 32) and len(ids) == len(frames)
    expected = 40 * np.arange(3)[:, None] + 4 * np.arange(31)
    assert np.abs(frames.mean((2, 3, 4)) - expected[: len(frames)]).max() < 6


def test_hard_pictures_are_what_the_named_model_misses():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    split = Split(np.array(list("abcde")), pixels, np.array([0, 1, 2, 0, 1]))
    question = hard_question(split, np.array([0, 2, 2, 1, 1]), "teacher")
    assert question.ids.tolist() == ["b", "d"] and question.labels.tolist() == [1, 0]
    assert (question.pictures() == pixels[[1, 3]]).all()
    assert "2 of 5 test pictures that teacher gets wrong" in question.description
    assert hard_question(split, split.labels, "teacher") is None
    other = Split(split.ids, pixels[::-1].copy(), split.labels)
    assert hard_question(other, np.array([0, 2, 2, 1, 1]), "teacher").key != question.key
    with pytest.raises(NsfastError, match=r"teacher.*\(3,\)"):
        hard_question(split, np.zeros(3), "teacher")
