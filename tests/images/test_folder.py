"""Properties of image sets read from folders; the pictures are made here, so their pixels are known."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nsfast.images.folder import list_folder, read_folder
from nsfast.images.image_set import SPLITS, ImageProblem

RED, BLUE, GREY = (200, 30, 40), (20, 60, 210), (90, 90, 90)


def save(path: Path, colour=RED, size=(12, 10), **options) -> Path:
    """Write a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def make(root: Path, per_class=10, classes=("cat", "dog"), unlabeled=4, given=()) -> Path:
    """Write a folder in the expected layout; every picture has a colour of its own."""
    for c, name in enumerate(classes):
        for i in range(per_class):
            save(root / "labeled" / name / f"{i:03}.png", (c * 60, i * 5, 100))
        for split in given:
            for i in range(3):
                save(root / split / name / f"{i}.png", (c * 60, i * 5, 200))
    for i in range(unlabeled):
        save(root / "unlabeled" / f"{i}.png", (250, i, 0))
    return root


def same(a, b) -> bool:
    return all(
        np.array_equal(getattr(getattr(a, split), field), getattr(getattr(b, split), field))
        for split in SPLITS
        for field in ("ids", "pixels")
    )


# Layout


def test_reads_every_split_with_labels_and_stable_ids(tmp_path):
    make(tmp_path, given=("validation", "test"))
    images = read_folder(tmp_path, size=6)
    assert images.classes == ("cat", "dog") and images.notes == () and images.left_out == ()
    assert images.truth is None and images.unlabeled.labels is None
    assert [len(getattr(images, split)) for split in SPLITS] == [20, 4, 6, 6]
    for split in ("labeled", "validation", "test"):
        part = getattr(images, split)
        assert list(part.ids) == sorted(part.ids) and part.labels.dtype == np.int64
        for id, pixels, label in zip(part.ids, part.pixels, part.labels, strict=True):
            with Image.open(tmp_path / id) as image:
                assert (pixels == image.convert("RGB").getpixel((0, 0))).all()
            assert id.split("/")[:2] == [split, images.classes[label]]


def test_nested_folders_and_unicode_names(tmp_path):
    make(tmp_path, classes=("cat", "dog"))
    decomposed = unicodedata.normalize("NFD", "größe/é")
    save(tmp_path / "labeled" / "cat" / "deep" / "deeper" / "猫 1.png")
    save(tmp_path / "unlabeled" / f"{decomposed}.png", BLUE)
    images = read_folder(tmp_path, size=4)
    chosen = [id for split in ("labeled", "validation", "test") for id in getattr(images, split).ids]
    assert "labeled/cat/deep/deeper/猫 1.png" in chosen
    row = list(images.unlabeled.ids).index("unlabeled/größe/é.png")
    assert (images.unlabeled.pixels[row] == BLUE).all()


def test_class_names_are_composed_and_sorted(tmp_path):
    make(tmp_path, classes=("zebra", unicodedata.normalize("NFD", "bär"), "猫"))
    assert read_folder(tmp_path, size=4).classes == ("bär", "zebra", "猫")


def test_order_does_not_depend_on_the_listing(tmp_path, monkeypatch):
    make(tmp_path)
    save(tmp_path / "unlabeled" / "b" / "1.png")
    save(tmp_path / "unlabeled" / "b.png")
    expected, listed, listdir = read_folder(tmp_path, size=4), list_folder(tmp_path), os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listdir(path)[::-1])
    assert same(read_folder(tmp_path, size=4), expected) and list_folder(tmp_path) == listed
    assert list(expected.unlabeled.ids) == sorted(expected.unlabeled.ids)


