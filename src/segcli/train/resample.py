"""Parts of photos brought to one size, a batch at a time, as Pillow's antialiased bilinear filter does it.

A box is cut without rotation, so the filter is a matrix for the rows and one for the columns: two products of matrices
a batch, which every device is good at. (Sampling four neighbours instead would alias whatever is made smaller, and what
a model sees when it is used is never aliased.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def filters(start: Tensor, stop: Tensor, length: Tensor, side: int, stored: int) -> tuple[Tensor, Tensor]:
    """How `side` places between `start` and `stop` [B] are made of the first `length` [B] of `stored` pixels.

    Returns float32 [B, side, stored], rows that sum to 1 (0 beside the photo), and bool [B, side]: within the photo.
    """
    centre, scale = _centres(start, stop, side)
    pixel = torch.arange(stored, device=start.device, dtype=torch.float64) + 0.5
    distance = (pixel - centre[..., None]).abs() / scale.clamp(min=1)[:, None, None]
    weight = (1 - distance).clamp(min=0) * (pixel < length[:, None])[:, None]
    within = (centre >= 0) & (centre < length[:, None])
    weight = weight / weight.sum(2, keepdim=True).clamp(min=1e-9) * within[..., None]
    return weight.float(), within


def resample(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Planes [B, C, P, P] through filters of rows and columns, each [B, side, P]: float32 [B, C, side, side]."""
    across = planes.flatten(1, 2).float() @ columns.transpose(1, 2)  # all channels in one product
    return rows[:, None] @ across.view(*planes.shape[:3], -1)


def nearest(start: Tensor, stop: Tensor, length: Tensor, side: int) -> Tensor:
    """The pixel within the photo that each of `side` places from `start` to `stop` [B] lies in: int64 [B, side]."""
    centre, _ = _centres(start, stop, side)
    return torch.minimum(centre.floor().clamp(min=0), length[:, None] - 1).long()


def _centres(start: Tensor, stop: Tensor, side: int) -> tuple[Tensor, Tensor]:
    scale = (stop - start) / side
    place = torch.arange(side, device=start.device, dtype=torch.float64) + 0.5
    return start[:, None] + place * scale[:, None], scale
