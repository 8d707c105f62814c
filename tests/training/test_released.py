"""The published recipes against the published numbers."""

import math

import pytest

from nsfast.errors import NsfastError
from nsfast.training import Recipe
from nsfast.training.released import RECIPES, recipe_parameters, recipe_rows, released_recipe
from nsfast.training.schedule import schedule_of

SCRIPTS = [f"imagenet-b{i}" for i in range(8)]
PAPER = [f"imagenet-l2-{i}" for i in (1, 2, 3)]


def values(name) -> dict:
    rows = recipe_rows(name)
    assert len({row["number"] for row in rows}) == len(rows)
    return {row["number"]: row["value"] for row in rows}


def test_all_published_recipes_are_there():
    assert list(RECIPES) == [*SCRIPTS, *PAPER, "svhn"]
    assert all(name == recipe.name for name, recipe in RECIPES.items())


@pytest.mark.parametrize("name", list(RECIPES))
def test_its_parameters_make_a_recipe(name):
    parameters = recipe_parameters(name)
    recipe = Recipe.from_parameters(parameters)
    taken = {k: v for k, v in parameters.items() if k not in ("threshold", "per_class", "method")}
    assert {k: getattr(recipe, k) for k in taken} == taken
    assert (recipe.optimizer, recipe.schedule, recipe.decay_biases) == ("rmsprop", "staircase", True)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_number_says_where_it_is_from(name):
    rows = recipe_rows(name)
    assert all(row["where from"].startswith(("released code", "paper", "derived")) for row in rows)
    assert all(row["arithmetic"] for row in rows if row["where from"] == "derived")
    assert all(list(row) == ["number", "value", "arithmetic", "where from"] for row in rows)


def test_the_script_of_b7_has_the_published_numbers():
    got = values("imagenet-b7")
    assert got["optimizer steps"] == 109_474 == math.floor(350 * 1_281_167 / 4096)
    assert got["labeled epochs in them"] == 350
    assert got["highest learning rate at 2048"] == pytest.approx(0.128)
    assert got["highest learning rate"] == pytest.approx(0.256)
    assert got["steps between stairs"] == pytest.approx(2.4 * 1_281_167 / 4096, abs=0.01)
    assert got["pseudo-labeled pictures in a step"] == 12_288
    assert got["pictures seen in all"] == 109_474 * 16_384


def test_the_small_models_train_twice_as_long():
    small, large = values("imagenet-b4"), values("imagenet-b5")
    assert (small["epochs"], large["epochs"]) == (700, 350)
    assert small["optimizer steps"] == 2 * large["optimizer steps"]
    assert (small["epochs between stairs"], large["epochs between stairs"]) == (4.8, 2.4)
    # the same number of stairs, so the same last rate
    assert small["learning rate of the last step"] == large["learning rate of the last step"]


def test_the_table_of_the_script():
    got = [recipe_parameters(name) for name in SCRIPTS]
    assert [p["ratio"] for p in got] == [1, 3, 3, 3, 3, 3, 3, 3]
    assert [p.get("randaugment_m") for p in got] == [None, None, 6, 12, 15, 18, 24, 27]
    assert [p["randaugment_n"] for p in got] == [0, 0, 2, 2, 2, 2, 2, 2]
    assert [p["dropout"] for p in got] == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5]
    assert [p["resolution"] for p in got] == [224, 240, 260, 300, 380, 456, 528, 600]
    assert [p["epochs"] for p in got] == [700] * 5 + [350] * 3


def test_the_iterations_of_the_paper():
    got = [recipe_parameters(name) for name in PAPER]
    assert [p["ratio"] for p in got] == [14, 14, 28]
    for p in got:
        assert (p["batch"], p["randaugment_m"], p["dropout"], p["stochastic_depth"]) == (2048, 27, 0.5, 0.2)
        assert (p["resolution"], p["finetune_resolution"], p["finetune_epochs"]) == (475, 800, 1.5)
        assert "finetune_frozen" not in p  # not published
    assert [values(name)["ImageNet top-1, per cent"] for name in PAPER] == [87.6, 88.1, 88.4]
    assert values("imagenet-l2-3")["highest learning rate"] == pytest.approx(0.128)
    assert values("imagenet-l2-3")["pictures in a step"] == 2048 * 29


def test_svhn_has_the_published_numbers():
    got = values("svhn")
    assert got["labeled pictures"] == 69_257 and got["optimizer steps"] == 109_474
    assert got["labeled epochs in them"] == pytest.approx(202.3, abs=0.05)
    assert got["epochs between stairs"] == pytest.approx(1.37, abs=0.005)
    assert got["highest learning rate"] == pytest.approx(0.008)
    assert got["last learning rate that is aimed at"] == pytest.approx(0.0001)
    assert got["pseudo-labeled pictures in a step"] == 640
    recipe = Recipe.from_parameters(recipe_parameters("svhn"))
    assert recipe.epochs * recipe.steps_per_epoch == 109_474


@pytest.mark.parametrize("name", ["imagenet-b0", "imagenet-b7", "imagenet-l2-1", "svhn"])
def test_the_last_rate_of_the_table_is_that_of_the_recipes_schedule(name):
    recipe, got = Recipe.from_parameters(recipe_parameters(name)), values(name)
    steps = got["optimizer steps"]
    rate = schedule_of(recipe, got["labeled pictures"])
    assert rate(steps - 1, steps, 1.0) == pytest.approx(got["learning rate of the last step"], rel=1e-3)
    warm = got["steps of warm-up"]
    assert rate(warm - 1, steps, 0.0) == pytest.approx(got["highest learning rate"] * (warm - 1) / warm)


def test_an_unknown_name_is_answered_with_the_nearest():
    for function in (released_recipe, recipe_rows, recipe_parameters):
        with pytest.raises(
            NsfastError, match="unknown released recipe 'imagenet-b9'; did you mean 'imagenet-b"
        ):
            function("imagenet-b9")
