"""Stochastic depth on the blocks of common families: who is dropped, what is left, what it is on average."""

from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import timm
import torch
from fastai.vision.models import xresnet
from torch import nn
from torchvision import models as torchvision
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import SwinTransformer

from nsfast.models import SmallNet
from nsfast.noise.depth import StochasticDepth, _Drop, residual_blocks

RATE = 0.4  # not a half, which is its own complement


class Family(NamedTuple):
    """A network to build and what is known of its blocks.

    Args:
        build: makes it.
        tail: module of a block whose output is the branch, where an activation follows the sum.
        activation: name of that activation.
        parts: modules of a block with two branches, one of each.
        plain: whether the subset form is possible.
    """

    build: object
    tail: str = ""
    activation: str = ""
    parts: tuple = ()
    plain: bool = True


def from_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=3, **options)


def small_convnext():
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)], num_classes=3)


def small_swin():
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=3)


def small_maxvit():
    return MaxVit(
        (32, 32), stem_channels=8, partition_size=2, block_channels=[8, 16], block_layers=[2, 2], head_dim=4,
        stochastic_depth_prob=0.2, num_classes=3,
    )  # fmt: skip


FAMILIES = {
    "nsfast small": Family(lambda: SmallNet(3, channels=3, size=1)),
    "torchvision efficientnet": Family(lambda: torchvision.efficientnet_b0(num_classes=3)),
    "torchvision convnext": Family(small_convnext),
    "torchvision swin": Family(small_swin, parts=("attn", "mlp"), plain=False),
    "torchvision resnet18": Family(lambda: torchvision.resnet18(num_classes=3), "bn2", "relu"),
    "torchvision resnet50": Family(lambda: torchvision.resnet50(num_classes=3), "bn3", "relu"),
    "torchvision mobilenet_v2": Family(lambda: torchvision.mobilenet_v2(num_classes=3)),
    "torchvision maxvit": Family(small_maxvit, parts=("attn_layer", "mlp_layer"), plain=False),
    "timm efficientnet": Family(from_timm("efficientnet_b0")),
    "timm efficientnet, 0.2": Family(from_timm("efficientnet_b0", drop_path_rate=0.2)),
    "timm resnet18": Family(from_timm("resnet18"), "bn2", "act2"),
    "timm resnet18, 0.2": Family(from_timm("resnet18", drop_path_rate=0.2), "bn2", "act2"),
    "timm seresnet": Family(from_timm("legacy_seresnet18"), "se_module", "relu"),
    "timm convnext": Family(from_timm("test_convnext")),
    "timm vit": Family(from_timm("test_vit", img_size=32), parts=("attn", "mlp"), plain=False),
    "timm vit, 0.2": Family(
        from_timm("test_vit", img_size=32, drop_path_rate=0.2), parts=("attn", "mlp"), plain=False
    ),
    "timm mobilenetv3": Family(from_timm("mobilenetv3_small_050")),
    "timm regnet": Family(from_timm("regnetx_002"), "conv3", "act3", plain=False),
    "timm resnetv2": Family(from_timm("resnetv2_18"), plain=False),
    "fastai xresnet18": Family(lambda: xresnet.xresnet18(n_out=3), "convpath", "act"),
    "fastai xse_resnet18": Family(lambda: xresnet.xse_resnet18(n_out=3), "convpath", "act"),
}
EACH = pytest.mark.parametrize("family", FAMILIES)
PLAIN = pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.plain])
ACTIVATED = pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.tail])
FORMS = pytest.mark.parametrize("subset", [True, False], ids=["subset", "mask"])


