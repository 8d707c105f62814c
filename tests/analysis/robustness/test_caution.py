"""Warnings where a corruption says little, and none where it says something."""

import numpy as np
import pytest

from nsfast.analysis.robustness import overlaps, warnings_of
from nsfast.noise.table import SCALES
from nsfast.robustness.answers import Version
from nsfast.robustness.names import CORRUPTIONS, EXTRA_CORRUPTIONS, EXTRA_PERTURBATIONS, PERTURBATIONS
from nsfast.training.recipe import Recipe


def test_only_operations_that_were_used_overlap():
    assert overlaps(Recipe(randaugment_n=0)) == {}
    rotated = overlaps(Recipe(randaugment_operations="Rotate, Posterize, Invert"))
    assert rotated == {"rotate": ("Rotate",), "elastic_transform": ("Rotate",)}
    assert overlaps(Recipe(randaugment_operations="Color, Contrast")) == {
        "saturate": ("Color",),
        "contrast": ("Contrast",),
    }


def test_an_operation_that_changes_nothing_at_its_magnitude_does_not_overlap():
    # of the official scale, factors are 1 at magnitude 5; sharpness blurs below it only
    enhancements = "Brightness, Contrast, Color, Sharpness"
    assert overlaps(Recipe(randaugment_operations=enhancements, randaugment_m=5)) == {}
    assert "gaussian_blur" in overlaps(Recipe(randaugment_operations=enhancements, randaugment_m=2))
    above = overlaps(Recipe(randaugment_operations=enhancements, randaugment_m=9))
    assert set(above) == {"brightness", "contrast", "saturate"}
    both = Recipe(randaugment_operations=enhancements, randaugment_m=9, randaugment_scale="torchvision")
    assert "defocus_blur" in overlaps(both)
    assert overlaps(Recipe(randaugment_operations="Rotate, TranslateX", randaugment_m=0)) == {}


def test_crops_overlap_with_what_they_move():
    assert overlaps(Recipe(randaugment_n=0, crop="pad")) == {"translate": ("pad crop",)}
    assert set(overlaps(Recipe(randaugment_n=0, crop="inception"))) == {"scale", "zoom_blur", "translate"}


def test_every_name_of_the_table_of_overlaps_exists():
    from nsfast.analysis.robustness.caution import OVERLAPS

    known = {*CORRUPTIONS, *EXTRA_CORRUPTIONS, *PERTURBATIONS, *EXTRA_PERTURBATIONS}
    assert {name for names in OVERLAPS.values() for name in names} <= known
    operations = {name for scale in SCALES.values() for name in scale}
    assert {name for name in OVERLAPS if not name.endswith(" crop")} <= operations


@pytest.fixture
def measured(say):
    pictures = np.arange(500)

    def models(control, student):
        return {"control": say(pictures < control), "student 1": say(pictures < student)}

    return {
        Version("clean", "corrupted"): models(40, 30),
        Version("corrupted", "fog", 1.0): models(60, 45),
        Version("corrupted", "fog", 5.0): models(200, 120),
        Version("corrupted", "contrast", 1.0): models(100, 90),
        Version("corrupted", "contrast", 4.0): models(441, 436),
        Version("corrupted", "contrast", 5.0): models(450, 447),
        Version("corrupted", "jpeg_compression", 5.0): models(42, 33),
    }


def test_saturated_and_flat_corruptions_are_named_with_their_numbers(measured):
    saturated, flat = warnings_of(measured, {}, classes=10)
    assert saturated.startswith(
        "Contrast is saturated at severity 4, 5: models err on 87.2% to 88.2% at severity 4"
    )
    assert "guessing on 90.0% (n = 500)" in saturated
    assert flat.startswith("Jpeg compression is flat: at severity 5 models err on 6.6% to 8.4%")
    assert "clean pictures on 6.0% to 8.0% (n = 500" in flat


def test_one_model_that_tells_something_is_enough(measured, say):
    pictures = np.arange(500)
    for name, level in (("contrast", 4.0), ("contrast", 5.0), ("jpeg_compression", 5.0)):
        measured[Version("corrupted", name, level)]["student 1"] = say(pictures < 150)
    assert warnings_of(measured, {}, classes=10) == []


@pytest.mark.parametrize("wrong, saturated", [(8400, False), (8560, True), (8990, True)])
def test_of_many_pictures_an_error_near_guessing_is_saturated_though_it_differs(say, wrong, saturated):
    asked = {Version("corrupted", "contrast", 5.0): {"control": say(np.arange(10_000) < wrong)}}
    assert bool(warnings_of(asked, {}, classes=10)) == saturated


def test_overlaps_name_the_models_and_the_noise(measured):
    recipes = {
        "control": Recipe(randaugment_operations="Contrast, Equalize").to_dict(),
        "student 1": Recipe(randaugment_operations="Contrast, Equalize").to_dict(),
        "teacher": Recipe(randaugment_n=0).to_dict(),
    }
    sentences = warnings_of(measured, recipes, classes=10, perturbations=["brightness", "tilt"])
    (found,) = [s for s in sentences if "overlaps" in s]
    assert found.startswith(
        "The training noise of control, student 1 overlaps with fog (Equalize), contrast ("
    )
    assert "contrast (Contrast, Equalize), brightness (Equalize): " in found and "tilt" not in found
    every = warnings_of(measured, {"a": recipes["control"], "b": recipes["control"]}, classes=10)
    assert every[0].startswith("The training noise of every model overlaps with fog")
