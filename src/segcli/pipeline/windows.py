"""A large photo in overlapping windows, and their answers blended into one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segcli.core.image import Image

OVERLAP = 0.25
"""Share of a window that the next one covers too, at least."""

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A rectangle of a photo in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Image) -> Image:
        """The part of the photo inside."""
        pixels = image.pixels[self.top : self.top + self.height, self.left : self.left + self.width]
        return Image(np.ascontiguousarray(pixels), (self.height, self.width), image.name)


def windows(size: tuple[int, int], side: int) -> list[Window]:
    """Windows of `side` pixels, at most the photo's own height and width, that cover a photo of `size` (H, W)."""
    height, width = (min(side, length) for length in size)
    rows, columns = (_starts(length, side) for length in size)
    return [Window(top, left, height, width) for top in rows for left in columns]


def blended(parts: Iterable[tuple[Window, Mapping[int, Plane]]], size: tuple[int, int]) -> dict[int, Plane]:
    """Probabilities of each window, of any size, resized and averaged: [H, W] for each id.

    A window counts most in its middle and falls off linearly to its border, so that no seam is seen.
    """
    sums: dict[int, Plane] = {}
    total: Plane = np.zeros(size, np.float32)
    for window, answers in parts:
        shape = (window.height, window.width)
        weight = np.minimum.outer(_ramp(window.height), _ramp(window.width))
        here = (slice(window.top, window.top + window.height), slice(window.left, window.left + window.width))
        total[here] += weight
        for number, plane in answers.items():
            if number not in sums:
                sums[number] = np.zeros(size, np.float32)
            sums[number][here] += resized(plane, shape) * weight
    for plane in sums.values():
        plane /= total
    return sums


def resized(plane: Plane, size: tuple[int, int]) -> Plane:
    """A plane [h, w] at another size (H, W), bilinear."""
    if plane.shape == size:
        return plane
    return np.asarray(Pillow.fromarray(plane).resize(size[::-1], Pillow.Resampling.BILINEAR))


def _starts(length: int, side: int) -> list[int]:
    """Evenly spaced starts of windows that reach from end to end."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - OVERLAP))) + 1
    return [round(number * (length - side) / (count - 1)) for number in range(count)]


def _ramp(length: int) -> Plane:
    """Distance to the nearer end, 1 at the first and last pixel."""
    at = np.arange(length, dtype=np.float32)
    return np.minimum(at + 1, length - at)
