"""The base of callbacks that put something in place while a fit trains, and take it out again however that ends."""

from __future__ import annotations

from functools import partial

from fastai.callback.core import Callback, CancelEpochException, CancelFitException
from torch import nn

from nsfast.errors import NsfastError


class WhileTraining(Callback):
    """Calls `install` before the training part of every epoch and `undo` after it, however it ends.

    Validation, `get_preds`, `validate` and `tta` find the learner as it was, also in the middle of a fit. A subclass
    writes `install` and `undo`; `undo` may be called when there is nothing to undo. One that also changes something for
    the whole fit puts that back in `after_fit`, which is called for a fit that fails in an epoch, too.
    """

    def _nothing(self) -> None:
        pass

    # what a callback lacks, fastai looks up in the learner and the network, for every event of every batch
    before_batch = after_pred = after_loss = before_backward = after_backward = _nothing
    before_step = after_step = after_batch = _nothing

    @property
    def training(self) -> bool:
        return self.learn.training

    def install(self) -> None:
        """Put it in place."""

    def undo(self) -> None:
        """Take it out again, if it is in place."""

    def before_epoch(self):
        # fastai has no event for a fit that fails, nor one after all callbacks have seen `after_train`
        for part in _PARTS:
            setattr(self.learn, part, partial(_then_undo, self.learn, part))

    def before_train(self):
        self.undo()
        self.install()

    def before_validate(self):
        self.undo()

    def after_fit(self):
        self.undo()
        for part in _PARTS:
            self.learn.__dict__.pop(part, None)


_PARTS = ("_do_epoch_train", "_do_epoch_validate")


def _then_undo(learn, part: str, *arguments, **named) -> None:
    ours = [callback for callback in learn.cbs.sorted("order") if isinstance(callback, WhileTraining)]
    ours.reverse()  # the last one in may have replaced what an earlier one put there
    learn.__dict__.pop(part, None)
    try:
        getattr(learn, part)(*arguments, **named)
    except (CancelEpochException, CancelFitException):
        raise
    except BaseException:
        for callback in ours:
            callback.after_fit()
        raise
    finally:
        for callback in ours:
            callback.undo()


def refuse_compiled(model: nn.Module, what: str) -> None:
    """Raise `NsfastError` for a network under torch.compile, whose compiled code knows nothing of hooks set later."""
    for module in model.modules():
        if getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod"):
            raise NsfastError(
                f"{what} works by hooks, which a network compiled by torch.compile may ignore; train without it"
            )
