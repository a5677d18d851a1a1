"""Ways to change a training picture: where its layers lie, how they bend, and in what light they stand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDE = 256

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Pose:
    """How a layer lies in the window, which spans -1..1. `bend` [SIDE, SIDE, 2] is a smooth displacement."""

    at: NDArray[np.float64]
    size: float
    aspect: float
    angle: float
    bend: Tensor = field(default_factory=lambda: torch.zeros(SIDE, SIDE, 2))

    def moved(self, rng: Rng, much: float, unit: NDArray[np.float64], bend: float, turn: float) -> Pose:
        """Changed at random; unit: what counts as one step of `at`."""
        return replace(
            self,
            at=self.at + rng.normal(0, much, 2) * unit,
            size=self.size * math.exp(rng.normal(0, 0.25 * much)),
            aspect=self.aspect * math.exp(rng.normal(0, 0.12 * much)),
            angle=self.angle + rng.normal(0, turn * much),
            bend=self.bend + much * smooth(rng, bend),
        )


def roughened(mask: Tensor, rng: Rng, much: float) -> Tensor:
    """A mask [SIDE, SIDE] as a tracker may have it: moved, bent, with parts missing or added, faint or blurred."""
    scale = np.exp(rng.normal(0, 0.12 * much, 2))
    grid = grid_of(rng.normal(0, 0.1 * much, 2), scale, rng.normal(0, 0.1 * much), smooth(rng, 0.05 * much, 6))
    rough = sampled(mask[None, None], grid)[0].clone()
    for _ in range(int(rng.integers(0, 3))):
        if rng.random() < 0.7 * much:
            high, wide = rng.integers(12, 70, 2)
            top, left = rng.integers(0, SIDE - 20, 2)
            value = 1.0 if rng.random() < 0.4 else float(rng.random() < 0.5) * rng.random()
            rough[top : top + high, left : left + wide] = value
    if rng.random() < 0.3 * much:
        rough = rough * rng.uniform(0.4, 1)
    if rng.random() < 0.5:
        kernel = int(rng.choice([9, 17, 25]))
        rough = F.avg_pool2d(rough[None, None], kernel, 1, kernel // 2)[0, 0]
    return rough.clamp(0, 1)


def recoloured(frame: Tensor, rng: Rng, much: float = 1.0) -> Tensor:
    """Another light and tint, now and then a blur, of focus or of motion, or fewer pixels."""
    frame = (frame - 128) * math.exp(rng.uniform(-0.15, 0.15) * much) + 128 + rng.uniform(-12, 12) * much
    frame = frame + torch.from_numpy((rng.uniform(-6, 6, (3, 1, 1)) * much).astype(np.float32))
    draw = rng.random()
    if draw < 0.15:
        frame = F.avg_pool2d(frame[None], 3, 1, 1)[0]
    elif draw < 0.15 + 0.06 * much:
        length = int(rng.choice([5, 7, 9]))
        kernel = (1, length) if rng.random() < 0.6 else (length, 1)
        padding = (kernel[0] // 2, kernel[1] // 2)
        frame = F.avg_pool2d(frame[None], kernel, 1, padding, count_include_pad=False)[0]
    elif draw < 0.2 + 0.06 * much:
        small = F.interpolate(frame[None], scale_factor=rng.uniform(0.4, 0.8), mode="bilinear", antialias=True)
        frame = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear")[0]
    return frame.clamp(0, 255)


def smooth(rng: Rng, spread: float, knots: int = 4) -> Tensor:
    """A smooth random displacement [SIDE, SIDE, 2]."""
    field_ = torch.from_numpy(rng.normal(0, spread, (1, 2, knots, knots)).astype(np.float32))
    return F.interpolate(field_, size=(SIDE, SIDE), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)


def base() -> Tensor:
    """Coordinates x, y of the window's pixels in -1..1: [SIDE, SIDE, 2]."""
    along = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), -1)


def turned(place: Tensor, angle: float) -> Tensor:
    """Coordinates [..., 2] turned by `angle` radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = place[..., 0], place[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1)


def grid_of(
    centre: NDArray[np.float64], extent: NDArray[np.float64], angle: float, bend: Tensor | None = None
) -> Tensor:
    """Where each pixel of the window lies in a source that spans -1..1."""
    place = turned(base() if bend is None else base() + bend, angle)
    return place * torch.tensor(extent, dtype=torch.float32) + torch.tensor(centre, dtype=torch.float32)


def sampled(planes: Tensor, grid: Tensor, padding: str = "zeros") -> Tensor:
    """Planes [1, C, h, w] read at a grid [SIDE, SIDE, 2] -> [C, SIDE, SIDE]."""
    return F.grid_sample(planes, grid[None], mode="bilinear", padding_mode=padding, align_corners=False)[0]


def planes_of(pixels: NDArray[np.uint8]) -> Tensor:
    """Bytes [h, w, C] -> float [1, C, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 (exclusive) around the marked pixels; there must be some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
