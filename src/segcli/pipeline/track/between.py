"""Masks of frames between two that the tracker has seen (`--stride`).

Each object's outline moves from the one to the other: both masks are shifted along the line between their centres to
where the object should be at that time, and their signed distances are averaged, nearer frame weighing more (shape-
based interpolation, Raya and Udupa, 1990). An object that only one of the two frames has keeps that mask up to the
middle in time. Nothing of the pixels between is looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint8]


class Between:
    """The way from one frame's ids [H, W] to another's."""

    def __init__(self, before: Ids, after: Ids) -> None:
        self._before = before
        self._same = np.array_equal(before, after)
        numbers = [] if self._same else np.union1d(np.unique(before), np.unique(after)).tolist()
        self._ways = {number: _Way(before == number, after == number) for number in numbers if number}

    def at(self, share: float) -> Ids:
        """Ids [H, W] at `share` (0 to 1) of the time."""
        if self._same:
            return self._before.copy()
        best = np.zeros(self._before.shape, np.float32)
        ids = np.zeros_like(self._before)
        for number, way in self._ways.items():
            depth = way.depth(share)
            closer = depth > best[way.part]
            best[way.part][closer] = depth[closer]
            ids[way.part][closer] = number
        return ids


class _Way:
    """One object's masks in both frames, within the part of the frame that it can cross."""

    def __init__(self, first: NDArray[np.bool_], last: NDArray[np.bool_]) -> None:
        self._both = bool(first.any() and last.any())
        self._motion = _centre(last) - _centre(first) if self._both else np.zeros(2)
        self.part = _part(first | last, int(np.ceil(np.abs(self._motion).max())) + 2)
        self._first, self._last = (
            _signed(mask[self.part]) if mask.any() else np.full(first[self.part].shape, -1, np.float32)
            for mask in (first, last)
        )

    def depth(self, share: float) -> NDArray[np.float32]:
        """How far inside of the object each pixel of `part` lies, negative outside of it."""
        if not self._both:
            return self._first if share <= 0.5 else self._last
        moved = _shifted(self._first, np.rint(self._motion * share))
        returned = _shifted(self._last, np.rint(-self._motion * (1 - share)))
        return (moved * (1 - share) + returned * share).astype(np.float32)


def _part(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )


def _signed(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the border in pixels, positive inside."""
    from scipy import ndimage

    if mask.all():
        return np.full(mask.shape, max(mask.shape), np.float32)
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return (inside - outside).astype(np.float32)


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([places.mean() for places in np.nonzero(mask)])


def _shifted(depth: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """Moved by whole pixels; what comes in from the edge continues it."""
    rows = np.clip(np.arange(depth.shape[0]) - int(by[0]), 0, depth.shape[0] - 1)
    columns = np.clip(np.arange(depth.shape[1]) - int(by[1]), 0, depth.shape[1] - 1)
    return depth[rows[:, None], columns[None, :]]
