"""A recipe is checked when it is made."""

import json

import pytest

from nsfast.errors import NsfastError
from nsfast.training import Recipe

WRONG = [
    ("size", 0), ("epochs", 0), ("steps_per_epoch", -1), ("batch", 0), ("ratio", -1), ("learning_rate", 0),
    ("weight_decay", -0.1), ("warmup", 0.95), ("label_smoothing", 1.1), ("targets", "soften"), ("temperature", 0),
    ("temperature", float("nan")), ("loss_normalisation", "conkat"), ("dropout", -0.1), ("stochastic_depth", 2),
    ("randaugment_n", 17), ("randaugment_m", 31), ("randaugment_fill", -1), ("ema", 1.5),
    ("randaugment_scale", "tensorflow"), ("randaugment_operations", "Fog"),
    ("epoch_by", "label"), ("dropout", 1), ("stochastic_depth", 1),
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


def test_an_epoch_over_pseudo_labels_needs_some():
    with pytest.raises(NsfastError, match="epoch_by is 'pseudo' but ratio is 0"):
        Recipe(epoch_by="pseudo")
