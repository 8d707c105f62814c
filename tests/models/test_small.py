"""The small network on pictures of any size."""

import pytest
import torch
import torch.nn.functional as F

from nsfast.models import build_model
from nsfast.models.small import SmallBlock


@pytest.mark.parametrize("pixels", [41, 46, 64, 96])
@pytest.mark.parametrize("channels", [1, 3])
def test_larger_pictures_pass_forward_and_back(pixels, channels):
    """torch 2.15 crashes in the strided 1x1 convolution of the shortcut from 46 pixels on, on some CPUs."""
    model = build_model("small", 3, channels, 1)
    model(torch.rand(2, channels, pixels, pixels)).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_shortcut_of_larger_pictures_is_the_strided_convolution():
    torch.manual_seed(0)
    block = SmallBlock(4, 6, 2).eval()
    x = torch.randn(2, 4, 44, 44)
    y = block.bn1(x).relu()
    branch = block.conv2(block.bn2(block.conv1(y)).relu())
    slow = F.conv2d(y, block.shortcut.weight, stride=2) + branch
    assert torch.allclose(block(x), slow, atol=1e-5)
