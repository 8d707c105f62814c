"""The rate of every step, against fastai's, a slow TensorFlow loop and the published numbers."""

import math

import numpy as np
import pytest
from fastai.callback.core import Callback, CancelStepException
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.callback.training import GradientAccumulation

from nsfast.errors import NsfastError
from nsfast.training import Recipe
from nsfast.training.schedule import Schedule, decay_epochs_for, scaled_rate, schedule_of, staircase
from nsfast.training.train import build_learner

IMAGENET, SVHN, STEPS = 1_281_167, 69_257, 109_474


def tensorflow_loop(steps, base, images, batch, warmup_epochs, decay_epochs):
    """The released utils.py, step by step: a stair is taken whenever another decay_steps have passed."""
    decay_steps, warmup_steps = images / batch * decay_epochs, int(images / batch * warmup_epochs)
    rates, decayed, taken = [], base, 0
    for step in range(steps):
        while (taken + 1) * decay_steps <= step:
            taken, decayed = taken + 1, decayed * 0.97
        rates.append(step / warmup_steps * base if step < warmup_steps else decayed)
    return rates


@pytest.mark.parametrize(("images", "batch", "decay_epochs"), [
    (IMAGENET, 4096, 2.4), (IMAGENET, 2048, 4.8), (SVHN, 128, 1.3714), (1000, 100, 2.0),
])  # fmt: skip
def test_the_staircase_is_tensorflows(images, batch, decay_epochs):
    slow = tensorflow_loop(20_000, 0.128, images, batch, 5, decay_epochs)
    ours = [staircase(step, 0.128, images / batch, 5, decay_epochs) for step in range(20_000)]
    np.testing.assert_allclose(ours, slow, rtol=1e-9)


def test_an_epoch_is_no_whole_number_of_steps():
    rate = schedule_of(Recipe(schedule="staircase", learning_rate=0.256, batch=4096), IMAGENET)
    slow = tensorflow_loop(20_000, 0.256, IMAGENET, 4096, 5, 2.4)
    np.testing.assert_allclose([rate(step, STEPS, 0.0) for step in range(20_000)], slow, rtol=1e-9)


def test_it_starts_at_nothing_and_after_five_epochs_stairs_count_from_the_first_step():
    rates = [staircase(step, 0.128, 100.0) for step in range(721)]
    assert rates[0] == 0 and rates[250] == 0.064 and rates[499] == pytest.approx(0.128 * 499 / 500)
    assert rates[500] == pytest.approx(0.128 * 0.97**2)  # two stairs of 240 steps are behind it already
    assert rates[719] == rates[500] and rates[720] == pytest.approx(0.128 * 0.97**3)


def test_the_rate_is_the_published_one():
    assert scaled_rate(0.016, 2048) == pytest.approx(0.128)
    assert scaled_rate(0.016, 128) == pytest.approx(0.008)
    assert scaled_rate(3.0, 20, 10) == 6


def test_svhn_decays_every_1_37_epochs():
    assert decay_epochs_for(0.0002, 0.016, STEPS * 128 / SVHN) == pytest.approx(1.37, abs=0.005)


@pytest.mark.parametrize(("final", "epochs", "warmup", "factor"), [
    (0.0002, 202.33, 5, 0.97), (0.001, 30, 0, 0.9), (0.01, 12, 2, 0.5),
])  # fmt: skip
def test_as_many_stairs_as_lead_to_the_last_rate_take_all_epochs_but_the_warm_up(
    final, epochs, warmup, factor
):
    decay = decay_epochs_for(final, 0.016, epochs, warmup, factor)
    assert 0.016 * factor ** ((epochs - warmup) / decay) == pytest.approx(final, rel=1e-9)


def test_the_last_rate_is_reached_at_the_end():
    recipe = Recipe(
        schedule="staircase", learning_rate=0.016, learning_rate_batch=256, batch=128, final_learning_rate=0.0002
    )  # fmt: skip
    rate = schedule_of(recipe, SVHN)
    before, end = STEPS - 5 * SVHN // 128, STEPS - 1
    # to a stair of 3 per cent: five epochs before the end, as warm-up is left out of the count; then a few stairs more
    assert rate(before, STEPS, 0.0) == pytest.approx(0.0001, rel=0.031)
    assert 0.00009 < rate(end, STEPS, 0.0) < 0.0001


def test_without_warm_up_the_staircase_ends_on_the_stair_before_the_last_rate():
    recipe = Recipe(
        schedule="staircase", warmup_epochs=0, batch=10, learning_rate=1.0, final_learning_rate=0.01, decay_factor=0.5
    )  # fmt: skip
    rate, total = schedule_of(recipe, 100), 1000
    below = math.floor(math.log(0.01) / math.log(0.5) * 999 / 1000)
    assert rate(999, total, 0.0) == pytest.approx(0.5**below) and rate(0, total, 0.0) == 1


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.1, 0.123, 0.3, 1 / 3, 0.5, 0.9])
def test_the_cosine_is_fastais_to_the_bit(warmup):
    recipe = Recipe(warmup=warmup, learning_rate=3e-3)
    rate = schedule_of(recipe, 100)
    theirs = combined_cos(warmup, 3e-3 / 25, 3e-3, 3e-3 / 1e3)
    fraction, fractions = 0.0, []
    for epoch in range(25):  # as fastai adds them up
        fraction = epoch / 25
        for _ in range(50):
            fractions.append(fraction)
            fraction += 1.0 / (50 * 25)
    fractions += [fraction, 1.0, warmup, float(np.float32(warmup)), math.nextafter(warmup, 1)]
    assert [rate(0, 0, f) for f in fractions] == [theirs(f) for f in fractions]


