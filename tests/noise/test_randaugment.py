"""RandAugment: per picture, seeded, in the training part of a fit and nowhere else."""

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback, CancelEpochException, CancelFitException, CancelTrainException
from fastai.callback.progress import ProgressCallback  # noqa: F401, gives Learner its `no_bar`
from fastai.learner import Learner
from torch import nn

from nsfast.errors import NsfastError
from nsfast.noise import OPERATIONS, RandAugment, rand_augment
from nsfast.noise.operations import GEOMETRIC, POINT, affine, argument_at
from nsfast.training.batches import Pictures, joint_loaders


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def identical(count, channels=1, size=16):
    return torch.rand(1, channels, size, size, generator=seeded(9)).repeat(count, 1, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_identical_pictures_in_a_batch_get_different_outcomes(channels):
    out = rand_augment(identical(64, channels), 2, 9, generator=seeded())
    assert len(torch.unique(out.flatten(1), dim=0)) > 40


def test_zero_operations_are_the_identity_on_a_new_tensor():
    x = identical(4)
    out = rand_augment(x, 0)
    assert torch.equal(out, x) and out.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pictures_go_in_unchanged_and_come_out_on_0_to_1_in_their_shape(n):
    x = torch.rand(32, 3, 9, 13, generator=seeded())
    before = x.clone()
    out = rand_augment(x, n, 27)
    assert torch.equal(x, before) and out.shape == x.shape and out.dtype == x.dtype
    assert out.min() > -1e-6 and out.max() < 1 + 1e-6


def test_a_generator_decides_everything_and_torch_s_own_one_by_default():
    x = identical(32)
    assert torch.equal(rand_augment(x, generator=seeded(1)), rand_augment(x, generator=seeded(1)))
    assert not torch.equal(rand_augment(x, generator=seeded(1)), rand_augment(x, generator=seeded(2)))
    torch.manual_seed(4)
    one = rand_augment(x)
    torch.manual_seed(4)
    assert torch.equal(one, rand_augment(x))
    state = torch.random.get_rng_state()
    rand_augment(x, generator=seeded())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_what_a_slow_loop_over_single_pictures_gives(channels):
    x, generator = torch.rand(48, channels, 16, 16, generator=seeded(3)), seeded(5)
    expected = x.clone()
    for _ in range(3):
        drawn = torch.randint(14, (48,), generator=generator)
        sign = torch.randint(2, (48,), generator=generator) * 2 - 1
        for i in range(48):
            name, one = OPERATIONS[drawn[i]], expected[i : i + 1]
            argument = torch.tensor([argument_at(name, 9, 16)])
            if name in POINT:
                expected[i] = POINT[name](one.clone(), argument)[0]
            else:
                expected[i] = affine(one.clone(), GEOMETRIC[name](argument * sign[i]), 0.25)[0]
    assert torch.allclose(rand_augment(x, 3, 9, fill=0.25, generator=seeded(5)), expected, atol=1e-6)


def test_operations_are_drawn_evenly_and_neighbours_independently():
    names = ("Invert", "Brightness", "Posterize")
    x = torch.full((6000, 1, 8, 8), 0.2)
    x[..., 0] = 0.9
    out = rand_augment(x, 1, 9, names, generator=seeded())
    kinds = torch.unique(out.flatten(1), dim=0, return_inverse=True)[1]
    counts = torch.bincount(kinds)
    assert len(counts) == 3 and (counts - 2000).abs().max() < 5 * (6000 * 2 / 9) ** 0.5
    assert abs((kinds[1:] == kinds[:-1]).float().mean() - 1 / 3) < 0.04


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_moves_go_either_way_half_of_the_time(name):
    out = rand_augment(identical(2000), 1, 9, (name,), generator=seeded())
    counts = torch.unique(out.flatten(1), dim=0, return_counts=True)[1]
    assert len(counts) == 2 and abs(counts[0] - 1000) < 120


def test_pixels_from_outside_have_the_fill_value():
    for fill in (0.0, 0.5, 1.0):
        out = rand_augment(torch.rand(8, 3, 64, 64), 1, 10, ("TranslateX",), fill=fill)
        assert torch.allclose(out, torch.tensor(fill))  # 100 pixels: nothing of the picture is left


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"n": -1}, "randaugment_n is -1"), ({"m": 31}, "randaugment_m is 31"),
     ({"operations": ("Rotat",)}, r"unknown operation 'Rotat'; did you mean 'Rotate'\?")],
)  # fmt: skip
def test_wrong_arguments_are_named_before_any_training(arguments, said):
    with pytest.raises(NsfastError, match=said):
        RandAugment(**arguments)
    with pytest.raises(NsfastError, match=said):
        rand_augment(identical(1), **arguments)


