"""The pixel of a mask that lies deepest inside it, by exact Euclidean distance, without a full distance transform.

Squared distances to the nearest pixel outside are integers, so depth and ties are decided exactly. The search is a
branch and bound: the depth changes by at most one a pixel (it is 1-Lipschitz), so a square of side s whose centre
has depth d holds nothing deeper than d + s/sqrt(2) and is dropped as a whole once something deeper is known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_REACH = {16: 8 * 2**0.5, 4: 2 * 2**0.5, 1: 0.0}  # farthest pixel of a square of that side from its centre
_ROWS = 8  # rows of one block of the running maximum
_CELL = 16  # side of the first squares; each round divides it by 4
_FIRST = 48  # so many of the most promising squares are looked at first, to drop most of the others unseen
_CHUNK = 1 << 18  # elements of one gather
_DENSE = 1 << 21  # above so many elements in a round, whole-array passes are cheaper than gathers


class Depth(NamedTuple):
    """Squared Euclidean distance in pixels to the nearest pixel outside, and where: row y, column x."""

    squared: int
    y: int
    x: int


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Rows y0:y1 and columns x0:x1 that hold everything inside `mask` [H, W], or None for an empty one."""
    rows = np.asarray(mask.any(axis=1))
    y0 = int(rows.argmax())
    if not rows[y0]:
        return None
    y1 = len(rows) - int(rows[::-1].argmax())
    columns = np.asarray(mask[y0:y1].any(axis=0))
    x0 = int(columns.argmax())
    return y0, y1, x0, len(columns) - int(columns[::-1].argmax())


