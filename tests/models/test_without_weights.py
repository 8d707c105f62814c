"""Whether a network takes a resolution, found without weights."""

import pytest
import torch

from nsfast.errors import NsfastError
from nsfast.models import build_model, check_resolution, parameter_count
from nsfast.models.without_weights import build_without_weights


@pytest.mark.parametrize(
    ("architecture", "pixels"),
    [("small", 8), ("efficientnet-b0", 8), ("efficientnet-b0-32px", 32), ("resnet18", 16),
     ("vit_tiny_patch16_224", 32), ("swin_tiny_patch4_window7_224", 32), ("torchvision/regnet_x_400mf", 32)],
)  # fmt: skip
def test_a_resolution_that_a_network_takes_passes(architecture, pixels):
    check_resolution(architecture, 5, 1, 1, pixels)


@pytest.mark.parametrize(
    ("architecture", "pixels"), [("vgg11", 16), ("torchvision/alexnet", 16), ("inception_v3", 32)]
)
def test_one_that_it_does_not_take_is_named(architecture, pixels):
    with pytest.raises(
        NsfastError, match=f"'{architecture}' does not take pictures of {pixels} x {pixels}"
    ) as caught:
        check_resolution(architecture, 5, 3, 1, pixels)
    assert "\n" not in str(caught.value)


def test_the_verdict_is_that_of_a_real_forward_pass():
    model = build_model("torchvision/alexnet", 3).eval()
    for pixels in (31, 63):
        try:
            check_resolution("torchvision/alexnet", 3, 3, 1, pixels)
            taken = True
        except NsfastError:
            taken = False
        try:
            model(torch.rand(1, 3, pixels, pixels))
            really = True
        except RuntimeError:
            really = False
        assert taken == really == (pixels == 63)


def test_a_transformer_has_the_positions_of_its_resolution():
    at = {
        p: build_without_weights("vit_tiny_patch16_224", 3, 3, pixels=p).body.pos_embed
        for p in (32, 64, None)
    }
    assert [at[p].shape[1] for p in (32, 64, None)] == [2 * 2 + 1, 4 * 4 + 1, 14 * 14 + 1]
    more = parameter_count("vit_tiny_patch16_224", 3, 3, 1, 64) - parameter_count(
        "vit_tiny_patch16_224", 3, 3, 1, 32
    )
    assert more == 12 * at[32].shape[2]


def test_an_encoder_is_no_classifier():
    with pytest.raises(NsfastError, match="'mobilenetv5_300m_enc' is no classifier"):
        check_resolution("mobilenetv5_300m_enc", 5, 3, 1, 64)


def test_what_the_meta_device_cannot_do_is_tried_for_real(monkeypatch):
    from nsfast.models import small

    def forward(self, x):  # a network that looks at values
        return self.forward_head(self.forward_features(x)) * (1 if float(x.sum()) > -1e9 else 0)

    monkeypatch.setattr(small.SmallNet, "forward", forward)
    check_resolution("small", 3, 1, 1, 16)


@pytest.mark.parametrize("name", ["efficientnet-l2", "torchvision/regnet_y_128gf"])
def test_nothing_is_allocated(name):
    state = build_without_weights(name, 10, 3).state_dict()
    assert {tensor.device.type for tensor in state.values()} == {"meta"}
