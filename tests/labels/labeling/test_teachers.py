"""What teachers are shown and say: several, mirror images, resolutions, and pictures that cannot be decoded."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.images.files import PictureFiles
from nsfast.images.index import open_index, write_index
from nsfast.labels import Origin, read_labels
from nsfast.labels.contents import content_codes
from nsfast.labels.labeling.teachers import DECODING, preprocessing_of


def test_two_teachers_and_mirror_images_are_averaged_in_float32(labeling, teacher, tiny, tmp_path):
    pixels, other = tiny.unlabeled.pixels, labeling.network(1)
    one, two, one_flipped, two_flipped = (
        labeling.plain_loop(model, pixels, flip=flip) for flip in (False, True) for model in (teacher, other)
    )
    labeling.run([teacher, other], tiny, tmp_path / "two")
    assert (
        labeling.stored(tmp_path / "two")["probabilities"] == ((one + two) / np.float32(2)).astype(np.float16)
    ).all()
    labeling.run(teacher, tiny, tmp_path / "flip", flip=True)
    flipped = ((one + one_flipped) / np.float32(2)).astype(np.float16)
    assert (labeling.stored(tmp_path / "flip")["probabilities"] == flipped).all()
    labeling.run([teacher, other], tiny, tmp_path / "all", flip=True)
    mean = np.mean([one, two, one_flipped, two_flipped], 0, np.float64)
    assert np.allclose(labeling.stored(tmp_path / "all")["probabilities"], mean, atol=3e-4)
    assert not np.allclose(one, one_flipped, atol=1e-2)


@pytest.fixture
def folder(tmp_path):
    """30 pictures of 8 to 15 pixels, some damaged: one here and there, a batch of them, and a shard of them."""
    random, where = np.random.default_rng(0), tmp_path / "pictures"
    where.mkdir()
    for number in range(30):
        pixels = random.integers(0, 256, (8 + number % 8, 8 + number % 5, 3), np.uint8)
        Image.fromarray(pixels).save(where / f"{number:02}.png")
    for number in BROKEN:
        path = where / f"{number:02}.png"
        path.write_bytes(path.read_bytes()[: 60 + number] if number % 2 else b"no picture")
    return where


BROKEN = [1, 5, 6, 7, 8, 9, *range(20, 30)]  # in batches of 5 and shards of 10: one, a batch, a shard


GOOD = [i for i in range(30) if i not in BROKEN]


def sources(folder, place):
    """The same pictures as a split and as an index."""
    names = sorted(path.name for path in folder.iterdir())
    index = open_index(write_index(folder, place / "index.parquet"), 8, 3, whole=True)
    return Split(np.array(names), PictureFiles(folder, names, 8, whole=True)), index


@pytest.mark.parametrize("kind", [0, 1], ids=["split", "index"])
def test_damaged_pictures_have_no_row_and_the_ids_of_the_others_are_right(labeling, folder, tmp_path, kind):
    teacher, split = labeling.network(channels=3), sources(folder, tmp_path)[kind]
    out = tmp_path / "labels"
    table = labeling.run(teacher, split, out, labeling.likeliest(2), batch=5, shard=10)
    pixels = {i: np.asarray(PictureFiles(folder, [f"{i:02}.png"], 8, whole=True))[0] for i in GOOD}
    expected = np.concatenate(  # batches are not filled up with pictures of the next one
        [
            labeling.forward(teacher, np.stack([pixels[i] for i in batch])).numpy()
            for batch in ([0, 2, 3, 4], [10, 11, 12, 13, 14], [15, 16, 17, 18, 19])
        ]
    )
    assert table.ids.tolist() == GOOD
    assert table.names.tolist() == [f"{i:02}.png" for i in GOOD]
    assert (table.vectors.probabilities == -np.sort(-expected, 1)[:, :2].astype(np.float16)).all()
    assert [i for i, _ in table.quarantined] == BROKEN and all(why for _, why in table.quarantined)
    assert read_labels(out).quarantined == table.quarantined
    rows = [note["rows"] for note in table.manifest["shards"]]
    assert rows == [4, 10, 0] and table.manifest["pictures"] == 30
    codes = pq.read_table(sorted(out.glob("contents-*.parquet")))
    assert codes["id"].to_pylist() == GOOD
    exact, look = content_codes(np.stack([pixels[i] for i in GOOD]))
    assert codes["exact"].to_pylist() == exact.tolist() and codes["look"].to_pylist() == look.tolist()


def test_what_an_index_knows_to_be_no_picture_is_not_opened(labeling, folder, tmp_path):
    (folder / "31.txt").write_text("no picture")
    (folder / "00.png").rename(folder / "32.png")
    (folder / "00.png").touch()
    index = open_index(write_index(folder, tmp_path / "index.parquet"), 8, 3, whole=True)
    table = labeling.run(labeling.network(channels=3), index, tmp_path / "labels", batch=5, shard=10)
    reasons = dict(table.quarantined)
    assert "empty file" in reasons[0] and ".txt" in reasons[30] and set(reasons) == {0, 30, *BROKEN}
    assert table.ids.tolist() == [*GOOD[1:], 31] and table.names[-1] == "32.png"
    same = (tmp_path / "index.parquet").read_bytes()
    assert (tmp_path / "labels" / "files.parquet").read_bytes() == same


def test_teachers_of_two_resolutions_each_see_the_pictures_at_their_own(labeling, folder, tmp_path):
    small, large = labeling.network(0, 3), labeling.network(1, 3)
    small.pixels, large.pixels = 8, 12
    split, _ = sources(folder, tmp_path)
    table = labeling.run([small, large], split, tmp_path / "labels", batch=5, shard=10)
    names = [f"{i:02}.png" for i in GOOD]
    expected = [
        labeling.forward(model, np.asarray(PictureFiles(folder, names, model.pixels, whole=True)))
        for model in (small, large)
    ]
    assert table.ids.tolist() == GOOD
    assert np.allclose(table.vectors.dense(), (expected[0] + expected[1]) / 2, atol=1e-3)
    assert not np.allclose(table.vectors.dense(), expected[0], atol=1e-2)


def test_what_one_of_two_teachers_cannot_see_at_its_resolution_has_no_row(
    labeling, folder, tmp_path, monkeypatch
):
    small, large = labeling.network(0, 3), labeling.network(1, 3)
    small.pixels, large.pixels = 8, 12
    split, _ = sources(folder, tmp_path)
    labeling.run([small, large], split, tmp_path / "a", batch=5, shard=10)
    read = PictureFiles.read

    def cannot(files, rows):
        pixels, places, problems = read(files, rows)
        good = [
            k for k, place in enumerate(places) if files.size == 8 or "12.png" not in files.paths[rows[place]]
        ]
        more = {int(place): "too large" for place in set(places) - set(places[good])}
        return pixels[good], places[good], problems | more

    monkeypatch.setattr(PictureFiles, "read", cannot)
    table = labeling.run([small, large], split, tmp_path / "b", batch=5, shard=10)
    without = [i for i in GOOD if i != 12]
    assert table.ids.tolist() == without and dict(table.quarantined)[12] == "too large"
    whole = read_labels(tmp_path / "a").vectors.dense()[[GOOD.index(i) for i in without]]
    assert np.allclose(table.vectors.dense(), whole, atol=1e-3)
    codes = [pq.read_table(sorted((tmp_path / name).glob("contents-*"))).to_pylist() for name in "ab"]
    assert codes[1] == [row for row in codes[0] if row["id"] != 12]


def test_preprocessing_is_what_the_network_sees(labeling, teacher, tiny, tmp_path, folder):
    own = {"pixels": 8, "channels": 1, "mean": [0.4], "std": [0.2], "crop": "whole", "interpolation": "none"}
    own["decoding"] = DECODING
    assert preprocessing_of(teacher, tiny.unlabeled) == {**own, "precision": "float32", "flip": False}
    teacher.pixels, teacher.autocast = 12, torch.bfloat16
    other = {**own, "pixels": 12, "interpolation": "bicubic", "precision": "bfloat16", "flip": True}
    assert preprocessing_of([teacher], tiny.unlabeled, flip=True) == other
    names = sorted(path.name for path in folder.iterdir())
    split = Split(np.array(names), PictureFiles(folder, names, 64))
    large, larger = labeling.network(0, 3), labeling.network(1, 3)
    assert preprocessing_of(large, split)["crop"] == "centre 0.6667"
    larger.pixels = 224
    said = preprocessing_of([large, larger], split)
    assert (said["pixels"], said["crop"]) == ([64, 224], ["centre 0.6667", "centre 0.875"])
    assert said["mean"] == [0.4] * 3 and said["interpolation"] == "bicubic"
    index = sources(folder, tmp_path)[1]
    assert (
        preprocessing_of(large, index)["crop"] == "whole" and preprocessing_of(larger, index)["pixels"] == 224
    )


def test_a_table_of_pictures_that_were_decoded_otherwise_is_another(
    labeling, teacher, tiny, tmp_path, monkeypatch
):
    before = Origin(tiny.classes, "abc", preprocessing=preprocessing_of(teacher, tiny.unlabeled))
    labeling.run(teacher, tiny, tmp_path, before)
    monkeypatch.setattr("nsfast.labels.labeling.teachers.DECODING", DECODING + 1)
    after = Origin(tiny.classes, "abc", preprocessing=preprocessing_of(teacher, tiny.unlabeled))
    with pytest.raises(NsfastError, match=f"decoding is {DECODING} instead of {DECODING + 1}; give another"):
        labeling.run(teacher, tiny, tmp_path, after)


def test_a_teacher_of_other_classes_is_an_error(labeling, teacher, tiny, tmp_path):
    with pytest.raises(NsfastError, match="tells 3 classes apart, but 5 are named"):
        labeling.run(teacher, tiny, tmp_path, Origin(tuple("abcde"), "abc"))
