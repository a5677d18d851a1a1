"""From four levels of tokens to a canvas of colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.seggpt.block import LAYER_NORM_EPS
from segcli.models.seggpt.config import SegGPTConfig


class Decoder(nn.Module):
    """One linear layer that spreads each token over its pixels, then a small convolutional head."""

    def __init__(self, config: SegGPTConfig) -> None:
        super().__init__()
        dim, patch, levels = config.decoder_dim, config.patch_size, len(config.skips_after)
        self.patch_size = patch
        self.spread = nn.Linear(levels * config.embed_dim, patch * patch * dim)
        self.conv = nn.Conv2d(dim, dim, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.head = nn.Conv2d(dim, 3, kernel_size=1)

    def pixels(self, skips: Tensor) -> Tensor:
        """Skips [B, h, w, levels*D] -> pixel features [B, C, h*p, w*p], channels innermost in memory."""
        batch, rows, columns, _ = skips.shape
        patch = self.patch_size
        spread: Tensor = self.spread(skips).reshape(batch, rows, columns, patch, patch, -1)
        pixels = spread.transpose(2, 3).reshape(batch, rows * patch, columns * patch, -1)
        return pixels.permute(0, 3, 1, 2)

    def last_pixel_row(self, skips: Tensor) -> Tensor:
        """Skips of one token row [B, w, levels*D] -> features of its last row of pixels [B, C, 1, w*p]."""
        batch, columns, _ = skips.shape
        patch = self.patch_size
        last = slice((patch - 1) * patch * self.conv.in_channels, None)  # outputs are ordered row, column, channel
        spread = F.linear(skips, self.spread.weight[last], self.spread.bias[last])
        return spread.reshape(batch, 1, columns * patch, -1).permute(0, 3, 1, 2)

    def colors(self, convolved: Tensor) -> Tensor:
        """Convolved features [B, C, H, W] -> colours [B, 3, H, W], by pixel."""
        each = F.gelu(self.norm(convolved.permute(0, 2, 3, 1)))
        return F.linear(each, self.head.weight.flatten(1), self.head.bias).permute(0, 3, 1, 2)

    def forward(self, skips: Tensor) -> Tensor:
        """Skips [B, h, w, levels*D] -> normalised colour canvas [B, 3, H, W]."""
        return self.colors(self.conv(self.pixels(skips)))

    def lower_half(self, query: Tensor, seam: Tensor) -> Tensor:
        """The lower half of the canvas alone, equal to that of `forward`.

        query [B, h, w, levels*D]: skips of the lower token rows. seam [B, w, levels*D]: those of the row above; the
        3x3 convolution lets the first pixel row of the query see the last one of the example.
        """
        features = torch.cat([self.last_pixel_row(seam), self.pixels(query)], dim=2)
        padded = F.pad(features, (0, 0, 0, 1))  # the seam stands where the upper padding would
        return self.colors(F.conv2d(padded, self.conv.weight, self.conv.bias, padding=(0, 1)))
