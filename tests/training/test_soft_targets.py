"""`SoftTargets` in a Learner: in place for training alone, logged, undone; all the noise together in one fit."""

import fastai.vision.learner  # noqa: F401, knows how to show results
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.callback.core import (
    Callback,
    CancelEpochException,
    CancelFitException,
    CancelTrainException,
)
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.schedule import fit_one_cycle  # noqa: F401, gives Learner the method
from fastai.callback.training import GradientAccumulation
from fastai.interpret import ClassificationInterpretation
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from torch import nn
from torch.nn import functional as F

from nsfast.errors import NsfastError
from nsfast.losses import SoftTargets, soft_accuracy
from nsfast.models import SmallNet
from nsfast.noise import FinalDropout, RandAugment, StochasticDepth
from nsfast.training.average import WeightAverage
from nsfast.training.batches import joint_loaders
from nsfast.training.pictures import Pictures

LABELED, PSEUDO = 4, 8


def loaders(tiny, soft=True):
    random = np.random.default_rng(0)
    count = len(tiny.unlabeled)
    labels = torch.eye(3)[tiny.labeled.labels]
    pseudo = torch.from_numpy(random.dirichlet([1, 1, 1], count)).float()
    targets = torch.cat([labels, pseudo]) if soft else torch.cat([labels, pseudo]).argmax(1)
    train = Pictures([tiny.labeled.pixels, tiny.unlabeled.pixels], targets, 0, vocab=tiny.classes)
    valid = Pictures(
        [tiny.validation.pixels], torch.from_numpy(tiny.validation.labels), 1, vocab=tiny.classes
    )
    groups = [np.arange(12), np.arange(12, 12 + count)]
    return joint_loaders(train, groups, valid, LABELED, PSEUDO, 3, torch.device("cpu"))


def learner(tiny, *callbacks, soft=True, model=None, metrics=accuracy):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    return Learner(
        loaders(tiny, soft), model, loss_func=CrossEntropyLossFlat(), metrics=metrics, cbs=list(callbacks)
    )


def fit(learn, epochs=2, **options):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 1e-2, **options)


class Seen(Callback):
    """Keeps logits, targets and losses, and which loss was in place."""

    order = 80

    def __init__(self):
        super().__init__()
        self.training_rows, self.validation_losses = [], []

    def after_loss(self):
        if self.training:
            self.training_rows.append((self.pred.detach(), self.yb[0].clone(), self.loss.item()))
        else:
            self.validation_losses.append(self.loss_func)


@pytest.mark.parametrize("normalisation", ["concat", "per_stream", "official"])
def test_the_loss_of_a_fit_is_the_normalised_one_and_either_stream_is_logged(tiny, normalisation):
    seen, callback = Seen(), SoftTargets(LABELED, normalisation, label_smoothing=0.2)
    learn = learner(tiny, seen, callback)
    fit(learn, 1)
    streams = []
    for logits, target, loss in seen.training_rows:
        each = -(target.double() * logits.double().log_softmax(1)).sum(1)
        labeled, pseudo = each[:LABELED].mean(), each[LABELED:].mean()
        streams.append((labeled.item(), pseudo.item()))
        ratio = PSEUDO / LABELED
        expected = {
            "concat": each.mean(), "per_stream": labeled + pseudo, "official": labeled + ratio * pseudo
        }[normalisation]  # fmt: skip
        assert loss == pytest.approx(expected.item(), rel=1e-5)
    names = list(learn.recorder.metric_names)
    assert names[-3:-1] == ["labeled_loss", "pseudo_loss"]
    assert list(learn.recorder.values[-1])[-2:] == pytest.approx(np.mean(streams, axis=0).tolist(), rel=1e-5)


def test_it_is_in_place_for_training_alone_and_gone_after_it(tiny):
    seen, callback = Seen(), SoftTargets(LABELED)
    learn = learner(tiny, seen, callback)
    original, metrics = learn.loss_func, len(learn.metrics)
    fit(learn)
    assert set(seen.validation_losses) == {original}
    assert learn.loss_func is original and len(learn.metrics) == metrics
    assert "_do_epoch_train" not in vars(learn)


class Breaking(Callback):
    order = 70

    def __init__(self, error):
        super().__init__()
        self.error = error

    def after_batch(self):
        if self.training and self.iter == 1:
            raise self.error


BREAKS = [
    CancelFitException,
    CancelEpochException,
    CancelTrainException,
    KeyboardInterrupt,
]


@pytest.mark.parametrize("mix", [None, MixUp, CutMix])
@pytest.mark.parametrize("error", BREAKS)
def test_loss_and_metrics_are_back_however_a_fit_ends(tiny, error, mix):
    learn = learner(tiny, SoftTargets(LABELED), Breaking(error), *([mix()] if mix else []))
    original, metrics = learn.loss_func, len(learn.metrics)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            fit(learn)
    else:
        fit(learn)
    assert learn.loss_func is original and len(learn.metrics) == metrics
    assert "_do_epoch_train" not in vars(learn)


@pytest.mark.parametrize("soft", [True, False])
def test_it_trains_on_indices_and_distributions_alike(tiny, soft):
    seen = Seen()
    learn = learner(tiny, seen, SoftTargets(LABELED, targets="hard", label_smoothing=0.3), soft=soft)
    fit(learn, 1)
    for _, target, _ in seen.training_rows:
        assert torch.allclose(target.sort(1).values, torch.tensor([0.1, 0.1, 0.8]).expand(12, 3), atol=1e-6)


