"""What a person is shown of the noise is what a training does to the pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from nsfast.errors import NsfastError
from nsfast.images.files import PictureFiles
from nsfast.training import Recipe
from nsfast.training.show import noised_views

SIDE = 16
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def test_without_noise_a_view_is_the_picture():
    quiet = Recipe(randaugment_n=0)
    assert (noised_views(PIXELS, quiet, views=2) == np.repeat(PIXELS, 2, axis=0)).all()


def test_moves_of_magnitude_0_give_the_picture_back():
    still = Recipe(randaugment_m=0, randaugment_operations="Rotate,ShearX,TranslateY")
    assert (noised_views(PIXELS, still, views=6) == np.repeat(PIXELS, 6, axis=0)).all()
    assert not (noised_views(PIXELS, Recipe(), views=6) == np.repeat(PIXELS, 6, axis=0)).all((1, 2, 3)).all()


def test_a_seed_says_what_is_drawn_and_torchs_own_draws_are_left_alone():
    recipe = Recipe(crop="pad", flip=True, cutout=4)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first = noised_views(PIXELS, recipe, 6, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (first == noised_views(PIXELS, recipe, 6, seed=1)).all()
    assert (first != noised_views(PIXELS, recipe, 6, seed=2)).any()


def test_mirrors_are_mirrors_and_a_grey_square_has_its_side():
    views = noised_views(PIXELS[:1], Recipe(randaugment_n=0, flip=True), views=20)
    plain = (views == PIXELS[0]).all((1, 2, 3))
    mirrored = (views == PIXELS[0, :, ::-1]).all((1, 2, 3))
    assert (plain | mirrored).all() and plain.any() and mirrored.any()
    views = noised_views(PIXELS[:1], Recipe(randaugment_n=0, cutout=4), views=20)
    changed = (views != PIXELS[0]).any(-1)
    assert (changed.any(2).sum(1) <= 4).all() and (changed.any(1).sum(1) <= 4).all() and changed.any()
    assert (abs(views[changed].astype(int) - 128) <= 1).all()


def test_pictures_kept_as_files_are_cropped_at_random_and_at_the_recipes_resolution(tmp_path):
    y, x = np.mgrid[:64, :96]
    Image.fromarray(np.stack([x * 2, y * 3, x], -1).astype(np.uint8)).save(tmp_path / "a.png")
    files = PictureFiles(tmp_path, ["a.png"], 32)
    recipe = Recipe(randaugment_n=0, crop="inception", flip=False, resolution=24)
    views = noised_views(files, recipe, views=6, seed=3)
    assert views.shape == (6, 24, 24, 3) and len(np.unique(views.reshape(6, -1), axis=0)) == 6
    assert (np.diff(views[..., 0].astype(int), axis=2) >= -2).all()  # brighter to the right: never mirrored
    whole = noised_views(files, Recipe(randaugment_n=0, resolution=24), views=2)
    assert (whole == files.at(24)[[0, 0]]).all()
    with pytest.raises(NsfastError, match="crop 'inception' needs pictures kept as files"):
        noised_views(PIXELS, recipe)


def test_small_pictures_are_resized_as_training_resizes_them():
    views = noised_views(PIXELS, Recipe(randaugment_n=0, resolution=24), views=1)
    assert views.shape == (3, 24, 24, 3)
