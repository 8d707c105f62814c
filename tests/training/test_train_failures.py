"""A training that runs out of memory, or whose loss is no number: what is said, and what is left."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nsfast.errors import NsfastError
from nsfast.models import Network
from nsfast.training import Recipe
from nsfast.training import checkpoint as checkpoint_module
from nsfast.training.average import WeightAverage
from nsfast.training.learner import PseudoLabeled
from nsfast.training.train import out_of_memory, train

RECIPE = Recipe(size=1, epochs=3, steps_per_epoch=4, batch=4, ratio=2, ema=0.6, randaugment_m=3)


def run(tiny, folder, recipe=RECIPE, **options):
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], len(tiny.unlabeled)).astype(np.float32)
    pseudo = PseudoLabeled(tiny.unlabeled.pixels, probabilities, np.ones(len(tiny.unlabeled), np.int64))
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation, pseudo)
    return train(recipe, *images, folder, **options)


def at_batch(monkeypatch, number, happens):
    """Let something happen to the logits of the training's forward pass of that number, from 1."""
    forward, passes = Network.forward, []

    def counted(self, x):
        if not self.training:
            return forward(self, x)
        passes.append(len(x))
        return happens(forward(self, x)) if len(passes) == number else forward(self, x)

    monkeypatch.setattr(Network, "forward", counted)
    return passes


def full(logits):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def no_number(logits):
    return logits * float("nan")


def file_in(folder) -> Path:
    (path,) = [p for p in folder.glob("checkpoint-*.safetensors") if "previous" not in p.name]
    return path


@pytest.mark.parametrize("resolution", [0, 12])
def test_too_little_memory_names_everything_that_could_be_changed(tiny, tmp_path, monkeypatch, resolution):
    at_batch(monkeypatch, 2, full)
    with pytest.raises(NsfastError) as caught:
        run(tiny, tmp_path, replace(RECIPE, resolution=resolution))
    assert str(caught.value) == (
        f"out of memory with 12 pictures of {resolution or 8} pixels at once in float32: set accumulate=2 (now 1) or "
        "precision=bfloat16 and run again, it goes on anew; or lower batch (now 4) or resolution, which is another "
        "recipe and starts anew"
    )


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"precision": "bfloat16"}, {"accumulate": 4}])
def test_with_what_was_named_it_goes_on_from_the_checkpoint(tiny, tmp_path, monkeypatch, changes):
    at_batch(monkeypatch, 7, full)
    with pytest.raises(
        NsfastError, match=r"accumulate=2 \(now 1\) or .* and run again, it goes on from the last"
    ):
        run(tiny, tmp_path, minutes=0)
    monkeypatch.undo()
    updates, after_step = [], WeightAverage.after_step
    monkeypatch.setattr(
        WeightAverage, "after_step", lambda self: (after_step(self), updates.append(self.updates))[0]
    )
    passes = at_batch(monkeypatch, -1, None)
    trained = run(tiny, tmp_path, replace(RECIPE, **changes), minutes=0)
    # six steps were done and saved; the seventh is repeated
    parts = changes.get("accumulate", 1)
    assert passes == [12 // parts] * 6 * parts and updates[-1] == 12
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]


def test_the_rest_of_the_step_s_pictures_are_those_that_were_not_seen(tiny, tmp_path, monkeypatch):
    """More parts from the middle of an epoch on: every step has the pictures that it would have had."""
    seen = {}

    def follow(name):
        forward = Network.forward

        def kept(self, x):
            if self.training:
                seen.setdefault(name, []).extend(p.numpy().tobytes() for p in x.as_subclass(torch.Tensor))
            return forward(self, x)

        monkeypatch.setattr(Network, "forward", kept)

    recipe = replace(RECIPE, randaugment_n=0)
    follow("whole")
    run(tiny, tmp_path / "whole", recipe)
    monkeypatch.undo()
    at_batch(monkeypatch, 7, full)
    with pytest.raises(NsfastError, match="out of memory"):
        run(tiny, tmp_path / "parts", recipe, minutes=0)
    monkeypatch.undo()
    follow("rest")
    run(tiny, tmp_path / "parts", replace(recipe, accumulate=2), minutes=0)
    steps = [sorted(seen["whole"][12 * i : 12 * i + 12]) for i in range(6, 12)]
    assert [sorted(seen["rest"][12 * i : 12 * i + 12]) for i in range(6)] == steps


def test_only_what_could_help_is_named(tmp_path):
    def said(processes=1, **changes):
        recipe = replace(Recipe(batch=12, ratio=0), **changes)
        return out_of_memory(recipe, 224, tmp_path / "checkpoint.safetensors", processes)

    assert "set accumulate=2 (now 1) or precision=bfloat16" in said()
    assert "12 pictures of 224 pixels at once in float32" in said()
    assert "set accumulate=4 (now 3) and run" in said(accumulate=3, precision="bfloat16")
    assert "set precision=bfloat16 and" in said(accumulate=6)  # the next parts would be single pictures
    last = said(accumulate=6, precision="bfloat16")
    assert "set " not in last and last.endswith(
        "bfloat16: lower batch (now 12) or resolution, which is another recipe and starts anew"
    )
    assert "6 pictures" in said(2) and "set accumulate=2" in said(2)
    assert "set accumulate=12 (now 6)" in said(ratio=1, accumulate=6)


