"""The fits that a recipe asks for: how many, with which pictures, for how many steps and at which rate."""

from dataclasses import replace

import pytest

from nsfast.errors import NsfastError
from nsfast.training import Recipe
from nsfast.training.phases import phases
from nsfast.training.schedule import schedule_of, staircase

RECIPE = Recipe(epochs=4, batch=8, ratio=3, crop="pad", flip=True, cutout=4)
NOISE_ON_PICTURES = ("randaugment_n", "crop", "flip", "cutout")


def test_joint_batches_are_one_fit_of_the_whole_recipe():
    (only,) = phases(RECIPE, 100)
    assert (only.name, only.recipe, only.labeled, only.frozen) == ("joint", RECIPE, True, 0)


def test_pretraining_is_a_fit_on_pseudo_labels_and_then_one_on_labels_of_as_many_steps():
    first, second = phases(replace(RECIPE, order="pretrain", epoch_by="pseudo"), 100)
    assert (first.name, first.labeled, first.recipe.ratio) == ("pretrain", False, 3)
    assert (second.name, second.labeled, second.recipe.ratio) == ("labeled", True, 0)
    assert first.recipe.steps_per_epoch == second.recipe.steps_per_epoch == 100 // 8
    assert first.recipe.epochs == second.recipe.epochs == 4
    # all else, the noise too, is the recipe's
    same = dict(order="joint", steps_per_epoch=12, epoch_by="pseudo")
    assert first.recipe == replace(RECIPE, **same)
    assert second.recipe == replace(RECIPE, **{**same, "ratio": 0, "epoch_by": "labeled"})


def test_pretraining_takes_the_steps_that_are_given_and_one_at_least():
    for steps, labeled, expected in ((7, 100, 7), (0, 3, 1)):
        found = phases(replace(RECIPE, order="pretrain", steps_per_epoch=steps), labeled)
        assert [phase.recipe.steps_per_epoch for phase in found] == [expected] * 2


def test_pretraining_without_pseudo_labels_is_the_plain_training():
    assert [phase.name for phase in phases(replace(RECIPE, order="pretrain", ratio=0), 100)] == ["joint"]


@pytest.mark.parametrize(
    ("epochs", "labeled", "steps"), [(1.5, 100, 18), (1.5, 16, 3), (0.01, 100, 1), (2, 99, 24)]
)
def test_fine_tuning_has_floor_of_its_passes_over_the_labeled_pictures_in_steps(epochs, labeled, steps):
    last = phases(replace(RECIPE, finetune_epochs=epochs), labeled)[-1]
    assert last.name == "finetune" and last.labeled
    assert last.recipe.epochs == 1 and last.recipe.steps_per_epoch == steps == max(
        1, int(epochs * labeled / 8)
    )


@pytest.mark.parametrize("order", ["joint", "pretrain"])
def test_fine_tuning_is_without_pseudo_labels_and_noise_on_pictures_and_all_else_is_as_before(order):
    recipe = replace(RECIPE, order=order, finetune_epochs=1.5, finetune_frozen=2, finetune_resolution=24)
    last = phases(recipe, 100)[-1]
    assert [getattr(last.recipe, name) for name in NOISE_ON_PICTURES] == [0, "none", False, 0]
    assert (last.recipe.ratio, last.recipe.order, last.recipe.finetune_epochs, last.frozen) == (
        0,
        "joint",
        0,
        2,
    )
    assert (last.recipe.schedule, last.recipe.resolution) == ("constant", 24)
    kept = (
        "batch",
        "accumulate",
        "optimizer",
        "weight_decay",
        "label_smoothing",
        "dropout",
        "stochastic_depth",
    )
    for name in (*kept, "ema", "precision", "seed", "architecture", "size"):
        assert getattr(last.recipe, name) == getattr(recipe, name)


def test_fine_tuning_is_at_the_training_s_resolution_unless_one_is_given():
    recipe = replace(RECIPE, finetune_epochs=1.0, resolution=16)
    assert phases(recipe, 100)[-1].recipe.resolution == 16
    assert phases(replace(recipe, resolution=0), 100)[-1].recipe.resolution == 0
    assert phases(replace(recipe, finetune_resolution=20), 100)[-1].recipe.resolution == 20


