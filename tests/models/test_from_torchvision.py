"""torchvision's classifiers: every name gives logits for grey and color, with dropout or a refusal."""

import pytest
import torch
import torchvision
from torch import nn

from nsfast.errors import NsfastError
from nsfast.models import architectures, build_model, check_resolution, parameter_count
from nsfast.models.from_torchvision import torchvision_pixels


def test_the_names_are_torchvisions_classifiers():
    names = {name for name in architectures() if name.startswith("torchvision/")}
    assert {"torchvision/resnet50", "torchvision/vit_b_16", "torchvision/convnext_tiny"} <= names
    assert not any("rcnn" in name or "quantized" in name or "lraspp" in name for name in names)


@pytest.mark.parametrize(
    "name", ["resnet18", "googlenet", "mobilenet_v3_small", "squeezenet1_1", "densenet121"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_gives_a_logit_a_class_in_training_too(name, channels):
    with torch.device("meta"):
        model = build_model(f"torchvision/{name}", 5, channels)
        assert model.train()(torch.rand(2, channels, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_gives_logits_only(channels):
    check_resolution("torchvision/inception_v3", 5, channels, 1, 96)


def test_a_grey_network_lacks_two_thirds_of_the_first_convolution():
    color = parameter_count("torchvision/resnet18", 1000, 3, 1)
    assert color == 11_689_512  # torchvision's table
    assert color - parameter_count("torchvision/resnet18", 1000, 1, 1) == 2 * 64 * 7 * 7
    torch.manual_seed(0)
    first = build_model("torchvision/resnet18", 2, 1).body.conv1.weight.detach()
    assert float(first.std()) == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.1)  # as its others are drawn


def test_a_network_that_calculates_while_it_is_built_is_counted_too():
    assert parameter_count("torchvision/regnet_y_400mf", 1000, 3, 1) == 4_344_144  # torchvision's table


def test_dropout_is_the_callers_in_the_head():
    def rates(dropout):
        with torch.device("meta"):
            body = build_model("torchvision/alexnet", 3, dropout=dropout).body
        return [m.p for m in body.modules() if isinstance(m, nn.Dropout)]

    assert rates(0.0) == [0, 0] and rates(0.4) == [0.4, 0.4]


def test_dropout_is_refused_by_a_network_without():
    with pytest.raises(NsfastError, match="'torchvision/resnet18' takes no dropout; set dropout to 0"):
        build_model("torchvision/resnet18", 3, dropout=0.2)


def test_a_transformer_is_built_for_the_resolution():
    check_resolution("torchvision/vit_b_16", 3, 1, 1, 32)
    with pytest.raises(NsfastError, match="'torchvision/vit_b_16' cannot be built for 33 x 33 pixels"):
        check_resolution("torchvision/vit_b_16", 3, 1, 1, 33)
    with pytest.raises(NsfastError, match="'torchvision/maxvit_t' cannot be built for 64 x 64 pixels"):
        build_model("torchvision/maxvit_t", 3, pixels=64)


def test_two_channels_are_refused():
    with pytest.raises(NsfastError, match="'torchvision/resnet18' takes 1 or 3 channels, not 2"):
        build_model("torchvision/resnet18", 3, 2)


def test_the_resolution_is_torchvisions():
    weights = torchvision.models.Inception_V3_Weights.DEFAULT
    assert torchvision_pixels("torchvision/inception_v3") == weights.transforms().crop_size[0] == 299
