"""Points, boxes, strokes and polygons against a photo's size: resolve, check, and draw as masks.

Two coordinate systems meet here. Prompts live on pixel centres: (3, 5) is the centre of pixel column 3, row 5.
Rings (outlines) live on pixel corners: pixel (3, 5) covers x from 3 to 4 and y from 5 to 6. One is the other
plus a half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask, Box, Point, Polygon, Reference, Scribble
from segcli.core.errors import ItemError, SegError
from segcli.core.rle import Rle, decode

Ring = NDArray[np.float64]
"""A closed outline [K, 2] of x, y in pixel corners; the last point joins the first."""


class Percent(float):
    """A coordinate as a percentage of the photo's width or height, until `resolve` knows the photo.

    0 % is the outer edge of the first pixel and 100 % the outer edge of the last one.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Percent) and float(self) == float(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(("%", float(self)))

    def __repr__(self) -> str:
        return f"{float(self):g}%"


def to_pixels(value: float, extent: int) -> float:
    """`value` in pixels; a Percent is resolved against `extent` (the width or height) and stays inside for 0..100."""
    if not isinstance(value, Percent):
        return float(value)
    pixels = float(value) / 100 * extent - 0.5
    return min(max(pixels, 0.0), extent - 1.0) if 0 <= float(value) <= 100 else pixels


def resolve(ask: Ask, size: tuple[int, int], name: str, error: type[SegError] = ItemError) -> Ask:
    """The ask in pixels of a photo of `size` (H, W), checked: every prompt lies in the photo and holds something.

    Percentages become pixels, boxes are clipped to the photo. Raises `error` with one line that names the photo
    and the prompt: a click outside, an empty stroke, box, polygon or mask, a mask of another size.
    """
    where = _where(size)
    points = tuple(_point(p, size, name, where, error) for p in ask.points)
    boxes = tuple(_box(b, size, name, where, error) for b in ask.boxes)
    scribbles = tuple(_scribble(s, size, name, where, error) for s in ask.scribbles)
    polygons = tuple(_polygon(p, size, name, where, error) for p in ask.polygons)
    for mask, what in ((ask.mask, "mask"), (ask.previous, "previous mask")):
        if mask is not None:
            _same_size(mask, size, name, what, error)
    if ask.mask is not None and not ask.mask.area:
        raise error(f"{name}: the mask given as a prompt has nothing inside")
    references = tuple(_reference(r, n, size, name, where, error) for n, r in enumerate(ask.references, 1))
    return replace(ask, points=points, boxes=boxes, scribbles=scribbles, polygons=polygons, references=references)


def _point(point: Point, size: tuple[int, int], name: str, where: str, error: type[SegError]) -> Point:
    x, y = to_pixels(point.x, size[1]), to_pixels(point.y, size[0])
    if not _inside(x, y, size):
        raise error(f"{name}: the click {point.x:g},{point.y:g} lies {where}")
    return replace(point, x=x, y=y)


def _box(box: Box, size: tuple[int, int], name: str, where: str, error: type[SegError]) -> Box:
    given = f"{name}: the box {box.x0:g},{box.y0:g},{box.x1:g},{box.y1:g}"
    x0, x1 = to_pixels(box.x0, size[1]), to_pixels(box.x1, size[1])
    y0, y1 = to_pixels(box.y0, size[0]), to_pixels(box.y1, size[0])
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x0 > x1 or y0 > y1:
        raise error(f"{given} has no inside: give left,top,right,bottom")
    height, width = size
    if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
        raise error(f"{given} lies {where}")
    return replace(box, x0=max(x0, 0.0), y0=max(y0, 0.0), x1=min(x1, width - 1.0), y1=min(y1, height - 1.0))


def _scribble(stroke: Scribble, size: tuple[int, int], name: str, where: str, error: type[SegError]) -> Scribble:
    if stroke.drawn is not None:
        _same_size(stroke.drawn, size, name, "scribble", error)
        if not stroke.drawn.area:
            raise error(f"{name}: the painted scribble has nothing inside")
        return stroke
    if not stroke.points:
        raise error(f"{name}: the scribble has no points")
    points = _resolved(stroke.points, size)
    if not any(_inside(x, y, size) for x, y in points) and not stroke_mask(points, size).any():
        x, y = stroke.points[0]
        raise error(f"{name}: the scribble from {x:g},{y:g} lies {where}")
    return replace(stroke, points=points)


def _polygon(polygon: Polygon, size: tuple[int, int], name: str, where: str, error: type[SegError]) -> Polygon:
    if len(polygon.points) < 3:
        raise error(f"{name}: the polygon has {len(polygon.points)} points, it needs 3 or more")
    points = _resolved(polygon.points, size)
    if not polygon_mask(points, size).any():
        x, y = polygon.points[0]
        raise error(f"{name}: the polygon from {x:g},{y:g} has nothing inside, or lies {where}")
    return replace(polygon, points=points)


def _reference(
    reference: Reference, number: int, size: tuple[int, int], name: str, where: str, error: type[SegError]
) -> Reference:
    if reference.image is not None:  # another photo's region is checked against that photo: `resolve_region`
        return reference
    return replace(reference, region=_region(reference.region, size, name, f"reference {number}", where, error))


def resolve_region(
    region: Rle | Point | Box, size: tuple[int, int], name: str, error: type[SegError] = ItemError
) -> Rle | Point | Box:
    """A reference's region in pixels of the photo `name` of `size` (H, W) that it lies in, checked as by `resolve`."""
    return _region(region, size, name, "the reference", _where(size), error)


def _region(
    region: Rle | Point | Box, size: tuple[int, int], name: str, what: str, where: str, error: type[SegError]
) -> Rle | Point | Box:
    if isinstance(region, Point):
        return _point(region, size, name, where, error)
    if isinstance(region, Box):
        return _box(region, size, name, where, error)
    _same_size(region, size, name, f"mask of {what}", error)
    if not region.area:
        raise error(f"{name}: the mask of {what} has nothing inside")
    return region


def _where(size: tuple[int, int]) -> str:
    return f"outside of the photo ({size[1]} x {size[0]} pixels)"


def _same_size(mask: Rle, size: tuple[int, int], name: str, what: str, error: type[SegError]) -> None:
    if mask.size != size:
        got = f"{mask.size[1]} x {mask.size[0]}"
        raise error(f"{name}: the {what} has {got} pixels, the photo has {size[1]} x {size[0]}: give one of that size")


def _resolved(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> tuple[tuple[float, float], ...]:
    return tuple((to_pixels(x, size[1]), to_pixels(y, size[0])) for x, y in points)


def _inside(x: float, y: float, size: tuple[int, int]) -> bool:
    return -0.5 <= x <= size[1] - 0.5 and -0.5 <= y <= size[0] - 0.5


def box_mask(box: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels whose centre lies in the box, both corner pixels inside."""
    mask = np.zeros(size, dtype=np.bool_)
    x0, y0 = max(math.ceil(box.x0), 0), max(math.ceil(box.y0), 0)
    mask[y0 : max(math.floor(box.y1) + 1, 0), x0 : max(math.floor(box.x1) + 1, 0)] = True
    return mask


def stroke_mask(points: Sequence[tuple[float, float]], size: tuple[int, int], width: float = 1.0) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels whose centre is within half of `width` (at least a pixel) of the poly-line.

    A line of width 1 has no gaps: along its longer direction every pixel step is drawn.
    """
    mask = np.zeros(size, dtype=np.bool_)
    line = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    line = line[np.isfinite(line).all(1)]
    ends = line[1:] if len(line) > 1 else line
    for start, end in zip(line, ends, strict=False):
        _draw_segment(mask, start, end, max(width, 1.0) / 2)
    return mask


def _draw_segment(mask: NDArray[np.bool_], start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> None:
    height, width = mask.shape
    (x0, y0), (x1, y1) = np.minimum(start, end) - radius, np.maximum(start, end) + radius
    left, right = max(math.floor(x0), 0), min(math.ceil(x1), width - 1)
    top, bottom = max(math.floor(y0), 0), min(math.ceil(y1), height - 1)
    if left > right or top > bottom:
        return
    along = end - start
    length2 = float(along @ along)
    for first in range(top, bottom + 1, 512):  # bands: a diagonal through 12 megapixels must not cost gigabytes
        last = min(first + 512, bottom + 1)
        dx = np.arange(left, right + 1)[None, :] - start[0]
        dy = np.arange(first, last)[:, None] - start[1]
        t = np.clip((dx * along[0] + dy * along[1]) / length2, 0, 1) if length2 else np.zeros((1, 1))
        near = (dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 <= radius * radius
        mask[first:last, left : right + 1] |= near
    # Half a pixel around a slanted line can miss every centre of a row, so its own pixels are drawn as well.
    steps = int(np.ceil(np.abs(along).max())) + 1
    spots = np.floor(start + np.linspace(0, 1, steps)[:, None] * along + 0.5)
    keep = (spots >= 0).all(1) & (spots[:, 0] < width) & (spots[:, 1] < height)
    columns, rows = spots[keep].astype(np.int64).T
    mask[rows, columns] = True


def polygon_mask(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels whose centre lies inside a polygon through pixel centres (even-odd rule)."""
    return fill_rings([np.asarray(points, dtype=np.float64).reshape(-1, 2) + 0.5], size)


def fill_rings(rings: Sequence[Ring], size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels whose centre lies inside an odd number of rings (corner coordinates).

    The exact inverse of `segcli.core.outline.outlines`. A centre on an edge belongs to the side on its right or below.
    """
    x, y, inside = fill_tight(rings, size)
    mask = np.zeros(size, dtype=np.bool_)
    mask[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return mask


def fill_tight(rings: Sequence[Ring], size: tuple[int, int]) -> tuple[int, int, NDArray[np.bool_]]:
    """The same within a window that holds all of it: x, y and bool [h, w], [0, 0] when nothing is inside."""
    height, width = size
    nothing = 0, 0, np.zeros((0, 0), dtype=np.bool_)
    closed = [ring for ring in rings if len(ring) > 2]
    if not closed:
        return nothing
    here = closed[0] if len(closed) == 1 else np.concatenate(closed)
    there = np.concatenate([part for ring in closed for part in (ring[1:], ring[:1])])
    if not np.isfinite(here).all():
        return nothing
    up = (there[:, 1] < here[:, 1])[:, None]  # an edge walked both ways (a bridge between rings) must cross each row
    x0, y0 = np.where(up, there, here).T  # at the very same place
    x1, y1 = np.where(up, here, there).T
    first = np.ceil(y0 - 0.5).clip(0, height).astype(np.int64)
    last = np.ceil(y1 - 0.5).clip(0, height).astype(np.int64)
    count = last - first
    keep = count > 0
    if not keep.any():
        return nothing
    x0, y0, x1, y1, first, count = (v[keep] for v in (x0, y0, x1, y1, first, count))
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    crossing = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0) / (y1 - y0))[edge]
    column = np.ceil(crossing - 0.5).clip(0, width).astype(np.int64)
    top, bottom = int(row.min()), int(row.max()) + 1
    left = min(int(column.min()), width - 1)
    right = max(int(column.max()), left + 1)
    parity = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    np.bitwise_xor.at(parity, (row - top, column - left), np.uint8(1))
    inside = np.bitwise_xor.accumulate(parity, axis=1)[:, : right - left]
    return left, top, inside.view(np.bool_)[:, : width - left]


def prompt_mask(ask: Ask, size: tuple[int, int], *, positive: bool, stroke_width: float = 1.0) -> NDArray[np.bool_]:
    """bool [H, W]: the union of the ask's resolved strokes, boxes, polygons and rough mask of one sign."""
    mask = np.zeros(size, dtype=np.bool_)
    for box in ask.boxes:
        if box.positive == positive:
            mask |= box_mask(box, size)
    for stroke in ask.scribbles:
        if stroke.positive == positive:
            mask |= decode(stroke.drawn) if stroke.drawn else stroke_mask(stroke.points, size, stroke_width)
    for polygon in ask.polygons:
        if polygon.positive == positive:
            mask |= polygon_mask(polygon.points, size)
    if positive and ask.mask is not None:
        mask |= decode(ask.mask)
    return mask
