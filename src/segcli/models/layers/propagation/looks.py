"""Where a tracker looks: the whole frame, and a window around each object, at sizes that the backbone takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MULTIPLE = 32
CELL = 8  # input pixels for one cell that is compared
_AREA = 448 * 256  # input pixels of a look at the whole frame
_LONGEST = 1024
_SIDE = 288  # longest side of the input of a look at a window
_AROUND = 1.7  # a window's side for one of the object
_LEAST = 0.12  # of the frame's longer side


@dataclass(frozen=True)
class Look:
    """A part of a frame, x0, y0 inclusive and x1, y1 exclusive, and the size (height, width) of the network's input."""

    x0: int
    y0: int
    x1: int
    y1: int
    input: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in frame pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) in cells."""
        return self.input[0] // CELL, self.input[1] // CELL

    def centres(self) -> tuple[Tensor, Tensor]:
        """Frame coordinates of the cells' columns [w] and rows [h]."""
        (height, width), (rows, columns) = self.size, self.grid
        x = self.x0 + (torch.arange(columns) + 0.5) * (width / columns)
        y = self.y0 + (torch.arange(rows) + 0.5) * (height / rows)
        return x, y


def whole_look(size: tuple[int, int]) -> Look:
    """The whole frame of `size` (H, W), at about `_AREA` input pixels whatever its shape."""
    height, width = size
    factor = min(math.sqrt(_AREA / (height * width)), _LONGEST / max(size))
    return Look(0, 0, width, height, (_rounded(height * factor), _rounded(width * factor)))


def object_look(box: tuple[float, float, float, float], size: tuple[int, int]) -> Look:
    """A square window around x0, y0, x1, y1 (exclusive), cut where the frame of `size` ends."""
    height, width = size
    x0, y0, x1, y1 = box
    side = max(_AROUND * max(x1 - x0, y1 - y0), _LEAST * max(size), 2.0)
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    factor = _SIDE / max(right - left, bottom - top)
    return Look(left, top, right, bottom, (_rounded((bottom - top) * factor), _rounded((right - left) * factor)))


def extent(inside: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 (exclusive) around the marked pixels of [H, W], or None when there are none."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def network_input(frame: Tensor, look: Look) -> Tensor:
    """The look's part of a frame, [1, C, H, W] bytes or float -> float [1, C, *look.input]."""
    part = frame[..., look.y0 : look.y1, look.x0 : look.x1].float()
    return F.interpolate(part, size=look.input, mode="bilinear", align_corners=False, antialias=True)


def cells_of(mask: Tensor, look: Look, cell: int = CELL) -> Tensor:
    """Soft masks of a frame, [K, H, W] -> what part of each cell of `cell` input pixels is covered, [K, h, w]."""
    return F.avg_pool2d(network_input(mask[None], look)[0], cell)


def _span(centre: float, side: float, length: int) -> tuple[int, int]:
    """An interval of about `side` around `centre`, moved into 0..length and cut where it is longer."""
    if side >= length:
        return 0, length
    first = min(max(0.0, centre - side / 2), length - side)
    return math.floor(first), min(length, math.ceil(first + side))


def _rounded(value: float) -> int:
    return max(1, round(value / MULTIPLE)) * MULTIPLE
