"""Multi-head attention with torch's parameter names, masks that say what is allowed, and keys that may be kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention, batch first, parameters named as in `torch.nn.MultiheadAttention`.

    A query that may attend nothing answers with `out_proj.bias` alone (its attention is zero, not nan).
    Keys and values can be projected once and used for many queries: `project_key`, `project_value`, `attend`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels don't divide into {heads} heads")
        self.dim, self.heads = dim, heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def _project(self, x: Tensor, part: int) -> Tensor:
        rows = slice(part * self.dim, (part + 1) * self.dim)
        y = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])
        return y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)

    def project_key(self, x: Tensor) -> Tensor:
        """[B, L, C] -> keys [B, heads, L, C / heads]."""
        return self._project(x, 1)

    def project_value(self, x: Tensor) -> Tensor:
        """[B, L, C] -> values [B, heads, L, C / heads]."""
        return self._project(x, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Attend projected keys and values.

        query: [B, Q, C]; key, value: [B, heads, L, d]; allowed: bool [B, Q, L], the same for all heads.
        """
        q = self._project(query, 0)
        if allowed is None:
            y = F.scaled_dot_product_attention(q, key, value)
        else:
            nothing = ~allowed.any(-1, keepdim=True)
            y = F.scaled_dot_product_attention(q, key, value, attn_mask=(allowed | nothing)[:, None])
            y = y.masked_fill(nothing[:, None], 0.0)
        projected: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return projected

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """[B, Q, C], [B, L, C], [B, L, C] -> [B, Q, C]; allowed: bool [B, Q, L], True where a query may look."""
        return self.attend(query, self.project_key(key), self.project_value(value), allowed)
