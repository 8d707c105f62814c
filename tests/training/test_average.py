"""The weight average, step by step against a slow reference."""

import copy

import numpy as np
import pytest
import torch
from fastai.callback.core import (
    Callback,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelValidException,
)
from fastai.callback.training import GradientAccumulation

from nsfast.errors import NsfastError
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.learner import PseudoLabeled, build_learner

RECIPE = Recipe(size=1, epochs=4, steps_per_epoch=3, batch=4, ratio=2, ema=0.6, randaugment_m=3)


def pseudo(tiny) -> PseudoLabeled:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], len(tiny.unlabeled)).astype(np.float32)
    return PseudoLabeled(tiny.unlabeled.pixels, probabilities, random.integers(1, 4, len(tiny.unlabeled)))


def learner(tiny, recipe=RECIPE):
    return build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo(tiny))


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Watch(Callback):
    """Keeps a copy of raw and averaged weights after every step, and of the weights that validate."""

    order = 6  # right after the average

    def __init__(self, average):
        super().__init__()
        self.ema, self.raw, self.averaged, self.validating, self.again = average, [], [], [], []

    def before_fit(self):
        self.first = state(self.learn.model)

    def after_step(self):
        self.raw.append(state(self.learn.model))
        self.averaged.append(state(self.ema.average))

    def before_batch(self):
        if not self.training:
            self.validating.append(state(self.learn.model))

    def after_epoch(self):
        self.again.append(state(self.learn.model))


def watched(tiny, decay, epochs=4):
    average = WeightAverage(decay)
    watch, learn = Watch(average), learner(tiny)
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 1e-2, cbs=[average, watch])
    return watch


def test_the_average_follows_a_slow_reference_step_by_step_buffers_and_warm_up_included(tiny):
    watch = watched(tiny, 0.5)
    slow = {name: value.double() for name, value in watch.first.items()}
    assert len(watch.raw) == 12
    for step, (raw, averaged) in enumerate(zip(watch.raw, watch.averaged, strict=True), start=1):
        decay = min(0.5, (1 + step) / (10 + step))  # reaches 0.5 at the eighth step
        for name in slow:
            slow[name] = decay * slow[name] + (1 - decay) * raw[name].double()
            if name.endswith("num_batches_tracked"):
                assert averaged[name] == raw[name] == step
            else:
                assert torch.allclose(averaged[name].double(), slow[name], rtol=1e-4, atol=1e-5), (step, name)
    moved = [name for name in slow if name.endswith(("running_mean", "running_var"))]
    assert len(moved) == 26 and all(not torch.equal(watch.first[n], watch.averaged[-1][n]) for n in moved)


def test_validation_runs_on_the_averaged_weights_and_training_goes_on_with_the_raw_ones(tiny):
    watch = watched(tiny, 0.9)
    for epoch in range(4):
        last = 3 * epoch + 2
        assert equal(watch.validating[epoch], watch.averaged[last])
        assert equal(watch.again[epoch], watch.raw[last])
        assert not equal(watch.raw[last], watch.averaged[last])


def test_without_decay_the_average_is_the_weights(tiny):
    watch = watched(tiny, 0.0, epochs=1)
    assert all(equal(raw, averaged) for raw, averaged in zip(watch.raw, watch.averaged, strict=True))


class CancelInValidation(Callback):
    order = 80

    def __init__(self, error):
        super().__init__()
        self.error = error

    def before_batch(self):
        if not self.training:
            raise self.error


@pytest.mark.parametrize("error", [CancelFitException, CancelEpochException, CancelValidException])
def test_a_cancelled_validation_leaves_the_raw_weights_in_the_model(tiny, error):
    average = WeightAverage(0.9)
    watch, learn = Watch(average), learner(tiny)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2, cbs=[average, watch, CancelInValidation(error)])
    assert equal(state(learn.model), watch.raw[-1]) and equal(state(average.average), watch.averaged[-1])


def test_the_average_is_no_part_of_the_model_it_averages(tiny):
    average, learn = WeightAverage(0.5), learner(tiny)
    before = copy.deepcopy(state(learn.model))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.0, wd=0.0, cbs=average)
    ours = {p.data_ptr() for p in average.average.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in learn.model.parameters())
    assert not average.average.training
    names = {n for n, _ in learn.model.named_parameters()}
    assert all(torch.equal(before[n], state(learn.model)[n]) for n in names)  # learning rate 0 moves nothing


class Overflow(Callback):
    """Skips every third step as mixed precision does when gradients overflow (fastai, callback/fp16.py)."""

    order, done = 10, 0

    def before_step(self):
        self.done += 1
        if self.done % 3 == 0:
            raise CancelStepException


