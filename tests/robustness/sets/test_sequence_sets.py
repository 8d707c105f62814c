"""CIFAR-10-P and ImageNet-P from their files, and the hard pictures of one's own."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.models import build_model
from nsfast.robustness.flips import ask_sequences, flip_probability
from nsfast.robustness.sets import hard_question, imagenet_wnids, open_sequences, video
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
    for package in ("cv2", "av", "imageio.v3"):
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
    (one,) = open_sequences("imagenet-p", tmp_path, WNIDS)
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


def collected(sequences):
    chunks = list(sequences.chunks())
    assert sequences.total == sum(len(ids) for ids, _ in chunks)
    return np.concatenate([ids for ids, _ in chunks]), np.concatenate([pixels for _, pixels in chunks])


def test_chunks_hold_no_more_than_they_may(cifar_p, monkeypatch):
    folder, pixels = cifar_p
    monkeypatch.setattr("nsfast.robustness.sets.perturbed.CHUNK", 3 * 31 * 32 * 32 * 3)
    found = open_sequences("cifar10-p", folder, CIFAR10)
    assert [len(ids) for ids, _ in found[0].chunks()] == [3, 3, 1]
    assert np.array_equal(collected(found[0])[1], pixels["gaussian_noise"])
    assert "Not there: shot_noise, motion_blur" in found[0].description


def test_a_difficulty_changes_the_files_of_noise_alone(cifar_p):
    folder, pixels = cifar_p
    harder = pixels["gaussian_noise"][:, ::-1]
    np.save(folder / "gaussian_noise_2.npy", harder)
    easy, hard = (open_sequences("cifar10-p", folder, CIFAR10, difficulty=d) for d in (1, 2))
    assert [(one.name, one.difficulty) for one in hard] == [("gaussian_noise", 2), ("translate", 2)]
    assert np.array_equal(collected(hard[0])[1], harder)
    assert np.array_equal(collected(hard[1])[1], pixels["translate"])
    assert len({one.key for one in hard + easy}) == 4
    assert [one.name for one in open_sequences("cifar10-p", folder, CIFAR10, difficulty=3)] == ["translate"]
    with pytest.raises(NsfastError, match="difficulty is 4"):
        open_sequences("cifar10-p", folder, CIFAR10, difficulty=4)


def test_a_limit_draws_the_same_sequences_of_every_perturbation(cifar_p):
    folder, pixels = cifar_p
    found = open_sequences("cifar10-p", folder, CIFAR10, limit=3)
    ids = collected(found[0])[0].tolist()
    rows = [int(id.split("-")[1]) for id in ids]
    assert len(rows) == 3 == found[0].total
    for one in found:
        assert collected(one)[0].tolist() == ids and np.array_equal(collected(one)[1], pixels[one.name][rows])


def test_arrays_that_do_not_fit_the_model_or_the_set_are_errors(cifar_p):
    folder, _ = cifar_p
    with pytest.raises(NsfastError, match="knows no class"):
        open_sequences("cifar10-p", folder, ("ant", "bee"))
    with pytest.raises(NsfastError, match="takes 64"):
        open_sequences("cifar10-p", folder, CIFAR10, size=64)
    with pytest.raises(NsfastError, match="unknown set of sequences 'cifar10-c'"):
        open_sequences("cifar10-c", folder, CIFAR10)
    np.save(folder / "tilt.npy", np.zeros((7, 32, 32, 3), np.uint8))
    with pytest.raises(NsfastError, match="tilt.npy is no array of 5 dimension"):
        open_sequences("cifar10-p", folder, CIFAR10)


@pytest.fixture
def films(tmp_path, monkeypatch):
    """ImageNet-P's layout, its films being arrays that a decoder of arrays reads."""

    def read(path):
        with open(path, "rb") as file:
            return np.load(file)

    monkeypatch.setattr(video, "READERS", {"json": read})
    random, kept = np.random.default_rng(0), {}
    for name, frames in (("shot_noise", 5), ("shot_noise_3", 5), ("translate", 7)):
        for wnid in WNIDS:
            for number in range(2):
                film = random.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8)
                file = tmp_path / name / wnid / f"{number}.mp4"
                file.parent.mkdir(parents=True, exist_ok=True)
                with open(file, "wb") as out:
                    np.save(out, film)
                kept[name, f"{wnid}/{number}.mp4"] = film
    return tmp_path, kept


def test_imagenet_p_gives_the_films_of_the_classes_that_the_model_knows(films):
    path, kept = films
    for difficulty, stored in ((1, "shot_noise"), (3, "shot_noise_3")):
        noise, translate = open_sequences("imagenet-p", path, WNIDS[::2], difficulty=difficulty)
        assert (noise.name, noise.noise, translate.name, translate.noise) == (
            "shot_noise",
            True,
            "translate",
            False,
        )
        for one, name in ((noise, stored), (translate, "translate")):
            ids, pixels = collected(one)
            assert ids.tolist() == [f"{wnid}/{number}.mp4" for wnid in WNIDS[::2] for number in range(2)]
            assert np.array_equal(pixels, np.stack([kept[name, id] for id in ids]))
    assert "2 pictures of 1 classes that the model does not know" in noise.description
    small = open_sequences("imagenet-p", path, WNIDS, size=8)[0]
    assert collected(small)[1].shape == (6, 5, 8, 8, 3)


def test_a_film_that_is_cut_short_or_no_film_is_named(films):
    path, kept = films
    with open(path / "translate" / WNIDS[1] / "1.mp4", "wb") as out:
        np.save(out, kept["translate", f"{WNIDS[1]}/1.mp4"][:4])
    noise, translate = open_sequences("imagenet-p", path, WNIDS)
    with pytest.raises(NsfastError, match="1.mp4 has 4 frames of 16x16, not 7 square frames"):
        list(translate.chunks())
    (path / "shot_noise" / WNIDS[0] / "0.mp4").write_bytes(b"no film")
    with pytest.raises(NsfastError, match="0.mp4 cannot be read"):
        open_sequences("imagenet-p", path, WNIDS)


def test_a_package_that_cannot_be_imported_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "broken_video.py").write_text("raise RuntimeError('no libavutil')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(video, "READERS", {"broken_video": None, "json": len})
    assert video.video_reader() is len


@pytest.mark.parametrize("module", list(video.READERS))
def test_films_are_read_in_red_green_blue(module, tmp_path):
    pytest.importorskip(module)
    frames = write_film(tmp_path / "a.mp4")
    film = video.read_film(tmp_path / "a.mp4", video.READERS[module], None, len(frames))
    assert np.abs(film.astype(int) - frames).mean() < 8  # it is compressed
    assert film[0, ..., 0].mean() > 150 > 80 > film[0, ..., 2].mean()


def write_film(path):
    """Write a film that turns from red to green with whatever is installed."""
    colours = np.linspace([220, 20, 40], [20, 220, 40], 9)
    frames = np.broadcast_to(colours[:, None, None], (9, 64, 64, 3)).astype(np.uint8)
    if importlib.util.find_spec("cv2"):
        import cv2

        out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 64))
        for frame in frames:
            out.write(np.ascontiguousarray(frame[..., ::-1]))
        out.release()
    else:
        av = pytest.importorskip("av")
        with av.open(str(path), "w") as film:
            stream = film.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                film.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
                )
            film.mux(stream.encode())
    return frames