def test_the_cosine_is_fastais_for_other_rates_and_step_counts():
    random = np.random.default_rng(0)
    for _ in range(40):
        warmup, base = random.uniform(0, 0.9), 10 ** random.uniform(-5, 0)
        rate = schedule_of(Recipe(warmup=warmup, learning_rate=base), 100)
        theirs = combined_cos(warmup, base / 25, base, base / 1e3)
        assert all(rate(0, 0, f) == theirs(f) for f in random.uniform(0, 1, 50).tolist())


@pytest.mark.parametrize("schedule", ["cosine", "staircase", "constant"])
def test_the_rate_grows_in_proportion_to_the_batch(schedule):
    small = Recipe(schedule=schedule, learning_rate=0.016, learning_rate_batch=256, batch=256)
    large = Recipe(schedule=schedule, learning_rate=0.016, learning_rate_batch=256, batch=2048)
    plain = Recipe(schedule=schedule, learning_rate=0.016, batch=2048)
    labeled = 4096
    # the same passes over the labeled pictures: step 160 of 16 in an epoch, step 20 of 2
    assert schedule_of(large, labeled)(20, 100, 0.3) == pytest.approx(
        8 * schedule_of(small, labeled)(160, 800, 0.3)
    )
    assert schedule_of(large, labeled)(20, 100, 0.3) == pytest.approx(
        8 * schedule_of(plain, labeled)(20, 100, 0.3)
    )
    if schedule == "constant":
        assert schedule_of(large, labeled)(0, 100, 0.9) == 0.128


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": 4}, "warmup_epochs is 5"),
    ({"factor": 1.0}, "decay_factor is 1"),
    ({"final": 0.02}, "final_learning_rate is"),
])  # fmt: skip
def test_a_last_rate_out_of_reach_is_refused(change, message):
    with pytest.raises(NsfastError, match=message):
        decay_epochs_for(**{"final": 0.0002, "base": 0.016, "epochs": 20, **change})


def test_it_is_refused_before_the_fit():
    recipe = Recipe(schedule="staircase", final_learning_rate=1e-5, batch=10)
    with pytest.raises(NsfastError, match="4 epochs in all"):
        Schedule(schedule_of(recipe, 100), total_steps=40)


class Watch(Callback):
    """The rates at which the optimizer steps, and how far the weights then move."""

    order = 98

    def __init__(self):
        super().__init__()
        self.rates, self.total = [], []

    def after_step(self):
        self.rates.append([group["lr"] for group in self.opt.opt.param_groups])
        self.total.append(sum(float(p.detach().double().sum()) for p in self.learn.model.parameters()))


def fit(tiny, *callbacks, epochs=3):
    recipe = Recipe(size=1, batch=4, steps_per_epoch=4, randaugment_n=0, stochastic_depth=0)
    learner = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation)
    watch = Watch()
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, wd=[0.05, 0.0], cbs=[*callbacks, watch])
    return learner, watch


def test_a_fit_with_it_is_one_with_fastais_scheduler_to_the_bit(tiny):
    theirs = ParamScheduler({"lr": combined_cos(0.1, 3e-3 / 25, 3e-3, 3e-6)})
    first, expected = fit(tiny, theirs)
    schedule = Schedule(schedule_of(Recipe(), 12), total_steps=12)
    second, got = fit(tiny, schedule)
    assert got.rates == expected.rates and got.total == expected.total
    assert schedule.step == 12
    assert second.recorder.hps == first.recorder.hps and second.recorder.lrs == first.recorder.lrs


def test_batches_that_accumulate_share_a_step_and_its_rate(tiny):
    schedule = Schedule(lambda step, total, fraction: 0.001 * (1 + step) / total, total_steps=6)
    learner, watch = fit(tiny, schedule, GradientAccumulation(8))
    assert schedule.step == 6
    assert watch.rates == [[0.001 * (1 + step) / 6] * 2 for step in range(6)]
    assert len(learner.recorder.hps["lr"]) == 12


def test_a_step_in_parts_has_the_rate_of_the_step_in_one(tiny):
    schedule = Schedule(schedule_of(Recipe(), 12), total_steps=6)
    _, watch = fit(tiny, schedule, GradientAccumulation(8))
    whole = combined_cos(0.1, 3e-3 / 25, 3e-3, 3e-6)
    assert [rates[0] for rates in watch.rates] == pytest.approx(
        [whole(step / 6) for step in range(6)], rel=1e-6
    )


def test_a_skipped_step_does_not_count(tiny):
    class Overflow(Callback):
        def before_step(self):
            if self.train_iter in (2, 3):
                raise CancelStepException

    schedule = Schedule(lambda step, total, fraction: 0.001 * (1 + step), total_steps=12)
    fit(tiny, schedule, Overflow())
    assert schedule.step == 10


def test_it_goes_on_from_the_step_of_a_checkpoint(tiny):
    class Restore(Callback):
        order = 99

        def before_fit(self):
            self.learn.schedule.step = 30

    schedule = Schedule(lambda step, total, fraction: 0.001 * step, total_steps=42)
    _, watch = fit(tiny, schedule, Restore())
    assert [rates[0] for rates in watch.rates] == [0.001 * step for step in range(30, 42)]