def test_hidden_files_are_ignored_and_other_endings_listed(tmp_path):
    make(tmp_path)
    save(tmp_path / "unlabeled" / ".hidden.png")
    save(tmp_path / "unlabeled" / ".git" / "a.png")
    (tmp_path / "labeled" / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "unlabeled" / "notes.txt").write_text("x")
    (tmp_path / "unlabeled" / "README").write_text("x")
    save(tmp_path / "labeled" / "stray.png")
    images = read_folder(tmp_path, size=4)
    assert images.left_out == (
        ("labeled/stray.png", "lies in no class folder"),
        ("unlabeled/README", "not a picture format: no ending"),
        ("unlabeled/notes.txt", "not a picture format: .txt"),
    )
    assert len(images.unlabeled) == 4


def test_progress_counts_every_file_once(tmp_path):
    calls = []
    read_folder(make(tmp_path), size=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 24) for i in range(24)]


# Files that cannot be read


def break_files(root: Path) -> dict[str, str]:
    """Put broken files among the unlabeled ones; return the reason expected of each."""
    folder = root / "unlabeled"
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for ending in ("jpg", "png", "webp", "bmp", "tif"):
        noise.save(folder / "whole.png", format={"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper()))
        whole = (folder / "whole.png").read_bytes()
        (folder / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.png").unlink()
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    os.mkfifo(folder / "pipe.png")
    return {
        "empty.png": "empty file",
        "text.jpg": "not a picture that can be read",
        "gone.png": "cannot be opened: No such file",
        "self.png": "cannot be opened: Too many levels",
        "pipe.png": "not a regular file",
        **{f"cut.{ending}": "" for ending in ("jpg", "png", "webp", "bmp", "tif")},
    }


@pytest.mark.timeout(60)
def test_broken_files_are_left_out_with_a_reason_and_the_rest_goes_on(tmp_path):
    expected = {f"unlabeled/{name}": reason for name, reason in break_files(make(tmp_path)).items()}
    images = read_folder(tmp_path, size=4)
    left_out = dict(images.left_out)
    assert left_out.keys() == expected.keys()
    for name, reason in expected.items():
        assert left_out[name].startswith(reason) and left_out[name]
        assert "\n" not in left_out[name] and str(tmp_path) not in left_out[name]
    assert list(images.unlabeled.ids) == [f"unlabeled/{i}.png" for i in range(4)]
    assert (images.unlabeled.pixels[:, 0, 0] == [(250, i, 0) for i in range(4)]).all()


def test_a_decompression_bomb_is_left_out(tmp_path, monkeypatch):
    make(tmp_path)
    save(tmp_path / "unlabeled" / "bomb.png", size=(30, 30))
    save(tmp_path / "unlabeled" / "bomblet.png", size=(15, 15))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    left_out = dict(read_folder(tmp_path, size=4).left_out)
    assert left_out.keys() == {"unlabeled/bomb.png", "unlabeled/bomblet.png"}
    assert all("exceeds limit" in reason for reason in left_out.values())


def test_a_file_without_permission_is_left_out(tmp_path, monkeypatch):
    make(tmp_path)
    opened = Image.open

    def refuse(path, *args, **options):
        if str(path).endswith("unlabeled/2.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Image, "open", refuse)
    assert read_folder(tmp_path, size=4).left_out == (
        ("unlabeled/2.png", "cannot be opened: Permission denied"),
    )


def test_a_folder_without_permission_is_left_out(tmp_path, monkeypatch):
    make(tmp_path)
    save(tmp_path / "unlabeled" / "closed" / "1.png")
    listdir = os.listdir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert read_folder(tmp_path, size=4).left_out == (
        ("unlabeled/closed/", "cannot be opened: Permission denied"),
    )


@pytest.mark.timeout(60)
def test_links_are_followed_and_loops_end(tmp_path):
    make(tmp_path / "set")
    save(tmp_path / "elsewhere" / "a.png", BLUE)
    (tmp_path / "set" / "unlabeled" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "unlabeled" / "up").symlink_to(tmp_path / "set" / "unlabeled")
    (tmp_path / "set" / "labeled" / "cat" / "other").symlink_to(tmp_path / "set" / "labeled" / "dog")
    images = read_folder(tmp_path / "set", size=4)
    assert "unlabeled/linked/a.png" in images.unlabeled.ids
    reason = "a link to a folder read already"
    assert images.left_out == (("labeled/cat/other/", reason), ("unlabeled/up/", reason))
    assert len(images.labeled) + len(images.validation) + len(images.test) == 20


def test_names_that_are_not_utf8_are_left_out(tmp_path):
    make(tmp_path)
    name = os.fsencode(tmp_path / "unlabeled") + b"/bad\xff.png"
    try:
        with open(name, "wb") as file:
            file.write((tmp_path / "unlabeled" / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert read_folder(tmp_path, size=4).left_out == (
        ("unlabeled/bad\\xff.png", "the name is not valid UTF-8"),
    )


def test_two_names_that_compose_to_one_are_one_picture(tmp_path):
    make(tmp_path)
    for form, colour in (("NFC", RED), ("NFD", BLUE)):
        save(tmp_path / "unlabeled" / unicodedata.normalize(form, "é.png"), colour)
    images = read_folder(tmp_path, size=4)
    if len(os.listdir(tmp_path / "unlabeled")) == 6:
        assert images.left_out == (
            ("unlabeled/é.png", "another file has this name in Unicode's composed form"),
        )
    assert len(images.unlabeled) == 5


# Setting pictures aside


def test_set_aside_is_stratified_and_said(tmp_path):
    images = read_folder(make(tmp_path, per_class=20), size=4, seed=3)
    for split, count in (("labeled", 14), ("validation", 2), ("test", 4)):
        assert Counter(getattr(images, split).labels) == {0: count, 1: count}
    ids = np.concatenate([images.labeled.ids, images.validation.ids, images.test.ids])
    assert len(set(ids)) == 40
    assert images.notes == (
        "validation/ has no pictures, so 4 of the 40 labeled pictures became validation pictures (seed 3).",
        "test/ has no pictures, so 8 of the 40 labeled pictures became test pictures (seed 3).",
    )
    for split in ("labeled", "validation", "test"):
        part = getattr(images, split)
        for id, pixels, label in zip(part.ids, part.pixels, part.labels, strict=True):
            assert tuple(pixels[0, 0]) == (60 * label, 5 * int(Path(id).stem), 100)


def test_set_aside_depends_on_the_seed_alone(tmp_path):
    make(tmp_path, per_class=30)
    first, again, other = (read_folder(tmp_path, size=4, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert set(first.test.ids) != set(other.test.ids) and len(first.test) == len(other.test)


def test_a_new_class_moves_no_picture_of_another(tmp_path):
    make(tmp_path, per_class=30)
    before = read_folder(tmp_path, size=4)
    make(tmp_path, per_class=17, classes=("ant",))
    after = read_folder(tmp_path, size=4)
    for split in ("labeled", "validation", "test"):
        kept = [id for id in getattr(after, split).ids if "/ant/" not in id]
        assert kept == list(getattr(before, split).ids)


def test_a_test_folder_moves_no_validation_picture(tmp_path):
    make(tmp_path, per_class=30)
    before = read_folder(tmp_path, size=4)
    make(tmp_path, per_class=30, given=("test",))
    after = read_folder(tmp_path, size=4)
    assert list(before.validation.ids) == list(after.validation.ids)
    assert len(after.test) == 6 and len(after.labeled) == 54 and len(after.notes) == 1


def test_the_smallest_class_keeps_one_labeled_picture(tmp_path):
    images = read_folder(make(tmp_path, per_class=3), size=4, validation_share=0.4, test_share=0.5)
    assert [Counter(getattr(images, s).labels) for s in ("labeled", "validation", "test")] == [
        {0: 1, 1: 1}
    ] * 3


def test_a_class_too_small_to_split_is_named(tmp_path):
    make(tmp_path, per_class=5)
    make(tmp_path, per_class=2, classes=("emu",))
    with pytest.raises(
        ImageProblem, match=r"class 'emu' has 2 readable labeled picture\(s\) and 3 are needed"
    ):
        read_folder(tmp_path, size=4)


# What cannot be an image set


def spoil_class(root):
    save(root / "labeled" / "emu" / "a.png").write_bytes(b"broken")


def spoil_all_unlabeled(root):
    for path in (root / "unlabeled").iterdir():
        path.write_bytes(b"broken")


def spoil_names(root):
    save(root / "labeled" / "emu" / "a.gif")


def remove(*parts):
    import shutil

    return lambda root: shutil.rmtree(root.joinpath(*parts))


PROBLEMS = {
    "missing": (remove(), "no folder"),
    "no labeled": (remove("labeled"), r"no labeled/ folder in .*; expected labeled/<class>/\*, unlabeled/"),
    "one class": (remove("labeled", "dog"), r"1 class folder\(s\) \['cat'\]; at least 2 are needed"),
    "empty class": (lambda root: (root / "labeled" / "emu").mkdir(), "class 'emu' has no labeled picture"),
    "no picture": (spoil_names, r"class 'emu' has no labeled picture; .*not a picture format: \.gif"),
    "validation class": (
        lambda root: save(root / "validation/emu/a.png"),
        "validation/ has class 'emu', which lab",
    ),
    "test class": (lambda root: save(root / "test/emu/a.png"), "test/ has class 'emu', which labeled/ lacks"),
    "no unlabeled": (remove("unlabeled"), "no pictures .* in .*unlabeled"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_of_the_layout_are_named_before_anything_is_decoded(tmp_path, problem, monkeypatch):
    spoil, message = PROBLEMS[problem]
    spoil(make(tmp_path / "set"))
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("a picture was opened"))
    with pytest.raises(ImageProblem, match=message) as caught:
        read_folder(tmp_path / "set", size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_class, "no labeled picture of class 'emu' can be read; labeled/emu/a.png: not a picture"),
        (spoil_all_unlabeled, "no picture in .*unlabeled can be read; unlabeled/0.png: not a picture"),
    ],
)
def test_problems_of_the_pictures_are_named(tmp_path, spoil, message):
    spoil(make(tmp_path))
    with pytest.raises(ImageProblem, match=message):
        read_folder(tmp_path, size=4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 0}, "size is 0"),
        ({"channels": 4}, "channels is 4; give 1"),
        ({"validation_share": -0.1}, "validation_share is -0.1"),
        ({"validation_share": 0.6, "test_share": 0.5}, "validation_share .* is 1.1; it must be below 1"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        read_folder(make(tmp_path), **options)


def test_an_empty_path_is_a_missing_folder():
    with pytest.raises(ImageProblem, match="no folder ''"):
        read_folder("")


# The cheap description


def test_the_description_changes_with_every_change_that_matters(tmp_path):
    make(tmp_path)
    seen = [list_folder(tmp_path)]
    assert list_folder(tmp_path) == seen[0] == sorted(seen[0])
    path = tmp_path / "unlabeled" / "0.png"
    assert ("unlabeled/0.png", path.stat().st_size, path.stat().st_mtime_ns) in seen[0]
    changes = [
        lambda: save(tmp_path / "unlabeled" / "new.png"),
        lambda: path.write_bytes(path.read_bytes() + b"x"),
        lambda: os.utime(path, ns=(1, 1)),
        lambda: path.rename(tmp_path / "unlabeled" / "moved.png"),
        lambda: (tmp_path / "labeled" / "emu").mkdir(),
    ]
    for change in changes:
        change()
        seen.append(list_folder(tmp_path))
        assert seen[-1] not in seen[:-1]
    save(tmp_path / "unlabeled" / ".hidden.png")
    assert list_folder(tmp_path) == seen[-1]


def test_the_description_opens_no_file(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr("builtins.open", lambda *args, **options: pytest.fail("a file was opened"))
    assert len(list_folder(tmp_path)) == 26
