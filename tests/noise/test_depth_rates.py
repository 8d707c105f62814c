"""Stochastic depth: which blocks a network has, how often each is dropped, and what it says about that."""

import pytest
import timm
import torch
from fastai.vision.models import xresnet
from torch import nn
from torchvision import models as torchvision

from nsfast.errors import NsfastError
from nsfast.models import SmallNet
from nsfast.noise.depth import StochasticDepth, depth_rates, residual_blocks


def from_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=3, **options)


COUNTS = {
    "nsfast small": (lambda: SmallNet(3), 6, 4),
    "torchvision efficientnet_b0": (torchvision.efficientnet_b0, 16, 9),
    "torchvision convnext_tiny": (torchvision.convnext_tiny, 18, 18),
    "torchvision swin_t": (torchvision.swin_t, 12, 12),
    "torchvision maxvit_t": (torchvision.maxvit_t, 33, 29),  # 11 layers of three; four layers change the size
    "torchvision resnet18": (torchvision.resnet18, 8, 5),
    "torchvision resnet50": (torchvision.resnet50, 16, 12),
    "torchvision mobilenet_v2": (torchvision.mobilenet_v2, 17, 10),
    "timm efficientnet_b0": (from_timm("efficientnet_b0"), 16, 9),
    "timm efficientnet_b0, 0.2": (from_timm("efficientnet_b0", drop_path_rate=0.2), 16, 9),
    "timm resnet18": (from_timm("resnet18"), 8, 5),
    "timm resnet18, 0.2": (from_timm("resnet18", drop_path_rate=0.2), 8, 5),
    "timm convnext_atto": (from_timm("convnext_atto"), 12, 12),
    "timm vit_tiny": (from_timm("vit_tiny_patch16_224"), 12, 12),
    "timm mobilenetv3": (from_timm("mobilenetv3_small_050"), 12, 7),
    "timm resnetv2_50": (from_timm("resnetv2_50"), 16, 12),
    "timm regnetx_002": (from_timm("regnetx_002"), 13, 9),
    "fastai xresnet18": (xresnet.xresnet18, 8, 5),
    "fastai xse_resnet18": (xresnet.xse_resnet18, 8, 5),
}


@pytest.mark.parametrize("name", COUNTS)
def test_every_block_of_a_network_is_found_and_those_with_an_identity_shortcut_known(name):
    build, count, skips = COUNTS[name]
    with torch.device("meta"):
        blocks = residual_blocks(build())
    assert (len(blocks), sum(bool(block.branches) for block in blocks)) == (count, skips)


def native_rates(model):
    kinds = {"StochasticDepth": "p", "DropPath": "drop_prob"}
    return [getattr(m, kinds[type(m).__name__]) for m in model.modules() if type(m).__name__ in kinds]


@pytest.mark.parametrize("name", [name for name in COUNTS if "efficientnet_b0" in name])
def test_the_drop_rates_of_efficientnet_are_those_of_the_released_code(name):
    """google-research/noisystudent, efficientnet_model.py: `rate * idx / len(blocks)`, idx from 0 over all blocks."""
    with torch.device("meta"):
        net = COUNTS[name][0]()
    # the first block of each of the stages of 1, 2, 2, 3, 3, 4 and 1 blocks changes size or width
    skips = [2, 4, 6, 7, 9, 10, 12, 13, 14]
    rates = depth_rates(residual_blocks(net), 0.2)
    assert rates == pytest.approx([0.2 * i / 16 if i in skips else 0 for i in range(16)])
    if native := native_rates(net):  # torchvision's and timm's own counting; timm leaves out block 0
        native = [0.0] * (16 - len(native)) + native
        assert [rates[i] for i in skips] == pytest.approx([native[i] for i in skips])


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_a_rule_is_linear_in_the_block_or_the_same_for_all_and_only_where_the_shortcut_is_the_identity(rate):
    blocks = residual_blocks(SmallNet(3))
    skips = [1, 1, 0, 1, 0, 1]
    assert depth_rates(blocks, rate) == pytest.approx([rate * i / 6 * skip for i, skip in enumerate(skips)])
    assert depth_rates(blocks, rate, "uniform") == pytest.approx([rate * skip for skip in skips])


