"""Where seggpt-nano looks: the whole photo, and windows around what it found there. All looks are squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

Pixels = NDArray[np.uint8]
CELL = 4  # input pixels for one cell of an answer
_AROUND = 1.6  # a window's sides for those of what was found
_LEAST = 0.25  # of the photo's sides
_GRID = 16  # windows begin and end at so many parts of the photo
_WHOLE = 0.75  # a window of so much of both sides is not worth a look


@dataclass(frozen=True)
class Window:
    """A part of a photo in fractions of its sides; 0, 0, 1, 1 is all of it."""

    x0: float = 0.0
    y0: float = 0.0
    x1: float = 1.0
    y1: float = 1.0

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of a photo."""
        return self.x0 * width, self.y0 * height, self.x1 * width, self.y1 * height

    def cells(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of a plane [height, width] over the whole photo; exact on multiples of 16 cells."""
        rows = slice(round(self.y0 * height), round(self.y1 * height))
        return rows, slice(round(self.x0 * width), round(self.x1 * width))


WHOLE = Window()


def look(pixels: Pixels, window: Window, side: int, *, mirrored: bool = False) -> Tensor:
    """The window's pixels, resized to a square as SegGPT resizes photos: float [1, 3, side, side], 0..255."""
    box = window.box(*pixels.shape[:2])
    square = np.array(Pillow.fromarray(pixels).resize((side, side), Pillow.Resampling.BILINEAR, box=box))
    if mirrored:
        square = square[:, ::-1].copy()
    return torch.from_numpy(square).permute(2, 0, 1)[None].float()


def shares(mask: NDArray[np.bool_], window: Window, side: int) -> Tensor:
    """Which part of each cell of a square look a mask [H, W] of the whole photo covers: float [side/4, side/4]."""
    plane = Pillow.fromarray(mask.astype(np.uint8) * 255)
    small = plane.resize((side // CELL, side // CELL), Pillow.Resampling.BOX, box=window.box(*mask.shape))
    return torch.from_numpy(np.array(small)).float() / 255


def window_around(inside: NDArray[np.bool_]) -> Window | None:
    """A window around the marked cells of a plane over the whole photo; None for no cell, or for nearly all of it."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    y0, y1 = _span(rows[0] / inside.shape[0], (rows[-1] + 1) / inside.shape[0])
    x0, x1 = _span(columns[0] / inside.shape[1], (columns[-1] + 1) / inside.shape[1])
    if min(x1 - x0, y1 - y0) > _WHOLE:
        return None
    return Window(x0, y0, x1, y1)


def _span(first: float, last: float) -> tuple[float, float]:
    """A wider interval within 0..1, its ends on the grid."""
    side = min(1.0, max((last - first) * _AROUND, _LEAST))
    start = min(max(0.0, (first + last - side) / 2), 1 - side)
    return np.floor(start * _GRID) / _GRID, min(1.0, np.ceil((start + side) * _GRID) / _GRID)


def shrunk(pixels: Pixels, longest: int) -> Pixels:
    """At most `longest` pixels long: what a second look may still need of a photo of 12 megapixels."""
    factor = longest / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    height, width = (max(1, round(v * factor)) for v in pixels.shape[:2])
    return np.asarray(Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BILINEAR))
