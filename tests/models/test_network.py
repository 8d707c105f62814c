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
