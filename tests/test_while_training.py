"""What is put in place while a fit trains: when it is there, and that it is gone however the fit ends."""

import pytest
import torch
from fastai.callback import schedule  # noqa: F401 (lr_find, no_bar)
from fastai.callback.core import (
    Callback,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelTrainException,
    CancelValidException,
)
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn

from nsfast.errors import NsfastError
from nsfast.while_training import WhileTraining


class First(WhileTraining):
    """Keeps a diary; putting it in place twice, or taking out what is not there by more than a shrug, is an error."""

    order = 1

    def __init__(self, diary):
        super().__init__()
        self.diary, self.there = diary, False

    def install(self):
        assert not self.there
        self.there = True
        self.diary.append(f"{self.name} in")

    def undo(self):
        if self.there:
            self.there = False
            self.diary.append(f"{self.name} out")


class Second(First):
    order = 2


class Probe(Callback):
    """Writes where the fit is and whether the others are in place, and raises `error` at `event` if it is told to."""

    def __init__(self, diary, watched, order, event=None, error=None):
        super().__init__()
        self.diary, self.watched, self.order, self.event, self.error = diary, watched, order, event, error

    def write(self, event):
        self.diary.append((event, *[callback.there for callback in self.watched]))
        if event == self.event:
            raise self.error

    def before_train(self):
        self.write("before train")

    def before_batch(self):
        self.write("training" if self.learn.training else "validating")

    def after_train(self):
        self.write("after train")

    def before_validate(self):
        self.write("before validation")

    def after_epoch(self):
        self.write("after epoch")


class Flawed(list):
    """Items one of which cannot be read."""

    def __getitem__(self, i):
        if i == 5:
            raise OSError("picture 5 is cut off")
        return super().__getitem__(i)


def learner(*callbacks, items=list):
    data = items((torch.full((4,), float(i)), i % 2) for i in range(8))
    loaders = DataLoaders(DataLoader(data, bs=4), DataLoader(list(data)[:4], bs=4))
    return Learner(loaders.cpu(), nn.Linear(4, 2), loss_func=CrossEntropyLossFlat(), lr=1e-3, cbs=callbacks)


def fit(learn, epochs=1, **options):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, **options)


def watched(order=100, event=None, error=None, **options):
    """A learner with two callbacks that are watched, the watcher's place in the order being `order`."""
    diary = []
    callbacks = [Second(diary), First(diary)]
    learn = learner(*callbacks, Probe(diary, callbacks, order, event, error), **options)
    return learn, callbacks, diary


def gone(learn, callbacks):
    return not any(callback.there for callback in callbacks) and "_do_epoch_train" not in learn.__dict__


def test_both_go_in_by_their_order_and_out_in_reverse_in_the_training_part_of_every_epoch():
    learn, callbacks, diary = watched()
    fit(learn, 2)
    assert diary == 2 * [
        "first in",
        "second in",
        ("before train", True, True),
        ("training", True, True),
        ("training", True, True),
        ("after train", True, True),
        "second out",
        "first out",
        ("before validation", False, False),
        ("validating", False, False),
        ("after epoch", False, False),
    ]
    assert gone(learn, callbacks)


def test_they_are_gone_before_any_other_callback_hears_of_validation():
    learn, _, diary = watched(order=-100)
    fit(learn)
    assert diary[0] == ("before train", False, False)
    assert ("training", True, True) in diary and ("before validation", False, False) in diary


def test_undo_is_harmless_at_any_time_and_installing_again_does_not_install_twice():
    learn, callbacks, _ = watched()
    for callback in callbacks:
        callback.undo(), callback.undo()
        callback.before_train(), callback.before_train()  # `install` says so if it is there
        assert callback.there
        callback.before_validate(), callback.after_fit(), callback.after_fit()
    assert gone(learn, callbacks)


def test_they_are_never_in_place_in_predictions_and_validation():
    learn, callbacks, diary = watched()
    with learn.no_bar():
        learn.get_preds(), learn.get_preds(ds_idx=0), learn.validate()
    assert {entry[0] for entry in diary} >= {"before validation", "validating"}
    assert all(entry[1:] == (False, False) for entry in diary) and gone(learn, callbacks)


class Predicts(Callback):
    """Asks for predictions in the middle of training."""

    order = 200

    def after_batch(self):
        if self.learn.training:
            self.learn.get_preds(inner=True)
            raise CancelFitException


