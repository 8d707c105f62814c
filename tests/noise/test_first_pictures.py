"""Noise on the first pictures of a batch alone: the others pass as if there were none, the first as ever."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import timm
import torch
from fastai.torch_core import TensorImage
from torch import nn
from torchvision import models as torchvision

from nsfast.errors import NsfastError
from nsfast.models import SmallBlock, build_model
from nsfast.noise import FinalDropout, RandAugmentTransform, StochasticDepth, rand_augment
from nsfast.noise.depth import _Drop
from nsfast.noise.dropout import final_layer

FIRST = 3
BATCH = 7
DROPOUTS = {
    "small, 0.8": lambda: build_model("small", 3, dropout=0.8),
    "torchvision efficientnet": lambda: torchvision.efficientnet_b0(num_classes=3),
    "timm convnext, 0.8": lambda: timm.create_model("test_convnext", num_classes=3, drop_rate=0.8),
    "timm resnet18, 0.8": lambda: timm.create_model("resnet18", num_classes=3, drop_rate=0.8),
    "timm resnet18": lambda: timm.create_model("resnet18", num_classes=3),
}


def installed(callback, net):
    callback.learn = SimpleNamespace(model=net)
    callback.install()
    return callback


def test_randaugment_leaves_the_others_to_the_bit_and_draws_for_the_first_as_if_they_were_alone():
    x = torch.rand(BATCH, 3, 16, 16)
    torch.manual_seed(1)
    out = RandAugmentTransform(2, 9, first=FIRST).encodes(TensorImage(x))
    torch.manual_seed(1)
    alone = rand_augment(x[:FIRST], 2, 9)
    assert torch.equal(out[FIRST:].as_subclass(torch.Tensor), x[FIRST:])
    assert torch.equal(out[:FIRST].as_subclass(torch.Tensor), alone) and not torch.equal(alone, x[:FIRST])


@pytest.mark.parametrize("family", DROPOUTS)
def test_dropout_reaches_the_final_layer_of_the_first_alone_and_goes_again(family):
    net = DROPOUTS[family]().eval()
    seen, x = [], torch.rand(BATCH, 3, 32, 32)
    layer = final_layer(net)
    before = net(x)
    callback = installed(FinalDropout(0.4, FIRST), net)
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    for (
        module
    ) in net.modules():  # dropout acts; batch normalisation keeps its statistics, and no branch is left out
        still = isinstance(module, nn.modules.batchnorm._BatchNorm)
        module.training = not still and type(module).__name__ not in ("DropPath", "StochasticDepth")
    for _ in range(30):
        net(x)
    net.eval()
    net(x)
    *dropped, clean = seen
    kept = torch.stack(dropped)[:, :FIRST] != 0
    alive = (clean[:FIRST] != 0).expand_as(kept)
    for one in dropped:
        assert torch.allclose(one[FIRST:], clean[FIRST:], atol=1e-5)
        close = torch.isclose(one[:FIRST], clean[:FIRST] / 0.6, atol=1e-4)
        assert (close | (one[:FIRST] == 0)).all()
    share, n = kept[alive].float().mean(), int(alive.sum())
    assert abs(share - 0.6) <= 4 * (0.24 / n) ** 0.5
    callback.undo()
    assert torch.allclose(net(x), before) and len(layer._forward_pre_hooks) == 1  # the test's own


@pytest.mark.parametrize("alive", [(1, 0, 1), (0, 0, 0), (1, 1, 1)])
@pytest.mark.parametrize("subset", [True, False], ids=["subset", "mask"])
def test_depth_leaves_out_branches_of_the_first_alone(subset, alive, monkeypatch):
    """Against x + factor * branch, whose branch is computed of those pictures that take part."""
    torch.manual_seed(0)
    drawn = torch.tensor([*alive, 0, 0, 0, 0], dtype=torch.bool)  # the others too, were they not spared
    monkeypatch.setattr(_Drop, "survivors", lambda self, count: drawn)
    block, x = SmallBlock(8, 8, 1).train(), torch.randn(BATCH, 8, 6, 6)
    plain = deepcopy(block)
    installed(StochasticDepth(0.4, "uniform", subset, FIRST), nn.Sequential(block))
    factors = torch.tensor([a / 0.6 for a in alive] + [1.0] * (BATCH - FIRST))
    part = factors > 0 if subset else torch.ones(BATCH, dtype=torch.bool)
    branch = torch.zeros_like(x)
    branch[part] = plain(x[part]) - x[part]
    assert torch.allclose(block(x), x + factors[:, None, None, None] * branch, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilevit_xxs", "tnt_s_legacy_patch16_224", "test_vit"])
def test_a_network_that_makes_several_rows_of_a_picture_noises_those_of_the_first(name):
    """At a rate near 1 no branch is left of a noised picture, and what it comes to is far from the clean one."""
    torch.manual_seed(0)
    size = {} if name == "mobilevit_xxs" else {"img_size": 32}
    net, x = timm.create_model(name, num_classes=3, **size).eval(), torch.rand(4, 3, 32, 32)
    clean = net(x)
    installed(StochasticDepth(0.9, "uniform", first=2), net)
    for module in net.modules():  # branches are left out; batch normalisation keeps its statistics
        still = isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout)
        module.training = not still
    apart = (torch.stack([net(x) for _ in range(8)]) - clean).abs().amax((0, 2))
    assert (apart[:2] > 1e-2).all() and (apart[2:] < 1e-4).all()


def test_rows_that_belong_to_no_picture_are_refused():
    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = SmallBlock(8, 8, 1)

        def forward(self, x):
            return self.block(x[:5])

    net = Halved()
    installed(StochasticDepth(0.5, "uniform", first=2), net)
    with pytest.raises(NsfastError, match="5 rows of 7 pictures"):
        net.train()(torch.randn(BATCH, 8, 4, 4))


@pytest.mark.parametrize("noise", [RandAugmentTransform, FinalDropout, StochasticDepth])
def test_a_negative_number_of_pictures_is_refused(noise):
    with pytest.raises(NsfastError, match="first is -2; it must be at least 0"):
        noise(first=-2)


def test_none_of_the_pictures_is_a_network_without_its_own_noise():
    net = timm.create_model("test_convnext", num_classes=3, drop_path_rate=0.9, drop_rate=0.9)
    x = torch.rand(4, 3, 32, 32)
    clean = net.eval()(x)
    for callback in (StochasticDepth(0.5, first=0), FinalDropout(0.5, first=0)):
        installed(callback, net)
    assert torch.allclose(net.train()(x), clean, atol=1e-6)
    assert torch.equal(RandAugmentTransform(first=0).encodes(TensorImage(x)).as_subclass(torch.Tensor), x)


@pytest.mark.parametrize("subset", [True, False], ids=["subset", "mask"])
def test_one_spared_picture_brings_another_along_for_batch_norm(subset, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(_Drop, "survivors", lambda self, count: torch.zeros(count, dtype=torch.bool))
    block, x = SmallBlock(8, 8, 1).train(), torch.randn(3, 8, 1, 1)
    plain = deepcopy(block)
    installed(StochasticDepth(0.4, "uniform", subset, 2), nn.Sequential(block))
    out = block(x)
    groups = [(0, 2), (1, 2)] if subset else [(0, 1, 2)]
    assert torch.equal(out[:2], x[:2])
    assert any(torch.allclose(out[2], plain(x[list(group)])[-1], atol=1e-5) for group in groups)


@pytest.mark.parametrize("subset", [True, False], ids=["subset", "mask"])
def test_the_draws_of_the_first_are_those_of_a_whole_batch(subset):
    block, x = SmallBlock(8, 8, 1).eval(), torch.randn(200, 8, 4, 4)
    outs = []
    for first in (None, 200, 120):
        net = nn.Sequential(deepcopy(block))
        installed(StochasticDepth(0.5, "uniform", subset, first), net)
        net[0].training = True
        torch.manual_seed(3)
        outs.append(net(x))
    whole, all_of_it, some = outs
    assert torch.allclose(whole, all_of_it, atol=1e-6) and torch.equal(all_of_it[:120], some[:120])
    assert torch.allclose(some[120:], block(x[120:]), atol=1e-6)
