"""Drawn photos for seggpt-nano: a textured ground, a striped ball (id 1) and a checked box (id 2) at places at will."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcli.core.example import Example
from segcli.core.image import Image

BALL, BOX = 1, 2


def scene(seed: int, size: tuple[int, int] = (240, 320), objects: tuple[int, ...] = (BALL, BOX)) -> Example:
    """A photo and the ids of what is drawn in it."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width]
    pixels = np.array([70, 120, 60]) + rng.normal(0, 18, (height, width, 1)) + rng.normal(0, 6, (height, width, 3))
    ids = np.zeros(size, np.uint8)
    radius = height * rng.uniform(0.17, 0.22)
    left = rng.random() < 0.5
    if BALL in objects:
        cx, cy = width * (0.28 if left else 0.72), height * rng.uniform(0.3, 0.7)
        ball = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        stripes = (np.sin((x + y) / 4.5) > 0)[..., None]
        pixels = np.where(ball[..., None], np.where(stripes, [215, 50, 40], [245, 235, 225]), pixels)
        ids[ball] = BALL
    if BOX in objects:
        cx, cy = width * (0.72 if left else 0.28), height * rng.uniform(0.3, 0.7)
        box = (np.abs(x - cx) < radius) & (np.abs(y - cy) < radius * 0.8)
        checks = ((x // 9 + y // 9) % 2 == 0)[..., None]
        pixels = np.where(box[..., None], np.where(checks, [30, 50, 160], [90, 150, 230]), pixels)
        ids[box] = BOX
    return Example(Image(np.clip(pixels, 0, 255).astype(np.uint8), size, f"scene{seed}"), ids)


def only(example: Example, number: int) -> Example:
    """The same photo with one of its ids marked, as 1."""
    return Example(example.photo, (example.ids == number).astype(np.uint8))


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))