def test_predictions_in_the_middle_of_training_do_not_find_them_either():
    learn, callbacks, diary = watched()
    learn.add_cb(Predicts())
    fit(learn)
    assert diary.index(("training", True, True)) < diary.index(("validating", False, False)) and gone(
        learn, callbacks
    )


TRAINING = ["before train", "training", "after train"]
STOPS = [CancelTrainException, CancelEpochException, CancelFitException, KeyboardInterrupt, RuntimeError,
         NsfastError, CancelValidException]  # fmt: skip


@pytest.mark.parametrize("order", [-100, 100])
@pytest.mark.parametrize("event", TRAINING)
@pytest.mark.parametrize("stop", STOPS)
def test_they_are_gone_however_the_training_part_ends(stop, event, order):
    error = stop("stopped")
    learn, callbacks, diary = watched(order, event, error)
    try:
        fit(learn, 2)
    except BaseException as caught:
        assert caught is error
    assert gone(learn, callbacks)
    places = [entry for entry in diary if isinstance(entry, tuple)]
    assert all(entry[1:] == (False, False) for entry in places if entry[0] not in TRAINING)
    if stop is CancelTrainException and event != "after train":
        assert [entry[0] for entry in places].count("before validation") == 2
    learn.remove_cb(learn.probe)
    diary.clear()
    fit(learn)  # and the next fit is a usual one
    assert diary == ["first in", "second in", "second out", "first out"]


@pytest.mark.parametrize("event", ["before validation", "validating", "after epoch"])
@pytest.mark.parametrize("stop", [CancelEpochException, CancelFitException, KeyboardInterrupt, RuntimeError])
def test_they_are_gone_however_validation_ends(stop, event):
    learn, callbacks, _ = watched(100, event, stop("stopped"))
    try:
        fit(learn, 2)
    except (KeyboardInterrupt, RuntimeError, CancelEpochException):
        pass
    assert gone(learn, callbacks)


def test_a_skipped_batch_changes_nothing():
    learn, callbacks, diary = watched(100, "training", CancelBatchException())
    fit(learn)
    assert diary.count(("training", True, True)) == 2 and gone(learn, callbacks)


def test_they_are_gone_after_a_picture_that_cannot_be_read():
    learn, callbacks, diary = watched(items=Flawed)
    with pytest.raises(OSError, match="cut off"):
        fit(learn)
    assert ("training", True, True) in diary and gone(learn, callbacks)


class Refuses(First):
    order = 3

    def install(self):
        super().install()
        raise NsfastError("this network will not do")


def test_what_cannot_be_put_in_place_takes_the_others_out_with_it():
    diary = []
    callbacks = [First(diary), Refuses(diary), Second(diary)]
    learn = learner(*callbacks)
    with pytest.raises(NsfastError, match="this network will not do"):
        fit(learn)
    assert diary == ["first in", "second in", "refuses in", "refuses out", "second out", "first out"]
    assert gone(learn, callbacks)


class Lends(First):
    """Has something for the whole fit."""

    def before_fit(self):
        self.learn.lent = True

    def after_fit(self):
        super().after_fit()
        self.learn.lent = False


@pytest.mark.parametrize("stop", STOPS)
def test_what_a_callback_has_for_the_whole_fit_it_gives_back_when_training_fails_too(stop):
    error = stop("stopped")
    learn = learner(Lends([]), Probe([], [], 0, "training", error))
    try:
        fit(learn)
    except BaseException as caught:
        assert caught is error
    assert learn.lent is False and gone(learn, [learn.lends])


def test_they_may_come_with_a_single_fit_and_are_there_while_a_learning_rate_is_sought(tmp_path):
    diary = []
    callbacks = [First(diary)]
    learn = learner()
    fit(learn, cbs=callbacks)
    assert diary == ["first in", "first out"] and gone(learn, callbacks)
    learn.path = tmp_path
    learn.add_cbs([*callbacks, Probe(diary, callbacks, 100)])
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=3, show_plot=False, suggest_funcs=None)
    assert diary.count(("training", True)) >= 3 and gone(learn, callbacks)


@pytest.mark.parametrize("stop", [None, CancelTrainException, CancelFitException, RuntimeError])
def test_they_and_mixup_share_a_fit(stop):
    learn, callbacks, diary = watched(100, "training" if stop else None, stop and stop("stopped"))
    loss = learn.loss_func
    learn.add_cb(MixUp())
    try:
        fit(learn)
    except RuntimeError:
        pass
    assert ("training", True, True) in diary and gone(learn, callbacks)
    if stop is not RuntimeError:  # which MixUp itself does not survive
        assert learn.loss_func is loss