def deepest(mask: NDArray[np.bool_], excluded: NDArray[np.bool_] | None = None, at_least: int = 1) -> Depth | None:
    """The deepest pixel of `mask` bool [H, W]; of equally deep ones the first in row-major order.

    What lies outside of the image counts as outside of the mask. Pixels of `excluded` [H, W] can't be the answer,
    but still count as inside. None when no pixel has a squared depth of at least `at_least` (1 or more).
    """
    box = bounding_box(mask)
    if box is None:
        return None
    y0, y1, x0, x1 = box
    inside = mask[y0:y1, x0:x1]
    if min((y1 - y0 + 1) // 2, (x1 - x0 + 1) // 2) ** 2 < at_least:
        return None
    barred = None if excluded is None else np.ascontiguousarray(excluded[y0:y1, x0:x1])
    if barred is not None and not barred.any():
        barred = None
    found = _search(_column_depth(inside), barred, at_least)
    return None if found is None else Depth(found.squared, found.y + y0, found.x + x0)


def _column_depth(inside: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Distance to the nearest pixel outside in the same column, [h, w + 2] with zero columns at the sides."""
    height, width = inside.shape
    above = _since_outside(inside)
    below = _since_outside(inside[::-1])[::-1]
    depth = np.zeros((height, width + 2), above.dtype)
    np.minimum(above, below, out=depth[:, 1:-1])
    return depth


def _since_outside(inside: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Rows from the nearest pixel outside at or above each pixel, [h, w].

    A running maximum of row numbers in two levels, so that numpy works on whole rows of memory.
    """
    height, width = inside.shape
    blocks = -(-height // _ROWS)
    rows = np.arange(1, blocks * _ROWS + 1, dtype=np.int16 if blocks * _ROWS < 2**15 else np.int32)[:, None]
    last = np.empty((blocks * _ROWS, width), rows.dtype)
    np.logical_not(inside, out=last[:height], casting="unsafe")
    last[height:] = 0
    last *= rows
    block = last.reshape(blocks, _ROWS, width)
    for i in range(1, _ROWS):
        np.maximum(block[:, i], block[:, i - 1], out=block[:, i])
    for i in range(1, blocks):
        np.maximum(block[i], block[i - 1, -1], out=block[i])
    return (rows - last)[:height]


def _search(depth: NDArray[np.int16], barred: NDArray[np.bool_] | None, at_least: int) -> Depth | None:
    """Branch and bound over squares; `depth` as from `_column_depth`, `barred` [h, w]."""
    height, width = depth.shape[0], depth.shape[1] - 2
    best = at_least
    side = _CELL
    rows, columns = (a.ravel() for a in np.indices((-(-height // side), -(-width // side))))
    bound = np.full(len(rows), np.inf)
    while True:
        # A square that sticks out is seen from its centre moved inside: that only shortens its reach.
        ys = np.minimum(rows * side + side // 2, height - 1)
        xs = np.minimum(columns * side + side // 2, width - 1)
        bound = np.minimum(bound, depth[ys, xs + 1] + _REACH[side])
        order = np.flatnonzero(bound >= _root(best))
        order = order[np.argsort(-bound[order], kind="stable")]
        rows, columns, ys, xs, bound = rows[order], columns[order], ys[order], xs[order], bound[order]
        exact = np.zeros(len(ys), np.int64)
        done = 0
        while done < len(ys):
            stop = min(len(ys), _FIRST) if done == 0 else len(ys)
            stop = int(np.searchsorted(-bound[:stop], -_root(best), side="right"))
            if stop <= done:
                break
            radius = int(min(depth[ys[done:stop], xs[done:stop] + 1].max(), width))
            if (stop - done) * (2 * radius + 1) > _DENSE:
                return _dense(depth, barred, at_least)
            exact[done:stop] = _exact(depth, ys[done:stop], xs[done:stop], radius)
            allowed = exact[done:stop]
            if barred is not None:
                allowed = allowed[~barred[ys[done:stop], xs[done:stop]]]
            best = max(best, int(allowed.max(initial=0)))
            done = stop
        rows, columns, ys, xs, exact = rows[:done], columns[:done], ys[:done], xs[:done], exact[:done]
        if side == 1:
            return _first(ys, xs, exact, barred, best)
        bound = np.sqrt(exact) + _REACH[side]
        keep = bound >= _root(best)
        rows, columns, bound = _split(rows[keep], columns[keep], bound[keep])
        side //= 4
        near = (rows * side < height) & (columns * side < width)
        rows, columns, bound = rows[near], columns[near], bound[near]


def _root(squared: int) -> float:
    """A depth to compare bounds with; the slack covers rounding, never a whole squared pixel."""
    return float(np.sqrt(squared)) - 1e-6


def _split(
    rows: NDArray[np.int64], columns: NDArray[np.int64], bound: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sixteen squares of a quarter of the side for each; the bound is inherited."""
    dy, dx = (a.ravel() for a in np.indices((4, 4)))
    return (
        (rows[:, None] * 4 + dy).ravel(),
        (columns[:, None] * 4 + dx).ravel(),
        np.repeat(bound, 16),
    )


def _exact(depth: NDArray[np.int16], ys: NDArray[np.int64], xs: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """Squared depth at the pixels (ys, xs): the least of column depth squared plus horizontal offset squared."""
    width = depth.shape[1]
    offsets = np.arange(1 - radius, radius + 2, dtype=np.int32)
    result = np.empty(len(ys), np.int64)
    step = max(1, _CHUNK // len(offsets))
    for start in range(0, len(ys), step):
        part = slice(start, start + step)
        columns = np.clip(xs[part, None] + offsets, 0, width - 1) + ys[part, None] * width
        column_depth = depth.ravel()[columns].astype(np.int32)
        result[part] = (column_depth * column_depth + (offsets - 1) ** 2).min(axis=1)
    return result


def _first(
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    exact: NDArray[np.int64],
    barred: NDArray[np.bool_] | None,
    best: int,
) -> Depth | None:
    """The row-major first of the pixels as deep as `best`, or None when there is none."""
    hit = exact == best
    if barred is not None:
        hit &= ~barred[ys, xs]
    ys, xs = ys[hit], xs[hit]
    if len(ys) == 0:
        return None
    first = int(np.lexsort((xs, ys))[0])
    return Depth(best, int(ys[first]), int(xs[first]))


def _dense(depth: NDArray[np.int16], barred: NDArray[np.bool_] | None, at_least: int) -> Depth | None:
    """The same by whole-array passes, one pair for each pixel of depth: for masks full of equally shallow pixels."""
    squares = np.multiply(depth, depth, dtype=np.int32)
    least = squares.copy()
    offset = 1
    while offset < squares.shape[1] and offset * offset < least.max():
        square = np.int32(offset * offset)
        np.minimum(least[:, offset:], squares[:, :-offset] + square, out=least[:, offset:])
        np.minimum(least[:, :-offset], squares[:, offset:] + square, out=least[:, :-offset])
        offset += 1
    inner = least[:, 1:-1]
    if barred is not None:
        inner = np.where(barred, 0, inner)
    flat = int(inner.argmax())
    y, x = divmod(flat, inner.shape[1])
    best = int(inner[y, x])
    return Depth(best, y, x) if best >= at_least else None
