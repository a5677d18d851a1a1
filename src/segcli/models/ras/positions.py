"""The 2-D sine-cosine position map that is pooled like an encoder's features."""

from __future__ import annotations

import torch
from torch import Tensor


def position_map(side: int, channels: int) -> Tensor:
    """float32 [channels, side, side]: for column x and row y [sin(x w), cos(x w), sin(y w), cos(y w)].

    The frequencies are w_k = 10000^(-k / (channels / 4)), as in masked autoencoders. Raises ValueError when
    `channels` is no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"{channels} channels of positions are no multiple of 4")
    omega = 10_000.0 ** (-torch.arange(channels // 4, dtype=torch.float64) / (channels / 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * omega  # [side, channels / 4]
    waves = torch.cat([angles.sin(), angles.cos()], 1).T  # [channels / 2, side]
    half = channels // 2
    columns = waves[:, None, :].expand(half, side, side)
    rows = waves[:, :, None].expand(half, side, side)
    return torch.cat([columns, rows]).float()
