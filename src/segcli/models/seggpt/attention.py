"""Self-attention over a token grid with decomposed relative positions (as in MViTv2, arXiv 2112.01526, 4.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def relative_table(table: Tensor, size: int) -> Tensor:
    """Rows of a relative table [T, d] for every pair of places: [size, size, d], entry (i, j) for the offset i - j.

    A table of another length than 2*size - 1 is resized linearly along its length.
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        table = F.interpolate(table.T[None], size=length, mode="linear", align_corners=False)[0].T
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]


def relative_bias(q: Tensor, table_rows: Tensor, table_columns: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of the position bias, from UNSCALED queries.

    q [..., r, W, d] with the query's r rows of tokens, table_rows [r, H, d], table_columns [W, W, d]
    -> bias towards key rows [..., r, W, H] and towards key columns [..., r, W, W].
    """
    return torch.einsum("...rwd,rkd->...rwk", q, table_rows), torch.einsum("...rwd,wkd->...rwk", q, table_columns)


class Attention(nn.Module):
    """Global multi-head attention on a grid [B, H, W, D]; relative tables are shared by the heads of a block."""

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_rows = nn.Parameter(torch.zeros(2 * grid[0] - 1, dim // num_heads))
        self.relative_columns = nn.Parameter(torch.zeros(2 * grid[1] - 1, dim // num_heads))

    def tables(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Relative tables for a grid: [H, H, d] and [W, W, d]."""
        return relative_table(self.relative_rows, height), relative_table(self.relative_columns, width)

    def split_heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens [B, L, D] -> q, k, v, each [B, heads, L, d]."""
        batch, length, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        return q, k, v

    def forward(self, grid: Tensor) -> Tensor:
        """[B, H, W, D] -> [B, H, W, D], after the output projection."""
        batch, height, width, dim = grid.shape
        q, k, v = self.split_heads(grid.reshape(batch, height * width, dim))
        bias_rows, bias_columns = relative_bias(q.reshape(*q.shape[:2], height, width, -1), *self.tables(height, width))
        bias = bias_rows[..., :, None] + bias_columns[..., None, :]  # [B, heads, H, W, H, W]
        logits = (q * self.scale) @ k.transpose(-2, -1) + bias.flatten(4).flatten(2, 3)
        mixed = logits.softmax(dim=-1) @ v  # [B, heads, L, d]
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, height, width, dim))
        return out
