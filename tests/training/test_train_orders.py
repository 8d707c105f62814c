"""Trainings of several fits, from given weights, with every optimizer and schedule."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback

from nsfast.errors import NsfastError
from nsfast.models import build_model
from nsfast.training import Recipe
from nsfast.training import train as module
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.schedule import staircase
from nsfast.training.train import train

RECIPE = Recipe(size=1, epochs=2, steps_per_epoch=3, batch=4, ratio=2, ema=0.6, randaugment_m=3)


def images(tiny):
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], len(tiny.unlabeled)).astype(np.float32)
    pseudo = PseudoLabeled(tiny.unlabeled.pixels, probabilities, np.full(len(tiny.unlabeled), 2))
    return (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo)


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class OneFit(Callback):
    """What one fit begins with and gets: weights, rates, and of every batch the streams and the pictures."""

    order = 95

    def __init__(self):
        super().__init__()
        self.streams, self.shapes, self.rates, self.pictures = [], {True: set(), False: set()}, [], []

    def before_epoch(self):
        if not self.epoch:
            self.begun = state(self.model)

    def before_batch(self):
        self.shapes[self.training].add(tuple(self.xb[0].shape[1:]))
        if self.training:
            self.pictures.append(self.xb[0].as_subclass(torch.Tensor).clone())
            self.rates.append(self.opt.opt.param_groups[0]["lr"])

    def after_batch(self):
        if self.training:
            loss = self.loss_func
            self.streams.append((loss.labeled or 0, len(self.yb[0])))


@pytest.fixture
def fits(monkeypatch):
    """Every fit of a training, in order."""
    found = []

    def spied(*arguments, **named):
        learn = build_learner(*arguments, **named)
        found.append(OneFit())
        learn.add_cb(found[-1])
        return learn

    monkeypatch.setattr(module, "build_learner", spied)
    return found


def test_pretraining_sees_pseudo_labels_alone_then_labels_alone_and_carries_its_average_over(
    tiny, tmp_path, fits
):
    recipe = replace(RECIPE, order="pretrain")
    trained = train(recipe, *images(tiny), tmp_path)
    first, second = fits
    assert first.streams == [(0, 8)] * 6 and second.streams == [(4, 4)] * 6
    alone = train(replace(RECIPE, order="pretrain", epochs=2), *images(tiny), tmp_path / "again")
    assert equal(state(alone.model), state(trained.model))
    assert len(trained.history) == 4 and [row["epoch"] for row in trained.history] == [1, 2, 3, 4]
    assert not equal(first.begun, second.begun)
    # the schedule of the second fit begins anew
    assert first.rates == second.rates and len(set(first.rates)) == 6


def test_what_the_second_fit_begins_with_is_the_first_one_s_average(tiny, tmp_path, fits, monkeypatch):
    results, fit = [], module._fit
    monkeypatch.setattr(module, "_fit", lambda *a: results.append(fit(*a)) or results[-1])
    train(
        replace(RECIPE, order="pretrain", finetune_epochs=2.0, finetune_resolution=12),
        *images(tiny),
        tmp_path,
    )
    for number in (1, 2):
        assert equal(fits[number].begun, state(results[number - 1].average))
        assert not equal(fits[number].begun, state(results[number - 1].model))


def test_pictures_of_a_stream_are_those_of_its_split(tiny, tmp_path, fits):
    train(replace(RECIPE, order="pretrain", randaugment_n=0), *images(tiny), tmp_path)
    for fit, split in zip(fits, (tiny.unlabeled, tiny.labeled), strict=True):
        known = {picture.tobytes() for picture in split.pixels[..., 0]}
        seen = {p.tobytes() for x in fit.pictures for p in (x[:, 0] * 255).round().byte().numpy()}
        assert seen <= known and len(seen) > 10


def test_fine_tuning_sees_every_labeled_picture_plain_at_its_resolution_for_its_steps(tiny, tmp_path, fits):
    changes = dict(finetune_epochs=1.5, finetune_resolution=12, finetune_learning_rate=1e-3)
    noise = dict(crop="pad", flip=True, cutout=3, randaugment_n=2)
    trained = train(replace(RECIPE, **changes, **noise), *images(tiny), tmp_path)
    joint, tuned = fits
    assert joint.shapes == {True: {(1, 8, 8)}, False: {(1, 8, 8)}}
    assert tuned.shapes == {True: {(1, 12, 12)}, False: {(1, 12, 12)}}
    assert tuned.streams == [(4, 4)] * (12 * 3 // 2 // 4) and tuned.rates == [1e-3] * 4
    from nsfast.models.network import resized

    plain = resized(torch.from_numpy(tiny.labeled.pixels).permute(0, 3, 1, 2).float() / 255, 12).flatten(1)
    seen = torch.cat(tuned.pictures).flatten(1)
    distance = torch.cdist(seen, plain)
    assert distance.amin(1).max() < 1e-2 and distance[:12].argmin(1).unique().numel() == 12
    assert len(trained.history) == 3


def test_fine_tuning_goes_on_at_the_last_rate_of_the_training(tiny, tmp_path, fits):
    changes = dict(
        schedule="staircase", warmup_epochs=1.0, decay_epochs=0.5, epoch_by="pseudo", steps_per_epoch=0
    )
    train(replace(RECIPE, **changes, finetune_epochs=1.0), *images(tiny), tmp_path)
    joint, tuned = fits
    assert len(joint.rates) == 2 * 120 // 8 and tuned.rates == [pytest.approx(joint.rates[-1], rel=1e-12)] * 3
    assert joint.rates[-1] == pytest.approx(staircase(29, 3e-3, 12 / 4, 1.0, 0.5), rel=1e-6)


def test_a_later_fit_belongs_to_the_training_before_it(tiny, tmp_path, fits):
    """Fine-tuning after 2 epochs is not that after 3, though the two recipes of the fit itself are the same."""
    recipe = replace(RECIPE, finetune_epochs=1.0, finetune_learning_rate=1e-3)
    train(recipe, *images(tiny), tmp_path)
    longer = train(replace(recipe, epochs=3), *images(tiny), tmp_path)
    assert len(fits) == 4
    anew = train(replace(recipe, epochs=3), *images(tiny), tmp_path / "anew")
    assert equal(state(longer.model), state(anew.model)) and longer.history == anew.history
    del fits[:]
    for ratio in (1, 2):
        train(replace(RECIPE, order="pretrain", ratio=ratio), *images(tiny), tmp_path / "order")
    assert len(fits) == 4 and not equal(fits[1].begun, fits[3].begun)


def test_a_finished_training_is_taken_as_it_is(tiny, tmp_path, fits):
    recipe = replace(RECIPE, order="pretrain", finetune_epochs=1.0, finetune_resolution=12)
    one = train(recipe, *images(tiny), tmp_path)
    assert len(fits) == 3
    two = train(recipe, *images(tiny), tmp_path)
    assert len(fits) == 3 and one.history == two.history
    for kind in ("model", "average"):
        assert equal(state(getattr(one, kind)), state(getattr(two, kind)))


def start(tiny) -> dict[str, torch.Tensor]:
    torch.manual_seed(77)
    return state(build_model("small", 3, 1, 1, 0.5, *tiny.statistics()))


def test_given_weights_are_what_a_training_starts_from(tiny, tmp_path, fits):
    begin = start(tiny)
    train(replace(RECIPE, start="teacher"), *images(tiny), tmp_path, start=begin)
    assert equal(fits[0].begun, begin) and equal(begin, start(tiny))  # and it does not change them
    train(RECIPE, *images(tiny), tmp_path / "scratch")
    assert not equal(fits[1].begun, begin)


def test_without_epochs_given_weights_are_the_result_or_what_is_fine_tuned(tiny, tmp_path, fits):
    begin, recipe = start(tiny), replace(RECIPE, epochs=0, start="teacher")
    trained = train(recipe, *images(tiny), tmp_path, start=begin)
    assert trained.history == [] and not fits and not trained.model.training
    assert equal(state(trained.model), begin) and equal(state(trained.average), begin)
    assert trained.model is not trained.average
    trained = train(replace(recipe, finetune_epochs=1.0), *images(tiny), tmp_path, start=begin)
    assert equal(fits[0].begun, begin) and len(fits[0].rates) == 3 and len(trained.history) == 1
    assert not equal(state(trained.model), begin)
    with pytest.raises(NsfastError, match="epochs is 0, but there are no weights to start from"):
        train(recipe, *images(tiny), tmp_path / "none")


def test_a_network_built_for_one_resolution_is_built_for_the_recipe_s(tiny, tmp_path):
    """Also where given weights are taken as they are: a transformer has a position for every patch."""
    shape = dict(
        architecture="test_vit", epochs=1, steps_per_epoch=1, resolution=32, stochastic_depth=0, dropout=0
    )
    recipe = replace(RECIPE, **shape)
    begin = state(build_model("test_vit", 3, 1, 1, 0.0, *tiny.statistics(), pixels=32))
    trained = train(recipe, *images(tiny), tmp_path)
    taken = train(replace(recipe, epochs=0, start="timm"), *images(tiny), tmp_path, start=begin)
    shapes = [{name: value.shape for name, value in state(each.model).items()} for each in (trained, taken)]
    assert shapes[0] == shapes[1] and equal(state(taken.model), begin)


@pytest.mark.parametrize("side", [6, 12])
def test_a_resolution_other_than_the_pictures_own_is_that_of_training_and_validation(
    tiny, tmp_path, fits, side
):
    train(replace(RECIPE, resolution=side), *images(tiny), tmp_path)
    assert fits[0].shapes == {True: {(1, side, side)}, False: {(1, side, side)}}


RATES = {"adamw": 3e-3, "rmsprop": 1e-2, "sgd": 3e-2}


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("schedule", ["cosine", "staircase", "constant"])
def test_every_optimizer_and_schedule_learns_what_is_easily_learned(
    tiny, tmp_path, fits, optimizer, schedule
):
    recipe = Recipe(
        **dict(
            size=1,
            epochs=4,
            steps_per_epoch=10,
            batch=12,
            randaugment_m=1,
            ema=0.8,
            dropout=0.0,
            stochastic_depth=0,
        ),
        **dict(optimizer=optimizer, schedule=schedule, learning_rate=RATES[optimizer]),
    )
    trained = train(recipe, *images(tiny)[:4], folder=tmp_path)
    assert trained.history[-1]["validation_accuracy"] > 0.8
    losses = [row["train_loss"] for row in trained.history]
    assert losses[-1] < losses[0] and len(fits[0].rates) == 40
    # warm-up and decay of two schedules: rates that change; one that stays
    assert (len(set(fits[0].rates)) == 1) == (schedule == "constant")


def test_a_batch_that_the_processes_could_not_share_later_is_refused_before_the_first_fit(
    tiny, tmp_path, fits
):
    """2 processes have 2 + 2 pictures of a joint batch, but 1 of a labeled one."""
    from nsfast.training.processes import Processes

    recipe = replace(RECIPE, batch=2, ratio=1, order="pretrain")
    with pytest.raises(NsfastError, match="a batch of 1 picture cannot pass"):
        train(recipe, *images(tiny), tmp_path, processes=Processes(0, 2))
    assert not fits
