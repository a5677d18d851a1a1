"""One transformer block, the feature ensemble inside it, and a windowed variant."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.seggpt.attention import Attention

LAYER_NORM_EPS = 1e-6


def average_query_half(branch: Tensor, streams: int) -> Tensor:
    """Feature ensemble: the lower half of the grid becomes its mean over the samples of its own stream.

    branch [streams * N, H, W, D], stream after stream. Photo and mask streams are never mixed: this is where the
    original and the transformers library part ways in the last block before the merge.
    """
    prompt, query = branch.chunk(2, dim=1)
    mean = query.reshape(streams, -1, *query.shape[1:]).mean(dim=1, keepdim=True)
    same = mean.expand(-1, branch.shape[0] // streams, -1, -1, -1).flatten(0, 1)
    return torch.cat([prompt, same], dim=1)


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Stochastic depth: zero whole samples with probability `rate`, scale the others up to keep the mean."""
    keep = 1.0 - rate
    drawn = torch.empty(branch.shape[0], 1, 1, 1, device=branch.device, dtype=branch.dtype).bernoulli_(keep)
    return branch * drawn / keep


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.contract(F.gelu(self.expand(tokens)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block on a grid [B, H, W, D]."""

    def __init__(
        self, dim: int, num_heads: int, grid: tuple[int, int], mlp_ratio: float = 4.0, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attention = Attention(dim, num_heads, grid)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def attend(self, grid: Tensor) -> Tensor:
        """The attention branch, before the residual: [B, H, W, D] -> [B, H, W, D]."""
        out: Tensor = self.attention(self.norm1(grid))
        return out

    def forward(self, grid: Tensor, ensemble_streams: int = 0) -> Tensor:
        """[B, H, W, D] -> [B, H, W, D]; `ensemble_streams` > 0 averages the query half within that many streams."""
        branch = self.attend(grid)
        if ensemble_streams:
            branch = average_query_half(branch, ensemble_streams)
        grid = grid + self._dropped(branch)
        return grid + self._dropped(self.mlp(self.norm2(grid)))

    def _dropped(self, branch: Tensor) -> Tensor:
        return drop_path(branch, self.drop_rate) if self.training and self.drop_rate else branch


class WindowedBlock(Block):
    """A block that attends inside square windows, for checkpoints trained with them.

    The published code can build it, the released ViT-L never does: all of its blocks are global.
    """

    def __init__(self, dim: int, num_heads: int, window: int, mlp_ratio: float = 4.0, drop_rate: float = 0.0) -> None:
        super().__init__(dim, num_heads, (window, window), mlp_ratio, drop_rate)
        self.window = window

    def attend(self, grid: Tensor) -> Tensor:
        """Normalise, pad with zeros at the bottom and right, attend in each window, crop."""
        height, width = grid.shape[1:3]
        windows = windowed(self.norm1(grid), self.window)
        return unwindowed(self.attention(windows), (height, width))


def windowed(grid: Tensor, window: int) -> Tensor:
    """[B, H, W, D] -> [B * windows, window, window, D], zero-padded at the bottom and right."""
    batch, height, width, dim = grid.shape
    padded = F.pad(grid, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = padded.shape[1] // window, padded.shape[2] // window
    tiles = padded.reshape(batch, rows, window, columns, window, dim)
    return tiles.transpose(2, 3).reshape(-1, window, window, dim)


def unwindowed(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """The inverse of `windowed` for a grid of `size` (H, W): [B, H, W, D]."""
    window, dim = windows.shape[1], windows.shape[3]
    rows, columns = -(-size[0] // window), -(-size[1] // window)
    tiles = windows.reshape(-1, rows, columns, window, window, dim).transpose(2, 3)
    return tiles.reshape(-1, rows * window, columns * window, dim)[:, : size[0], : size[1]]