def finetune_rate(labeled=100, pseudo=0, **changes) -> float:
    recipe = replace(RECIPE, finetune_epochs=1.0, **changes)
    last = phases(recipe, labeled, pseudo)[-1].recipe
    rate = schedule_of(last, labeled)
    assert rate(0, 5, 0.0) == rate(4, 5, 1.0) == last.learning_rate  # constant
    return last.learning_rate


@pytest.mark.parametrize("scaled", [0, 256])
def test_a_given_rate_is_taken_scaled_like_the_highest(scaled):
    expected = 0.01 * 8 / 256 if scaled else 0.01
    rate = finetune_rate(finetune_learning_rate=0.01, learning_rate_batch=scaled)
    assert rate == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scaled", [0, 256])
def test_without_one_fine_tuning_goes_on_at_the_end_of_cosine_and_constant(scaled):
    base = 0.02 * (8 / 256 if scaled else 1)
    for schedule, end in (("cosine", base / 1000), ("constant", base)):
        rate = finetune_rate(schedule=schedule, learning_rate=0.02, learning_rate_batch=scaled)
        assert rate == pytest.approx(end, rel=1e-6)


STAIRS = dict(
    schedule="staircase", warmup_epochs=1.0, decay_epochs=0.5, learning_rate=0.128, learning_rate_batch=256
)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 50),  # 4 passes over 100 in batches of 8
        ({"steps_per_epoch": 20}, 80),
        ({"epoch_by": "pseudo"}, 4 * 900 // 24),  # batches of 3 x 8
        ({"order": "pretrain"}, 4 * 12),
        ({"order": "pretrain", "epoch_by": "pseudo"}, 4 * 12),
    ],
)
def test_without_one_fine_tuning_goes_on_at_the_last_step_of_the_stairs(changes, steps):
    rate = finetune_rate(pseudo=900, **STAIRS, **changes)
    assert rate == pytest.approx(staircase(steps - 1, 0.128 * 8 / 256, 100 / 8, 1.0, 0.5), rel=1e-12)


def test_stairs_that_end_at_a_rate_are_fine_tuned_about_there():
    rate = finetune_rate(pseudo=900, **{**STAIRS, "final_learning_rate": 0.001})
    assert rate == pytest.approx(0.001 * 8 / 256, rel=0.97**-40 - 1) and rate < 0.0012 * 8 / 256


@pytest.mark.parametrize("changes", [{"warmup_epochs": 1}, {"final_learning_rate": 0.001}])
def test_a_schedule_without_a_last_rate_asks_for_one(changes):
    with pytest.raises(NsfastError, match="finetune_learning_rate is 0, .* there is none above 0; set it"):
        finetune_rate(**{**STAIRS, **changes, "epochs": 0, "start": "timm"})
    with pytest.raises(NsfastError, match="finetune_learning_rate is 0"):
        finetune_rate(labeled=8, **{**STAIRS, "epochs": 1})  # one step, the first of the warm-up
    assert (
        finetune_rate(**{**STAIRS, **changes, "epochs": 0, "start": "timm"}, finetune_learning_rate=0.1) > 0
    )


def test_without_epochs_there_is_nothing_or_fine_tuning_alone():
    recipe = replace(RECIPE, epochs=0, start="timm")
    assert phases(recipe, 100) == []
    assert [phase.name for phase in phases(replace(recipe, finetune_epochs=1.0), 100)] == ["finetune"]
    assert phases(replace(recipe, order="pretrain"), 100) == []


def test_a_batch_that_a_later_fit_could_not_normalise_is_refused_at_once():
    """With its pseudo-labeled picture a batch of 1 is 2 pictures; alone it is not."""
    one = replace(RECIPE, batch=1)
    assert len(phases(one, 100)) == 1
    for changes in ({"order": "pretrain"}, {"finetune_epochs": 1.0}):
        with pytest.raises(NsfastError, match="a batch of 1 picture cannot pass"):
            phases(replace(one, **changes), 100)
