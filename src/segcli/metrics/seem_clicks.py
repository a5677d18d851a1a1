"""SEEM's click rule (Zou et al., 2023), which differs from RITM's in where, when and how it clicks.

It works at the model's input resolution, decides the sign by area, lets earlier marks cut holes into the error, and
measures depth with a soft, non-Euclidean transform (a cascade of 3x3 filters).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcli.metrics.clicks import Click

GATE = 0.925
_SOFTNESS = np.float32(0.35)


def first_click(target: NDArray[np.bool_]) -> Click:
    """The deepest pixel of the object, always positive."""
    y, x = _deepest(target)
    return Click(y, x, positive=True)


def next_click(target: NDArray[np.bool_], prediction: NDArray[np.bool_], marked: NDArray[np.bool_]) -> Click | None:
    """The next click for one object, all maps [H, W] at the padded input resolution.

    marked: union of all earlier marks. None when the IoU has already reached 0.925. Without any error the click is a
    negative one at (0, 0).
    """
    both = np.count_nonzero(target & prediction)
    either = np.count_nonzero(target | prediction)
    if not both / (either + 1e-8) < GATE:
        return None
    free = ~marked
    missed = target & ~prediction & free
    false = prediction & ~target & free
    positive = bool(np.count_nonzero(missed) > np.count_nonzero(false))
    y, x = _deepest(missed if positive else false)
    return Click(y, x, positive)


def mark(shape: tuple[int, int], click: Click) -> NDArray[np.bool_]:
    """The 3x3 square around a click, cut at the border."""
    square = np.zeros(shape, np.bool_)
    square[max(0, click.y - 1) : click.y + 2, max(0, click.x - 1) : click.x + 2] = True
    return square


def clicking_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The object at the model's input size (height, width): resized with cubic interpolation, everything not 0 is in.

    The overshoot of the cubic kernel counts as well, so that the result is fatter than the object.
    """
    image = mask.astype(np.float32)
    for axis in (1, 0):
        taps, weights = _cubic(image.shape[axis], size[axis])
        image = np.moveaxis(image, axis, 0)
        image = sum(image[taps[k]] * weights[k][:, None] for k in range(4))
        image = np.moveaxis(image, 0, axis)
    return np.asarray(image != 0)


def _cubic(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Source pixels [4, target] and weights of cubic interpolation (a = -0.75) between pixel centres, borders repeated.

    The place in 64 bits, all else in 32, as OpenCV has it: whether a sum cancels to exactly zero decides about a pixel.
    """
    f = np.float32
    a = f(-0.75)
    centre = ((np.arange(target) + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    left = np.floor(centre)
    t = centre - left

    def inner(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def outer(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    taps = np.clip(left.astype(np.int64) + np.arange(-1, 3)[:, None], 0, source - 1)
    return taps, np.stack([outer(t + 1), inner(t), inner(1 - t), outer(1 - t + 1)])


def soft_depth(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Depth of each pixel of `region` [H, W], float32; outside of the image counts as outside of it.

    Rings of equal chessboard distance k = 0, 1, … have the value floor(3k/2) - 0.35 ln(sum of exp(-d/0.35)) over those
    of the 3x3 neighbours, at distance d, that lie in an outer ring.
    """
    from scipy.ndimage import distance_transform_cdt

    padded = np.pad(region, 1)
    ring = distance_transform_cdt(padded, "chessboard").astype(np.int32)
    ys, xs = np.nonzero(padded)
    own = ring[ys, xs]
    near = np.zeros(len(ys), np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                weight = np.exp(np.hypot(np.float32(dy), np.float32(dx)) / -_SOFTNESS, dtype=np.float32)
                near += np.where(ring[ys + dy, xs + dx] < own, weight, np.float32(0))
    depth = np.zeros(padded.shape, np.float32)
    depth[ys, xs] = ((own - 1) * 3 // 2).astype(np.float32) - _SOFTNESS * np.log(near)
    return depth[1:-1, 1:-1]


def _deepest(region: NDArray[np.bool_]) -> tuple[int, int]:
    y, x = divmod(int(soft_depth(region).argmax()), region.shape[1])
    return y, x
