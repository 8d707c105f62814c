"""`small`: a residual network for pictures of 16 to 64 pixels, whose size is one number."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class SmallBlock(nn.Module):
    """A pre-activation residual block (He et al., arXiv 1603.05027) with a slot for stochastic depth on its branch."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.stride = stride
        self.shortcut = (
            nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )
        self.drop_path = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(x).relu()
        branch = self.conv2(self.bn2(self.conv1(y)).relu())
        if isinstance(self.shortcut, nn.Identity):
            return x + self.drop_path(branch)
        if self.stride > 1 and y.shape[-1] > 40:
            # the same sum; torch 2.15 crashes in the backward pass of some strided 1x1 convolutions on CPUs
            return F.conv2d(y[:, :, :: self.stride, :: self.stride], self.shortcut.weight) + branch
        return self.shortcut(y) + branch


class SmallNet(nn.Module):
    """A residual network for pictures of 16 to 64 pixels; `size` scales its width.

    Three stages of two blocks with 8, 16 and 32 channels times `size`.
    """

    def __init__(self, classes: int, channels: int = 1, size: int = 2, dropout: float = 0.0):
        super().__init__()
        widths = [8 * size, 16 * size, 32 * size]
        self.num_classes, self.num_features = classes, widths[-1]
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        blocks, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for position in range(2):
                stride = 2 if stage and not position else 1
                blocks.append(SmallBlock(inputs, width, stride))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.blocks(self.stem(x))).relu()

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.dropout(x.mean((2, 3)))
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))
