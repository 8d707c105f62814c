"""What models are asked: sequences in chunks, each the same whatever stands beside it."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.images import Split
from nsfast.robustness.perturbations import (
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    frames_of,
    is_noise,
    made,
    perturbation_sequences,
    sequences,
)

NAMES = PERTURBATIONS + EXTRA_PERTURBATIONS


def pictures(n=2, height=14, width=None, channels=3, seed=0):
    shape = (n, height, width or height, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_does_not_depend_on_the_pictures_beside_it_nor_on_how_many_are_made_at_once(name, monkeypatch):
    pixels, ids = pictures(5, 9, 11), list("abcde")
    before = pixels.copy()
    whole = sequences(pixels, name, seed=3, ids=ids)
    monkeypatch.setattr(made, "VALUES_AT_ONCE", 2 * pixels[0].size)
    order = [4, 0, 2]
    assert (sequences(pixels[order], name, seed=3, ids=[ids[i] for i in order]) == whole[order]).all()
    assert (pixels == before).all()


def test_what_models_are_asked_is_the_same_sequences_in_chunks(monkeypatch):
    split = Split(ids=np.array(list("abcde")), pixels=pictures(5, 10, channels=1))
    monkeypatch.setattr(made, "CHUNK_VALUES", 2 * 31 * 100)
    for question in perturbation_sequences(split, NAMES, seed=2, difficulty=3):
        for _ in range(2):
            chunks = list(question.chunks())
            assert len(chunks[0][0]) == 2 * 31 // frames_of(question.name, "small")
            assert "".join(name for ids, _ in chunks for name in ids) == "abcde"
            whole = sequences(split.pixels, question.name, 2, split.ids, difficulty=3)
            assert (np.concatenate([frames for _, frames in chunks]) == whole).all()
        assert (question.set, question.total, question.difficulty) == ("perturbed", 5, 3)
        assert question.noise == is_noise(question.name)
    assert perturbation_sequences(split, []) == []


def test_the_key_tells_apart_what_gives_other_frames():
    split = Split(ids=np.array(list("ab")), pixels=pictures())
    other = Split(ids=np.array(list("ab")), pixels=pictures(seed=1))
    renamed = Split(ids=np.array(list("ac")), pixels=pictures())
    asked = [
        (split, ["rotate", "tilt"], {}),
        (other, ["rotate"], {}),
        (renamed, ["rotate"], {}),
        *(
            (split, ["rotate"], change)
            for change in (dict(seed=1), dict(table="imagenet"), dict(difficulty=2))
        ),
    ]
    keys = [
        question.key for one, names, more in asked for question in perturbation_sequences(one, names, **more)
    ]
    assert len(set(keys)) == len(keys) == 7
    assert perturbation_sequences(split, ["rotate"], table="small")[0].key == keys[0]


def test_no_pictures_give_no_sequences():
    for name in NAMES:
        assert sequences(pictures(0), name, table="small").shape == (0, frames_of(name, "small"), 14, 14, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name="rotation"), "unknown perturbation 'rotation'; did you mean 'rotate'"),
        (dict(difficulty=4), "difficulty of rotate is 4; it must be 1, 2 or 3"),
        (dict(difficulty=True), "difficulty"),
        (dict(table="cifar"), "unknown table 'cifar'"),
        (dict(pixels=pictures() / 255), "float64; scale them to 0..255"),
        (dict(pixels=pictures()[0]), r"shape \(14, 14, 3\)"),
        (dict(pixels=pictures(height=7)), "7 x 7 pixels are too small to perturb; give at least 8 x 8"),
        (dict(ids=["a"]), "1 ids for 2 pictures"),
    ],
)
def test_says_what_is_wrong(change, message):
    with pytest.raises(NsfastError, match=message):
        sequences(**(dict(pixels=pictures(), name="rotate") | change))
