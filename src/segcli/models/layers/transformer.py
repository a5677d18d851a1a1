"""Post-norm transformer layers of DETR and Mask2Former, under the names of their checkpoints."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.layers.attention import MultiHeadAttention


class SelfAttentionLayer(nn.Module):
    """Self-attention with positions added to queries and keys, residual, norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        allowed: Tensor | None = None,
        context: Tensor | None = None,
        context_position: Tensor | None = None,
    ) -> Tensor:
        """Update x [B, Q, C]; its keys are itself, or `context` [B, L, C] where x is only a part of the sequence."""
        if context is None or context_position is None:
            context, context_position = x, position
        y = self.self_attn(x + position, context + context_position, context, allowed)
        normed: Tensor = self.norm(x + y)
        return normed


class CrossAttentionLayer(nn.Module):
    """Cross-attention over keys and values that were projected once for the image, residual, norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = MultiHeadAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def project(self, source: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Source and position [B, L, C] -> keys and values [B, heads, L, C / heads]."""
        return self.multihead_attn.project_key(source + position), self.multihead_attn.project_value(source)

    def forward(self, x: Tensor, position: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        """Update x [B, Q, C]; allowed: bool [B, Q, L]."""
        y = self.multihead_attn.attend(x + position, key, value, allowed)
        normed: Tensor = self.norm(x + y)
        return normed


class FeedForwardLayer(nn.Module):
    """Two linear maps with ReLU, residual, norm."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, Q, C] -> the same."""
        normed: Tensor = self.norm(x + self.linear2(F.relu(self.linear1(x))))
        return normed


class EncoderLayer(nn.Module):
    """DETR's encoder layer: self-attention and feed-forward, post-norm."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x, position: [B, L, C] -> [B, L, C]."""
        where = x + position
        x = self.norm1(x + self.self_attn(where, where, x))
        normed: Tensor = self.norm2(x + self.linear2(F.relu(self.linear1(x))))
        return normed


class MLP(nn.Module):
    """Linear maps with ReLU between them; `layers.0` to `layers.{depth - 1}`."""

    def __init__(self, dim: int, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        widths = [dim, *[hidden] * (depth - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., out]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        mapped: Tensor = self.layers[-1](x)
        return mapped
