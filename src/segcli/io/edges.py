"""Moving a mask's border and fading it, round in all directions, in strips so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_STRIP = 512


def grow(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """bool [H, W]: everything at most `pixels` away from the mask; shrunk by as much when negative.

    Beyond the photo's edge lies nothing that could eat into a mask: one that is cut off there stays so.
    """
    from scipy import ndimage

    if not pixels:
        return mask
    reach = abs(pixels)
    seed = ~mask if pixels < 0 else mask
    spread = np.zeros_like(seed)
    for strip, wide, inner in _strips(mask.shape[0], reach):
        part = seed[wide]
        if part.any():
            spread[strip] = (ndimage.distance_transform_edt(~part) <= reach)[inner]
    return ~spread if pixels < 0 else spread


def feather(alpha: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """uint8 [H, W]: the opacity fading over `pixels` to either side of where it changes, and the same elsewhere.

    A Gaussian of half as many pixels, cut off there.
    """
    from scipy import ndimage

    if not pixels:
        return alpha
    faded = np.empty_like(alpha)
    for strip, wide, inner in _strips(alpha.shape[0], pixels):
        part = alpha[wide].astype(np.float32)
        blurred = ndimage.gaussian_filter(part, pixels / 2, radius=pixels, mode="nearest")[inner]
        faded[strip] = np.clip(np.round(blurred), 0, 255).astype(np.uint8)
    return faded


def _strips(height: int, reach: int) -> Iterator[tuple[slice, slice, slice]]:
    """Strips of rows, each with the rows around that it depends on, and its place among those."""
    size = max(_STRIP, reach)
    for top in range(0, height, size):
        first, last = max(top - reach, 0), min(top + size + reach, height)
        bottom = min(top + size, height)
        yield slice(top, bottom), slice(first, last), slice(top - first, bottom - first)
