"""Other views of a labelled photo: parts of it, mirrored, in another light. Each is a photo with objects of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_SIDE = 0.5  # of a photo's side that a view keeps
_LIGHT = 0.25  # how far brightness, contrast and the colours' balance go


def view(
    pixels: NDArray[np.uint8], ids: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A part of a photo [H, W, 3] with its ids [H, W], mirrored half of the time, in another light."""
    size = ids.shape
    sides = [max(1, round(side * rng.uniform(_LEAST_SIDE, 1))) for side in size]
    y, x = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(size, sides, strict=True))
    window = (slice(y, y + sides[0]), slice(x, x + sides[1]))
    shown, known = pixels[window], ids[window]
    if rng.random() < 0.5:
        shown, known = shown[:, ::-1], known[:, ::-1]
    gain = 1 + rng.uniform(-_LIGHT, _LIGHT) + rng.uniform(-_LIGHT, _LIGHT, 3) / 3
    middle = shown.mean()
    lit = (shown - middle) * gain + middle * (1 + rng.uniform(-_LIGHT, _LIGHT))
    return np.clip(lit, 0, 255).round().astype(np.uint8), np.ascontiguousarray(known)
