"""Memory and disk, against real tensors and files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from safetensors.torch import save_file

from nsfast.images import Split
from nsfast.labels import Origin, write_labels
from nsfast.models import build_model
from nsfast.pipeline.cost.footprint import (
    activation_bytes,
    checkpoint_bytes,
    label_bytes,
    model_bytes,
    passing_bytes,
    training_memory,
)
from nsfast.pipeline.cost.picture_counts import PictureCounts
from nsfast.pipeline.cost.work import NetworkAt, TrainingWork
from nsfast.training import Recipe
from nsfast.training.average import WeightAverage
from nsfast.training.learner import PseudoLabeled, build_learner
from nsfast.training.phases import Phase
from nsfast.training.targets import Distributions, usual_top

COUNTS = PictureCounts(3, 1, 8, 12, 24, 6, 6, False, "a test")
SMALL = NetworkAt("small", 1, 3, 1, 8)


def learner(recipe, counts=COUNTS):
    random = np.random.default_rng(0)

    def split(n):
        pixels = random.integers(0, 256, (n, counts.size, counts.size, counts.channels), np.uint8)
        return Split(np.array([str(i) for i in range(n)]), pixels, np.arange(n) % counts.classes)

    pool = split(counts.unlabeled)
    shares = np.full((len(pool), counts.classes), 1 / counts.classes, np.float32)
    if top := usual_top(counts.classes):
        likeliest = np.tile(np.arange(top, dtype=np.uint16), (len(pool), 1))
        shares = Distributions(shares[:, :top], counts.classes, likeliest)
    pseudo = PseudoLabeled(pool.pixels, shares, np.ones(len(pool), np.int64)) if recipe.ratio else None
    return build_learner(
        recipe, counts.classes, ([0.5], [0.5]), split(counts.labeled), split(counts.validation), pseudo
    )


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "sgd"])
def test_memory_of_weights_gradients_optimizer_and_average_is_that_of_the_tensors(optimizer, tmp_path, work):
    recipe = Recipe(size=1, batch=4, epochs=1, steps_per_epoch=1, ratio=2, optimizer=optimizer)
    made, average, gradients = learner(recipe), WeightAverage(0.9), []

    class Look(Callback):
        def before_step(self):
            gradients.extend(p.grad for p in self.model.parameters())

    with made.no_bar(), made.no_logging():
        made.fit(1, wd=[0.0, 0.0], cbs=[average, Look()])

    def size(tensors):
        return sum(t.numel() * t.element_size() for t in tensors)

    parts = training_memory(work(recipe), COUNTS)
    state = made.opt.opt.state_dict()["state"].values()
    kept = [v for each in state for v in each.values() if isinstance(v, torch.Tensor) and v.ndim]
    assert parts["weights"] == parts["average"] == size(made.model.state_dict().values())
    assert parts["average"] == size(average.average.state_dict().values())
    assert parts["gradients"] == size(gradients)
    assert parts["optimizer"] == size(kept)
    held = [d.pixels for d in (made.dls.train_ds, made.dls.valid_ds)] + [made.dls.train_ds.targets]
    assert parts["pictures"] == size(held)
    tensors = {f"raw.{k}": v for k, v in made.model.state_dict().items()}
    tensors |= {f"ema.{k}": v.clone() for k, v in tensors.items()}
    save_file({**tensors, **{f"opt.{i}": v for i, v in enumerate(kept)}}, tmp_path / "all")
    save_file(tensors, tmp_path / "model")
    for file, expected in (("all", checkpoint_bytes(SMALL, recipe)), ("model", model_bytes(SMALL))):
        content = (tmp_path / file).read_bytes()
        assert (
            len(content) - 8 - int.from_bytes(content[:8], "little") == expected
        )  # names stand before the tensors


def test_activations_are_what_autograd_saves_in_a_real_pass():
    model = build_model("resnet18", 10, 3).train()
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}

    def saved(n):
        found = {}

        def keep(t):
            s = t.untyped_storage()
            if s.data_ptr() not in own:
                found[s.data_ptr()] = s  # held, so that no other takes its place
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = torch.nn.functional.cross_entropy(
                model(torch.rand(n, 3, 32, 32)), torch.full((n, 10), 0.1)
            )
        size = sum(s.nbytes() for s in found.values())
        return size + 0 * loss.item()

    assert activation_bytes(NetworkAt("resnet18", 1, 10, 3, 32)) == pytest.approx(
        (saved(5) - saved(3)) / 2, rel=0.02
    )


def test_memory_follows_precision_processes_and_parts(work):
    one = training_memory(work(Recipe(size=1, batch=8, ratio=1)), COUNTS)
    half = training_memory(work(Recipe(size=1, batch=8, ratio=1, precision="bfloat16")), COUNTS)
    two = training_memory(work(Recipe(size=1, batch=8, ratio=1, accumulate=2), processes=2), COUNTS)
    assert (
        one["activations"]
        == 16 * activation_bytes(SMALL)
        == 2 * half["activations"]
        == 4 * two["activations"]
    )
    assert one["copies"] == 0 and half["copies"] == 2 * SMALL.parameters and two["copies"] == two["gradients"]
    frozen = TrainingWork(SMALL, Phase("finetune", Recipe(size=1, batch=8), frozen=2), 1, 0)
    held = training_memory(frozen, COUNTS)
    assert 0 < held["gradients"] < one["gradients"] and held["weights"] == one["weights"]


def test_labeling_passes_at_least_the_widest_layer():
    # the stem of a ResNet at 64 pixels: 3 x 64 x 64 in, 64 x 32 x 32 out; then normalised and activated in place
    assert passing_bytes(NetworkAt("resnet18", 1, 10, 3, 64)) == 2 * 64 * 32 * 32 * 4


@pytest.mark.parametrize("classes", [100, 101])
def test_pictures_and_targets_on_the_device_are_as_large_as_said(classes, work):
    counts, recipe = replace(COUNTS, classes=classes), Recipe(size=1, batch=4, ratio=2)
    made = learner(recipe, counts)
    held = [data.pixels for data in (made.dls.train_ds, made.dls.valid_ds)] + [made.dls.train_ds.targets]
    assert training_memory(work(recipe), counts)["pictures"] == sum(
        t.numel() * t.element_size() for t in held
    )


@pytest.mark.parametrize("classes", [10, 100, 101, 1000])
def test_labels_take_no_more_disk_than_said_and_not_much_less(classes, tmp_path):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2000, classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    origin = Origin(tuple(map(str, range(classes))), "t", top=usual_top(classes))
    (shard,) = write_labels(tmp_path, shares, origin).paths
    size = shard.stat().st_size / len(shares)
    assert 0.4 * label_bytes(classes) < size < 1.05 * label_bytes(classes)
