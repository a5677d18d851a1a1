"""Where the nano member looks: the whole photo first, then the part around the object.

At a nano input size an object of 2 % of a photo is ten cells wide. Looking a second time at a crop around the first
answer costs one more encoding and gives those cells back (f-BRS and RITM call it zoom-in). The crop is a function of
the photo and the ask alone, so that an answer does not depend on what was asked before; its corners lie on a coarse
grid, so that the next click mostly finds the crop already encoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_GRID = 16  # corners of a crop lie on sixteenths of the photo
_MARGIN = 0.35  # of the object's longer side, added on every side
_LEAST = 0.12  # of the photo's longer side: a crop is never smaller
_WORTH = 0.8  # a crop longer than this part of the photo shows nothing new


@dataclass(frozen=True)
class Window:
    """A part of the photo in its full-size pixels: x0, y0 inclusive, x1, y1 exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0


def whole(size: tuple[int, int]) -> Window:
    """The window that is the photo."""
    return Window(0, 0, size[1], size[0])


def focus_window(mask_box: tuple[float, float, float, float], size: tuple[int, int]) -> Window:
    """The window around x0, y0, x1, y1 (an answer together with its prompts): the whole photo when that is most of it.

    size: (H, W) of the photo.
    """
    height, width = size
    x0, y0, x1, y1 = mask_box
    longest = max(x1 - x0, y1 - y0)
    margin = max(_MARGIN * longest, (_LEAST * max(size) - longest) / 2)
    step_x, step_y = width / _GRID, height / _GRID
    left = int(max(0, np.floor((x0 - margin) / step_x)) * step_x)
    top = int(max(0, np.floor((y0 - margin) / step_y)) * step_y)
    right = int(np.ceil(min(_GRID, np.ceil((x1 + margin) / step_x)) * step_x))
    bottom = int(np.ceil(min(_GRID, np.ceil((y1 + margin) / step_y)) * step_y))
    window = Window(left, top, min(right, width), min(bottom, height))
    if max(window.size) >= _WORTH * max(size):
        return whole(size)
    return window


@dataclass(frozen=True)
class Geometry:
    """How a window lies in the padded network input: scale from photo pixels to input pixels, used and padded size."""

    window: Window
    used: tuple[int, int]
    padded: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """(x, y) input pixels for one photo pixel."""
        height, width = self.window.size
        return self.used[1] / width, self.used[0] / height

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """Centre of a photo pixel -> coordinates of the input, where 0 is the centre of its first pixel."""
        sx, sy = self.scale
        return (x - self.window.x0 + 0.5) * sx - 0.5, (y - self.window.y0 + 0.5) * sy - 0.5


def geometry(window: Window, side: int, multiple: int = 32) -> Geometry:
    """The window's longest side becomes `side`; the input is padded to the next multiple of 32 at right and bottom."""
    height, width = window.size
    factor = side / max(height, width)
    used = max(1, round(height * factor)), max(1, round(width * factor))
    padded = tuple(-(-v // multiple) * multiple for v in used)
    return Geometry(window, used, (padded[0], padded[1]))


def network_input(pixels: NDArray[np.uint8], size: tuple[int, int], place: Geometry, pad: float) -> Tensor:
    """The window of a photo as float [1, 3, H, W] in 0..255.

    pixels: [h, w, 3], possibly fewer than the photo's `size` has.
    """
    rows, columns = _part(place.window, size, pixels.shape[:2])
    crop = torch.from_numpy(pixels[rows, columns].astype(np.float32)).permute(2, 0, 1)[None]
    return _fit(crop, place, pad)


def cells_of(outline: Tensor, size: tuple[int, int], place: Geometry, stride: int) -> Tensor:
    """An outline of the whole photo, [h, w] of any resolution, as means over cells: [1, 1, H/stride, W/stride]."""
    rows, columns = _part(place.window, size, (outline.shape[0], outline.shape[1]))
    return F.avg_pool2d(_fit(outline[rows, columns][None, None].float(), place, 0.0), stride)


def _part(window: Window, size: tuple[int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The window in an array of `shape` that covers the photo of `size`."""
    sy, sx = shape[0] / size[0], shape[1] / size[1]
    top, left = min(int(window.y0 * sy), shape[0] - 1), min(int(window.x0 * sx), shape[1] - 1)
    return slice(top, max(top + 1, round(window.y1 * sy))), slice(left, max(left + 1, round(window.x1 * sx)))


def _fit(crop: Tensor, place: Geometry, pad: float) -> Tensor:
    small = F.interpolate(crop, size=place.used, mode="bilinear", align_corners=False, antialias=True)
    height, width = place.padded
    return F.pad(small, (0, width - place.used[1], 0, height - place.used[0]), value=pad)
