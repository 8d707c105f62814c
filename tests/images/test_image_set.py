"""An image set is checked when it is made, and comes back from disk as it was."""

from dataclasses import replace

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.images import SPLITS, ImageProblem, ImageSet, PictureFiles, Split, load_images, save_images
from nsfast.images.folder import read_folder
from nsfast.images.image_set import _sample
from nsfast.images.tiny import write_tiny


def split(name, n, labels=None, shape=(8, 8, 1)):
    ids = np.array([f"{name}-{i}" for i in range(n)])
    labels = None if labels is None else np.array(labels, dtype=np.int64)
    return Split(ids, np.zeros((n, *shape), np.uint8), labels)


def same(a: ImageSet, b: ImageSet) -> bool:
    def equal(x, y):
        return x is y if x is None or y is None else np.array_equal(x, y)

    arrays = [(getattr(a, s), getattr(b, s)) for s in SPLITS]
    return (
        all(equal(getattr(x, f), getattr(y, f)) for x, y in arrays for f in ("ids", "pixels", "labels"))
        and equal(a.truth, b.truth)
        and (a.name, a.classes, a.notes, a.left_out) == (b.name, b.classes, b.notes, b.left_out)
    )


def test_what_is_saved_comes_back(tmp_path, tiny):
    left_out = (('unlabeled/ü, "1".png', "empty file (0 bytes)"), ("007", "1e5"), ("nan", "line\nline"))
    images = replace(tiny, notes=("a note", "ü"), left_out=left_out)
    save_images(images, tmp_path / "set")
    again = load_images(tmp_path / "set")
    assert same(images, again)
    assert isinstance(again.unlabeled.pixels, np.memmap) and not again.unlabeled.pixels.flags.writeable


def test_saving_anew_leaves_nothing_of_the_old_set(tmp_path, tiny):
    known = replace(tiny.unlabeled, labels=np.zeros(len(tiny.unlabeled), np.int64))
    save_images(replace(tiny, unlabeled=known, left_out=(("a", "b"),)), tmp_path)
    bare = replace(tiny, truth=None)
    save_images(bare, tmp_path)
    assert same(bare, load_images(tmp_path))


def test_truth_is_in_a_file_of_its_own(tmp_path, tiny):
    save_images(tiny, tmp_path / "a")
    save_images(replace(tiny, truth=tiny.truth[::-1].copy()), tmp_path / "b")
    save_images(replace(tiny, truth=None), tmp_path / "c")
    for path in (tmp_path / "a").iterdir():
        if path.name != "truth.npy":
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
            assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes()
    assert not (tmp_path / "c" / "truth.npy").exists()


def test_no_split_has_the_truth(tiny):
    assert set(Split.__dataclass_fields__) == {"ids", "pixels", "labels"} and tiny.unlabeled.labels is None


def test_statistics_are_those_of_labeled_and_unlabeled_pictures_alone(tiny):
    pixels = np.concatenate([tiny.labeled.pixels, tiny.unlabeled.pixels]).reshape(-1).astype(np.float64) / 255
    mean, deviation = tiny.statistics()
    assert mean == pytest.approx([pixels.mean()], abs=1e-6)
    assert deviation == pytest.approx([pixels.std()], abs=1e-6)
    other = replace(tiny.validation, pixels=np.zeros_like(tiny.validation.pixels))
    assert replace(tiny, validation=other, truth=None).statistics() == (mean, deviation)


