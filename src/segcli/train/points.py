"""Points at which mask losses are taken, instead of whole masks (PointRend, section 3.1; Mask2Former, section 3.3)."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Uniform(Protocol):
    """Where random numbers come from."""

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Numbers of [0, 1)."""
        ...


class SeededUniform:
    """A generator on the CPU, so that the same seed gives the same points on every device."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Numbers of [0, 1)."""
        return torch.rand(shape, generator=self.generator)


def read_at(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear reading of maps [N, h, w] at points [N or 1, P, 2] (x, y in 0..1 of the whole map) -> [N, P].

    Cells have area: 0 is the outer edge of the first cell. Beyond the edge is zero.
    """
    grid = (2 * points - 1).expand(maps.shape[0], -1, -1)[:, :, None]
    read = F.grid_sample(maps[:, None], grid.to(maps), mode="bilinear", padding_mode="zeros", align_corners=False)
    return read[:, 0, :, 0]


@torch.no_grad()
def uncertain_points(
    logits: Tensor, count: int, draws: Uniform, oversample: float = 3.0, importance: float = 0.75
) -> Tensor:
    """`count` points [N, count, 2] for mask logits [N, h, w]: `importance` of them where the logit is nearest to 0.

    They are the least certain of `oversample * count` random candidates; the rest are random.
    """
    masks = logits.shape[0]
    candidates = draws.uniform((masks, int(oversample * count), 2)).to(logits.device)
    certainty = read_at(logits, candidates).abs()
    hard = int(importance * count)
    nearest = certainty.topk(hard, dim=1, largest=False).indices
    chosen = candidates.gather(1, nearest[:, :, None].expand(-1, -1, 2))
    if hard == count:
        return chosen
    return torch.cat([chosen, draws.uniform((masks, count - hard, 2)).to(logits.device)], 1)
