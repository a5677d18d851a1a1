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


def deepest(mask: NDArray[np.bool_], excluded: NDArray[np.bool_] | None = None) -> Depth | None:
    """The deepest pixel of `mask` bool [H, W]; of equally deep ones the first in row-major order.

    What lies outside of the image counts as outside of the mask. Pixels of `excluded` [H, W] can't be the answer,
    but still count as inside. None when no pixel is left.
    """
    found = deeper_of_two(mask, np.zeros_like(mask), excluded)
    return None if found is None else found[1]


def deeper_of_two(
    first: NDArray[np.bool_], second: NDArray[np.bool_], excluded: NDArray[np.bool_] | None = None
) -> tuple[bool, Depth] | None:
    """Whether `first` is deeper than `second` (strictly), and the `deepest` pixel of the deeper one.

    The masks bool [H, W] have no pixel in common. None when no pixel is left in either.
    """
    box = bounding_box(first | second)
    if box is None:
        return None
    y0, y1, x0, x1 = box
    one, two = (m[y0:y1, x0:x1].view(np.int8) for m in (first, second))
    signs = one - two
    depth = np.zeros((y1 - y0, x1 - x0 + 2), np.int16 if y1 - y0 < 2**15 - _ROWS else np.int32)
    np.multiply(_column_depth(signs), signs, out=depth[:, 1:-1])
    found = _search(depth, None if excluded is None else np.ascontiguousarray(excluded[y0:y1, x0:x1]))
    if found is None:
        return None
    return bool(depth[found.y, found.x + 1] > 0), Depth(found.squared, found.y + y0, found.x + x0)


def _column_depth(labels: NDArray[np.int8]) -> NDArray[np.int16]:
    """Distance of each pixel to the nearest one of another label, or outside, in its own column, [h, w]."""
    change = labels[1:] != labels[:-1]
    edge = np.ones((1, labels.shape[1]), np.bool_)
    above = _since(np.concatenate((edge, change)))
    below = _since(np.concatenate((change, edge))[::-1])[::-1]
    depth = np.minimum(above, below)
    depth += 1
    return depth


