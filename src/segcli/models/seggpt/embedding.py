"""From two canvases to tokens: patches, the mask token, and which stream, place and kind a token is of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.seggpt.config import SegGPTConfig

SEMANTIC, INSTANCE = 0, 1
"""Kinds of task; any other number adds no type token."""


def resized_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position table [1, 1 + n*n, D] without its class slot, resized bicubically to `grid`: [1, rows, columns, D]."""
    side = int((table.shape[1] - 1) ** 0.5)
    square = table[:, 1:].reshape(1, side, side, -1)
    if grid == (side, side):
        return square
    resized = F.interpolate(square.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


class Embedding(nn.Module):
    """Both canvases go through one patch convolution; tokens tell the streams and kinds apart."""

    def __init__(self, config: SegGPTConfig) -> None:
        super().__init__()
        dim, patch = config.embed_dim, config.patch_size
        self.patch = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.pretrain_grid**2, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.photo_token = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.target_token = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.semantic_token = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.instance_token = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def patches(self, canvas: Tensor) -> Tensor:
        """Canvases [B, 3, H, W] -> patch tokens [B, rows, columns, D]."""
        tokens: Tensor = self.patch(canvas)
        return tokens.permute(0, 2, 3, 1)

    def type_token(self, kind: Tensor | None) -> Tensor | float:
        """The type token of each sample [B, 1, 1, D] for kinds [B]; 0 for None."""
        if kind is None:
            return 0.0
        each = kind.reshape(-1, 1, 1, 1)
        return (each == SEMANTIC) * self.semantic_token + (each == INSTANCE) * self.instance_token

    def forward(self, photos: Tensor, targets: Tensor, mask: Tensor, kind: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens of both streams, each [B, rows, columns, D].

        photos, targets: normalised canvases [B, 3, H, W]. mask: [B or 1, rows*columns], true where the target is
        hidden. kind: [B] of SEMANTIC or INSTANCE, or None. The order of the sums is the published one.
        """
        x, y = self.patches(photos), self.patches(targets)
        rows, columns = x.shape[1:3]
        hidden = mask.reshape(-1, rows, columns, 1).to(y.dtype)
        y = y * (1 - hidden) + self.mask_token * hidden
        positions = resized_positions(self.positions, (rows, columns))
        type_token = self.type_token(kind)
        return x + self.photo_token + positions + type_token, y + self.target_token + positions + type_token
