"""Convolution with its group norm inside, as detectron2's wrapper names them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class NormedConv(nn.Conv2d):
    """Convolution without bias, then `norm` (group norm), then ReLU if asked.

    The norm is a child of the convolution: keys `<name>.weight`, `<name>.norm.weight`, `<name>.norm.bias`.
    """

    def __init__(self, channels: int, out: int, kernel: int, groups: int, relu: bool) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(groups, out)
        self.relu = relu
        nn.init.kaiming_uniform_(self.weight, a=1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name of the overridden argument)
        """[B, channels, h, w] -> [B, out, h, w]."""
        y: Tensor = self.norm(super().forward(input))
        return F.relu(y) if self.relu else y
