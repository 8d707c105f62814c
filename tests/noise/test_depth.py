"""Stochastic depth in its two forms and in a fit; test_depth_rates.py and test_depth_families.py have the rest."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import timm
import torch
from fastai.callback import schedule  # noqa: F401 (lr_find, no_bar)
from fastai.callback.core import Callback, CancelEpochException, CancelFitException, CancelTrainException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn
from torchvision import models as torchvision
from torchvision.models.resnet import BasicBlock

from nsfast.errors import NsfastError
from nsfast.models import SmallBlock, SmallNet
from nsfast.noise.depth import StochasticDepth, _Drop

FORMS = pytest.mark.parametrize("subset", [True, False], ids=["subset", "mask"])


def install(callback, net):
    callback.learn = SimpleNamespace(model=net)
    callback.install()


def fixed(monkeypatch, *alive):
    monkeypatch.setattr(_Drop, "survivors", lambda self, count: torch.tensor(alive, dtype=torch.bool))


def test_the_dead_leave_the_identity_where_the_shortcut_is_one_and_other_blocks_alone(monkeypatch):
    monkeypatch.setattr(_Drop, "survivors", lambda self, count: torch.zeros(count, dtype=torch.bool))
    net = SmallNet(3, size=1)
    plain = deepcopy(net)
    install(StochasticDepth(0.5, "uniform"), net)
    for i, width in enumerate([8, 8, 8, 16, 16, 32]):
        x = torch.randn(4, width, 8, 8)
        kept = plain.blocks[i](x)
        assert torch.equal(net.blocks[i](x), x if i in (0, 1, 3, 5) else kept) and not torch.equal(kept, x)


@FORMS
def test_every_block_drops_at_its_own_rate(subset):
    torch.manual_seed(0)
    net = SmallNet(3, size=1).eval()
    install(StochasticDepth(0.6, "linear", subset), net)
    for i, width in ((0, 8), (1, 8), (3, 16), (5, 32)):
        x = torch.randn(1, width, 2, 2).repeat(2000, 1, 1, 1)
        net.blocks[i].training = True
        dropped = (net.blocks[i](x) == x).flatten(1).all(1).float().mean()
        rate = 0.6 * i / 6
        assert abs(dropped - rate) <= 4 * (rate * (1 - rate) / 2000) ** 0.5


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("survives", [0, 1])
def test_no_or_one_survivor_is_exact_where_batch_norm_would_refuse_a_single_value(
    survives, count, monkeypatch
):
    torch.manual_seed(0)
    block, x = SmallBlock(8, 8, 1).train(), torch.randn(count, 8, 1, 1)
    plain = deepcopy(block)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        plain(x[:1])
    fixed(monkeypatch, *[0] * (count - 1), survives)
    install(StochasticDepth(0.4, "uniform"), nn.Sequential(block))
    out = block(x)
    assert torch.equal(out[:-1], x[:-1])
    # batch norm sees a survivor beside one of the others
    pairs = [torch.stack([x[-1], other]) for other in x[:-1]]
    kept = [pair[0] + (plain(pair) - pair)[0] / 0.6 for pair in pairs] if survives else [x[-1]]
    assert any(torch.allclose(out[-1], one, atol=1e-5) for one in kept)


def test_a_batch_of_one_picture_lives_or_dies():
    torch.manual_seed(0)
    block, x = SmallBlock(8, 8, 1).eval(), torch.randn(1, 8, 4, 4)
    kept = x + (block(x) - x) / 0.6
    install(StochasticDepth(0.4, "uniform"), nn.Sequential(block))
    block.training = True
    outs = [block(x) for _ in range(20)]
    fates = {(torch.equal(out, x), torch.allclose(out, kept, atol=1e-5)) for out in outs}
    assert fates == {(True, False), (False, True)}


@FORMS
def test_half_precision_and_channels_last_give_the_same_function(subset, monkeypatch):
    torch.manual_seed(0)
    net, x = SmallNet(3, channels=3).eval(), torch.rand(4, 3, 16, 16)
    fixed(monkeypatch, 1, 0, 1, 1)
    install(StochasticDepth(0.5, "uniform", subset), net)
    for block in net.blocks:
        block.training = True
    plain = net(x)
    plain.square().sum().backward()
    gradient = net.stem.weight.grad.clone()
    last = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(last, plain, atol=1e-4)
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x)
        half.float().square().sum().backward()
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), plain, atol=0.05, rtol=0.05)
    assert nn.functional.cosine_similarity(net.stem.weight.grad.ravel(), gradient.ravel(), dim=0) > 0.99


BLOCKS = pytest.mark.parametrize(
    "build", [lambda: SmallBlock(8, 8, 1), lambda: BasicBlock(8, 8)], ids=["small", "resnet"]
)


@FORMS
@BLOCKS
def test_a_block_under_autocast_gives_the_type_it_gives_without(build, subset, monkeypatch):
    """A sum of single and half precision, in place (ResNet) or not."""
    block, x = build().eval(), torch.randn(3, 8, 4, 4)
    fixed(monkeypatch, 1, 0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = block(x).dtype
        install(StochasticDepth(0.5, "uniform", subset), nn.Sequential(block))
        block.training = True
        assert block(x).dtype == wanted


@FORMS
@BLOCKS
def test_pictures_keep_their_channels_last_in_memory(build, subset, monkeypatch):
    torch.manual_seed(0)
    block = build().to(memory_format=torch.channels_last).eval()
    fixed(monkeypatch, 1, 0, 1)
    install(StochasticDepth(0.5, "uniform", subset), nn.Sequential(block))
    block.training = True
    x = torch.randn(3, 8, 4, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    given, wanted = (copy.requires_grad_() for copy in (last, x.clone()))
    ours, theirs = block(given), block(wanted)
    assert ours.is_contiguous(memory_format=torch.channels_last) and torch.allclose(ours, theirs, atol=1e-5)
    for out in (ours, theirs):
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    assert torch.allclose(given.grad, wanted.grad, atol=1e-5)


def learner(model, *callbacks):
    random = torch.Generator().manual_seed(0)
    data = [(torch.rand(3, 32, 32, generator=random), i % 3) for i in range(8)]
    loaders = DataLoaders(DataLoader(data, bs=4), DataLoader(data, bs=4))
    return Learner(loaders.cpu(), model, loss_func=CrossEntropyLossFlat(), lr=1e-3, cbs=callbacks)


def fit(learn, epochs=1, **options):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, **options)


def hooked(model):
    return any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def native_rates(model):
    kinds = {"StochasticDepth": "p", "DropPath": "drop_prob"}
    return [getattr(m, kinds[type(m).__name__]) for m in model.modules() if type(m).__name__ in kinds]


def from_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=3, **options)


NETS = {
    "small": lambda: SmallNet(3, channels=3, size=1),
    "timm resnet, 0.2": from_timm(
        "test_resnet", layers=(2, 2, 2, 2), drop_path_rate=0.2, zero_init_last=False
    ),
    "timm vit, 0.2": from_timm("test_vit", img_size=32, drop_path_rate=0.2),
    "torchvision efficientnet": lambda: torchvision.efficientnet_b0(num_classes=3),
}


class Compares(Callback):
    """Holds the network in a fit against one that was never touched."""

    order = 90

    def __init__(self, twin):
        super().__init__()
        self.twin, self.seen = twin, []

    def before_batch(self):
        model, state = self.learn.model, self.learn.model.state_dict()
        assert state.keys() == self.twin.state_dict().keys() and hooked(model) == self.learn.training
        self.twin.load_state_dict(state)
        if self.learn.training:
            assert not any(native_rates(model))
            first, second = model(self.x), model(self.x)
            assert not torch.equal(first, second)
            model.load_state_dict(self.twin.state_dict())  # batch norm has counted
        with torch.no_grad():
            assert torch.equal(model.eval()(self.x), self.twin.eval()(self.x))
        model.train(self.learn.training)
        self.seen.append(self.learn.training)


@pytest.mark.parametrize("name", NETS)
def test_in_a_fit_it_acts_in_training_alone_and_changes_no_weight(name):
    torch.manual_seed(0)
    model = NETS[name]()
    compares, before, rates = Compares(deepcopy(model)), deepcopy(model.state_dict()), native_rates(model)
    learn = learner(model, StochasticDepth(0.7, "uniform"), compares)
    fit(learn, lr=0.0, wd=0.0)
    assert compares.seen == [True, True, False, False]
    assert native_rates(model) == rates and not hooked(model)
    # a learning rate of zero changes the batch statistics only
    counted = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert not [name for name in counted if "running" not in name and "num_batches" not in name]


class Fails(Callback):
    """Raises in the second training batch, after it was seen that the noise is in place."""

    def __init__(self, error):
        super().__init__()
        self.error, self.noised = error, []

    def after_pred(self):
        self.noised.append(hooked(self.learn.model))
        if self.learn.training and self.learn.iter == 1 and self.error is not None:
            raise self.error


ENDS = [None, CancelTrainException(), CancelEpochException(), CancelFitException(), KeyboardInterrupt(),
        RuntimeError("out of memory")]  # fmt: skip


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_however_a_fit_ends_nothing_of_it_is_left(end):
    model = NETS["timm resnet, 0.2"]()
    rates, fails = native_rates(model), Fails(end)
    learn = learner(model, StochasticDepth(0.5), fails)
    try:
        fit(learn, 2)
    except (KeyboardInterrupt, RuntimeError) as error:
        assert error is end
    assert fails.noised[:2] == [True, True]
    assert not hooked(model) and native_rates(model) == rates and "_do_epoch_train" not in learn.__dict__
    assert not any(fails.noised[2:4]) or isinstance(end, CancelEpochException)  # validation


def test_a_network_it_does_not_know_is_left_as_it_was_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    learn = learner(model, StochasticDepth())
    with pytest.raises(NsfastError, match="Sequential has no residual block"):
        fit(learn)
    assert not hooked(model) and "_do_epoch_train" not in learn.__dict__
    learn.remove_cb(learn.stochastic_depth)
    fit(learn, cbs=StochasticDepth(0))


def test_it_is_in_place_while_a_learning_rate_is_sought_and_never_in_predictions(tmp_path):
    model = NETS["small"]()
    seen = Fails(None)
    learn = learner(model, StochasticDepth(0.5), seen)
    learn.path = tmp_path
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=4, show_plot=False, suggest_funcs=None)
        assert seen.noised and all(seen.noised) and not hooked(model)
        seen.noised.clear()
        first, again = learn.get_preds()[0], learn.get_preds()[0]
        learn.get_preds(ds_idx=0), learn.validate()
    assert not any(seen.noised) and torch.equal(first, again) and "_do_epoch_train" not in learn.__dict__


class Copies(Callback):
    """A copy of the network in the middle of training."""

    def before_batch(self):
        if self.learn.training:
            self.learn.copied = deepcopy(self.learn.model)


@FORMS
def test_a_copy_made_in_training_drops_by_itself(subset):
    """It keeps its hooks for good, and they are about the copy's modules, not the original's."""
    model = NETS["small"]()
    learn = learner(model, StochasticDepth(0.5, "uniform", subset), Copies())
    fit(learn)
    copied, x = learn.copied, torch.rand(16, 3, 32, 32)
    assert hooked(copied) and not hooked(model)
    for block in copied.eval().blocks:
        block.training = True
    model.eval()
    assert torch.equal(model(x), model(x)) and not torch.equal(copied(x), copied(x))
    model.train(), copied.eval()
    assert torch.equal(copied(x), copied(x))
