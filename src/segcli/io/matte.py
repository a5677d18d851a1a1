"""Mattes: a mask's border as hair and fur need it, opacity and the object's own colours at the photo's full size.

A band around the mask's border is unknown, the rest is as the mask says. Tiles are solved one at a time and overlap;
in the overlap one fades into the next, so memory depends on the tile and not on the photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segcli.io import matte_alpha, matte_colours

_TILE = 512
_OVERLAP = 64
_HAZE = 0.03
"""Opacities closer than this to 0 or 1 become so: closed-form matting leaves a haze over plain surfaces."""

_CORE = 0.6
"""The inner part of something thinner than the band that is sure to be it, as a share of its half thickness."""


@dataclass(frozen=True, eq=False)
class Matte:
    """alpha: uint8 [H, W]. pixels: uint8 [H, W, 3], the photo with the background's tint taken out of the band."""

    alpha: NDArray[np.uint8]
    pixels: NDArray[np.uint8]


def default_width(mask: NDArray[np.bool_]) -> int:
    """Pixels to either side of the border: a thirtieth of the side of a square as large as the mask, at least 2."""
    return max(2, round(float(np.sqrt(np.count_nonzero(mask))) / 30))


def matte(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], width: int | None = None) -> Matte:
    """The matte of one mask (bool [H, W]) of a photo (uint8 [H, W, 3]).

    width: how far to either side of the mask's border hair may reach or gaps may show, in pixels (`default_width`).
    Nothing beyond is changed: what the mask has is opaque there, what it has not is transparent.
    """
    width = default_width(mask) if width is None else width
    alpha = _alpha(pixels, mask, width)
    return Matte(alpha, _colours(pixels, alpha, mask, width))


def trimap(mask: NDArray[np.bool_], width: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """What is unknown (bool [h, w]) and a first guess of the opacity (float32 [h, w]), exact elsewhere.

    Unknown is what is within `width` pixels of the mask's border; of a part thinner than that the middle stays known,
    of a thin gap too, so that a stem or a space between fingers isn't left without anything to go by.
    """
    from scipy import ndimage

    reach = np.float32(width + 0.5)
    signed = np.zeros(mask.shape, dtype=np.float32)
    known = np.zeros(mask.shape, dtype=bool)
    for side in (mask, ~mask):
        if side.all():
            return np.zeros(mask.shape, dtype=bool), mask.astype(np.float32)
        depth = np.minimum(ndimage.distance_transform_edt(side), reach).astype(np.float32)
        thickness = ndimage.maximum_filter(depth, 2 * width + 1, mode="nearest")
        known |= side & ((depth >= reach) | ((depth > 1.5) & (depth >= _CORE * thickness) & (thickness < reach)))
        signed += depth if side is mask else -depth
    guess = np.clip(signed / (2 * reach) + np.float32(0.5), 0, 1)
    return ~known, np.where(known, mask, guess).astype(np.float32)


def _alpha(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], width: int) -> NDArray[np.uint8]:
    total = np.zeros(mask.shape, dtype=np.float32)
    band = np.zeros(mask.shape, dtype=bool)
    for rows, columns in _tiles(mask.shape, _TILE, _OVERLAP):
        wide = _grown((rows, columns), mask.shape, 2 * width + 2)
        if mask[wide].all() or not mask[wide].any():
            continue
        inner = _within((rows, columns), wide)
        unknown, guess = trimap(mask[wide], width)
        unknown, guess = unknown[inner], guess[inner]
        if not unknown.any():
            continue
        found = matte_alpha.solve(pixels[rows, columns] / 255.0, guess.astype(np.float64), unknown)
        share = np.outer(_fade(rows, mask.shape[0]), _fade(columns, mask.shape[1])).astype(np.float32)
        total[rows, columns][unknown] += (found * share[unknown]).astype(np.float32)
        band[rows, columns] |= unknown
    alpha = mask.view(np.uint8) * np.uint8(255)
    clear = np.clip((total[band] - _HAZE) / (1 - 2 * _HAZE), 0, 1)
    alpha[band] = np.round(clear * 255).astype(np.uint8)
    return alpha


def _colours(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8], mask: NDArray[np.bool_], width: int
) -> NDArray[np.uint8]:
    freed = pixels.copy()
    for tile in _tiles(mask.shape, _TILE, 0):
        border = (alpha[tile] > 0) & (alpha[tile] < 255)
        if not border.any():
            continue
        wide = _grown(tile, mask.shape, matte_colours.reach(width))
        inner = _within(tile, wide)
        whole = np.zeros(alpha[wide].shape, dtype=bool)
        whole[inner] = border
        colors, opacity = (np.divide(values[wide], 255, dtype=np.float32) for values in (pixels, alpha))
        found = matte_colours.foreground(colors, opacity, width, whole)[inner]
        freed[tile][border] = np.round(found[border] * 255).astype(np.uint8)
    return freed


def _tiles(size: tuple[int, ...], side: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """Squares that cover the photo; neighbours have `overlap` pixels in common."""
    step = side - overlap
    starts = [range(0, max(length - overlap, 1), step) for length in size]
    for top in starts[0]:
        for left in starts[1]:
            yield slice(top, min(top + side, size[0])), slice(left, min(left + side, size[1]))


def _fade(part: slice, length: int) -> NDArray[np.float64]:
    """What a tile counts along one axis: 1, falling off where a neighbour begins, so that all add up to 1."""
    ramp = (np.arange(_OVERLAP) + 0.5) / _OVERLAP
    share = np.ones(part.stop - part.start)
    if part.start > 0:
        share[:_OVERLAP] = ramp[: share.size]
    if part.stop < length:
        share[-_OVERLAP:] = ramp[::-1]
    return share


def _grown(tile: tuple[slice, slice], size: tuple[int, ...], by: int) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(part.start - by, 0), min(part.stop + by, length)) for part, length in zip(tile, size, strict=True)
    )
    return rows, columns


def _within(tile: tuple[slice, slice], wide: tuple[slice, slice]) -> tuple[slice, slice]:
    rows, columns = (
        slice(part.start - around.start, part.stop - around.start) for part, around in zip(tile, wide, strict=True)
    )
    return rows, columns
