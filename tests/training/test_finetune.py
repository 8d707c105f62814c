"""Fine-tuning with the first blocks held still: to the bit, weights and statistics, through a real fit."""

from dataclasses import replace

import pytest
import torch
from fastai.callback.core import Callback
from torch import nn

from nsfast.errors import NsfastError
from nsfast.models import build_model
from nsfast.noise.depth import residual_blocks
from nsfast.training import Recipe
from nsfast.training.finetune import freeze_first, require_finetune
from nsfast.training.learner import build_learner
from nsfast.training.train import train

RECIPE = Recipe(size=1, epochs=2, steps_per_epoch=3, batch=4, ratio=0, ema=0.6, stochastic_depth=0.5)
NETWORKS = (
    "small",
    "test_efficientnet",
    "test_resnet",
    "test_vit",
    "test_convnext",
    "torchvision/mobilenet_v2",
)


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def fitted(tiny, frozen, **changes):
    """The state before and after a fit of two epochs, and the learner."""
    recipe = replace(RECIPE, **changes)
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, frozen=frozen)
    before = state(learn.model)
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-2)
    return before, state(learn.model), learn


@pytest.mark.parametrize("frozen", [1, 2, 5])
def test_stem_and_first_blocks_are_bit_still_and_all_else_moves(tiny, frozen):
    before, after, _ = fitted(tiny, frozen)
    still = ("normalize.", "body.stem.", *(f"body.blocks.{i}." for i in range(frozen)))
    expected = {name for name in before if not name.startswith(still)}
    assert moved(before, after) == expected
    assert any("running_mean" in name for name in before if name.startswith(still))


def test_without_frozen_blocks_everything_moves(tiny):
    before, after, _ = fitted(tiny, 0)
    assert moved(before, after) == {name for name in before if not name.startswith("normalize.")}


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "sgd"])
def test_weight_decay_does_not_move_them_either(tiny, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, weight_decay=0.5, learning_rate=1e-3)
    learn = build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, frozen=3)
    before = state(learn.model)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3, wd=[0.5, 0.5])
    still = moved(before, state(learn.model))
    assert still and not any(
        name.startswith(("body.stem", "body.blocks.0", "body.blocks.2")) for name in still
    )
    held = {id(p) for p in learn.model.parameters() if not p.requires_grad}
    assert held and not held & {id(p) for group in learn.opt.opt.param_groups for p in group["params"]}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_in_any_network_what_comes_before_the_block_is_held_and_what_comes_after_learns(architecture):
    """By the gradient: a block learns if and only if its number is not below."""
    model = build_model(architecture, 3, 3, 1, pixels=160 if architecture == "test_vit" else None)
    blocks = [block.block for block in residual_blocks(model)]
    frozen = len(blocks) // 2
    freeze_first(model, frozen)
    for number, block in enumerate(blocks):
        assert {p.requires_grad for p in block.parameters()} == {number >= frozen}
    inside = {id(p) for block in blocks for p in block.parameters()}
    around = [(n, p.requires_grad) for n, p in model.named_parameters() if id(p) not in inside]
    assert not around[0][1] and around[-1][1]  # the stem; the final layer
    learns = [learning for _, learning in around]
    assert learns == sorted(learns)
    side = 160 if architecture == "test_vit" else 64
    model.train()(torch.rand(2, 3, side, side)).sum().backward()
    for parameter in model.parameters():
        assert parameter.requires_grad or parameter.grad is None


def test_the_modules_returned_are_those_that_no_longer_learn(tiny):
    model = build_model("small", 3, 1, 1)
    held = freeze_first(model, 2)
    named = dict(model.named_modules())
    assert {n for n, m in named.items() if m in held} == {
        "body.stem",
        *(
            n
            for n, m in named.items()
            if n.startswith(("body.blocks.0", "body.blocks.1")) and list(m.parameters())
        ),
    }
    assert freeze_first(build_model("small", 3, 1, 1), 0) == []


class Modes(Callback):
    """Which modules are in training mode while a batch is trained on, and how many pictures each block computes."""

    order = 95

    def __init__(self):
        super().__init__()
        self.modes, self.counts = [], []

    def before_fit(self):
        for number, block in enumerate(self.model.body.blocks):
            block.conv1.register_forward_hook(self.count(number))

    def count(self, number):
        def hook(module, inputs, out):
            if self.training:
                self.counts.append((number, len(out)))

        return hook

    def before_batch(self):
        modes = {name for name, module in self.model.named_modules() if module.training}
        self.modes.append((self.training, modes))