class Seeing(nn.Module):
    """A linear classifier that remembers the pictures it is given."""

    def __init__(self):
        super().__init__()
        self.fc, self.seen = nn.Linear(64, 3), []

    def forward(self, x):
        self.seen.append((self.training, x.detach().as_subclass(torch.Tensor).clone()))
        return self.fc(x.flatten(1))


def learner(tiny, *callbacks, n=2):
    train = Pictures([tiny.labeled.pixels], torch.from_numpy(tiny.labeled.labels), 0)
    valid = Pictures([tiny.validation.pixels], torch.from_numpy(tiny.validation.labels), 1)
    groups = [np.arange(len(tiny.labeled)), np.empty(0, np.int64)]
    loaders = joint_loaders(train, groups, valid, 6, 0, 2, torch.device("cpu"))
    return Learner(loaders, Seeing(), nn.CrossEntropyLoss(), cbs=[RandAugment(n), *callbacks])


def clean(seen, split) -> bool:
    """Whether every picture seen is one of the split, to the bit."""
    rows = {p.tobytes() for p in split.pixels.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)}
    return all(x.numpy().tobytes() in rows for _, batch in seen for x in batch)


def names(loader):
    return [type(transform).__name__ for transform in loader.after_batch.fs]


def fit(learn, epochs=2):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 1e-3)


def test_only_the_training_batches_of_a_fit_are_noised(tiny):
    learn = learner(tiny)
    fit(learn)
    training, validating = ([s for s in learn.model.seen if s[0] is mode] for mode in (True, False))
    assert len(training) == 4 and not clean(training, tiny.labeled)
    assert len(validating) == 2 and clean(validating, tiny.validation)


def test_without_operations_training_sees_the_plain_pictures(tiny):
    learn = learner(tiny, n=0)
    fit(learn)
    assert clean([s for s in learn.model.seen if s[0]], tiny.labeled)


class AskingInside(Callback):
    """Asks for predictions and losses of the training split while the fit goes on."""

    order = 70

    def after_epoch(self):
        self.learn.model.seen.clear()
        self.learn.get_preds(ds_idx=0, inner=True)
        assert len(self.learn.model.seen) == 2
        self.clean = clean(self.learn.model.seen, self.truth)


def test_get_preds_and_validate_never_see_it_on_any_split(tiny):
    inside = AskingInside()
    inside.truth = tiny.labeled
    learn = learner(tiny)
    with learn.no_bar(), learn.no_logging():
        learn.get_preds(ds_idx=0), learn.validate(0), learn.get_preds(ds_idx=1)
        assert clean(learn.model.seen[:-1], tiny.labeled) and clean(learn.model.seen[-1:], tiny.validation)
        learn.fit(1, 1e-3, cbs=inside)
        assert inside.clean
        learn.model.seen.clear()
        learn.get_preds(ds_idx=0), learn.validate(0)
        assert clean(learn.model.seen, tiny.labeled)


class Cancelling(Callback):
    """Raises in the second training batch, or in the validation, of the first epoch."""

    order = 80

    def __init__(self, error, where):
        super().__init__()
        self.error, self.where = error, where

    def after_batch(self):
        if self.epoch == 0 and (self.iter == 1 if self.where == "train" else not self.training):
            assert ("RandAugmentTransform" in names(self.dls.train)) == (self.where == "train")
            raise self.error


@pytest.mark.parametrize("where", ["train", "validate"])
@pytest.mark.parametrize("error", [CancelFitException, CancelEpochException, CancelTrainException])
def test_it_is_gone_after_a_fit_that_is_cancelled(tiny, error, where):
    if error is CancelTrainException and where == "validate":
        error = CancelFitException
    learn = learner(tiny, Cancelling(error, where))
    fit(learn, 1)
    assert names(learn.dls.train) == names(learn.dls.valid) == ["ToFloat"]


def test_a_fit_after_one_that_broke_off_noises_once(tiny):
    breaking = Cancelling(KeyboardInterrupt, "train")
    learn = learner(tiny, breaking)
    with pytest.raises(KeyboardInterrupt):
        fit(learn)
    learn.remove_cb(breaking)
    inside = []
    learn.add_cb(Callback(after_batch=lambda _: inside.append(names(learn.dls.train))))
    fit(learn, 1)
    assert inside[0] == ["ToFloat", "RandAugmentTransform"] and names(learn.dls.train) == ["ToFloat"]


def test_a_loader_made_before_the_fit_stays_clean(tiny):
    learn = learner(tiny)
    before = learn.dls.train.new()
    fit(learn, 1)
    assert names(before) == ["ToFloat"]