def _since(marks: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Rows from the nearest mark at or above each pixel, [h, w]; the first row is marked.

    A running maximum of row numbers in two levels, so that numpy works on whole rows of memory.
    """
    height, width = marks.shape
    blocks = -(-height // _ROWS)
    rows = np.arange(blocks * _ROWS, dtype=np.int16 if blocks * _ROWS < 2**15 else np.int32)[:, None]
    last = np.empty((blocks * _ROWS, width), rows.dtype)
    np.multiply(marks, rows[:height], out=last[:height])
    last[height:] = 0
    block = last.reshape(blocks, _ROWS, width)
    for i in range(1, _ROWS):
        np.maximum(block[:, i], block[:, i - 1], out=block[:, i])
    for i in range(1, blocks):
        np.maximum(block[i], block[i - 1, -1], out=block[i])
    return (rows - last)[:height]


def _search(depth: NDArray[np.int16], barred: NDArray[np.bool_] | None) -> Depth | None:
    """Branch and bound over squares for the deepest pixel of two masks; of equally deep ones the second mask's.

    depth [h, w + 2]: column depths, those of the second mask negative; 0 outside of both and in the outer columns.
    """
    height, width = depth.shape[0], depth.shape[1] - 2
    best = 1
    side = _CELL
    rows, columns = (a.ravel() for a in np.indices((-(-height // side), -(-width // side))))
    bound = _peaks(np.abs(depth[:, 1:-1])).ravel().astype(np.float64)
    while True:
        # A square that sticks out is seen from its centre moved inside: that only shortens its reach.
        ys = np.minimum(rows * side + side // 2, height - 1)
        xs = np.minimum(columns * side + side // 2, width - 1)
        bound = np.minimum(bound, np.abs(depth[ys, xs + 1]) + _REACH[side])
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
            found = _exact(depth, ys[done:stop], xs[done:stop], _root(best) - _REACH[side])
            if found is None:
                return _dense(depth, barred)
            exact[done:stop] = found
            allowed = exact[done:stop]
            if barred is not None:
                allowed = allowed[~barred[ys[done:stop], xs[done:stop]]]
            best = max(best, int(allowed.max(initial=0)))
            done = stop
        rows, columns, ys, xs, exact = rows[:done], columns[:done], ys[:done], xs[:done], exact[:done]
        if side == 1:
            return _first(depth[ys, xs + 1] < 0, ys, xs, exact, barred, best)
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


def _peaks(depth: NDArray[np.int16]) -> NDArray[np.int16]:
    """The largest value in each square of side `_CELL`."""
    height, width = (-(-n // _CELL) * _CELL for n in depth.shape)
    padded = np.zeros((height, width), depth.dtype)
    padded[: depth.shape[0], : depth.shape[1]] = depth
    bands = padded.reshape(-1, _CELL, width).max(axis=1)
    peaks: NDArray[np.int16] = bands.reshape(len(bands), -1, _CELL).max(axis=2)
    return peaks


def _exact(
    depth: NDArray[np.int16], ys: NDArray[np.int64], xs: NDArray[np.int64], enough: float
) -> NDArray[np.int64] | None:
    """Squared depth at the pixels (ys, xs): the least of column depth squared plus horizontal offset squared.

    Offsets are tried outwards, until they alone are larger. What falls below a depth of `enough` on the way is left
    there, too large but below it. None if that is too much work.
    """
    width = depth.shape[1]
    flat = depth.ravel()
    squared = np.int32 if depth.dtype == np.int16 else np.int64  # twice the square of 2**15 - 1 still fits
    own = depth[ys, xs + 1]
    result = own.astype(np.int64) ** 2
    signs = np.sign(own)[:, None]
    least = max(0.0, enough) ** 2
    near, far = 1, 2
    while True:
        part = np.flatnonzero((result > near * near) & (result >= least))
        if len(part) == 0:
            return result
        if len(part) * 2 * (far - near + 1) > _DENSE:
            return None
        steps = np.arange(near, far + 1, dtype=np.int64)
        offsets = np.concatenate((1 - steps[::-1], 1 + steps))
        # No need to stop at the ends of a row: the zero column there is nearer than whatever is read beyond it.
        seen = flat.take((ys[part] * width + xs[part])[:, None] + offsets, mode="wrap") * signs[part]
        column_depth = np.maximum(seen, 0).astype(squared)  # the other mask is outside of this one
        column_depth *= column_depth
        column_depth += ((offsets - 1) ** 2).astype(squared)
        result[part] = np.minimum(result[part], column_depth.min(axis=1))
        near, far = far + 1, 2 * far + 1


def _first(
    second: NDArray[np.bool_],
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    exact: NDArray[np.int64],
    barred: NDArray[np.bool_] | None,
    best: int,
) -> Depth | None:
    """The row-major first of the pixels as deep as `best`, one of the second mask if there is one, or None."""
    hit = exact == best
    if barred is not None:
        hit &= ~barred[ys, xs]
    if (hit & second).any():
        hit &= second
    ys, xs = ys[hit], xs[hit]
    if len(ys) == 0:
        return None
    first = int(np.lexsort((xs, ys))[0])
    return Depth(best, int(ys[first]), int(xs[first]))


def _dense(depth: NDArray[np.int16], barred: NDArray[np.bool_] | None) -> Depth | None:
    """The same by whole-array passes, one pair for each pixel of depth: for masks full of equally shallow pixels."""
    found = [_dense_one(np.maximum(depth * sign, 0), barred) for sign in (1, -1)]
    return found[0] if found[0].squared > found[1].squared else found[1] if found[1].squared else None


def _dense_one(depth: NDArray[np.int16], barred: NDArray[np.bool_] | None) -> Depth:
    squares = np.multiply(depth, depth, dtype=np.int32 if depth.dtype == np.int16 else np.int64)
    least = squares.copy()
    offset = 1
    while offset < squares.shape[1] and offset * offset < least.max():
        square = squares.dtype.type(offset * offset)
        np.minimum(least[:, offset:], squares[:, :-offset] + square, out=least[:, offset:])
        np.minimum(least[:, :-offset], squares[:, offset:] + square, out=least[:, :-offset])
        offset += 1
    inner = least[:, 1:-1]
    if barred is not None:
        inner = np.where(barred, 0, inner)
    y, x = divmod(int(inner.argmax()), inner.shape[1])
    return Depth(int(inner[y, x]), y, x)
