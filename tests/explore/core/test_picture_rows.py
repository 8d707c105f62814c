"""Each label has its own picture, wherever pictures lie; one that is not there is grey and shifts no other."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.explore.core.picture_rows import GREY
from nsfast.explore.core.table import open_table
from nsfast.images import PictureFiles
from nsfast.images.index import write_index
from nsfast.labels import Origin, write_labels
from nsfast.labels.shards import Rows, shard_name, write_shard
from nsfast.labels.table import finish_table
from nsfast.training.targets import Distributions

ORIGIN = Origin(tuple("abcde"), "teacher")
PICTURES = 60
NAMES = [f"some/{i:02}.png" for i in range(PICTURES)]
IDS = np.random.default_rng(0).choice(PICTURES, 45, replace=False)


def distributions(n=45, classes=5):
    return np.random.default_rng(0).dirichlet(np.full(classes, 0.4), n).astype(np.float32)


@pytest.fixture
def full(tmp_path):
    """A table of forty-five of sixty pictures."""
    return write_labels(tmp_path / "labels", distributions(), ORIGIN, NAMES, IDS, shard=16)


@pytest.fixture
def pixels():
    return np.random.default_rng(7).integers(0, 255, (PICTURES, 6, 6, 3), np.uint8)


@pytest.mark.parametrize("kind", ["array", "grey", ".npy", "folder", "files", "no endings"])
def test_each_label_has_its_picture_wherever_pictures_lie(full, tmp_path, pixels, kind):
    if kind == "array":
        images = pixels
    elif kind == "grey":
        images, pixels = pixels[..., 0], pixels[..., :1]
    elif kind == ".npy":
        images = str(tmp_path / "pixels.npy")
        np.save(images, pixels)
    else:
        images = tmp_path / "pictures"
        (images / "some").mkdir(parents=True)
        for name, picture in zip(NAMES, pixels, strict=True):
            Image.fromarray(picture).save(images / name)
        if kind == "files":
            images = PictureFiles(images, NAMES, 6, whole=True)
        if kind == "no endings":
            write_labels(full.folder, distributions(), ORIGIN, [name[:-4] for name in NAMES], IDS)
    found = open_table(full.folder, images).pictures
    rows = np.array([44, 2, 2, 30])
    assert len(found) == 45
    if hasattr(found, "at"):
        found = found.at(6)
    read = found.read(rows) if hasattr(found, "read") else (found[rows], np.arange(4), {})
    assert (
        (read[0] == pixels[np.sort(IDS)[rows]]).all() and read[1].tolist() == [0, 1, 2, 3] and read[2] == {}
    )
    assert (found[44] == pixels[np.sort(IDS)[44]]).all()


def test_a_picture_that_is_missing_is_grey_and_shifts_no_other(full, tmp_path, pixels):
    missing = int(np.sort(IDS)[5])
    (tmp_path / "pictures" / "some").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        if number != missing:
            Image.fromarray(pixels[number]).save(tmp_path / "pictures" / name)
    found = open_table(full.folder, tmp_path / "pictures").pictures.at(6)
    read, places, problems = found.read([4, 5, 6])
    assert places.tolist() == [0, 2] and list(problems) == [1] and "No such file" in problems[1]
    assert (read == pixels[np.sort(IDS)[[4, 6]]]).all()
    few = open_table(full.folder, pixels[:missing]).pictures
    read, places, problems = few.read(np.array([6, 4, 5, 0]))
    assert places.tolist() == [1, 3] and sorted(problems) == [0, 2]
    assert (read == pixels[np.sort(IDS)[[4, 0]]]).all()
    assert (few[np.array([6, 4])] == [np.full((6, 6, 3), GREY), pixels[np.sort(IDS)[4]]]).all()
    files = open_table(
        full.folder, PictureFiles(tmp_path / "pictures", NAMES[: missing + 1], 6, whole=True)
    ).pictures
    read, places, problems = files.read(np.array([6, 4, 5]))
    assert places.tolist() == [1] and list(problems) == [0, 2] and (read == pixels[np.sort(IDS)[4]]).all()
    assert "No such file" in problems[2] and files.shape == (45, 6, 6, 3)


def test_pictures_in_tars_are_found_through_the_index(tmp_path):
    source, pixels = tmp_path / "source", np.random.default_rng(1).integers(0, 255, (9, 8, 8, 3), np.uint8)
    source.mkdir()
    with tarfile.open(source / "some.tar", "w") as shard:
        for number, picture in enumerate(pixels[:5]):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(buffer.getvalue())
            shard.addfile(info, io.BytesIO(buffer.getvalue()))
    for number, picture in enumerate(pixels[5:], 5):
        Image.fromarray(picture).save(source / f"{number}.png")
    write_index(source, tmp_path / "labels" / "files.parquet")
    origin = Origin(("a", "b"), "t")
    for number, rows in enumerate(np.array_split(np.arange(9), 2)):
        half = distributions(len(rows), 2).astype(np.float16)
        kept = Rows(rows, half.argmax(1).astype(np.uint16), half.max(1), Distributions(half, 2))
        write_shard(tmp_path / "labels" / shard_name(number), origin, kept)
    finish_table(tmp_path / "labels", origin, 9, 2)
    labels = open_table(tmp_path / "labels", source)
    by_name = {f"{number}.png" if number > 4 else f"some.tar/{number}.png": number for number in range(9)}
    found = labels.pictures.at(8)
    for row, name in enumerate(labels.names(np.arange(9))):
        assert (found[row] == pixels[by_name[name]]).all()


def test_names_do_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "secret.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "pictures" / "ü.png")
    inside = tmp_path / "pictures" / "ü.png"
    names = [
        "../secret.png",
        str(tmp_path / "secret.png"),
        "ü.png",
        str(inside),
        "a/../../secret",
        "",
        "pictures",
    ]
    write_labels(tmp_path / "labels", distributions(7), ORIGIN, names)
    _, places, problems = open_table(tmp_path / "labels", tmp_path / "pictures").pictures.read(np.arange(7))
    assert places.tolist() == [2, 3] and len(problems) == 5


def test_a_short_name_of_two_pictures_is_neither(tmp_path):
    for name in ("one.png", "one.jpg", "two.png", "two.txt"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name, "PNG")
    write_labels(tmp_path / "labels", distributions(3), ORIGIN, ["one", "two", "two.txt"])
    _, places, _ = open_table(tmp_path / "labels", tmp_path).pictures.read(np.arange(3))
    assert places.tolist() == [1, 2]


@pytest.mark.parametrize(
    "images, message",
    [
        ("nowhere", "no pictures at 'nowhere'; give a folder"),
        ("text.npy", "is no array of pictures"),
        ("float.npy", r"holds float64 \(60, 2, 2, 3\); give uint8"),
        (np.zeros((3, 4, 4, 2), np.uint8), r"images holds uint8 \(3, 4, 4, 2\)"),
    ],
)
def test_what_holds_no_pictures_is_refused(full, tmp_path, monkeypatch, images, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npy").write_text("text")
    np.save(tmp_path / "float.npy", np.zeros((60, 2, 2, 3)))
    with pytest.raises(NsfastError, match=message):
        open_table(full.folder, images)
