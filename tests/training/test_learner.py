"""A learner of a recipe: gradients accumulated over parts of a step, and the resolution that its network gets."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from fastai.callback.core import Callback
from torch import nn

from nsfast.errors import NsfastError
from nsfast.models import Network
from nsfast.models.network import resized
from nsfast.training import Recipe, learner
from nsfast.training.average import WeightAverage
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.processes import Processes
from nsfast.training.schedule import Schedule, schedule_of

PLAIN = Recipe(
    **dict(size=1, epochs=2, batch=4, ratio=2, steps_per_epoch=3, ema=0.6, learning_rate=3e-3),
    **dict(dropout=0, stochastic_depth=0, randaugment_n=0),
)


def pseudo(tiny) -> PseudoLabeled:
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], len(tiny.unlabeled)).astype(np.float32)
    return PseudoLabeled(tiny.unlabeled.pixels, probabilities, np.ones(len(tiny.unlabeled), np.int64))


def without_batch_norm(architecture, classes, channels, size, dropout, mean, std, pixels=None) -> Network:
    """Of which the gradient of a batch is the mean of those of its parts."""
    body = nn.Sequential(
        *(nn.Conv2d(channels, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)),
    )
    return Network(body, mean, std)


class Steps(Callback):
    """Counts the optimizer's own steps."""

    def before_fit(self):
        self.count, self.rates, step = 0, [], self.opt.opt.step

        def counted(*arguments, **named):
            self.count += 1
            self.rates.append(self.opt.opt.param_groups[0]["lr"])
            return step(*arguments, **named)

        self.opt.opt.step = counted


def fitted(tiny, recipe):
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    learn.dls.train.rng.seed(5)
    average, steps = WeightAverage(recipe.ema), Steps()
    schedule = Schedule(schedule_of(recipe, len(tiny.labeled)), learn.dls.train.steps_in(recipe.epochs))
    with learn.no_bar(), learn.no_logging():
        learn.fit(recipe.epochs, wd=[recipe.weight_decay, 0.0], cbs=[average, schedule, steps])
    return learn, average, schedule, steps


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in model.parameters()])


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adamw"])
@pytest.mark.parametrize("normalisation", ["concat", "per_stream", "official"])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_make_the_step_of_the_whole_batch(
    tiny, monkeypatch, parts, normalisation, optimizer
):
    monkeypatch.setattr(learner, "build_model", without_batch_norm)
    recipe = replace(
        PLAIN, loss_normalisation=normalisation, optimizer=optimizer, schedule="staircase", warmup_epochs=1
    )
    (one, mean_one, schedule_one, steps_one), (many, mean_many, schedule_many, steps_many) = (
        fitted(tiny, each) for each in (recipe, replace(recipe, accumulate=parts))
    )
    assert steps_one.count == steps_many.count == 6 and len(many.recorder.hps["lr"]) == 6 * parts
    assert mean_one.updates == mean_many.updates == 6 and schedule_one.step == schedule_many.step == 6
    assert steps_one.rates == steps_many.rates and len(set(steps_one.rates)) > 2
    start = weights(
        build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny)).model
    )
    distance = (weights(one.model) - start).abs().max()
    # AdamW divides by the root of the mean square, which enlarges rounding where a gradient is nearly 0
    tolerance = 0.02 if optimizer == "adamw" else 1e-3
    assert distance > 1e-5
    for a, b in ((one.model, many.model), (mean_one.average, mean_many.average)):
        assert (weights(a) - weights(b)).abs().max() < tolerance * distance


def test_every_part_has_the_same_ratio(tiny):
    recipe = replace(PLAIN, accumulate=2)
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    loader = learn.dls.train
    assert (loader.labeled, loader.pseudo, loader.bs, len(loader)) == (2, 4, 6, 6)
    certain = [(y.max(1).values == 1).tolist() for _, y in loader]
    assert certain == [[True] * 2 + [False] * 4] * 6


