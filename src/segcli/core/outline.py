"""Outlines of a mask: exact rings along pixel edges, holes included, and fewer points where that changes little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segcli.core.geometry import Ring, fill_rings
from segcli.core.rle import Rle, decode_tight


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """The exact boundary of a mask [H, W] as rings in corner coordinates, holes included.

    Outer rings have a positive `ring_area` and holes a negative one. Pixels that touch at a corner only belong to
    different rings. Filling the rings by the even-odd rule gives the mask back, pixel for pixel.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1], 1)
    nw, ne, sw, se = part[:-1, :-1], part[:-1, 1:], part[1:, :-1], part[1:, 1:]
    # A corner of the boundary is a vertex whose four pixels are not split by one straight line.
    corner = (nw ^ ne) ^ (sw ^ se)
    saddle = (nw == se) & (ne == sw) & (nw != ne)
    y, x = np.nonzero(corner | saddle)
    twice = saddle[y, x]
    y, x = np.repeat(y, twice + 1), np.repeat(x, twice + 1)
    count = len(y)
    second = np.zeros(count, dtype=np.bool_)
    second[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    # At a saddle the first entry ends the edge from the left and the second begins the edge to the right. Which of
    # the two joins the edge from above depends on the diagonal that is inside.
    below_first = saddle[y, x] & ne[y, x]
    vertical = np.lexsort((second ^ below_first, y, x))
    partner = np.empty(count, dtype=np.int64)  # along the column
    partner[vertical[0::2]], partner[vertical[1::2]] = vertical[1::2], vertical[0::2]
    across = np.arange(count) ^ 1  # along the row: corners come in pairs in reading order
    # Walk with the inside on the right hand: rightwards where the inside is below the edge, leftwards where above.
    even = np.arange(0, count, 2)
    rightwards = se[y[even], x[even]]
    starts = np.where(rightwards, even, even + 1)
    follows = partner[across[starts]]
    return _walk(starts, across[starts], follows, x + left, y + top)


def _walk(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    follows: NDArray[np.int64],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
) -> list[Ring]:
    """Collect the cycles: from the start of a row edge to its end, then down or up the column to the next start."""
    end_of = dict(zip(starts.tolist(), ends.tolist(), strict=True))
    next_of = dict(zip(starts.tolist(), follows.tolist(), strict=True))
    rings = []
    while next_of:
        here = first = next(iter(next_of))
        indices: list[int] = []
        while True:
            indices += (here, end_of[here])
            here = next_of.pop(here)
            if here == first:
                break
        rings.append(np.stack([x[indices], y[indices]], axis=1).astype(np.float64))
    return rings


def simplified(rle: Rle) -> list[Ring]:
    """`simplify(outlines(mask), mask)` of a run-length encoded mask."""
    x, y, mask = decode_tight(rle)
    return [np.add(ring, (x, y)) for ring in simplify(outlines(mask), mask)]


def ring_area(ring: Ring) -> float:
    """Signed area: positive for an outer ring of `outlines`, negative for a hole."""
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def simplify(rings: Sequence[Ring], mask: NDArray[np.bool_], tolerance: float = 0.8, iou: float = 0.995) -> list[Ring]:
    """`outlines` with fewer points that still fill to the mask with at least that IoU; none is dropped.

    Staircases become slopes first, which changes no pixel. Then points nearer than the tolerance (in pixels) to the
    line between others go (Douglas and Peucker 1973); the tolerance is lowered until the bound holds.
    """
    slopes = [_sloped(ring) for ring in rings]
    if not slopes:
        return []
    points = np.concatenate(slopes)
    (left, top), (right, bottom) = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
    part = mask[top:bottom, left:right]
    while tolerance > 0.1:
        fewer = [_douglas_peucker(ring, tolerance) for ring in slopes]
        filled = fill_rings([ring - (left, top) for ring in fewer], (part.shape[0], part.shape[1]))
        if np.count_nonzero(filled & part) >= iou * np.count_nonzero(filled | part):
            return fewer
        tolerance *= 0.6
    return slopes


def _sloped(ring: Ring) -> Ring:
    """The ring through the middles of its edges, and through a corner only where both its edges are long.

    A line between the middles of an edge and of a neighbour one pixel long passes no pixel centre.
    """
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    longer = np.abs(after - ring).max(axis=1) > 1
    both = np.stack([ring, (ring + after) / 2], axis=1)  # corner, middle of the edge that leaves it
    corner = longer & (np.abs(ring - before).max(axis=1) > 1)
    keep = np.stack([corner, np.ones_like(corner)], axis=1)
    sloped = both[keep]
    return sloped if len(sloped) > 4 else ring


def _douglas_peucker(ring: Ring, tolerance: float) -> Ring:
    """The ring without points nearer than `tolerance` to the line between kept ones; at least a triangle stays."""
    if len(ring) <= 4:
        return ring
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))  # two far points make two open lines of the closed one
    closed = np.concatenate([ring, ring[:1]])
    keep = np.zeros(len(closed), dtype=np.bool_)
    keep[[0, far, len(ring)]] = True
    stack = [(0, far), (far, len(ring))]
    while stack:
        start, end = stack.pop()
        if end - start < 2:
            continue
        chord = closed[end] - closed[start]
        offset = closed[start + 1 : end] - closed[start]
        length = float(np.hypot(*chord))
        if length:
            distance = np.abs(offset[:, 0] * chord[1] - offset[:, 1] * chord[0]) / length
        else:
            distance = np.hypot(offset[:, 0], offset[:, 1])
        split = int(np.argmax(distance))
        if distance[split] > tolerance:
            middle = start + 1 + split
            keep[middle] = True
            stack += ((start, middle), (middle, end))
    fewer = ring[keep[:-1]]
    return fewer if len(fewer) >= 3 else ring
