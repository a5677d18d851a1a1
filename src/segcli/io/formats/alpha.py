"""From a prediction to opacity: hard edges, soft edges, unions and inversions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from segcli.core import rle
from segcli.core.errors import ItemError
from segcli.core.morphology import dilate, erode
from segcli.core.prediction import Prediction
from segcli.io.formats.contract import Answered, Options

Opacity = tuple[int | None, str | None, NDArray[np.uint8]]
"""A mask's number (None when the file stands for the whole answer), its label, its opacity uint8 [H, W]."""


def opacities(answered: Answered, options: Options) -> Iterator[Opacity]:
    """What `mask` and `cutout` write, one at a time: each mask, or all together with `union`.

    No target gives a single blank one (or a full one with `invert`). Raises ItemError when soft edges are asked of a
    model that has none.
    """
    prediction = answered.prediction
    if options.soft and len(prediction) and prediction.soft is None:
        raise ItemError(f"{answered.image.name}: {answered.model} gives no soft edges: leave out --soft")
    if options.union or not len(prediction):
        yield None, None, _inverted(_together(prediction, soft=options.soft), options)
        return
    for index, label in enumerate(prediction.names):
        one = soft_alpha(prediction, index) if options.soft else hard_alpha(prediction.masks[index])
        yield index + 1, label, _inverted(one, options)


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


def _inverted(alpha: NDArray[np.uint8], options: Options) -> NDArray[np.uint8]:
    return np.bitwise_not(alpha, out=alpha) if options.invert else alpha
