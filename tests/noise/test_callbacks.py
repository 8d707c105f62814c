"""RandAugment in a fastai Learner: in the training part of a fit and nowhere else, and shown as a fit will see it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.callback.core import (
    Callback,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
from fastai.callback.progress import ProgressCallback  # noqa: F401, gives Learner its `no_bar`
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import Datasets
from fastai.data.transforms import IndexSplitter, IntToFloatTensor, Normalize
from fastai.learner import Learner
from fastai.torch_core import TensorCategory, TensorImage, TensorImageBW
from fastai.vision.core import PILImage, PILImageBW, imagenet_stats
from fastai.vision.data import ImageBlock
from torch import nn

from nsfast.noise import RandAugment, RandAugmentTransform

CPU = torch.device("cpu")
PLAIN, NOISED = ["IntToFloatTensor"], ["IntToFloatTensor", "RandAugmentTransform"]


class Seeing(nn.Module):
    """A linear classifier that remembers the pictures it is given."""

    def __init__(self):
        super().__init__()
        self.fc, self.seen = nn.Linear(64, 3), []

    def forward(self, x):
        self.seen.append((self.training, x.detach().as_subclass(torch.Tensor).clone()))
        return self.fc(x.flatten(1))


def learner(tiny, *callbacks, n=2, m=9, **options):
    """12 pictures to train in 2 batches, 12 to validate in one."""
    pixels = np.concatenate([tiny.labeled.pixels, tiny.validation.pixels])
    labels = np.concatenate([tiny.labeled.labels, tiny.validation.labels])
    sets = Datasets(
        list(range(24)),
        [[lambda i: TensorImage(torch.from_numpy(pixels[i]).permute(2, 0, 1))],
         [lambda i: TensorCategory(torch.tensor(labels[i]))]],
        splits=[list(range(12)), list(range(12, 24))],
    )  # fmt: skip
    loaders = sets.dataloaders(bs=6, val_bs=12, num_workers=0, device=CPU, after_batch=[IntToFloatTensor()])
    return Learner(loaders, Seeing(), nn.CrossEntropyLoss(), cbs=[RandAugment(n, m, **options), *callbacks])


def clean(seen, split) -> bool:
    """Whether every picture seen is one of the split, to the bit."""
    rows = {p.tobytes() for p in split.pixels.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)}
    return all(x.numpy().tobytes() in rows for _, batch in seen for x in batch)


def names(loader):
    return [type(transform).__name__ for transform in loader.after_batch.fs]


def fit(learn, epochs=2, **options):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 1e-3, **options)


def test_only_the_training_batches_of_a_fit_are_noised(tiny):
    learn = learner(tiny)
    fit(learn)
    training, validating = ([s for s in learn.model.seen if s[0] is mode] for mode in (True, False))
    assert len(training) == 4 and not any(clean([batch], tiny.labeled) for batch in training)
    assert len(validating) == 2 and clean(validating, tiny.validation)


@pytest.mark.parametrize("options", [{"n": 0}, {"probability": 0}])
def test_without_operations_training_sees_the_plain_pictures(tiny, options):
    learn = learner(tiny, **options)
    fit(learn)
    assert clean([s for s in learn.model.seen if s[0]], tiny.labeled)


class AskingInside(Callback):
    """Asks for predictions of the training split while the fit goes on."""

    order = 70

    def after_epoch(self):
        self.learn.model.seen.clear()
        self.learn.get_preds(ds_idx=0, inner=True)
        self.asked = list(self.learn.model.seen)


def test_get_preds_validate_and_tta_never_see_it_on_any_split(tiny):
    inside, learn = AskingInside(), learner(tiny)
    with learn.no_bar(), learn.no_logging():
        for _ in range(2):  # before a fit, and after it
            for index, split in enumerate((tiny.labeled, tiny.validation)):
                learn.model.seen.clear()
                learn.get_preds(ds_idx=index), learn.validate(index), learn.tta(index, n=2)
                assert len(learn.model.seen) > 4 and clean(learn.model.seen, split)
            learn.fit(1, 1e-3, cbs=inside)
            assert len(inside.asked) == 2 and clean(inside.asked, tiny.labeled)


class Cancelling(Callback):
    """Raises in the second training batch, or in the validation, of the first epoch."""

    order = 80

    def __init__(self, error, where):
        super().__init__()
        self.error, self.where = error, where

    def after_batch(self):
        if self.epoch == 0 and (self.iter == 1 if self.where == "train" else not self.training):
            assert names(self.dls.train) == (NOISED if self.where == "train" else PLAIN)
            raise self.error


@pytest.mark.parametrize(
    ("error", "where"),
    [(error, "train") for error in (CancelFitException, CancelEpochException, CancelTrainException)]
    + [(error, "validate") for error in (CancelFitException, CancelEpochException, CancelValidException)],
)
def test_it_is_gone_after_a_fit_that_is_cancelled(tiny, error, where):
    learn = learner(tiny, Cancelling(error, where))
    fit(learn, 1)
    assert names(learn.dls.train) == names(learn.dls.valid) == PLAIN
    assert all(clean([seen], tiny.validation) for seen in learn.model.seen if not seen[0])


@pytest.mark.parametrize("error", [CancelBatchException, CancelStepException])
def test_a_cancelled_batch_changes_nothing_about_the_others(tiny, error):
    learn = learner(tiny, Callback(before_step=lambda _: (_ for _ in ()).throw(error)))
    fit(learn)
    training = [s for s in learn.model.seen if s[0]]
    assert len(training) == 4 and not any(clean([batch], tiny.labeled) for batch in training)
    assert names(learn.dls.train) == PLAIN


@pytest.mark.parametrize(
    "event", ["before_batch", "after_loss", "after_train", "before_validate", "after_epoch"]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fit_after_one_that_broke_off_noises_once(tiny, error, event):
    def stop(_):
        raise error("broken off")

    learn, breaking = learner(tiny), Callback(**{event: stop})
    with pytest.raises(error):
        fit(learn, cbs=breaking)
    assert names(learn.dls.train) == PLAIN
    inside = []
    fit(learn, 1, cbs=Callback(before_batch=lambda _: inside.append(names(learn.dls.train))))
    assert inside == [NOISED, NOISED, PLAIN] and names(learn.dls.train) == PLAIN


def test_a_loader_made_before_the_fit_stays_clean(tiny):
    inside, learn = [], learner(tiny)
    before = learn.dls.train.new()
    fit(learn, 1, cbs=Callback(before_batch=lambda _: inside.append(names(before))))
    assert inside == [PLAIN] * 3 and names(before) == PLAIN
    assert clean([(True, x.as_subclass(torch.Tensor)) for x, _ in before], tiny.labeled)


def test_without_the_callback_a_fit_is_clean_again(tiny):
    learn = learner(tiny)
    fit(learn, 1)
    learn.remove_cbs(RandAugment)
    learn.model.seen.clear()
    fit(learn, 1)
    assert clean([s for s in learn.model.seen if s[0]], tiny.labeled)


# what is shown, on loaders of fastai's own making


def picture(kind) -> np.ndarray:
    ramp = np.arange(64 * 3, dtype=np.uint8).reshape(8, 8, 3)
    return ramp[..., 0] if kind is PILImageBW else ramp


def loaders(kind=PILImage, batch_tfms=None):
    block = DataBlock(
        blocks=(ImageBlock(kind), CategoryBlock),
        get_x=lambda i: picture(kind),
        get_y=lambda i: i % 3,
        splitter=IndexSplitter(range(6, 12)),
        batch_tfms=batch_tfms,
    )
    return block.dataloaders(list(range(12)), bs=6, num_workers=0, device=CPU)


def normalize():
    return Normalize.from_stats(*imagenet_stats, cuda=False)


def levels(x, normalized=False) -> np.ndarray:
    """A batch as (n, height, width, channels) 0..255."""
    x = x.as_subclass(torch.Tensor)
    if normalized:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in imagenet_stats)
        x = x * std + mean
    return (x * 255).round().permute(0, 2, 3, 1).numpy()


def shown() -> np.ndarray:
    """The pictures in the axes of the current figure, as levels; closes it."""
    arrays = [np.asarray(axes.images[0].get_array()) for axes in plt.gcf().axes if axes.images]
    plt.close("all")
    return np.stack(arrays).astype(int)


@pytest.mark.parametrize(("kind", "tensor"), [(PILImage, TensorImage), (PILImageBW, TensorImageBW)])
def test_as_a_batch_transform_it_noises_and_shows_the_training_split_alone(kind, tensor):
    dls = loaders(kind, [RandAugmentTransform(1, 9, operations=("Invert",))])
    plain = picture(kind).reshape(8, 8, -1).astype(int)
    assert names(dls.train) == ["IntToFloatTensor", "RandAugmentTransform"]
    for loader, expected in ((dls.train, 255 - plain), (dls.valid, plain)):
        x = loader.one_batch()[0]
        assert type(x) is tensor and (levels(x) == expected).all()
        loader.show_batch(max_n=4)
        assert (shown() == expected.squeeze()).all()


def test_as_a_batch_transform_it_stands_before_normalize():
    dls = loaders(batch_tfms=[normalize(), RandAugmentTransform(1, 9, operations=("Invert",))])
    assert names(dls.train) == ["IntToFloatTensor", "RandAugmentTransform", "Normalize"]
    plain = picture(PILImage).astype(int)
    assert (levels(dls.train.one_batch()[0], normalized=True) == 255 - plain).all()
    assert (levels(dls.valid.one_batch()[0], normalized=True) == plain).all()
    dls.show_batch(max_n=4)
    assert abs(shown() - (255 - plain)).max() <= 1  # fastai decodes to levels by truncation


def inverting(dls):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    return Learner(dls, net, nn.CrossEntropyLoss(), cbs=RandAugment(1, 9, operations=("Invert",)))


@pytest.mark.parametrize("normalized", [False, True])
def test_the_callback_shows_what_a_fit_will_see_and_leaves_the_loaders_as_they_were(normalized):
    dls = loaders(batch_tfms=[normalize()] if normalized else None)
    learn, plain, seen = inverting(dls), picture(PILImage).astype(int), []
    before, transforms = names(dls.train), dls.train.after_batch.fs
    assert (levels(learn.rand_augment.one_batch()[0], normalized) == 255 - plain).all()
    for unique in (False, True):
        learn.rand_augment.show_batch(max_n=4, unique=unique)
        pictures = shown()
        assert len(pictures) == 4 and abs(pictures - (255 - plain)).max() <= 1  # fastai decodes by truncation
    assert names(dls.train) == before and dls.train.after_batch.fs is transforms
    assert (levels(dls.train.one_batch()[0], normalized) == plain).all()
    dls.show_batch(max_n=2)
    assert abs(shown() - plain).max() <= 1
    fit(
        learn,
        1,
        cbs=Callback(before_batch=lambda cb: seen.append((cb.training, levels(cb.xb[0], normalized)))),
    )
    assert [training for training, _ in seen] == [True, False]
    assert (seen[0][1] == 255 - plain).all() and (seen[1][1] == plain).all()


def test_what_fails_while_it_is_shown_leaves_the_loaders_as_they_were(monkeypatch):
    learn = inverting(loaders())

    def failing():
        assert names(learn.dls.train) == NOISED
        raise KeyboardInterrupt

    monkeypatch.setattr(learn.dls.train, "create_batches", lambda samples: failing())
    for show in (learn.rand_augment.one_batch, learn.rand_augment.show_batch):
        with pytest.raises(KeyboardInterrupt):
            show()
        assert names(learn.dls.train) == PLAIN


def test_a_batch_asked_for_in_the_middle_of_a_fit_is_noised_once_and_the_fit_goes_on():
    learn, plain, asked, seen = inverting(loaders()), picture(PILImage).astype(int), [], []

    def ask(callback):
        asked.append(levels(learn.rand_augment.one_batch()[0]))
        seen.append(names(learn.dls.train))

    fit(learn, 2, cbs=Callback(after_batch=ask))
    assert seen == [NOISED, PLAIN] * 2 and all((batch == 255 - plain).all() for batch in asked)
