"""Dropout of the final layer: what reaches that layer, on any common classifier, in a fit and after it."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import timm
import torch
from fastai.callback import progress  # noqa: F401 (no_bar)
from fastai.callback.core import Callback, CancelEpochException, CancelFitException, CancelTrainException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.vision.learner import create_head, create_timm_model
from torch import nn
from torchvision import models as torchvision
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

from nsfast.errors import NsfastError
from nsfast.models import SmallNet, build_model
from nsfast.noise import FinalDropout, StochasticDepth
from nsfast.noise.dropout import final_layer

RATE = 0.3


def body(channels):
    return nn.Sequential(nn.Conv2d(3, channels, 3, 2), nn.ReLU())


def small_vgg():
    """The classifier of torchvision's VGG11 at a small size: dropout after each of two hidden layers."""
    hidden = [
        nn.Linear(32 * 7 * 7, 256),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Dropout(),
    ]
    return nn.Sequential(body(32), nn.AdaptiveAvgPool2d(7), nn.Flatten(), *hidden, nn.Linear(256, 3))


def small_convnext():
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)], num_classes=3)


def small_swin():
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=3)


def from_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=3, **options)


# network, and where its final layer is
FAMILIES = {
    "small": (lambda: SmallNet(3, 3), "fc"),
    "small with dropout, normalised": (lambda: build_model("small", 3, dropout=0.8), "body.fc"),
    "torchvision efficientnet": (lambda: torchvision.efficientnet_b0(num_classes=3), "classifier.1"),
    "torchvision convnext": (small_convnext, "classifier.2"),
    "torchvision swin": (small_swin, "head"),
    "torchvision resnet18": (lambda: torchvision.resnet18(num_classes=3), "fc"),
    "vgg": (small_vgg, "9"),
    "squeezenet": (lambda: torchvision.squeezenet1_1(num_classes=3), "classifier.1"),
    "timm efficientnet": (from_timm("test_efficientnet"), "classifier"),
    "timm efficientnet, 0.8": (from_timm("test_efficientnet", drop_rate=0.8), "classifier"),
    "timm resnet18": (from_timm("resnet18"), "fc"),
    "timm resnet18, 0.8": (from_timm("resnet18", drop_rate=0.8), "fc"),
    "timm convnext": (from_timm("test_convnext"), "head.fc"),
    "timm convnext, 0.8": (from_timm("test_convnext", drop_rate=0.8), "head.fc"),
    "timm inception_next, 0.8": (from_timm("inception_next_atto", drop_rate=0.8), "head.fc2"),
    "timm vit": (from_timm("test_vit", img_size=32), "head"),
    "timm vit, 0.8": (from_timm("test_vit", img_size=32, drop_rate=0.8), "head"),
    "fastai head": (lambda: nn.Sequential(body(32), create_head(32, 3)), "1.8"),
    "fastai head without dropout": (lambda: nn.Sequential(body(32), create_head(32, 3, ps=0.0)), "1.6"),
    "fastai with timm": (lambda: create_timm_model("test_efficientnet", 3, pretrained=False)[0], "1.8"),
    "fastai with timm, without dropout": (
        lambda: create_timm_model("test_efficientnet", 3, pretrained=False, ps=0.0)[0],
        "1.6",
    ),
}
EACH = pytest.mark.parametrize("family", FAMILIES)


def dropouts(net):
    """The rates of all dropout that a network brings with it."""
    modules = [
        (m, name) for m in net.modules() for name in ("p", "drop_rate", "drop_prob") if hasattr(m, name)
    ]
    return [getattr(module, name) for module, name in modules]


def hooked(net):
    return any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def installed(net, rate):
    callback = FinalDropout(rate)
    callback.learn = SimpleNamespace(model=net)
    callback.install()
    return callback


def reaches(net, layer, x):
    """What the final layer computes with, behind its hooks."""
    kept = []
    forward = layer.forward
    layer.forward = lambda features: (kept.append(features), forward(features))[1]
    with torch.no_grad():
        net(x)
    del layer.forward
    return kept[0].flatten(1)


def train_but_for_earlier_layers(net):
    """Everything trains but batch norm and what else is random before the last dropout."""
    own = [m for m in net.modules() if isinstance(m, nn.Dropout)][-1:]
    for module in net.modules():
        still = (
            isinstance(module, nn.modules.batchnorm._BatchNorm) or type(module).__name__ == "StochasticDepth"
        )
        module.training = not still and not (isinstance(module, nn.Dropout) and module not in own)


@EACH
def test_features_that_reach_the_final_layer_are_dropped_at_the_rate_and_scaled(family):
    torch.manual_seed(0)
    build, name = FAMILIES[family]
    net, x = build().eval(), torch.rand(20, 3, 32, 32)
    layer, before = net.get_submodule(name), dropouts(net)
    assert final_layer(net) is layer
    whole = reaches(net, layer, x)
    logits = net(x)
    callback = installed(net, RATE)
    assert torch.equal(reaches(net, layer, x), whole) and torch.equal(net(x), logits)  # in eval mode
    train_but_for_earlier_layers(net)
    features = reaches(net, layer, x)
    active = whole != 0
    dropped, n = (features == 0) & active, int(active.sum())
    assert n > 200 and abs(dropped.sum() / n - RATE) < 4 * (RATE * (1 - RATE) / n) ** 0.5
    assert torch.allclose(features[~dropped], whole[~dropped] / (1 - RATE), atol=1e-5, rtol=1e-4)
    assert not torch.equal(reaches(net, layer, x), features)
    callback.undo()
    assert dropouts(net) == before and not hooked(net)


