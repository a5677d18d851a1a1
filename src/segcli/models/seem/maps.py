"""From an ask to prompt maps: every kind of prompt becomes points, a region, or the previous mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segcli.core.ask import Ask, Box
from segcli.core.geometry import polygon_mask
from segcli.core.rle import decode
from segcli.models.seem.click_path import STRIDE, PromptMaps
from segcli.models.seem.focus import Geometry, cells_of

_MARKS = 8  # points that stand for a stroke, a negative box or a drawn scribble

Click = tuple[float, float, float]  # x, y, sign


def clicks_of(ask: Ask, size: tuple[int, int]) -> list[Click]:
    """All prompts of an ask that act as clicks, in photo pixels, 1 positive and 0 negative.

    Strokes become points along them; negative boxes and polygons become points spread over their inside.
    size: (H, W) of the photo.
    """
    clicks = [(p.x, p.y, float(p.positive)) for p in ask.points]
    for stroke in ask.scribbles:
        marks = _along(stroke.points) if stroke.drawn is None else _spread(decode(stroke.drawn))
        clicks += [(x, y, float(stroke.positive)) for x, y in marks]
    for box in ask.boxes:
        if not box.positive:
            clicks += [(x, y, 0.0) for x, y in _grid(box)]
    for polygon in ask.polygons:
        if not polygon.positive:
            clicks += [(x, y, 0.0) for x, y in _spread(polygon_mask(polygon.points, size))]
    return clicks


def outline_mask(ask: Ask, size: tuple[int, int]) -> Tensor | None:
    """The previous answer, rough mask or positive polygons as bool [H, W], or None when there is none."""
    if ask.previous is not None:
        return torch.from_numpy(decode(ask.previous))
    parts = [decode(ask.mask)] if ask.mask is not None else []
    parts += [polygon_mask(p.points, size) for p in ask.polygons if p.positive]
    return torch.from_numpy(np.logical_or.reduce(parts)) if parts else None


def prompt_box(
    ask: Ask, clicks: list[Click], outline: Tensor | None, size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """x0, y0, x1, y1 around everything positive that says how large the object is, or None when nothing does.

    Clicks alone say where an object is and not how large.
    """
    boxes = [(b.x0, b.y0, b.x1, b.y1) for b in ask.boxes if b.positive]
    found = None if outline is None else extent(outline, size)
    if found is not None:
        boxes.append(found)
    if not boxes:
        return None
    marks = [(x, y, x, y) for x, y, sign in clicks if sign]
    every = np.array(boxes + marks)
    low, high = every[:, :2].min(0), every[:, 2:].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def extent(outline: Tensor, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """x0, y0, x1, y1 in photo pixels around the cells above one half of [h, w], or None when there is none."""
    taken = outline > 0.5
    ys, xs = taken.any(1).nonzero().flatten(), taken.any(0).nonzero().flatten()
    if not len(ys):
        return None
    sy, sx = size[0] / outline.shape[0], size[1] / outline.shape[1]
    return float(xs[0]) * sx, float(ys[0]) * sy, float(xs[-1] + 1) * sx - 1, float(ys[-1] + 1) * sy - 1


def prompt_maps(
    ask: Ask, clicks: list[Click], outline: Tensor | None, size: tuple[int, int], place: Geometry, device: torch.device
) -> PromptMaps:
    """The prompts as the network takes them, for one window. Clicks outside of the window are left out."""
    window = place.window
    seen = [
        (*place.to_input(x, y), sign)
        for x, y, sign in clicks
        if window.x0 <= x + 0.5 < window.x1 and window.y0 <= y + 0.5 < window.y1
    ]
    points = torch.tensor([seen or [(0.0, 0.0, -1.0)]])
    height, width = (v // STRIDE for v in place.padded)
    region = torch.full((1, 1, height, width), 0.5)
    boxes = [b for b in ask.boxes if b.positive]
    if boxes:
        region.zero_()
    for box in boxes:
        x0, y0 = (int(v) // STRIDE for v in place.to_input(box.x0, box.y0))
        x1, y1 = (int(v) // STRIDE for v in place.to_input(box.x1, box.y1))
        region[..., max(0, y0) : max(0, y1) + 1, max(0, x0) : max(0, x1) + 1] = 1
    previous = torch.zeros_like(region) if outline is None else cells_of(outline, size, place, STRIDE)
    return PromptMaps(points.to(device), region.to(device), previous.to(device))


def _along(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Points spread evenly along a poly-line, its ends included."""
    corners = np.array(points, dtype=np.float64)
    if len(corners) == 1:
        return [(float(corners[0, 0]), float(corners[0, 1]))]
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.linspace(0, length[-1], _MARKS)
    return [(float(np.interp(t, length, corners[:, 0])), float(np.interp(t, length, corners[:, 1]))) for t in at]


def _spread(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> list[tuple[float, float]]:
    """Pixels of a mask, evenly spaced in reading order."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return []
    pick = np.unique(np.linspace(0, len(ys) - 1, min(_MARKS, len(ys))).round().astype(int))
    return [(float(xs[i]), float(ys[i])) for i in pick]


def _grid(box: Box) -> list[tuple[float, float]]:
    """Three by three points inside a box."""
    xs = [box.x0 + (box.x1 - box.x0) * f for f in (0.17, 0.5, 0.83)]
    ys = [box.y0 + (box.y1 - box.y0) * f for f in (0.17, 0.5, 0.83)]
    return [(x, y) for y in ys for x in xs]
