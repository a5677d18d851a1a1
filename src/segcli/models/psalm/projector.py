"""From the coarsest map of the image encoder to tokens of the language model (PSALM, section 3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def _norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm without its counter of batches, which nothing reads and the checkpoint need not hold."""
    norm = nn.BatchNorm2d(channels)
    norm.num_batches_tracked = None
    return norm


class ProjectorBlock(nn.Module):
    """A residual block that halves the map."""

    def __init__(self, channels: int, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, 2, 1, bias=False)
        self.bn1 = _norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = _norm(planes)
        self.downsample = nn.Sequential(nn.Conv2d(channels, planes, 1, 2, bias=False), _norm(planes))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, planes, ceil(h / 2), ceil(w / 2)]."""
        y = F.relu(self.bn1(self.conv1(x)))
        # The released weights were trained with this convolution applied twice in a row.
        y = self.bn2(self.conv2(self.conv2(y)))
        return F.relu(y + self.downsample(x))


class Projector(nn.Module):
    """One residual block and a linear map."""

    def __init__(self, channels: int, planes: int, out: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(ProjectorBlock(channels, planes))
        self.fc = nn.Linear(planes, out)

    def forward(self, res5: Tensor) -> Tensor:
        """[B, C, h, w] -> tokens [B, ceil(h / 2) * ceil(w / 2), out], row by row."""
        tokens: Tensor = self.fc(self.layer1(res5).flatten(2).transpose(1, 2))
        return tokens
