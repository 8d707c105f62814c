"""The shell around a network: where channels lie in memory."""

import copy

import pytest
import torch

from nsfast.models import build_model


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_weights_give_the_same_logits(channels):
    torch.manual_seed(0)
    model = build_model("small", 4, channels, 1).eval()
    x = torch.rand(5, channels, 16, 16)
    before = model(x)
    assert model.lay_channels_last() is model
    assert model.body.blocks[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(model(x), before, atol=1e-5)


def test_laid_channels_last_pictures_reach_the_body_so(monkeypatch):
    model = build_model("small", 4, 3, 1).eval()
    seen = []
    model.body.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    model(torch.rand(2, 3, 16, 16))
    model.lay_channels_last()(torch.rand(2, 3, 16, 16))
    assert [x.is_contiguous(memory_format=torch.channels_last) for x in seen] == [False, True]


def test_the_layout_is_no_part_of_the_weights_and_survives_a_copy():
    model = build_model("small", 4, 1, 1)
    keys = list(model.state_dict())
    assert copy.deepcopy(model.lay_channels_last()).channels_last and list(model.state_dict()) == keys


def test_depthwise_weights_lie_channels_last_on_a_cpu_and_nothing_else_changes():
    torch.manual_seed(0)
    model = build_model("efficientnet-b0-32px", 4).eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
        after = model.lay_out(torch.device("cpu"))(x)
    assert torch.allclose(before, after, atol=1e-5) and model.autocast is None
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size[0] > 1:
            last = module.weight.is_contiguous(memory_format=torch.channels_last)
            assert last or module.groups == 1
    small = build_model("small", 4, 1)
    layout = [p.stride() for p in small.parameters()]
    assert [p.stride() for p in small.lay_out(torch.device("cpu")).parameters()] == layout