@pytest.mark.parametrize(
    ("rate", "rule", "subset", "forms"),
    [(0.1, "uniform", True, ["mask", "mask", "-", "mask", "-", "mask"]),
     (0.11, "uniform", True, ["subset", "subset", "-", "subset", "-", "subset"]),
     (0.11, "uniform", False, ["mask", "mask", "-", "mask", "-", "mask"]),
     (0.3, "linear", True, ["-", "mask", "-", "subset", "-", "subset"]),
     (0.0, "linear", True, ["-"] * 6)],
)  # fmt: skip
def test_the_plan_and_the_summary_name_the_rate_and_the_form_of_every_block(
    rate, rule, subset, forms, capsys
):
    callback, net = StochasticDepth(rate, rule, subset), SmallNet(3)
    plan = callback.plan(net)
    assert [form for _, _, form in plan] == forms
    callback.summary(net)
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[0] for line in lines] == [f"blocks.{i}" for i in range(6)]
    assert [float(line[1]) for line in lines] == pytest.approx([drop for _, drop, _ in plan], abs=1e-4)
    assert [line[2].split()[0] for line in lines] == forms
    assert ["no identity" in line[2] for line in lines] == [i in (2, 4) for i in range(6)]


def test_a_network_it_does_not_know_or_a_setting_out_of_range_is_named_with_the_way_out():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    with pytest.raises(NsfastError, match="Sequential has no residual block .*set the rate to 0, or take"):
        StochasticDepth().plan(net)
    with pytest.raises(NsfastError, match="EfficientNet has no residual block"):
        StochasticDepth().plan(timm.create_model("test_efficientnet"))  # five blocks, no identity shortcut
    net = timm.create_model("test_resnet")  # its only identity shortcut is in block 0
    with pytest.raises(NsfastError, match="the linear rule drops nothing in ResNet: .*set rule to 'uniform'"):
        StochasticDepth().plan(net)
    assert [form for _, _, form in StochasticDepth(rule="uniform").plan(net)] == ["subset", "-", "-", "-"]
    assert [form for _, _, form in StochasticDepth(0).plan(net)] == ["-"] * 4
    for rate in (-0.1, 1.1):
        with pytest.raises(NsfastError, match=f"stochastic_depth is {rate}; it must be between 0 and 1"):
            StochasticDepth(rate)
    with pytest.raises(NsfastError, match="leaves no block; it must be below 1"):
        StochasticDepth(1)
    with pytest.raises(NsfastError, match="unknown rule of stochastic depth 'linaer'; did you mean 'linear'"):
        StochasticDepth(rule="linaer")


def test_a_network_in_which_the_linear_rule_drops_nothing_is_an_error_not_silence():
    net = SmallNet(3).blocks[:1]
    with pytest.raises(
        NsfastError, match="drops nothing in Sequential: only its first block .* rule to 'uniform'"
    ):
        StochasticDepth(0.2).plan(net)
    assert [form for _, _, form in StochasticDepth(0.2, "uniform").plan(net)] == ["subset"]


def test_a_compiled_network_is_refused_since_its_code_may_ignore_hooks():
    net = SmallNet(3)
    for compiled in (torch.compile(net, backend="eager"), net):
        net.compile(backend="eager")
        with pytest.raises(NsfastError, match="stochastic depth works by hooks, which a network compiled"):
            StochasticDepth(0.2).plan(compiled)
    with pytest.raises(NsfastError, match="does not know DataParallel"):
        StochasticDepth(0.2).plan(nn.DataParallel(SmallNet(3)))


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0"])
def test_a_shortcut_with_a_batch_norm_is_no_identity(name):
    with torch.device("meta"):
        net = timm.create_model(name)
    with pytest.raises(NsfastError, match="no residual block"):
        StochasticDepth(0.2).plan(net)