@pytest.mark.parametrize("parts", range(1, 12))
def test_the_parts_that_are_named_can_be_set(tmp_path, parts):
    for batch in range(2 * parts, 40, parts):
        for processes in (1, 2):
            recipe = Recipe(batch=batch, accumulate=parts)
            try:
                recipe.per_part(processes)
            except NsfastError:
                continue
            found = re.search(r"set accumulate=(\d+)", out_of_memory(recipe, 8, tmp_path / "none", processes))
            possible = [
                n
                for n in range(parts + 1, batch + 1)
                if batch % (n * processes) == 0 and batch // (n * processes) > 1
            ]
            assert bool(found) == bool(possible)
            if found:
                assert int(found[1]) == possible[0]
                assert replace(recipe, accumulate=int(found[1])).per_part(processes)


@pytest.mark.parametrize(("batch", "epoch", "at"), [(2, 1, 2), (7, 2, 3), (12, 3, 4)])
def test_a_loss_that_is_no_number_names_batch_and_epoch_and_leaves_the_last_good_checkpoint(
    tiny, tmp_path, monkeypatch, batch, epoch, at
):
    at_batch(monkeypatch, batch, no_number)
    with pytest.raises(NsfastError) as caught:
        run(tiny, tmp_path)
    said = str(caught.value)
    assert f"the loss is nan at batch {at} of epoch {epoch};" in said and "\n" not in said
    assert "Lower learning_rate or lengthen the warm-up; with precision bfloat16 try float32" in said
    if epoch == 1:
        assert "no checkpoint is there yet" in said and not list(tmp_path.iterdir())
        return
    path = file_in(tmp_path)
    assert f"the last good checkpoint is {path}." in said
    assert all(value.isfinite().all() for value in load_file(path).values())


@pytest.mark.parametrize("minutes", [0, 10])
def test_it_goes_on_from_there_as_if_nothing_had_been(tiny, tmp_path, monkeypatch, minutes):
    whole = run(tiny, tmp_path / "whole")
    at_batch(monkeypatch, 7, no_number)
    with pytest.raises(NsfastError, match="the loss is nan at batch 3 of epoch 2"):
        run(tiny, tmp_path / "broken", minutes=minutes)
    monkeypatch.undo()
    again = run(tiny, tmp_path / "broken", minutes=minutes)
    assert again.history == whole.history
    for one, other in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_within_a_long_epoch_it_is_noticed_after_a_few_batches(tiny, tmp_path, monkeypatch):
    passes = at_batch(monkeypatch, 5, no_number)
    with pytest.raises(
        NsfastError, match="the loss is nan at batch 5 of epoch 1; no checkpoint is there yet"
    ):
        run(tiny, tmp_path, replace(RECIPE, steps_per_epoch=100))
    assert len(passes) == checkpoint_module.CHECK_EVERY


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("batch", [4, 6])
def test_weights_that_are_no_numbers_are_never_saved(tiny, tmp_path, monkeypatch, batch, accumulate):
    """The loss of a batch is finite, its gradient is not: the loss would show it a batch later."""
    step, steps = WeightAverage.after_step, []

    def overflowing(self):
        steps.append(0)
        if len(steps) == batch:
            with torch.no_grad():
                next(self.learn.model.body.parameters()).fill_(float("inf"))
        step(self)

    monkeypatch.setattr(WeightAverage, "after_step", overflowing)
    with pytest.raises(NsfastError):
        run(tiny, tmp_path, replace(RECIPE, accumulate=accumulate), minutes=0)
    for path in tmp_path.glob("checkpoint-*"):
        assert all(value.isfinite().all() for value in load_file(path).values())


def damaged(tiny):
    """Files of which none can be decoded, as a split."""
    from nsfast.images import Split
    from nsfast.images.files import PictureFiles

    names = [f"{name}.png" for name in tiny.labeled.ids]
    return Split(tiny.labeled.ids, PictureFiles("/nowhere", names, 8, 1, workers=1), tiny.labeled.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_decoded_is_named_in_one_line_whoever_decodes_it(tiny, tmp_path, workers):
    recipe, split = replace(RECIPE, ratio=0), damaged(tiny)
    with pytest.raises(NsfastError, match=r"^/nowhere/labeled-\d+.png: .*; restore it") as caught:
        train(recipe, 3, tiny.statistics(), split, split, folder=tmp_path, workers=workers)
    assert "\n" not in str(caught.value)


def test_what_a_callback_refuses_in_a_fit_is_said_in_one_line_too(tiny, tmp_path, monkeypatch):
    from nsfast.noise import StochasticDepth

    def refuse(self):
        raise NsfastError("rate is 7; lower it")

    monkeypatch.setattr(StochasticDepth, "install", refuse)
    with pytest.raises(NsfastError) as caught:
        run(tiny, tmp_path)
    assert str(caught.value) == "rate is 7; lower it"
