"""J and F of DAVIS for one object of one frame (Perazzi et al., 2016), as davis2017-evaluation counts them.

J is the IoU of the masks, F the harmonic mean of precision and recall of their boundary pixels, matched within a
disk of 0.8 % of the image diagonal. Masks are packed into words of 64 pixels, cut to the part that is not empty, so
that boundaries, dilation and counts are a few shifts, ands and ors over little memory.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


class FrameScore(NamedTuple):
    """J and F of one object in one frame, both in [0, 1]."""

    j: float
    f: float


def boundary_radius(height: int, width: int, bound: float = 0.008) -> int:
    """Matching distance in pixels: 0.8 % of the diagonal, rounded up."""
    return math.ceil(bound * math.sqrt(height * height + width * width))


def frame_score(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], void: NDArray[np.bool_] | None = None
) -> FrameScore:
    """J and F of one object; both masks and `void` are bool [H, W].

    Void pixels are taken out of both masks first, which cuts boundaries into them. Two empty masks give J = F = 1; an
    empty and a full one give J = 0 and F = 1, since neither has a boundary.
    Raises ValueError when the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of different shapes, {truth.shape} and {prediction.shape}")
    if void is not None:
        truth, prediction = truth & ~void, prediction & ~void
    rows_t, rows_p = (np.packbits(m, axis=1, bitorder="little") for m in (truth, prediction))
    window = _window(rows_t | rows_p, truth.shape)
    if window is None:
        return FrameScore(1.0, 1.0)
    t, p = window.words(rows_t), window.words(rows_p)
    return FrameScore(_count(t & p) / _count(t | p), _boundary_score(window, t, p))


def boundary_map(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Boundary pixels of a mask [H, W]: those that differ from the pixel right of, below, or right below them.

    The image border is no boundary. Thin lines lie above and left of the region, half a pixel outside.
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    found: NDArray[np.bool_] = (mask != beyond[:-1, 1:]) | (mask != beyond[1:, :-1]) | (mask != beyond[1:, 1:])
    return found


class _Window(NamedTuple):
    """The part of the image that holds both masks and their boundaries: rows y0:y1, bytes byte0:byte1 of 8 pixels."""

    y0: int
    y1: int
    byte0: int
    byte1: int
    height: int  # of the image
    width: int
    radius: int

    def words(self, rows: NDArray[np.uint8]) -> Words:
        """The window of packed `rows` [H, ceil(W / 8)]: pixel x is bit x % 64 of word x // 64.

        Empty bits at the end of each row keep what is shifted sideways out of the next one.
        """
        used = self.byte1 - self.byte0
        part = np.zeros((self.y1 - self.y0, -(-(used * 8 + self.radius) // 64) * 8), np.uint8)
        part[:, :used] = rows[self.y0 : self.y1, self.byte0 : self.byte1]
        return part.view("<u8").astype(np.uint64, copy=False)

    def columns_before(self, stop: int) -> Words:
        """A row of words whose pixels left of the image's column `stop` are set."""
        used = (self.byte1 - self.byte0) * 8
        return _ones(max(0, min(used, stop - self.byte0 * 8)), -(-(used + self.radius) // 64))


@lru_cache(maxsize=256)
def _ones(count: int, words: int) -> Words:
    """Words with the first `count` bits set."""
    row = np.zeros(words * 64, np.uint8)
    row[:count] = 1
    return np.packbits(row, bitorder="little").view("<u8").astype(np.uint64)


def _window(either: NDArray[np.uint8], shape: tuple[int, ...]) -> _Window | None:
    """The window of packed rows; None when they are empty."""
    columns = np.bitwise_or.reduce(either, axis=0)
    used = np.flatnonzero(columns)
    if len(used) == 0:
        return None
    filled = np.flatnonzero(np.bitwise_or.reduce(either[:, used[0] : used[-1] + 1], axis=1))
    byte0 = int(used[0])
    if columns[byte0] & 1:  # the boundary left of the mask falls into the byte before
        byte0 = max(0, byte0 - 1)
    height, width = shape
    rows = max(0, int(filled[0]) - 1), int(filled[-1]) + 1
    return _Window(*rows, byte0, int(used[-1]) + 1, height, width, boundary_radius(height, width))


def _boundary_score(window: _Window, t: Words, p: Words) -> float:
    bt, bp = _boundary(window, t), _boundary(window, p)
    count_t, count_p = _count(bt), _count(bp)
    if not count_t or not count_p:
        return float(count_t == count_p)
    half = _half_widths(window.radius)
    precision = _count(bp & _dilate(bt, half)) / count_p
    recall = _count(bt & _dilate(bp, half)) / count_t
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _boundary(window: _Window, s: Words) -> Words:
    """Boundary bits; a pixel without a neighbour inside the image on that side is not compared there."""
    right = _moved_left(s, 1)
    found = (s ^ right) & window.columns_before(window.width - 1)
    last = len(s) - 1 if window.y1 == window.height else len(s)
    differs = (s[:last] ^ _below(right, last)) & window.columns_before(window.width - 1)
    differs |= (s[:last] ^ _below(s, last)) & window.columns_before(window.width)
    found[:last] |= differs
    return found


def _below(s: Words, rows: int) -> Words:
    """The first `rows` rows of `s` moved up by one; below the window all is empty."""
    if rows < len(s):
        return s[1:]
    moved = np.zeros_like(s)
    moved[:-1] = s[1:]
    return moved


@lru_cache(maxsize=64)
def _half_widths(radius: int) -> tuple[int, ...]:
    """Half width of the disk of all offsets with dx² + dy² <= r², for dy = 0..r."""
    return tuple(math.isqrt(radius * radius - dy * dy) for dy in range(radius + 1))


def _dilate(b: Words, half: tuple[int, ...]) -> Words:
    """Dilation by the disk with those half widths."""
    wide = {0: b}
    reached = 0
    for width in sorted(set(half)):
        while reached < width:
            # Two copies moved apart by no more than their length leave no gap.
            step = min(width - reached, 2 * reached + 1, 63)
            row = wide[reached]
            grown = _moved_left(row, step)
            grown |= row
            grown |= _moved_right(row, step)
            reached += step
            wide[reached] = grown
    disk = wide[half[0]].copy()
    for dy in range(1, min(len(half), len(b))):
        row = wide[half[dy]]
        disk[dy:] |= row[:-dy]
        disk[:-dy] |= row[dy:]
    return disk


def _moved_left(s: Words, pixels: int) -> Words:
    """Each pixel takes the value of the one `pixels` (1 to 63) to its right."""
    moved = s >> np.uint64(pixels)
    moved.ravel()[:-1] |= s.ravel()[1:] << np.uint64(64 - pixels)
    return moved


def _moved_right(s: Words, pixels: int) -> Words:
    moved = s << np.uint64(pixels)
    moved.ravel()[1:] |= s.ravel()[:-1] >> np.uint64(64 - pixels)
    return moved


def _count(s: Words) -> int:
    return int(np.bitwise_count(s).sum())