@EACH
def test_a_rate_of_zero_switches_off_the_dropout_that_a_network_brings_with_it(family):
    torch.manual_seed(0)
    build, name = FAMILIES[family]
    net, x = build().eval(), torch.rand(4, 3, 32, 32)
    layer, before = net.get_submodule(name), dropouts(net)
    whole = reaches(net, layer, x)
    callback = installed(net, 0)
    train_but_for_earlier_layers(net)
    assert torch.allclose(reaches(net, layer, x), whole, atol=1e-6)
    callback.undo()
    assert dropouts(net) == before


def test_dropout_further_from_the_final_layer_stays_as_it_is():
    for net, others in ((small_vgg(), [0.5]), (nn.Sequential(body(32), create_head(32, 3)), [0.25])):
        before = dropouts(net)
        callback = installed(net, RATE)
        assert dropouts(net) == [*others, RATE]
        callback.undo()
        assert dropouts(net) == before == [*others, 0.5]


def test_a_network_without_one_final_layer_is_named_with_the_way_out():
    with torch.device("meta"):
        two_heads = timm.create_model("deit_tiny_distilled_patch16_224")
    with pytest.raises(
        NsfastError, match="VisionTransformerDistilled has tuple in place of one final layer.*own drop"
    ):
        installed(two_heads, RATE)
    with pytest.raises(NsfastError, match="Sequential has no linear layer"):
        installed(nn.Sequential(nn.Flatten()), RATE)


def test_a_rate_out_of_range_is_refused():
    for rate in (-0.1, 1.5):
        with pytest.raises(NsfastError, match=f"dropout is {rate}; it must be between 0 and 1"):
            FinalDropout(rate)
    with pytest.raises(NsfastError, match="leaves nothing; it must be below 1"):
        FinalDropout(1)


def learner(model, *callbacks):
    random = torch.Generator().manual_seed(0)
    data = [(torch.rand(3, 32, 32, generator=random), i % 3) for i in range(8)]
    loaders = DataLoaders(DataLoader(data, bs=4), DataLoader(data, bs=4))
    return Learner(loaders.cpu(), model, loss_func=CrossEntropyLossFlat(), lr=1e-3, cbs=callbacks)


class Watches(Callback):
    """Looks at dropout in every batch, compares validation with an untouched copy, and raises if it is told to."""

    def __init__(self, twin, end=None):
        super().__init__()
        self.twin, self.end, self.seen = twin, end, []

    def after_pred(self):
        model = self.learn.model
        self.seen.append((self.learn.training, hooked(model), dropouts(model)))
        if not self.learn.training:
            self.twin.load_state_dict(model.state_dict())
            assert torch.equal(self.pred, self.twin.eval()(self.x))
        elif self.learn.iter == 1 and self.end is not None:
            raise self.end


ENDS = [None, CancelTrainException(), CancelEpochException(), CancelFitException(), KeyboardInterrupt(),
        RuntimeError("out of memory")]  # fmt: skip


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
@pytest.mark.parametrize("family", ["torchvision convnext", "timm efficientnet, 0.8", "timm vit, 0.8"])
def test_it_is_in_place_in_training_alone_and_gone_however_a_fit_ends(family, end):
    torch.manual_seed(0)
    model = FAMILIES[family][0]()
    before, hook = dropouts(model), not any(dropouts(model))
    changed = before if hook else [RATE if rate == 0.8 else rate for rate in before]
    watches = Watches(deepcopy(model), end)
    learn = learner(model, FinalDropout(RATE), watches)
    try:
        with learn.no_bar(), learn.no_logging():
            learn.fit(2)
    except (KeyboardInterrupt, RuntimeError) as error:
        assert error is end
    assert watches.seen[:2] == [(True, hook, changed)] * 2
    for training, hooks, rates in watches.seen:
        assert (hooks, rates) == ((hook, changed) if training else (False, before))
    assert dropouts(model) == before and not hooked(model) and "_do_epoch_train" not in learn.__dict__
    watches.seen.clear()
    learn.get_preds(), learn.validate()
    assert all(not hooks and rates == before for _, hooks, rates in watches.seen)


def test_it_and_stochastic_depth_share_a_fit():
    model = timm.create_model("test_vit", num_classes=3, img_size=32, drop_rate=0.8, drop_path_rate=0.4)
    before = dropouts(model)
    watches = Watches(deepcopy(model))
    learn = learner(model, StochasticDepth(0.5), FinalDropout(RATE), watches)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    training, hooks, rates = watches.seen[0]
    assert training and hooks and RATE in rates and 0.8 in before and not any(0 < r < RATE for r in rates)
    assert dropouts(model) == before and not hooked(model)


def test_of_two_in_one_fit_the_later_counts_and_the_network_s_own_rate_comes_back():
    model = timm.create_model("test_vit", num_classes=3, img_size=32, drop_rate=0.8)
    before, watches = dropouts(model), Watches(deepcopy(model))
    learn = learner(model, FinalDropout(0.4), FinalDropout(RATE), watches)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert (
        watches.seen[0][2] == [RATE if rate == 0.8 else rate for rate in before] and dropouts(model) == before
    )
