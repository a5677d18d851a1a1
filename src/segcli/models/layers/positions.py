"""Sine position encoding of maps, as in DETR."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_positions(height: int, width: int, channels: int, like: Tensor, temperature: float = 10000.0) -> Tensor:
    """Position encoding [1, channels, height, width] on the device of `like` (float32).

    Rows and columns are counted from 1 and scaled to 2 pi; the first half of the channels encodes y, the second x,
    sine and cosine interleaved (DETR, section 3.2 and appendix).
    """
    per_axis = channels // 2
    index = torch.arange(per_axis, device=like.device, dtype=torch.float32)
    wavelength = temperature ** (2 * (index // 2) / per_axis)

    def axis(length: int) -> Tensor:
        at = torch.arange(1, length + 1, device=like.device, dtype=torch.float32)
        angle = (at / (length + 1e-6) * (2 * math.pi))[:, None] / wavelength
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1)  # [length, per_axis]

    y = axis(height).t()[:, :, None].expand(-1, -1, width)
    x = axis(width).t()[:, None, :].expand(-1, height, -1)
    return torch.cat([y, x])[None]
