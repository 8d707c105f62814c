"""The digits are scikit-learn's, their splits are fair, and the unlabeled pool is as hard as it says."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from nsfast.errors import NsfastError
from nsfast.images import SPLITS, ImageProblem
from nsfast.images.digits import LETTERS, _fonts, digits, enlarge


@pytest.fixture(scope="module")
def default():
    return digits()


@pytest.fixture(scope="module")
def target():
    return load_digits().target


def rows(ids) -> np.ndarray:
    """Row in scikit-learn's table of each digit among the ids."""
    return np.array([int(i.split("-")[1]) for i in ids if i.startswith("digit-")])


def test_split_sizes_are_those_asked_for(default):
    assert [len(getattr(default, s)) for s in ("labeled", "validation", "test")] == [50, 200, 500]
    for split in ("labeled", "validation", "test"):
        assert np.ptp(np.bincount(getattr(default, split).labels, minlength=10)) == 0
    assert default.size == 16 and default.channels == 1 and default.classes == tuple("0123456789")


def test_every_picture_carries_its_own_label_and_pixels(default, target):
    small = load_digits().images
    for split in ("labeled", "validation", "test"):
        part = getattr(default, split)
        assert (part.labels == target[rows(part.ids)]).all()
        for i in (0, len(part) // 2, len(part) - 1):
            image = Image.fromarray(np.round(small[rows(part.ids)[i]] * 255 / 16).astype(np.uint8))
            assert (
                part.pixels[i, :, :, 0] == np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC))
            ).all()


def test_the_truth_is_the_label_of_the_digits_and_minus_one_of_the_letters(default, target):
    is_digit = np.char.startswith(default.unlabeled.ids, "digit-")
    assert (default.truth[is_digit] == target[rows(default.unlabeled.ids)]).all()
    assert (default.truth[~is_digit] == -1).all() and default.unlabeled.labels is None


def test_no_digit_stands_in_two_splits(default):
    everything = np.concatenate([rows(getattr(default, split).ids) for split in SPLITS])
    assert len(set(everything)) == len(everything) <= 1797


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_letters_make_the_share_of_the_pool_that_is_asked_for(share):
    truth = digits(no_class=share).truth
    assert (truth == -1).mean() == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("rarest", [0.0, 0.3, 1.0])
def test_the_pool_is_as_uneven_as_it_is_asked_to_be(rarest, target):
    truth = digits(rarest=rarest, no_class=0).truth
    left = np.bincount(target) - 75
    assert sorted(np.bincount(truth) / left) == pytest.approx(np.linspace(rarest, 1, 10), abs=0.01)


def test_the_note_says_what_makes_the_pool_hard(default):
    counts = np.bincount(default.truth[default.truth >= 0])
    (note,) = default.notes
    assert f"{(default.truth == -1).sum()} of its {len(default.truth)} pictures are letters" in note
    assert f"{counts.max()} pictures of digit {counts.argmax()}" in note
    assert f"{counts.min()} of digit {counts.argmin()}" in note


def test_a_seed_gives_the_same_set_and_another_one_other_splits(default):
    again, other = digits(), digits(seed=1)
    for split in SPLITS:
        one, two = getattr(default, split), getattr(again, split)
        assert (one.ids == two.ids).all() and (one.pixels == two.pixels).all()
        assert set(one.ids) != set(getattr(other, split).ids)


def test_the_test_split_does_not_depend_on_how_many_are_labeled_or_validate(default):
    other = digits(labeled_per_class=1, validation=50, no_class=0, rarest=1)
    assert (other.test.ids == default.test.ids).all()
    assert set(other.labeled.ids).isdisjoint(default.test.ids)


def test_fewer_labels_are_a_part_of_more_labels(default):
    assert set(digits(labeled_per_class=2).labeled.ids) < set(default.labeled.ids)


def test_letters_look_like_the_digits(default):
    """Mean brightness and contrast within a third of the digits', none empty, none a copy of another."""
    letters, figures = (default.unlabeled.pixels[m] for m in (default.truth == -1, default.truth >= 0))
    assert abs(letters.mean() / figures.mean() - 1) < 1 / 3 and abs(letters.std() / figures.std() - 1) < 1 / 3
    assert letters.max((1, 2, 3)).min() > 150
    assert len(np.unique(letters.reshape(len(letters), -1), axis=0)) > 0.97 * len(letters)


def test_no_letter_looks_like_a_digit_and_every_font_has_text():
    assert not set(LETTERS) & set("IOQSZgiloqsz0123456789") and len(set(LETTERS)) == len(LETTERS)
    assert len(_fonts()) >= 8 and not any("Sym" in p.name or "Display" in p.name for p in _fonts())


@pytest.mark.parametrize("size", [8, 16, 32])
def test_enlarging_keeps_flat_pictures_flat_and_the_average(size):
    grey = np.repeat(np.linspace(0, 1, 5), 64).reshape(5, 8, 8)
    assert (enlarge(grey, size) == np.round(grey[:, :1, :1, None] * 255)).all()
    random = np.random.default_rng(0).uniform(0.3, 0.7, (20, 8, 8))
    assert enlarge(random, size).mean((1, 2, 3)) / 255 == pytest.approx(random.mean((1, 2)), abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"labeled_per_class": 0}, "data.labeled_per_class is 0"), ({"no_class": 0.95}, "data.no_class is 0.95"),
     ({"rarest": -0.1}, "data.rarest is -0.1"), ({"size": 7}, "data.size is 7"),
     ({"validation": 0}, "data.validation is 0"), ({"test": 0}, "data.test is 0")],
)  # fmt: skip
def test_values_outside_their_range_are_named(arguments, said):
    with pytest.raises(NsfastError, match=said):
        digits(**arguments)


def test_asking_for_more_than_there_is_says_of_which_digit():
    with pytest.raises(ImageProblem, match="pictures of digit 8, which has 174; ask for fewer"):
        digits(labeled_per_class=104)
    assert len(digits(labeled_per_class=103, no_class=0).unlabeled) >= 10
