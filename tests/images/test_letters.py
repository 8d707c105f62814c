"""The letters: drawn from the seed and each picture's id alone, held-out fonts, uneven classes, symbols."""

import numpy as np
import pytest

from nsfast.errors import NsfastError
from nsfast.images import letters as module
from nsfast.images.letters import CHARACTERS, FONTS, HELD_OUT, SYMBOLS, letters
from nsfast.images.readers import READERS, listing

SMALL = {"labeled_per_class": 2, "unlabeled": 300, "validation": 62, "test": 62}


def same(one, other, rows=slice(None)):
    """Whether two splits have the same pictures, labels and ids in these rows of the second."""
    labels = one.labels is None or (one.labels == other.labels[rows]).all()
    return bool(labels and (one.ids == other.ids[rows]).all() and (one.pixels == other.pixels[rows]).all())


@pytest.fixture(scope="module")
def images():
    return letters(**SMALL)


def test_the_set_is_what_was_asked_for(images):
    assert images.classes == tuple(CHARACTERS) and len(set(CHARACTERS)) == 62
    assert images.labeled.pixels.shape == (124, 32, 32, 3) and images.labeled.pixels.dtype == np.uint8
    assert (np.bincount(images.labeled.labels) == 2).all() and (np.bincount(images.test.labels) == 1).all()
    ids = np.concatenate([getattr(images, s).ids for s in ("labeled", "unlabeled", "validation", "test")])
    assert len(set(ids)) == len(ids)
    assert READERS["letters"] is letters and listing("letters", {}) == []


def test_the_same_seed_draws_the_same_and_another_seed_another(images):
    again, other = letters(**SMALL), letters(**SMALL, seed=1)
    assert all(
        same(getattr(images, s), getattr(again, s)) for s in ("labeled", "unlabeled", "validation", "test")
    )
    assert (images.truth == again.truth).all()
    assert (images.labeled.pixels != other.labeled.pixels).any() and (images.truth != other.truth).any()


def test_fewer_pictures_are_a_part_of_more(images):
    more = letters(**{**SMALL, "labeled_per_class": 3, "unlabeled": 400})
    assert same(images.unlabeled, more.unlabeled, slice(300)) and (images.truth == more.truth[:300]).all()
    rows = np.flatnonzero(np.isin(more.labeled.ids, images.labeled.ids))
    assert same(images.labeled, more.labeled, rows) and same(images.test, more.test)


def test_shifted_test_pictures_have_fonts_that_no_other_picture_has(monkeypatch):
    assert not set(FONTS) & set(HELD_OUT)
    used = {"shifted": set(), "other": set()}
    glyph = module._glyph

    def watched(font, character):
        used[kind].add(font)
        return glyph(font, character)

    monkeypatch.setattr(module, "_glyph", watched)
    draw = module._draw

    def drawing(ids, *arguments):
        nonlocal kind
        kind = "shifted" if ids[0].startswith("shifted") else "other"
        return draw(ids, *arguments)

    kind = "other"
    monkeypatch.setattr(module, "_draw", drawing)
    shifted = letters(**SMALL, shifted=True)
    assert used["shifted"] <= set(HELD_OUT) and used["other"] <= set(FONTS) and len(used["shifted"]) == 5
    plain = letters(**SMALL)
    assert all(same(getattr(plain, s), getattr(shifted, s)) for s in ("labeled", "unlabeled", "validation"))
    assert (plain.test.labels == shifted.test.labels).all() and (
        plain.test.pixels != shifted.test.pixels
    ).any()


def test_the_pool_is_as_uneven_and_as_foreign_as_asked():
    pool = letters(**{**SMALL, "unlabeled": 4000}, classes=10, no_class=0.25, rarest=0.2)
    share = (pool.truth < 0).mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    counts = np.sort(np.bincount(pool.truth[pool.truth >= 0], minlength=10))
    assert counts[0] / counts[-1] == pytest.approx(0.2, abs=0.08)
    even = letters(**{**SMALL, "unlabeled": 500}, classes=10, no_class=0, rarest=1)
    assert (even.truth >= 0).all() and len(even.classes) == 10
    assert f"{(pool.truth < 0).sum()} of its 4000" in pool.notes[0]


def test_every_font_has_every_glyph_and_ink_can_be_told_from_ground():
    for font in (*FONTS, *HELD_OUT):
        drawn = [np.asarray(module._glyph(font, character)).tobytes() for character in CHARACTERS]
        missing = np.asarray(module._glyph(font, "\uffff")).tobytes()
        assert missing not in drawn and len(set(drawn)) >= 60, font
    for symbol in SYMBOLS:
        assert symbol not in CHARACTERS and np.asarray(module._glyph("DejaVuSans", symbol)).any()
    for seed in range(200):
        random = np.random.default_rng(seed)
        ground = module._ground(32, random)
        assert ground.shape == (32, 32, 3) and 0.6 < ground.min() <= ground.max() <= 1
        ink = module._ink(ground.mean(), random)
        assert ink.shape == (3,) and 0 <= ink.min() <= ink.max() <= 0.51
        assert ground.mean() - ink.mean() >= module.CONTRAST - 1e-6


@pytest.mark.parametrize(
    "given, message",
    [
        ({"labeled_per_class": 0}, "data.labeled_per_class is 0"),
        ({"classes": 63}, "data.classes is 63; it must be between 2 and 62"),
        ({"validation": 10}, "data.validation is 10"),
        ({"no_class": 1}, "data.no_class is 1"),
        ({"size": 8}, "data.size is 8"),
        ({"unlabeled": 0}, "data.unlabeled is 0"),
    ],
)
def test_what_is_out_of_range_is_said(given, message):
    with pytest.raises(NsfastError, match=message):
        letters(**{**SMALL, **given})


def test_other_sizes_show_the_same_pictures_larger():
    large = letters(**{**SMALL, "unlabeled": 5}, size=64)
    assert large.test.pixels.shape[1:] == (64, 64, 3)
