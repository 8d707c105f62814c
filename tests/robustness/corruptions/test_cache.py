"""Questions about corrupted pictures: their keys, and the files that keep them."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.models import build_model
from nsfast.robustness import changed
from nsfast.robustness.answers import Version, ask
from nsfast.robustness.corruptions import cache as module
from nsfast.robustness.corruptions import corrupt, corruption_questions

NAMES, SEVERITIES = ("gaussian_noise", "contrast"), (1, 4)


def split(n=4, seed=0, prefix="p"):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 9, 9, 1), dtype=np.uint8)
    return Split(np.array([f"{prefix}{i}" for i in range(n)]), pixels, np.arange(n) % 2)


def test_asks_for_each_corruption_and_severity_with_the_pictures_of_corrupt():
    pictures = split()
    questions = corruption_questions(pictures, NAMES, SEVERITIES, seed=3)
    assert [question.version for question in questions] == [
        Version("corrupted", name, severity) for name in NAMES for severity in SEVERITIES
    ]
    for question in questions:
        expected = corrupt(pictures.pixels, question.version.name, question.version.level, 3, pictures.ids)
        assert (question.pictures() == expected).all()
        assert (question.ids == pictures.ids).all() and (question.labels == pictures.labels).all()


def test_the_key_follows_what_decides_the_answers_and_nothing_else(tmp_path, monkeypatch):
    def key(pictures=None, **options):
        pictures = pictures or split()
        return corruption_questions(pictures, ["fog"], [2], **options)[0].key

    other_labels = split()
    other_labels.labels[:] = 0
    same = [key(), key(table="small"), key(cache=tmp_path)]
    assert len(set(same)) == 1
    keys = [
        same[0],
        key(split(seed=1)),
        key(split(prefix="q")),
        key(split(3)),
        key(other_labels),
        key(seed=1),
    ]
    keys += [key(table="imagenet"), corruption_questions(split(), ["fog"], [3])[0].key]
    keys += [corruption_questions(split(), ["snow"], [2])[0].key]
    monkeypatch.setattr(module, "PROTOCOL", 0)
    keys += [key()]
    assert len(set(keys)) == len(keys)


def test_pictures_are_made_once_and_read_afterwards(tmp_path, monkeypatch):
    made = [
        question.pictures() for question in corruption_questions(split(), NAMES, SEVERITIES, cache=tmp_path)
    ]
    monkeypatch.setattr(module, "corrupt", None)
    again = corruption_questions(split(), NAMES, SEVERITIES, cache=tmp_path)
    assert all((question.pictures() == pixels).all() for question, pixels in zip(again, made, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{q.key}.npy" for q in again)
    plain = np.load(tmp_path / f"{again[0].key}.npy", allow_pickle=False)  # an ordinary file of numpy
    assert (plain == made[0]).all()


@pytest.mark.parametrize("damage", ["cut", "a bit", "empty", "text", "other shape"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    question = corruption_questions(split(), ["contrast"], [1], cache=tmp_path)[0]
    pixels, path = np.array(question.pictures()), tmp_path / f"{question.key}.npy"
    whole = path.read_bytes()
    if damage == "other shape":
        module._kept(path.with_name("other.npy"), lambda: pixels[:2], pixels[:2].shape)
        path.with_name("other.npy").replace(path)
    else:
        turned = bytearray(whole)
        turned[-30] ^= 4
        path.write_bytes({"cut": whole[:-50], "a bit": turned, "empty": b"", "text": b"pixels"}[damage])
    assert (question.pictures() == pixels).all()
    assert path.read_bytes() == whole


def test_what_is_wrong_is_said_before_anything_is_made():
    with pytest.raises(NsfastError, match="did you mean 'contrast'"):
        corruption_questions(split(), ["fog", "contrst"])
    with pytest.raises(NsfastError, match="severity of fog is 6"):
        corruption_questions(split(), ["fog"], [6])


def test_no_corruptions_are_no_questions():
    assert corruption_questions(split(), []) == []


@pytest.mark.parametrize("name", ["contrast", "shot_noise"])
@pytest.mark.parametrize("kept", [False, True])
def test_more_than_a_block_is_made_block_by_block_once_for_all_models(tmp_path, monkeypatch, name, kept):
    pictures, models = split(7), {name: build_model("small", 3, 1, 1) for name in "ab"}
    (whole,) = corruption_questions(pictures, [name], [3])
    wanted, pixels = ask(models, [whole]), whole.pictures()
    made = []

    def counting(pixels, *arguments):
        made.append(len(pixels))
        return corrupt(pixels, *arguments)

    monkeypatch.setattr(module, "corrupt", counting)
    monkeypatch.setattr(changed, "BLOCK", 3 * pixels[0].size)
    (question,) = corruption_questions(pictures, [name], [3], cache=tmp_path if kept else None)
    found = ask(models, [question])
    assert made == [3, 3, 1]
    assert question.key == whole.key and (np.array(question.pictures()[:]) == pixels).all()
    for model in models:
        assert (found[question.version][model].predicted == wanted[whole.version][model].predicted).all()
        np.testing.assert_allclose(
            found[question.version][model].true, wanted[whole.version][model].true, rtol=1e-5
        )