class Slow(Callback):
    """An average of its own, in float64, from the weights before and after every batch."""

    order = 90

    def before_fit(self):
        self.average = {name: value.double() for name, value in state(self.learn.model).items()}
        self.before, self.updates = state(self.learn.model), 0

    def after_batch(self):
        if not self.training:
            return
        now = state(self.learn.model)
        weights = [n for n, _ in self.learn.model.named_parameters()]
        if any(not torch.equal(self.before[n], now[n]) for n in weights):  # an optimizer step was taken
            self.updates += 1
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            for name, value in now.items():
                if value.is_floating_point():
                    self.average[name] = decay * self.average[name] + (1 - decay) * value.double()
                else:
                    self.average[name] = value.double()
        self.before = now


@pytest.mark.parametrize("accumulate", [12, 36])  # pictures: every batch, and every third
@pytest.mark.parametrize("overflow", [False, True])
@pytest.mark.parametrize("precision", ["plain", "bf16"])
def test_it_moves_after_real_steps_only(tiny, accumulate, overflow, precision):
    average, slow, learn = WeightAverage(0.7), Slow(), learner(tiny)
    slow.decay = 0.7
    if precision == "bf16":
        learn.add_cb(Bfloat16())
    with learn.no_bar(), learn.no_logging():
        learn.fit(4, 1e-2, cbs=[average, slow, GradientAccumulation(accumulate), *[Overflow()] * overflow])
    real = 12 * 12 // accumulate
    assert average.updates == slow.updates == (real - real // 3 if overflow else real)
    for name, value in state(average.average).items():
        assert torch.allclose(value.double(), slow.average[name], rtol=1e-4, atol=1e-5), name


class Bfloat16(Callback):
    """Autocast on the CPU; fastai's own MixedPrecision knows CUDA only."""

    order = 10

    def before_batch(self):
        self.context = torch.autocast("cpu", torch.bfloat16)
        self.context.__enter__()

    def after_loss(self):
        self.context.__exit__(None, None, None)


def test_get_preds_and_validate_leave_it_alone(tiny):
    average, learn = WeightAverage(0.5), learner(tiny)
    learn.add_cb(average)
    with learn.no_bar(), learn.no_logging():
        learn.get_preds(), learn.validate()
        learn.fit(1, 1e-2)
        before, raw = state(average.average), state(learn.model)
        logits = learn.get_preds(ds_idx=1)[0]
    assert equal(before, state(average.average)) and equal(raw, state(learn.model)) and not equal(before, raw)
    x = torch.from_numpy(tiny.validation.pixels).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        assert torch.allclose(
            logits, average.average(x).softmax(1), atol=1e-6
        )  # predictions are the average's


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(NsfastError, match=f"ema is {decay}; it must be between 0 and 1"):
        WeightAverage(decay)


class Stopping(Callback):
    """Stands for Ctrl-C in the validation of the first epoch."""

    order = 80

    def before_batch(self):
        if not self.training:
            raise KeyboardInterrupt


def test_a_validation_that_fails_leaves_the_raw_weights_in_the_model(tiny):
    average, stopping, learn = WeightAverage(0.9), Stopping(), learner(tiny)
    watch = Watch(average)
    learn.add_cbs([average, watch, stopping])
    with learn.no_bar(), learn.no_logging(), pytest.raises(KeyboardInterrupt):
        learn.fit(1, 1e-2)
    assert equal(state(learn.model), watch.raw[-1]) and equal(state(average.average), watch.averaged[-1])
    learn.remove_cb(stopping)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    assert equal(watch.validating[-1], watch.averaged[-1]) and equal(state(learn.model), watch.raw[-1])


def test_lr_find_does_not_move_it(tiny):
    from fastai.callback import schedule  # noqa: F401, gives Learner the method

    average, learn = WeightAverage(0.5), learner(tiny)
    learn.add_cb(average)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
        before = state(average.average)
        learn.lr_find(num_it=6, show_plot=False)
    assert equal(state(average.average), before) and average.updates == 3


def test_the_averaged_network_can_be_trained_on(tiny):
    average, learn = WeightAverage(0.5), learner(tiny)
    learn.add_cb(average)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
        first = learn.model = average.average
        before = state(first)
        learn.opt = None
        learn.fit(1, 1e-2)
    assert average.average is not first and not equal(state(first), before)
    assert not equal(state(first), state(average.average))


def test_tied_weights_are_averaged_once():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(3, 3)
            self.two = self.one

    from types import SimpleNamespace

    average, model = WeightAverage(0.9), Tied()
    average.learn = SimpleNamespace(model=model)
    average.install()
    start = model.one.weight.detach().clone()
    with torch.no_grad():
        model.one.weight += 1
    average.updates = 10**6
    average.after_step()
    assert torch.allclose(average.average.one.weight, start + 0.1, atol=1e-6)
