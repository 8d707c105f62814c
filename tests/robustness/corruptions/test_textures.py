"""Frost made in code: like the photographs in mean and contrast, without a seam, and the same each time."""

import numpy as np
import pytest

from nsfast.robustness.corruptions.textures import PHOTOGRAPHS, SIDE, frost_crop, frost_texture

NUMBERS = range(len(PHOTOGRAPHS))


@pytest.mark.parametrize("number", NUMBERS)
def test_has_the_colour_and_contrast_of_its_photograph(number):
    texture = frost_texture(number)
    colour, deviation, _ = PHOTOGRAPHS[number]
    assert np.abs(texture.mean((0, 1)) - colour).max() < 2
    assert texture.mean(2).std() == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize("number", NUMBERS)
def test_repeats_without_a_seam(number):
    gray = frost_texture(number).mean(2)
    for axis in (0, 1):
        steps = np.abs(np.diff(gray, axis=axis, append=np.take(gray, [0], axis))).mean(axis=1 - axis)
        assert steps[-1] < steps[:-1].max()


def test_is_the_same_each_time_and_different_for_each_number():
    first = [frost_texture(number) for number in NUMBERS]
    frost_texture.cache_clear()
    assert all((frost_texture(number) == before).all() for number, before in enumerate(first))
    assert len({texture.tobytes() for texture in first}) == len(PHOTOGRAPHS)
    with pytest.raises(ValueError):
        first[0][0, 0, 0] = 1


def test_a_crop_takes_every_step_th_pixel_of_one_texture_and_goes_on_at_its_other_side():
    generator = np.random.default_rng(7)
    number = int(np.random.default_rng(7).integers(len(PHOTOGRAPHS)))
    wide = np.tile(frost_texture(number), (3, 3, 1))
    crop = frost_crop(SIDE + 9, 150, 5, generator)
    places = np.flatnonzero((wide[:SIDE, :SIDE] == crop[0, 0]).all(2))
    found = [divmod(place, SIDE) for place in places]
    assert crop.shape == (SIDE + 9, 150, 3)
    rows = 5 * np.arange(SIDE + 9)[:, None] % SIDE
    assert any((wide[rows + y, 5 * np.arange(150) + x] == crop).all() for y, x in found)


def test_every_texture_is_drawn():
    generator = np.random.default_rng(0)
    drawn = {frost_crop(64, 64, 1, generator).mean().round(-1) for _ in range(60)}
    assert len(drawn) >= 4