def test_nothing_is_dropped_and_no_statistics_taken_in_a_frozen_block(tiny):
    """Stochastic depth computes surviving pictures alone in a block that learns, and all of them in a frozen one."""
    recipe = replace(RECIPE, batch=12, stochastic_depth=0.9)
    learn, seen = (
        build_learner(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, frozen=4),
        Modes(),
    )
    with learn.no_bar(), learn.no_logging():
        learn.fit(3, 1e-3, cbs=seen)
    for number in range(4):
        assert {count for block, count in seen.counts if block == number} == {12}
    assert min(count for block, count in seen.counts if block == 5) < 12
    for training, modes in seen.modes:
        assert bool(modes) == training
        if training:
            assert "body" in modes and "body.blocks.4.bn1" in modes and "body.dropout" in modes
            assert not any(name.startswith(("body.stem", "body.blocks.0", "body.blocks.3")) for name in modes)


def test_dropout_in_a_frozen_block_is_inert(tiny):
    """A block with a dropout inside gives the same twice while it is frozen."""
    model = build_model("small", 3, 1, 1)
    model.body.blocks[0].drop_path = nn.Dropout(0.5)
    x = torch.rand(4, 8, 8, 8)
    model.train()
    assert not torch.equal(*(model.body.blocks[0](x) for _ in range(2)))
    for module in freeze_first(model, 1):
        module.eval()
    assert torch.equal(*(model.body.blocks[0](x) for _ in range(2)))


@pytest.mark.parametrize("frozen", [6, 7, 100])
def test_a_network_with_fewer_blocks_is_refused_before_anything_is_trained(tiny, tmp_path, frozen):
    said = f"finetune_frozen is {frozen}, but Network has 6 blocks; leave one to learn"
    with pytest.raises(NsfastError, match=said):
        freeze_first(build_model("small", 3, 1, 1), frozen)
    recipe = replace(RECIPE, finetune_epochs=1.0, finetune_frozen=frozen)
    with pytest.raises(NsfastError, match=said):
        train(recipe, 3, tiny.statistics(), tiny.labeled, tiny.validation, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(NsfastError, match="finetune_frozen is -1; it must be at least 0"):
        freeze_first(build_model("small", 3, 1, 1), -1)


def test_a_resolution_that_the_weights_are_not_made_for_is_refused_before_anything_is_trained():
    require_finetune(("small", 3, 1, 1), 2, 8, 16)
    require_finetune(("test_vit", 3, 3, 1), 1, 160, 160)
    with pytest.raises(
        NsfastError, match="finetune_resolution is 192, but body.pos_embed of 'test_vit' .* 160 pixels"
    ):
        require_finetune(("test_vit", 3, 3, 1), 0, 160, 192)


def test_a_training_s_fine_tuning_holds_the_average_s_first_blocks_still(tiny, tmp_path):
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation)
    plain = train(RECIPE, *images, folder=tmp_path / "a")
    recipe = replace(RECIPE, finetune_epochs=1.5, finetune_frozen=3, finetune_learning_rate=1e-2)
    tuned = train(recipe, *images, folder=tmp_path / "b")
    still = ("normalize.", "body.stem.", "body.blocks.0.", "body.blocks.1.", "body.blocks.2.")
    expected = {name for name in tuned.model.state_dict() if not name.startswith(still)}
    for network in (tuned.model, tuned.average):
        assert moved(state(plain.average), state(network)) == expected
    assert len(tuned.history) == 3 and [row["epoch"] for row in tuned.history] == [1, 2, 3]
    assert tuned.history[:2] == plain.history


def test_fine_tuned_weights_learn_again_in_another_training(tiny, tmp_path):
    """What was frozen is so for one fit: neither files nor weights by name carry it."""
    images = (3, tiny.statistics(), tiny.labeled, tiny.validation)
    recipe = replace(RECIPE, finetune_epochs=1.5, finetune_frozen=3)
    start = train(recipe, *images, folder=tmp_path / "a").average.state_dict()
    after = train(RECIPE, *images, folder=tmp_path / "b", start=start).model
    assert all(p.requires_grad for p in after.parameters())
    assert "body.stem.weight" in moved(start, state(after))