def test_mixup_mixes_prepared_targets_under_the_normalised_loss(tiny):
    """A slow MixUp: the loss against either target, mixed picture by picture, weighted by stream."""
    mixup, rows = MixUp(0.4), []

    class Keep(Callback):
        order = 80

        def after_loss(self):
            if self.training:
                rows.append((self.pred.detach(), self.yb[0], mixup.yb1[0], mixup.lam, self.loss.item()))

    learn = learner(tiny, SoftTargets(LABELED, "per_stream", label_smoothing=0.3), mixup, Keep())
    fit(learn, 2)
    assert len(rows) == 6
    for logits, own, other, share, loss in rows:
        each = [-(target * logits.log_softmax(1)).sum(1) for target in (other, own)]
        mixed = torch.lerp(*each, share.ravel())
        assert loss == pytest.approx((mixed[:LABELED].mean() + mixed[LABELED:].mean()).item(), rel=1e-5)
        # every labeled picture's target is smoothed, wherever MixUp shuffled it to; soft ones are not
        assert torch.allclose(own.sum(1), torch.ones(12), atol=1e-5)
        assert sorted(map(tuple, own.tolist())) == sorted(map(tuple, other.tolist()))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"normalisation": "conkat"}, "unknown loss normalisation 'conkat'; did you mean 'concat'"),
     ({"targets": "firm"}, "unknown targets 'firm'"), ({"temperature": 0}, "temperature is 0; it must be above 0"),
     ({"label_smoothing": 2}, "label_smoothing is 2; it must be between 0 and 1"), ({"labeled": -1}, "labeled is -1")],
)  # fmt: skip
def test_wrong_settings_are_named_when_it_is_made(options, said):
    with pytest.raises(NsfastError, match=said):
        SoftTargets(**options)


def test_a_validation_that_fails_leaves_loss_and_metrics_as_they_were(tiny):
    class Stop(Callback):
        order = 70

        def before_batch(self):
            if not self.training:
                raise KeyboardInterrupt

    learn = learner(tiny, SoftTargets(LABELED), Stop(), MixUp())
    original, metrics = learn.loss_func, len(learn.metrics)
    with pytest.raises(KeyboardInterrupt):
        fit(learn)
    assert learn.loss_func is original and len(learn.metrics) == metrics


def test_validate_has_no_columns_of_a_training(tiny):
    learn = learner(tiny, SoftTargets(LABELED))
    with learn.no_bar():
        assert len(learn.validate()) == 2
        fit(learn, 1)
        assert len(learn.validate()) == 2


def test_a_loss_that_is_set_after_a_fit_stays(tiny):
    learn = learner(tiny, SoftTargets(LABELED))
    fit(learn, 1)
    learn.loss_func = other = CrossEntropyLossFlat(label_smoothing=0.1)
    with learn.no_bar():
        learn.validate(), learn.get_preds()
    assert learn.loss_func is other


def test_noise_under_the_loader_of_distributed_training(tiny):
    """fastai wraps the loaders in before_fit."""
    from fastai.distributed import DistributedDL

    learn = learner(tiny, RandAugment())
    wrapped = DistributedDL(learn.dls.train, 0, 1)
    learn.dls.loaders = [wrapped, learn.dls.valid]
    learn.rand_augment.install()
    assert "RandAugmentTransform" in [type(f).__name__ for f in wrapped.dl.after_batch.fs]
    learn.rand_augment.undo()
    assert "RandAugmentTransform" not in [type(f).__name__ for f in wrapped.dl.after_batch.fs]


def test_everything_works_together(tiny, tmp_path, capsys):
    average = WeightAverage(0.9)
    noise = [RandAugment(2, 9, operations="all"), StochasticDepth(0.5), FinalDropout(0.5)]
    training = [MixUp(), MixedPrecision(), GradientAccumulation(24), average]
    learn = learner(
        tiny, SoftTargets(LABELED), *noise, *training, model=SmallNet(3, 1, 1), metrics=soft_accuracy
    )
    keys, before = list(learn.model.state_dict()), list(map(type, learn.dls.train.after_batch.fs))
    with learn.no_bar():
        learn.fit_one_cycle(4, 1e-2)
    rows = np.array(learn.recorder.values, float)
    assert rows.shape == (4, 5) and np.isfinite(rows).all()
    assert average.updates == 6  # 12 batches of 12 pictures, two to a step
    assert (
        list(learn.model.state_dict()) == keys and list(map(type, learn.dls.train.after_batch.fs)) == before
    )
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in learn.model.modules())

    with learn.no_bar():
        logits, labels, losses = learn.get_preds(with_loss=True)
        again, _ = learn.get_preds()
        views, _ = learn.tta()
    assert torch.allclose(views, logits, atol=1e-6)  # tta is not noised
    assert torch.equal(logits, again) and torch.allclose(logits.sum(1), torch.ones(12), atol=1e-5)
    assert torch.allclose(losses, F.nll_loss(logits.log(), labels, reduction="none"), atol=1e-4)

    learn.model = average.average
    learn.remove_cbs([MixedPrecision, average])
    learn.export(tmp_path / "learner.pkl")
    with pytest.warns(UserWarning, match="load_learner"):
        loaded = load_learner(tmp_path / "learner.pkl")
    with loaded.no_bar():
        same = loaded.get_preds(dl=learn.dls.valid)[0]
    assert torch.equal(same, logits)

    with learn.no_bar():
        found = ClassificationInterpretation.from_learner(learn)
        assert found.confusion_matrix().sum() == 12
        learn.show_results(max_n=4), learn.rand_augment.show_batch(max_n=4)
        shown = plt.gcf()
    titles = [axes.get_title() for axes in shown.axes]
    plt.close("all")
    assert len(titles) == 4 and all(title.split()[0] in tiny.classes for title in titles)
