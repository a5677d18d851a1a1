"""From a prediction to opacity: hard edges, soft ones, mattes, grown and feathered ones, unions and inversions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from segcli.core import rle
from segcli.core.errors import ItemError
from segcli.core.morphology import dilate, erode
from segcli.core.prediction import Prediction
from segcli.io.edges import feather, grow
from segcli.io.formats.base import full_size
from segcli.io.formats.contract import Answered, Options
from segcli.io.matte import matte


@dataclass(frozen=True, eq=False)
class Opacity:
    """What to show of a photo.

    n, label: the mask's number and name, None when this stands for the whole answer.
    alpha:    uint8 [H, W].
    pixels:   uint8 [H, W, 3], the photo with the object's own colours along the border, or None where it is as it was.
    """

    n: int | None
    label: str | None
    alpha: NDArray[np.uint8]
    pixels: NDArray[np.uint8] | None = None


def opacities(answered: Answered, options: Options) -> Iterator[Opacity]:
    """What `mask` and `cutout` write, one at a time: each mask, or all together with `union`.

    No target gives a single blank one (or a full one with `invert`). Raises ItemError when soft edges are asked of a
    model that has none.
    """
    prediction = answered.prediction
    if options.soft and len(prediction) and prediction.soft is None:
        raise ItemError(f"{answered.image.name}: {answered.model} gives no soft edges: leave out --soft")
    if options.union or not len(prediction):
        yield finished(answered, _together(prediction, soft=options.soft), options)
        return
    for index, label in enumerate(prediction.names):
        one = soft_alpha(prediction, index) if options.soft else hard_alpha(prediction.masks[index])
        yield finished(answered, one, options, index + 1, label)


def finished(
    answered: Answered, alpha: NDArray[np.uint8], options: Options, n: int | None = None, label: str | None = None
) -> Opacity:
    """An opacity grown or shrunk, inverted, matted and feathered, in this order, as far as that is asked for.

    A matte is made of what is kept, so that with `invert` the colours are the background's own.
    """
    if options.grow:
        alpha = grow(alpha >= 128, options.grow).view(np.uint8) * np.uint8(255)
    if options.invert:
        alpha = np.bitwise_not(alpha)
    pixels = None
    if options.matte:
        made = matte(full_size(answered.image).pixels, alpha >= 128, options.matte_width)
        alpha, pixels = made.alpha, made.pixels
    return Opacity(n, label, feather(alpha, options.feather), pixels)


def hard_alpha(mask: rle.Rle) -> NDArray[np.uint8]:
    """uint8 [H, W]: 255 inside, 0 outside."""
    alpha = rle.decode(mask).view(np.uint8)
    alpha *= 255
    return alpha


def soft_alpha(prediction: Prediction, index: int) -> NDArray[np.uint8]:
    """uint8 [H, W]: 255 inside, 0 outside, the model's own probability in a narrow band along the border.

    The band is as wide as a pixel of the model's grid, but never more than a thousandth of the photo's longer side
    and a pixel: beyond that a coarse grid says nothing about the edge. Within it the probability is bounded by the
    share of inside pixels around, which leads to 255 and 0 without a step; at least 128 is exactly the hard mask.
    """
    from scipy import ndimage

    assert prediction.soft is not None
    hard = prediction.dense(index)
    alpha = hard.astype(np.uint8) * np.uint8(255)
    height, width = prediction.size
    soft = prediction.soft[index].astype(np.float32)
    scale = max(height / soft.shape[0], width / soft.shape[1])
    radius = max(1, min(math.ceil(scale), 1 + round(max(height, width) / 1000)))
    x, y, w, h = prediction.masks[index].bbox
    if not w:
        return alpha
    left, top = max(x - radius, 0), max(y - radius, 0)
    right, bottom = min(x + w + radius, width), min(y + h + radius, height)
    inside = hard[top:bottom, left:right]
    share = ndimage.uniform_filter(inside.astype(np.float32), 2 * radius + 1, mode="nearest")
    np.clip(share, 0, 1, out=share)
    share[erode(inside, radius)] = 1  # rounding leaves 0.9999997 there
    share[~dilate(inside, radius)] = 0
    probability = _resampled(soft, (left, top, right, bottom), prediction.size)
    bounded = np.where(inside, np.maximum(probability, np.maximum(share, 0.5)), np.minimum(probability, share))
    values = np.round(bounded * 255).astype(np.uint8)
    alpha[top:bottom, left:right] = np.where(inside, np.maximum(values, 128), np.minimum(values, 127))
    return alpha


def _resampled(soft: NDArray[np.float32], box: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Part of a probability map [h, w], bilinearly at full size; `box` is left, top, right, bottom in full pixels."""
    rows, columns = soft.shape
    left, top, right, bottom = box
    across, down = columns / size[1], rows / size[0]
    part = PIL.Image.fromarray(np.nan_to_num(soft)).resize(
        (right - left, bottom - top),
        PIL.Image.Resampling.BILINEAR,
        box=(left * across, top * down, min(right * across, columns), min(bottom * down, rows)),
    )
    clipped: NDArray[np.float32] = np.clip(np.asarray(part), 0, 1)
    return clipped


def _together(prediction: Prediction, *, soft: bool) -> NDArray[np.uint8]:
    if not len(prediction):
        return np.zeros(prediction.size, dtype=np.uint8)
    if not soft:
        return hard_alpha(rle.merge(prediction.masks))
    alpha = soft_alpha(prediction, 0)
    for index in range(1, len(prediction)):
        np.maximum(alpha, soft_alpha(prediction, index), out=alpha)
    return alpha
