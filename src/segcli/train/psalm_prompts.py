"""Points, masks, boxes and scribbles drawn from an object's mask: COCO-Interactive (PSALM, supplement).

The published generator's draws and their order are kept, so that the same random numbers give the same prompts; where
it and the paper disagree (one factor for both sides of a box, a mean as the threshold of a rough mask), it is followed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_SMALLEST = 5  # components of as many pixels or fewer get no prompt
_TRIES = 1000
_BLUR = 2.0  # standard deviation in pixels


class PromptDraws(Protocol):
    """Where the random numbers come from."""

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        ...

    def choice(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        ...


class SeededDraws:
    """Python's generator with a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return self._random.uniform(low, high)

    def choice(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        return self._random.randrange(count)


@dataclass(frozen=True)
class VisualPrompts:
    """Masks of the photo's size; one that could not be drawn is empty."""

    point: Mask
    mask: Mask
    box: Mask
    scribble: Mask


@dataclass(frozen=True)
class _Part:
    """A connected component: bounding box (end exclusive) and centroid, row before column."""

    top: int
    left: int
    bottom: int
    right: int
    centroid: tuple[float, float]

    @property
    def sides(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


def visual_prompts(mask: Mask, draws: PromptDraws) -> VisualPrompts:
    """Prompts of every kind for one object's mask [H, W]: all points, the rough mask, all boxes, all scribbles."""
    parts = _parts(mask)
    point, box, scribble = (np.zeros(mask.shape, np.bool_) for _ in range(3))
    for part in parts:
        if (spot := _point(part, mask, draws)) is not None:
            point[spot] = True
    rough = _rough(mask)
    for part in parts:
        top, left, bottom, right = _box(part, mask.shape, draws)
        box[top:bottom, left:right] = True
    for part in parts:
        rows, columns = _scribble(part, mask.shape, draws)
        scribble[rows, columns] = True
    return VisualPrompts(point, rough, box, scribble)


def _parts(mask: Mask) -> list[_Part]:
    from scipy.ndimage import find_objects, label

    numbered, _ = label(mask, np.ones((3, 3)))
    parts = []
    for number, box in enumerate(find_objects(numbered), start=1):
        rows, columns = np.nonzero(numbered[box] == number)
        if len(rows) > _SMALLEST:
            top, left = box[0].start, box[1].start
            centroid = (top + float(rows.mean()), left + float(columns.mean()))
            parts.append(_Part(top, left, box[0].stop, box[1].stop, centroid))
    return parts


def _point(part: _Part, mask: Mask, draws: PromptDraws) -> tuple[int, int] | None:
    """A pixel of the object around the centroid, each axis with a radius of its own."""
    radius = min(part.sides) / 2
    for _ in range(_TRIES):
        angle = draws.uniform(0, 2 * math.pi)
        row = int(part.centroid[0] + draws.uniform(0, radius) * math.cos(angle))
        column = int(part.centroid[1] + draws.uniform(0, radius) * math.sin(angle))
        row = min(max(row, part.top), part.bottom - 1)
        column = min(max(column, part.left), part.right - 1)
        if mask[row, column]:
            return row, column
    return None


def _rough(mask: Mask) -> Mask:
    """Blurred, and cut at the blurred map's mean."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(mask.astype(np.float64), _BLUR)
    rough: Mask = blurred > blurred.mean()
    return rough


def _box(part: _Part, size: tuple[int, ...], draws: PromptDraws) -> tuple[int, int, int, int]:
    """The bounding box with both sides scaled by one factor: top, left, bottom, right (exclusive)."""
    grow = draws.uniform(0.9, 1.1) - 1
    high, wide = (side * grow / 2 for side in part.sides)
    return (
        max(0, int(part.top - high)),
        max(0, int(part.left - wide)),
        min(size[0], int(part.bottom + high)),
        min(size[1], int(part.right + wide)),
    )


def _scribble(part: _Part, size: tuple[int, ...], draws: PromptDraws) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rows and columns of a wave along a diagonal of a box that is like the object's; none when no box is."""
    nothing = np.zeros(0, np.int32)
    original = (part.top, part.left, part.bottom, part.right)
    for _ in range(_TRIES):
        high, wide = (side * draws.uniform(0.5, 1.2) / 2 for side in part.sides)
        row, column = part.centroid
        top, left = max(int(row - high), 0), max(int(column - wide), 0)
        bottom, right = min(int(row + high), size[0]), min(int(column + wide), size[1])
        if _iou((top, left, bottom, right), original) >= 0.5:
            break
    else:
        return nothing, nothing
    corner = draws.choice(4)
    start = (top, bottom)[corner // 2], (left, right)[corner % 2]
    end = (bottom, top)[corner // 2], (right, left)[corner % 2]
    rows, columns = _line(start, end)
    amplitude, frequency = draws.uniform(10, 20), draws.uniform(0.2, 1)
    phase = draws.uniform(0, 2 * math.pi)
    wave = amplitude * np.sin(2 * np.pi * frequency * np.linspace(0, 1, len(rows)) + phase)
    waved = (rows.astype(np.float32) + wave).astype(np.float32)
    return (
        np.clip(waved, 0, size[0] - 1).astype(np.int32),
        np.clip(columns, 0, size[1] - 1).astype(np.int32),
    )


def _line(start: tuple[int, int], end: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bresenham's line in closed form, both ends included."""
    away = end[0] - start[0], end[1] - start[1]
    long = max(abs(away[0]), abs(away[1]))
    step = np.arange(long + 1)
    axes = [
        begin + (np.sign(d) * ((2 * abs(d) * step + long) // (2 * long)) if long else 0 * step)
        for begin, d in zip(start, away, strict=True)
    ]
    return axes[0], axes[1]


def _iou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """IoU of boxes whose end pixels count as inside."""
    high = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    wide = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return high * wide / (sum(areas) - high * wide)
