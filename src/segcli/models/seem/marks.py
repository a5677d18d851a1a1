"""From an ask to the marks that the published model reads: bool masks at the size of its input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Ask, Box
from segcli.core.geometry import box_mask, polygon_mask, stroke_mask
from segcli.core.rle import Rle, decode

_SURE = 10.0  # mask logit of a given mask; only its sign is looked at

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class InputSize:
    """A photo's way into the network: `photo` (H, W), shrunk or grown to `image`, padded to `padded`."""

    photo: Size
    image: Size
    padded: Size

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Centre of a photo pixel in pixels of the input."""
        scale_x, scale_y = self.image[1] / self.photo[1], self.image[0] / self.photo[0]
        return (x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5


def input_size(photo: Size, short_side: int, long_side: int) -> Size:
    """The published test size: the short side becomes `short_side`, unless the long one would pass `long_side`."""
    short, long = min(photo), max(photo)
    new_short, new_long = short_side, int(short_side * long / short)
    if new_long > long_side:
        new_short, new_long = max(1, int(long_side * new_short / new_long)), long_side
    return (new_short, new_long) if photo[0] <= photo[1] else (new_long, new_short)


def marks_of(ask: Ask, size: InputSize) -> tuple[Tensor, Tensor]:
    """Positive and negative marks of one object, bool [1, *padded] each.

    A click is a square of 3x3 input pixels, as in training; a stroke is a line of that width; boxes, polygons and
    masks are their inside. A previous answer alone marks its own inside.
    """
    signed = (np.zeros(size.image, np.bool_), np.zeros(size.image, np.bool_))
    for point in ask.points:
        x, y = (round(v) for v in size.place(point.x, point.y))
        into = signed[not point.positive]
        into[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    for box in ask.boxes:
        corners = (*size.place(box.x0, box.y0), *size.place(box.x1, box.y1))
        _add(signed[not box.positive], box_mask(Box(*corners), size.image), corners[:2])
    for stroke in ask.scribbles:
        into = signed[not stroke.positive]
        if stroke.drawn is not None:
            into |= _resized(stroke.drawn, size.image, touched=True)
        else:
            line = [size.place(x, y) for x, y in stroke.points]
            _add(into, stroke_mask(line, size.image, width=3), line[0])
    for polygon in ask.polygons:
        corners_in = [size.place(x, y) for x, y in polygon.points]
        _add(signed[not polygon.positive], polygon_mask(corners_in, size.image), corners_in[0])
    if ask.mask is not None:
        signed[0][:] |= _resized(ask.mask, size.image, touched=False)
    if ask.previous is not None and not signed[0].any():
        signed[0][:] |= _resized(ask.previous, size.image, touched=False)
    positive, negative = (_padded(mask, size.padded) for mask in signed)
    return positive, negative


def previous_logits(mask: Rle, size: InputSize, cells: Size) -> Tensor:
    """A previous answer as mask logits [1, 1, *cells], the decoder's memory of it."""
    inside = torch.from_numpy(decode(mask)).float()[None, None]
    inside = F.interpolate(inside, size=size.image, mode="area")
    inside = F.pad(inside, (0, size.padded[1] - size.image[1], 0, size.padded[0] - size.image[0]))
    return (F.interpolate(inside, size=cells, mode="area") * 2 - 1) * _SURE


def _add(into: NDArray[np.bool_], drawn: NDArray[np.bool_], at: tuple[float, ...]) -> None:
    """Add what was drawn; a mark too small to cover a pixel centre still marks the nearest pixel."""
    into |= drawn
    if not drawn.any():
        y, x = (min(max(round(v), 0), limit - 1) for v, limit in zip((at[1], at[0]), into.shape, strict=True))
        into[y, x] = True


def _resized(mask: Rle, size: Size, touched: bool) -> NDArray[np.bool_]:
    """A mask at another size; `touched` keeps every pixel that it touches (thin strokes), else those half covered."""
    cover = F.interpolate(torch.from_numpy(decode(mask)).float()[None, None], size=size, mode="area")[0, 0].numpy()
    half: NDArray[np.bool_] = cover >= 0.5
    return cover > 0 if touched or not half.any() else half


def _padded(mask: NDArray[np.bool_], size: Size) -> Tensor:
    height, width = mask.shape
    return F.pad(torch.from_numpy(mask)[None], (0, size[1] - width, 0, size[0] - height))
