"""The paper's EfficientNets: published sizes, timm's weights and outputs, the released variant for 32 pixels."""

import math

import pytest
import timm
import torch
from torch import nn

from nsfast.errors import NsfastError
from nsfast.models import EFFICIENTNETS, build_model, parameter_count
from nsfast.models.efficientnet import build_efficientnet, efficientnet_names
from nsfast.models.without_weights import build_without_weights
from nsfast.noise.depth import depth_rates, residual_blocks

NAMES = list(EFFICIENTNETS)
# of timm's results table, in millions
TIMM_MILLIONS = dict(
    zip(NAMES, (5.29, 7.79, 9.11, 12.23, 19.34, 30.39, 43.04, 66.35, None, None, 480.31), strict=True)
)
# stages of B0 have 1, 2, 2, 3, 3, 4 and 1 blocks; each is multiplied by the depth and rounded up
BLOCKS = dict(zip(NAMES, (16, 23, 23, 26, 32, 39, 45, 55, 63, 63, 88), strict=True))
IN_TIMM = [name for name in NAMES if TIMM_MILLIONS[name]]


def timm_name(name):
    return "tf_" + name.replace("-", "_")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_published_ones(name):
    millions = parameter_count(name, 1000, 3, 1) / 1e6
    published = EFFICIENTNETS[name].millions
    half_a_digit = 0.5 if published >= 12 else 0.05
    assert abs(millions - published) < max(0.01 * published, half_a_digit)
    if TIMM_MILLIONS[name]:
        assert millions == pytest.approx(TIMM_MILLIONS[name], abs=0.006)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_their_drop_rates_follow_the_released_rule(name):
    blocks = residual_blocks(build_without_weights(name, 10, 3))
    count = sum(math.ceil(EFFICIENTNETS[name].depth * repeats) for repeats in (1, 2, 2, 3, 3, 4, 1))
    assert len(blocks) == count == BLOCKS[name]
    rates = depth_rates(blocks, 0.2)
    for i, (block, rate) in enumerate(zip(blocks, rates, strict=True)):
        conv = [m for m in block.block.modules() if isinstance(m, nn.Conv2d)]
        stride = max(m.stride[0] for m in conv)
        identity = stride == 1 and conv[0].in_channels == conv[-1].out_channels
        assert rate == pytest.approx(0.2 * i / count if identity else 0)
    assert max(rates) < 0.2


def test_the_table_is_the_papers():
    dropout = [EFFICIENTNETS[name].dropout for name in NAMES]
    assert dropout == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert EFFICIENTNETS["efficientnet-l2"].released == (88.4, 98.7)
    for row in EFFICIENTNETS.values():
        measured = [a for a in (row.supervised, row.same_size, row.released) if a]
        assert measured == sorted(measured) and all(top1 < top5 < 100 for top1, top5 in measured)


@pytest.mark.parametrize("name", IN_TIMM)
def test_keys_and_shapes_are_those_of_timm(name):
    with torch.device("meta"):
        theirs = timm.create_model(timm_name(name))
    ours = build_without_weights(name, 1000, 3).body
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]


@pytest.mark.parametrize("pixels", [33, 64])
def test_outputs_are_those_of_timm_with_the_same_weights(pixels):
    theirs = timm.create_model("tf_efficientnet_b0", num_classes=7).eval()
    ours = build_efficientnet("efficientnet-b0", 7).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def test_batch_normalisation_has_tensorflows_settings():
    norms = [
        m for m in build_without_weights("efficientnet-b1", 5, 3).modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert norms and {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_weights_are_drawn_as_in_the_released_code():
    torch.manual_seed(0)
    net = build_efficientnet("efficientnet-b0", 400)
    checked = 0
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 5000:
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels / layer.groups
            std, mean = torch.std_mean(layer.weight.detach())
            assert float(std) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
            assert abs(float(mean)) < 0.1 * math.sqrt(2 / fan_out)
            checked += layer.groups > 1
    assert checked > 5  # depthwise convolutions too
    bound = 1 / math.sqrt(400)
    weight = net.classifier.weight.detach()
    assert 0.999 * bound < float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert not net.classifier.bias.any()


def sides(name, pixels=32):
    """Height after the stem and after each of the seven stages."""
    net, seen = build_without_weights(name, 10, 3).body, []
    for module in (net.conv_stem, *net.blocks):
        module.register_forward_hook(lambda m, i, out: seen.append(out.shape[-1]))
    net(torch.empty(1, 3, pixels, pixels, device="meta"))
    return seen


def test_the_variant_for_32_pixels_keeps_the_stride_of_the_stem_only():
    assert sides("efficientnet-b0") == [16, 16, 8, 4, 2, 2, 1, 1]
    assert sides("efficientnet-b0-32px") == [16, 16, 16, 16, 8, 8, 4, 4]
    assert sides("efficientnet-b3-32px") == [16, 16, 16, 16, 8, 8, 4, 4]


def test_the_variant_for_32_pixels_has_the_same_parameters():
    ours = build_without_weights("efficientnet-b0-32px", 10, 3).state_dict()
    usual = build_without_weights("efficientnet-b0", 10, 3).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in usual.items()}


def test_l2_takes_a_training_step():
    with torch.device("meta"):
        model = build_model("efficientnet-l2", 10, 3, dropout=0.5).train()
        loss = nn.functional.cross_entropy(model(torch.rand(2, 3, 32, 32)), torch.zeros(2, dtype=torch.int64))
        loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_dropout_is_what_the_caller_passes():
    assert build_model("efficientnet-b0-32px", 3, 1).body.drop_rate == 0
    assert build_model("efficientnet-b0", 3, 1, dropout=0.3).body.drop_rate == 0.3


def test_an_unknown_one_is_named_with_the_nearest():
    assert len(efficientnet_names()) == 22
    with pytest.raises(NsfastError, match=r"'efficientnet-b9'; did you mean 'efficientnet-b\d'"):
        build_efficientnet("efficientnet-b9", 10)
