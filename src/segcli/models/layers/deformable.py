"""Multi-scale deformable attention in plain torch (Deformable DETR, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.positions import sine_positions

Sizes = Sequence[tuple[int, int]]
"""Height and width of each level, in the order of the token sequence."""


LEVELS = ("res5", "res4", "res3")
"""Coarse to fine, the order of the encoder's maps and of its tokens."""


class DeformableAttention(nn.Module):
    """Each query reads `points` places on each of `levels` maps, near its own reference point."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, reference: Tensor, source: Tensor, sizes: Sizes) -> Tensor:
        """Read `source` at places that `query` chooses.

        query, source: [B, L, C], the levels' tokens one after the other; reference: [L, 2] (x, y in 0..1);
        returns [B, L, C]. Places outside a map read zeros.
        """
        batch, length, dim = query.shape
        grid = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(batch, length, *grid, 2)
        weights = self.attention_weights(query).view(batch, length, self.heads, -1).softmax(-1)
        weights = weights.view(batch, length, *grid)
        value = self.value_proj(source).view(batch, -1, self.heads, dim // self.heads)
        parts = value.split([h * w for h, w in sizes], 1)
        out = query.new_zeros(batch * self.heads, dim // self.heads, length)
        for level, (height, width) in enumerate(sizes):
            maps = parts[level].permute(0, 2, 3, 1).reshape(batch * self.heads, -1, height, width)
            scale = torch.tensor([width, height], device=query.device, dtype=query.dtype)
            at = reference[:, None, None] + offsets[:, :, :, level] / scale[None, None, None]  # [B, L, heads, P, 2]
            at = (2 * at - 1).permute(0, 2, 1, 3, 4).flatten(0, 1)
            read = F.grid_sample(maps, at, mode="bilinear", padding_mode="zeros", align_corners=False)
            share = weights[:, :, :, level].permute(0, 2, 1, 3).flatten(0, 1)  # [B * heads, L, P]
            out = out + (read * share[:, None]).sum(-1)
        out = out.view(batch, dim, length).transpose(1, 2)
        projected: Tensor = self.output_proj(out)
        return projected


class DeformableEncoderLayer(nn.Module):
    """Deformable attention and feed-forward, post-norm."""

    def __init__(self, dim: int, heads: int, levels: int, points: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, heads, levels, points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, sizes: Sizes) -> Tensor:
        """x, position: [B, L, C]; reference: [L, 2]."""
        x = self.norm1(x + self.self_attn(x + position, reference, x, sizes))
        normed: Tensor = self.norm2(x + self.linear2(F.relu(self.linear1(x))))
        return normed


def pixel_centres(sizes: Sizes, like: Tensor) -> Tensor:
    """Reference points [L, 2] (x, y in 0..1) of all levels' tokens."""
    rows = []
    for height, width in sizes:
        y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
        rows.append(grid.flip(-1))
    return torch.cat(rows)


class DeformableEncoder(nn.Module):
    """Deformable layers over three maps under the keys `level_embed` and `encoder.layers.i`."""

    def __init__(self, dim: int, heads: int, points: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(len(LEVELS), dim))
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(
            DeformableEncoderLayer(dim, heads, len(LEVELS), points, hidden) for _ in range(layers)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Three maps [B, C, h, w] -> the same shapes."""
        sizes = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps]
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        position = torch.cat(
            [
                sine_positions(*size, m.shape[1], m).flatten(2).transpose(1, 2) + embed
                for m, size, embed in zip(maps, sizes, self.level_embed, strict=True)
            ],
            1,
        )
        reference = pixel_centres(sizes, tokens)
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            tokens = layer(tokens, position, reference, sizes)
        parts = torch.split(tokens, [h * w for h, w in sizes], 1)
        return [p.transpose(1, 2).reshape(p.shape[0], -1, *size) for p, size in zip(parts, sizes, strict=True)]