def test_pretraining_s_learner_has_pseudo_labels_alone_and_as_many_as_a_joint_step(tiny):
    for parts in (1, 2):
        recipe = replace(PLAIN, accumulate=parts)
        images = (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
        learn = build_learner(recipe, *images, labeled_too=False)
        assert all(len(y) == 8 // parts and (y.max(1).values < 1).all() for _, y in learn.dls.train)
        average = WeightAverage(0.5)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3, cbs=average)
        assert average.updates == 3


def test_a_process_has_its_share_of_the_batch(tiny):
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    loaders = [build_learner(PLAIN, *images, processes=Processes(rank, 2)).dls for rank in range(2)]
    assert [next(iter(each.train))[0].shape[0] for each in loaders] == [6, 6]
    assert [len(next(iter(each.valid))[0]) for each in loaders] == [6, 6]
    with pytest.raises(NsfastError, match="batch=4 does not divide into accumulate=1 x 3 processes"):
        build_learner(PLAIN, *images, processes=Processes(0, 3))


class Shapes(Callback):
    """What the network gets."""

    order = 95

    def __init__(self):
        super().__init__()
        self.seen = {True: [], False: []}

    def before_batch(self):
        self.seen[self.training].append(self.xb[0].as_subclass(torch.Tensor).clone())


NOISY = replace(PLAIN, dropout=0.4, stochastic_depth=0.3, randaugment_n=2)


def noise(learn) -> dict[str, int | None]:
    """The callbacks of noise by name, with the pictures of a batch that they are on."""
    kinds = {"RandAugment": lambda cb: cb.transform.first}
    kinds |= dict.fromkeys(("StochasticDepth", "FinalDropout"), lambda cb: cb.first)
    return {type(cb).__name__: kinds[type(cb).__name__](cb) for cb in learn.cbs if type(cb).__name__ in kinds}


@pytest.mark.parametrize(
    ("pseudo_noise", "expected"),
    [
        ("all", {"RandAugment": None, "StochasticDepth": None}),  # the network itself has the dropout
        ("none", {"RandAugment": 4, "StochasticDepth": 4, "FinalDropout": 4}),
        ("randaugment, dropout", {"RandAugment": None, "StochasticDepth": 4}),
        ("stochastic_depth", {"RandAugment": 4, "StochasticDepth": None, "FinalDropout": 4}),
    ],
)
def test_pseudo_labeled_pictures_are_spared_the_noise_that_a_recipe_says(tiny, pseudo_noise, expected):
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    recipe = replace(NOISY, pseudo_noise=pseudo_noise)
    assert noise(build_learner(recipe, *images)) == expected
    halves = build_learner(replace(recipe, accumulate=2), *images)
    shares = build_learner(recipe, *images, processes=Processes(0, 2))
    for learn in (halves, shares):  # each part of a step has its labeled pictures in front
        assert noise(learn) == {name: n and n // 2 for name, n in expected.items()}
    alone = build_learner(recipe, *images, labeled_too=False)
    left = {name: n and 0 for name, n in expected.items() if n is None or name != "RandAugment"}
    assert noise(alone) == left  # at 0 a callback takes away what the network brings along
    after = build_learner(replace(recipe, ratio=0), *images[:4])  # labeled ones alone, after pretraining
    assert noise(after) == {"RandAugment": None, "StochasticDepth": None}


def test_a_network_without_one_final_layer_is_refused_before_a_fit(tiny, monkeypatch):
    def two_heads(*arguments, **named):
        return timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3, img_size=32)

    monkeypatch.setattr(learner, "build_model", lambda *a, **k: Network(two_heads(), *a[-2:]))
    recipe = replace(PLAIN, dropout=0.4, pseudo_noise="none")
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    build_learner(replace(recipe, pseudo_noise="dropout"), *images)
    with pytest.raises(NsfastError, match="in place of one final layer"):
        build_learner(recipe, *images)


def test_in_a_fit_labeled_pictures_are_noised_and_spared_ones_are_as_they_are(tiny):
    recipe = replace(PLAIN, randaugment_n=2, pseudo_noise="stochastic_depth")
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))
    seen = Shapes()
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3, cbs=seen)

    def apart(x, split):
        """How far the pictures of a batch are from the nearest of a split, in grey levels."""
        clean = torch.from_numpy(split.pixels).permute(0, 3, 1, 2).float()
        return (x[:, None] * 255 - clean).abs().flatten(2).amax(2).amin(1)

    batches = seen.seen[True]
    assert [len(x) for x in batches] == [12] * 6
    assert max(apart(x[4:], tiny.unlabeled).max() for x in batches) < 1e-3
    noised = torch.cat([apart(x[:4], tiny.labeled) for x in batches]) > 1
    assert noised.float().mean() > 0.5


@pytest.mark.parametrize("side", [0, 6, 8, 12])
def test_a_resolution_is_that_of_every_batch_in_training_and_validation(tiny, side):
    recipe = replace(PLAIN, resolution=side, ratio=0, batch=12, steps_per_epoch=1)
    learn, seen = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation), Shapes()
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3, cbs=seen)
    expected = torch.from_numpy(tiny.validation.pixels).permute(0, 3, 1, 2).float() / 255
    training = torch.from_numpy(tiny.labeled.pixels).permute(0, 3, 1, 2).float() / 255
    if side not in (0, 8):
        expected, training = resized(expected, side), resized(training, side)
    assert torch.equal(seen.seen[False][0], expected)
    # one pass: every picture once, in a random order
    ours, theirs = (x.flatten(1) for x in (seen.seen[True][0], training))
    assert torch.cdist(ours, theirs).argmin(1).sort().values.tolist() == list(range(12))
    assert torch.cdist(ours, theirs).amin(1).max() < 1e-2


def test_noise_is_done_at_the_network_s_resolution(tiny):
    """The square of a cutout has the pixels that were asked for, whatever the size of the pictures."""
    recipe = replace(PLAIN, resolution=16, ratio=0, batch=12, cutout=16)
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation)
    x, _ = next(iter(learn.dls.train))
    assert x.shape[2:] == (16, 16) and ((x == 0.5).float().mean((1, 2, 3)) >= 0.24).all()