def test_statistics_are_per_channel_and_never_zero():
    def colour(name, n, labels=None):
        part = split(name, n, labels, (4, 4, 3))
        part.pixels[..., 1], part.pixels[: n // 2, ..., 2] = 255, 255
        return part

    images = ImageSet("c", ("a", "b"), colour("l", 4, [0, 1, 0, 1]), colour("u", 4), colour("v", 2, [0, 1]),
                      colour("t", 2, [0, 1]))  # fmt: skip
    assert images.statistics() == ([0, 1, 0.5], [0.001, 0.001, 0.5])


CASES = {
    "1 class": (dict(classes=("a",)), "at least 2"),
    "no labels": (dict(labeled=split("l", 4)), "labeled pictures of 'x' have no labels"),
    "no validation labels": (dict(validation=split("v", 4)), "validation pictures of 'x' have no labels"),
    "label above": (dict(labeled=split("l", 3, [0, 1, 2])), "labels 0..2, but there are 2 classes"),
    "label below": (dict(test=split("t", 2, [0, -1])), "labels -1..0"),
    "class without label": (
        dict(labeled=split("l", 3, [0, 0, 0])),
        "class 'b' of 'x' has no labeled picture",
    ),
    "nothing labeled": (dict(labeled=split("l", 0, [])), "class 'a' of 'x' has no labeled picture"),
    "no unlabeled": (dict(unlabeled=split("u", 0)), "no unlabeled pictures"),
    "no test": (dict(test=split("t", 0, [])), "no test pictures"),
    "an id twice": (dict(test=split("v", 2, [0, 1])), "id 'v-0' of 'x' stands twice"),
    "truths missing": (dict(truth=np.zeros(2)), "2 truths for 3 unlabeled"),
    "two shapes": (dict(test=split("t", 2, [0, 1], (8, 8, 3))), "give one shape"),
    "a name twice": (dict(classes=("a", "a")), "one name"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_set_that_cannot_be_is_refused_in_one_line(case):
    good = dict(name="x", classes=("a", "b"), labeled=split("l", 4, [0, 1, 0, 1]), unlabeled=split("u", 3),
                validation=split("v", 2, [0, 1]), test=split("t", 2, [0, 1]))  # fmt: skip
    ImageSet(**good)
    with pytest.raises(ImageProblem, match=CASES[case][1]) as caught:
        ImageSet(**{**good, **CASES[case][0]})
    assert "\n" not in str(caught.value)


def test_a_split_needs_uint8_pictures_and_one_of_each():
    ids, pixels = np.array(["a", "b"]), np.zeros((2, 8, 8, 1), np.uint8)
    for wrong in (pixels.astype(float), pixels[..., 0]):
        with pytest.raises(ImageProblem, match="give uint8 of shape"):
            Split(ids, wrong)
    with pytest.raises(ImageProblem, match="1 pixels for 2 ids"):
        Split(ids, pixels[:1])
    with pytest.raises(ImageProblem, match="3 labels for 2 ids"):
        Split(ids, pixels, np.zeros(3))


def test_a_folder_without_a_set_is_named(tmp_path):
    with pytest.raises(ImageProblem, match=f"no image set in {tmp_path}"):
        load_images(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise"])
def test_every_damaged_file_of_a_set_is_named_in_one_line(tmp_path, tiny, damage):
    save_images(tiny, tmp_path / "set")
    random = np.random.default_rng(0)
    for path in sorted((tmp_path / "set").iterdir()):
        whole = path.read_bytes()
        if damage == "missing":
            if path.name in ("truth.npy",):  # may be absent
                continue
            path.unlink()
        else:
            if path.suffix == ".csv":  # any text is a table
                continue
            path.write_bytes(
                {"empty": b"", "cut": whole[: len(whole) - 3], "noise": random.bytes(200)}[damage]
            )
        with pytest.raises(NsfastError) as caught:
            load_images(tmp_path / "set")
        said = str(caught.value)
        assert "\n" not in said
        assert path.name in said or (damage == "missing" and path.name.endswith("labels.npy")), said
        path.write_bytes(whole)
    assert same(load_images(tmp_path / "set"), tiny)


# Pictures that stay in their files


@pytest.fixture
def filed(tmp_path):
    return read_folder(write_tiny("folder", tmp_path / "pictures")["path"], size=16, decode="as_needed")


def test_files_come_back_as_files(tmp_path, filed):
    save_images(filed, tmp_path / "set")
    again = load_images(tmp_path / "set")
    for split in SPLITS:
        one, two = getattr(filed, split), getattr(again, split)
        assert isinstance(two.pixels, PictureFiles) and np.array_equal(one.pixels[:], two.pixels[:])
        assert np.array_equal(one.ids, two.ids) and np.array_equal(one.labels, two.labels)
    assert not list((tmp_path / "set").glob("labeled.npy"))


def test_files_replace_arrays_and_arrays_files(tmp_path, tiny, filed):
    for images in (tiny, filed, tiny):
        save_images(images, tmp_path / "set")
        again = load_images(tmp_path / "set")
        assert type(again.labeled.pixels) in (np.memmap, PictureFiles)
        assert again.labeled.pixels.shape == images.labeled.pixels.shape
    assert same(again, tiny) and not list((tmp_path / "set").glob("*.parquet"))


def test_files_that_are_gone_are_named_when_they_are_decoded(tmp_path, filed):
    save_images(filed, tmp_path / "set")
    first = filed.test.ids[0]
    (tmp_path / "pictures" / first).unlink()
    again = load_images(tmp_path / "set")
    assert again.labeled.pixels[0].shape == (16, 16, 3)
    with pytest.raises(ImageProblem, match=f"{first}: cannot be opened: No such file"):
        again.test.pixels[:]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "no metadata", "other columns"])
def test_a_damaged_table_of_files_is_named(tmp_path, filed, damage):
    import pyarrow as pa
    from pyarrow import parquet

    save_images(filed, tmp_path / "set")
    path = tmp_path / "set" / "test.files.parquet"
    whole = path.read_bytes()
    content = {"empty": b"", "cut": whole[:-3], "noise": np.random.default_rng(0).bytes(200)}
    if damage in content:
        path.write_bytes(content[damage])
    else:
        names = ("path", "offset", "length") if damage == "no metadata" else ("a", "b", "c")
        parquet.write_table(pa.table(dict(zip(names, (["x"], [1], [1]), strict=True))), path)
    with pytest.raises(ImageProblem, match="test.files.parquet is damaged") as caught:
        load_images(tmp_path / "set")
    assert "\n" not in str(caught.value)


def test_taking_from_a_split_decodes_nothing(filed, monkeypatch, tiny):
    monkeypatch.setattr(PictureFiles, "__getitem__", lambda *a: pytest.fail("a picture was decoded"))
    taken = filed.labeled.take(np.array([3, 1]))
    assert len(taken.pixels) == 2 and list(taken.ids) == [filed.labeled.ids[3], filed.labeled.ids[1]]
    assert np.array_equal(tiny.labeled.take(np.array([3, 1])).pixels, tiny.labeled.pixels[[3, 1]])
    assert tiny.unlabeled.take(np.array([0])).labels is None


def test_colour_files_have_imagenets_statistics_and_no_picture_is_decoded_for_them(filed, monkeypatch):
    monkeypatch.setattr(PictureFiles, "__getitem__", lambda *a: pytest.fail("a picture was decoded"))
    assert filed.statistics() == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_grey_files_have_those_of_a_sample(tmp_path):
    path = write_tiny("folder", tmp_path)["path"]
    grey = read_folder(path, size=16, channels=1, decode="as_needed")
    whole = read_folder(path, size=16, channels=1).statistics()
    assert grey.statistics() == whole  # fewer than a thousand: all of them
    few = _sample((grey.labeled.pixels, grey.unlabeled.pixels), 30)
    assert sum(map(len, few)) == 30 and min(map(len, few)) > 0
    assert all(np.array_equal(a, b) for a, b in zip(few, _sample((grey.labeled.pixels, grey.unlabeled.pixels), 30),
                                                    strict=True))  # fmt: skip


def test_published_statistics_win_and_are_kept(tmp_path, tiny):
    own = replace(tiny, normalisation=((0.4377,), (0.198,)))
    assert own.statistics() == ([0.4377], [0.198]) != tiny.statistics()
    save_images(own, tmp_path)
    assert load_images(tmp_path).statistics() == own.statistics()
    assert load_images(tmp_path).normalisation == own.normalisation
    with pytest.raises(ImageProblem, match=r"normalisation of 'tiny' .* 1 channel"):
        replace(tiny, normalisation=((0.1, 0.2), (0.3,)))
