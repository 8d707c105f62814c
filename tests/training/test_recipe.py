"""A recipe is checked when it is made."""

import json
import re

import pytest

from nsfast.errors import NsfastError
from nsfast.training import Recipe

WRONG = [
    ("size", 0), ("epochs", 0), ("steps_per_epoch", -1), ("batch", 0), ("ratio", -1), ("learning_rate", 0),
    ("weight_decay", -0.1), ("warmup", 0.95), ("label_smoothing", 1.1), ("targets", "soften"), ("temperature", 0),
    ("temperature", float("nan")), ("loss_normalisation", "conkat"), ("dropout", -0.1), ("stochastic_depth", 2),
    ("randaugment_n", 17), ("randaugment_m", 31), ("randaugment_fill", -1), ("ema", 1.5),
    ("randaugment_scale", "tensorflow"), ("randaugment_operations", "Fog"),
    ("epoch_by", "label"), ("dropout", 1), ("stochastic_depth", 1), ("pseudo_noise", "labeled"), ("pseudo_noise", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_outside_its_range_is_named(name, value):
    with pytest.raises(NsfastError) as caught:
        Recipe(**{name: value})
    said = str(caught.value)
    assert name.replace("_", " ") in said.replace("_", " ") and repr(value) in said and "\n" not in said


def test_a_batch_of_one_picture_is_refused_and_one_with_a_pseudo_label_is_not():
    with pytest.raises(NsfastError, match="a batch of 1 picture"):
        Recipe(batch=1)
    assert Recipe(batch=1, ratio=1).batch == 1


def test_a_recipe_comes_back_from_plain_data_and_ignores_what_is_none_of_it():
    recipe = Recipe(size=3, targets="hard", seed=7)
    data = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_parameters({**data, "threshold": 0.3}) == recipe


@pytest.mark.parametrize(
    ("pseudo_noise", "spared"),
    [
        ("all", set()),
        ("none", {"randaugment", "stochastic_depth", "dropout"}),
        ("dropout", {"randaugment", "stochastic_depth"}),
        ("dropout, randaugment", {"stochastic_depth"}),
    ],
)
def test_pseudo_labeled_pictures_are_spared_what_is_not_named(pseudo_noise, spared):
    assert Recipe(ratio=2, pseudo_noise=pseudo_noise).spared == spared
    assert not Recipe(ratio=0, pseudo_noise=pseudo_noise).spared


@pytest.mark.parametrize("value", ["all,dropout", "none,randaugment", "dropout,depth"])
def test_names_of_noise_are_none_of_the_words_for_all_or_none(value):
    with pytest.raises(
        NsfastError, match=f"unknown pseudo_noise .{value.split(',')[value.endswith('depth')]}"
    ):
        Recipe(ratio=2, pseudo_noise=value)


def test_an_epoch_over_pseudo_labels_needs_some():
    with pytest.raises(NsfastError, match="epoch_by is 'pseudo' but ratio is 0"):
        Recipe(epoch_by="pseudo")


NEW = [
    *((name, -1) for name in ("learning_rate_batch", "warmup_epochs", "final_learning_rate", "resolution", "cutout")),
    *((f"finetune_{name}", -1) for name in ("epochs", "resolution", "learning_rate", "frozen")),
    ("epochs", -1), ("accumulate", 0), ("decay_factor", 0), ("decay_factor", 1.01), ("decay_epochs", 0),
    ("decay_epochs", float("nan")), ("warmup_epochs", float("nan")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NEW)
def test_a_value_of_schedule_resolution_noise_or_fine_tuning_outside_its_range_is_named(name, value):
    with pytest.raises(NsfastError) as caught:
        Recipe(**{name: value})
    said = str(caught.value)
    assert name in said and repr(value) in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decay_factor", 1),
        ("warmup_epochs", 0),
        ("resolution", 0),
        ("finetune_frozen", 0),
        ("final_learning_rate", 0),
    ]
    + [
        ("learning_rate_batch", 0),
        ("warmup", 0.9),
        ("warmup", 0),
        ("randaugment_n", 16),
        ("ema", 0),
        ("cutout", 0),
    ],
)
def test_the_ends_of_a_range_belong_to_it(name, value):
    assert getattr(Recipe(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "wrong", "near"),
    [
        ("order", "pretraining", "pretrain"),
        ("optimizer", "adam", "adamw"),
        ("optimizer", "rmsprob", "rmsprop"),
        ("schedule", "stairs", "staircase"),
        ("schedule", "cosinus", "cosine"),
        ("crop", "padded", "pad"),
        ("precision", "float16", "bfloat16"),
        ("precision", "bf16", "bfloat16"),
        ("precision", "half", None),
    ],
)
def test_a_choice_that_is_none_names_the_nearest_or_all(name, wrong, near):
    with pytest.raises(NsfastError) as caught:
        Recipe(**{name: wrong})
    assert f"unknown {name} {wrong!r}" in str(caught.value)
    assert (f"did you mean {near!r}" if near else "valid names: bfloat16, float32") in str(caught.value)


def test_every_choice_is_accepted_by_what_it_is_for():
    """The recipe names them again, so as not to import torch."""
    from nsfast import losses
    from nsfast.noise.table import SCALES
    from nsfast.training import batches, recipe
    from nsfast.training.optimizer import optimizer_function
    from nsfast.training.schedule import schedule_of

    assert recipe.LOSS_NORMALISATIONS == losses.NORMALISATIONS and recipe.TARGETS == losses.TARGETS
    assert recipe.EPOCH_BY == batches.EPOCH_BY and set(recipe.SCALES) == set(SCALES)
    for name in recipe.OPTIMIZERS:
        assert callable(optimizer_function(name))
    for name in recipe.SCHEDULES:
        assert schedule_of(Recipe(schedule=name), 100)(99, 100, 0.99) > 0


def test_a_recipe_that_learns_nothing_is_refused():
    with pytest.raises(NsfastError, match="epochs is 0 and start is 'scratch'"):
        Recipe(epochs=0)
    assert Recipe(epochs=0, start="teacher").epochs == 0


@pytest.mark.parametrize("final", [3e-3, 1.0])
def test_the_last_rate_is_below_the_highest(final):
    with pytest.raises(
        NsfastError, match="final_learning_rate is .*; it must be below learning_rate, which is 0.003"
    ):
        Recipe(final_learning_rate=final)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 8])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_parts_are_equal_or_the_batch_that_is_suggested_divides(ratio, accumulate, processes):
    parts = accumulate * processes
    for batch in range(1, 40):
        fits = batch % parts == 0 and batch // parts * (1 + ratio) >= 2
        try:
            recipe = Recipe(batch=batch, ratio=ratio, accumulate=accumulate)
            assert recipe.per_part(processes) * parts == batch and fits
            continue
        except NsfastError as error:
            said = str(error)
        assert not fits and "\n" not in said
        if found := re.search(r"set batch to (\d+)$", said):
            assert f"batch={batch} does not divide" in said and f"accumulate={accumulate}" in said
            # the message of a recipe knows of one process alone
            known = processes if "processes" in said else 1
            assert known == 1 or f"x {processes} processes" in said
            near = Recipe(batch=int(found[1]), ratio=ratio, accumulate=accumulate)
            assert near.per_part(known) and abs(near.batch - batch) <= 2 * accumulate * known
        else:
            assert "a batch of 1 picture cannot pass through batch normalisation; raise batch" in said
            assert batch // parts == 1 or batch == accumulate