@cache
def network(family):
    """A network in eval mode whose branches weigh something, and what its blocks are given: inputs by block name."""
    torch.manual_seed(0)
    net = FAMILIES[family].build().eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.abs().max() <= 1e-5 and not name.endswith("bias"):  # BatchZero, layer scale
                parameter.fill_(1)
    given = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: given.update({name: inputs[0].detach()})
        )
        for name, module in net.named_modules()
    ]
    with torch.no_grad():
        net(torch.rand(4, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return net, given


def dropped_blocks(family):
    """First, middle and last of the blocks that can be dropped, each with its input."""
    net, given = network(family)
    blocks = [block for block in residual_blocks(net) if block.branches]
    blocks = [blocks[i] for i in sorted({0, len(blocks) // 2, len(blocks) - 1})]
    return net, [(block.block, given[block.name]) for block in blocks]


@contextmanager
def training(net, block, subset):
    """Stochastic depth is in place and the block trains, but nothing in it: batch norm stays frozen."""
    callback = StochasticDepth(RATE, "uniform", subset)
    callback.learn = SimpleNamespace(model=net)
    callback.install()
    block.training = True
    try:
        yield
    finally:
        block.training = False
        callback.undo()


@contextmanager
def without(block, activation="", part=""):
    """The block without the activation after its sum, and with a part that gives nothing."""
    kept = getattr(block, activation) if activation else None
    if activation:
        setattr(block, activation, nn.Identity())
    hooks = [getattr(block, part).register_forward_hook(lambda _, i, out: out * 0)] if part else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if activation:
            setattr(block, activation, kept)


@FORMS
@EACH
def test_a_picture_keeps_its_shortcut_or_its_scaled_branch_and_on_average_the_block(family, subset):
    net, blocks = dropped_blocks(family)
    torch.manual_seed(0)
    for block, x in blocks:
        for part in FAMILIES[family].parts or ("",):
            with torch.no_grad(), without(block, FAMILIES[family].activation, part):
                many = x.repeat(50, *[1] * (x.ndim - 1))
                branch = (block(x) - x).repeat(50, *[1] * (x.ndim - 1))
                with training(net, block, subset):
                    out = block(many)
            # how much of its branch a picture has: one number for all its channels and places
            size = branch.square().flatten(1).sum(1)
            share = ((out - many) * branch).flatten(1).sum(1) / size
            assert size.min() > 0
            assert torch.allclose(
                out, many + share.view(-1, *[1] * (x.ndim - 1)) * branch, atol=1e-3, rtol=1e-3
            )
            dropped = share.abs() < 1e-3
            assert torch.equal(out[dropped], many[dropped])
            assert torch.allclose(share[~dropped], torch.tensor(1 / (1 - RATE)), atol=1e-3)
            n = len(many)
            assert abs(dropped.float().mean() - RATE) < 4 * (RATE * (1 - RATE) / n) ** 0.5
            assert abs(share.mean() - 1) < 3 * share.std() / n**0.5
            # neighbours know nothing of each other: both go with the square of the rate
            both = (dropped[:-1] & dropped[1:]).float().mean()
            assert abs(both - RATE**2) < 4 * (RATE**2 * (1 - RATE**2) * 2 / n) ** 0.5


@FORMS
@ACTIVATED
def test_the_activation_after_the_sum_acts_on_dropped_pictures_too(family, subset):
    net, blocks = dropped_blocks(family)
    torch.manual_seed(0)
    for block, x in blocks:
        x, branch = x - x.mean(), []  # negative values too, for the activation to take
        hook = getattr(block, FAMILIES[family].tail).register_forward_hook(
            lambda _, i, out, seen=branch: seen.append(out.clone())
        )
        with torch.no_grad():
            block(x)
            hook.remove()
            with training(net, block, subset):
                out = block(x.repeat(10, 1, 1, 1)).unflatten(0, (10, len(x)))
        dropped = torch.tensor(
            [[torch.allclose(o, i.relu()) for o, i in zip(row, x, strict=True)] for row in out]
        )
        kept = (x + branch[0] / (1 - RATE)).relu()
        assert dropped.any() and not dropped.all()
        assert torch.allclose(out[~dropped], kept.expand_as(out)[~dropped], atol=1e-3, rtol=1e-3)


@FORMS
@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.parts])
def test_the_branches_of_a_block_are_dropped_one_by_one(family, subset):
    net, blocks = dropped_blocks(family)
    torch.manual_seed(0)
    block, x = blocks[-1]
    many = x.repeat(100, *[1] * (x.ndim - 1))
    with torch.no_grad(), training(net, block, subset):
        neither = (block(many) == many).flatten(1).all(1).float().mean()
    assert abs(neither - RATE**2) < 4 * (RATE**2 * (1 - RATE**2) / len(many)) ** 0.5


ALIVE = {"some": [1, 0, 1, 1], "one": [0, 1, 0, 0], "none": [0, 0, 0, 0], "all": [1, 1, 1, 1]}


def with_gradients(block, x):
    """Output of a block, and the gradients of its input and its parameters for an uneven loss."""
    x = x.clone().requires_grad_()
    out = block(x)
    loss = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()
    parameters = list(block.parameters())
    gradients = torch.autograd.grad(loss, [x, *parameters], allow_unused=True)
    return [out.detach(), *[torch.zeros(()) if g is None else g for g in gradients]]


def same(ours, theirs):
    scale = [max(1.0, float(b.abs().max())) for b in theirs]
    return all(torch.allclose(a, b, atol=2e-4 * s) for a, b, s in zip(ours, theirs, scale, strict=True))


@pytest.mark.parametrize("alive", ALIVE)
@PLAIN
def test_both_forms_are_the_same_function_of_the_survivors_with_the_same_gradients(
    family, alive, monkeypatch
):
    """With batch norm frozen; the reference is made of the plain block alone."""
    net, blocks = dropped_blocks(family)
    alive = torch.tensor(ALIVE[alive], dtype=torch.bool)
    monkeypatch.setattr(_Drop, "survivors", lambda self, count: alive)
    block, x = blocks[len(blocks) // 2]
    rows = []
    first = next(m for m in block.modules() if isinstance(m, nn.Conv2d))
    hook = first.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    results = {}
    for activation in {"", FAMILIES[family].activation}:  # what is taken away; "" is the block as it is
        for subset in (True, False):
            with without(block, activation), training(net, block, subset):
                results[activation, subset] = with_gradients(block, x)
    hook.remove()
    assert set(rows) == {4, max(2, int(alive.sum()))} and len(rows) == len(results)
    for activation in {"", FAMILIES[family].activation}:
        assert same(results[activation, True], results[activation, False])
    keep = (alive / (1 - RATE)).view(-1, 1, 1, 1)

    def by_hand(x):
        return x + keep * (block(x) - x)

    by_hand.parameters = block.parameters
    with without(block, FAMILIES[family].activation):
        assert same(results[FAMILIES[family].activation, True], with_gradients(by_hand, x))


@FORMS
@EACH
def test_a_whole_network_trains_and_is_as_it_was_in_eval_mode(family, subset):
    net, _ = network(family)
    torch.manual_seed(0)
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        before = net(x)
        callback = StochasticDepth(0.5, subset=subset)
        callback.learn = SimpleNamespace(model=net)
        callback.install()
        assert torch.equal(net(x), before)
        for block in residual_blocks(net):
            block.block.training = True
        assert not torch.equal(net(x), net(x))
        net.eval()
        callback.undo()
        assert torch.equal(net(x), before)
