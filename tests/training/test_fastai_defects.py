"""What nsfast works around in fastai: each test fails once fastai has mended it, and says what may then go."""

import inspect

import pytest
import torch
from fastai.callback.core import Callback, CancelStepException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.load import DataLoader
from fastai.distributed import DistributedDL
from fastai.learner import Learner
from fastai.torch_core import maybe_gather, set_seed
from torch import nn

MENDED = "fastai has mended this: {}"


def learner(path="."):
    torch.manual_seed(0)
    data = [(torch.randn(4), torch.randn(1)) for _ in range(8)]
    loaders = DataLoaders(
        *(DataLoader(data, bs=4, shuffle=s, num_workers=0, device="cpu") for s in (True, False))
    )
    return Learner(loaders, nn.Linear(4, 1), loss_func=nn.functional.mse_loss, path=path)


def fit(learn, epochs=3, **options):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, 1e-2, **options)
    return learn


def test_distributed_loaders_cannot_be_used_without_a_gpu():
    assert ".cuda()" in inspect.getsource(DistributedDL._broadcast), MENDED.format(
        "DistributedDL runs on CPUs; see whether Learner.distrib_ctx can take the place of "
        "nsfast.training.processes.Distribute (it still gives every process consecutive batches)"
    )


def test_the_loss_of_every_batch_is_exchanged_between_processes(monkeypatch):
    calls = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "all_gather", lambda *arguments, **named: calls.append(0))
    maybe_gather(torch.ones(()))
    assert calls and inspect.signature(Learner.to_detach).parameters["gather"].default is True, MENDED.format(
        "join_processes in nsfast.training.processes may leave WORLD_SIZE in the environment"
    )


def test_the_order_of_an_epoch_is_a_list_of_python_numbers():
    rows = TfmdDL(list(range(100)), shuffle=True, num_workers=0).get_idxs()
    assert isinstance(rows, list) and isinstance(rows[0], int), MENDED.format(
        "JointDL.get_idxs and sample in nsfast.training.batches need no arrays of their own"
    )


def test_loaders_made_by_new_forget_what_a_subclass_was_given():
    class Given(TfmdDL):
        def __init__(self, dataset=None, extra=0, **options):
            self.extra = extra
            super().__init__(dataset, **options)

    assert Given([1, 2, 3], extra=5, num_workers=0).new().extra == 0, MENDED.format(
        "JointDL.new in nsfast.training.batches need not name its arguments"
    )


def test_mixed_precision_is_for_cuda_alone():
    assert "autocast('cuda'" in inspect.getsource(MixedPrecision.before_fit), MENDED.format(
        "Network.autocast in nsfast.models.network may become fastai's to_bf16"
    )


def test_continuing_at_an_epoch_with_a_tracker_fails(tmp_path):
    with pytest.raises(IndexError):
        fit(learner(tmp_path), start_epoch=2, cbs=SaveModelCallback(monitor="valid_loss"))
        pytest.fail(MENDED.format("_Skipped in nsfast.training.checkpoint may go (fastai #3780)"))


def test_continuing_at_an_epoch_is_not_what_the_whole_training_would_have_been(tmp_path):
    set_seed(0)
    whole = fit(learner())
    set_seed(0)
    first = fit(learner(), 1)
    first.path = tmp_path
    first.save("one")
    second = learner(tmp_path)
    second.load("one", with_opt=True)
    fit(second, start_epoch=1)
    assert not torch.equal(second.model.weight, whole.model.weight), MENDED.format(
        "start_epoch continues to the bit; see what of nsfast.training.checkpoint can be its"
    )


def test_a_step_that_is_cancelled_is_told_as_done():
    told = []

    class Cancelling(Callback):
        def before_step(self):
            raise CancelStepException

        def after_step(self):
            told.append(0)

    fit(learner(), 1, cbs=Cancelling())
    assert told, MENDED.format("`skipped` in nsfast.training.average and nsfast.training.schedule may go")


def test_what_an_event_raises_is_reworded():
    class Failing(Callback):
        def before_batch(self):
            raise ValueError("one line")

    with pytest.raises(ValueError) as caught:
        fit(learner(), 1, cbs=Failing())
    assert str(caught.value) != "one line", MENDED.format(
        "Checkpoint.problem and what nsfast.training.train makes of it may go"
    )


def test_a_fit_that_fails_tells_its_callbacks_nothing():
    told = []

    class Failing(Callback):
        def before_batch(self):
            raise ValueError("one line")

        def after_fit(self):
            told.append(0)

        after_cancel_fit = after_fit

    with pytest.raises(ValueError):
        fit(learner(), 1, cbs=Failing())
    assert not told, MENDED.format("_then_undo in nsfast.while_training may go")
