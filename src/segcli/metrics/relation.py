"""The same object seen by two cameras (Ego-Exo4D correspondence): IoU, contour and location of one pair of masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.metrics.boundary import frame_score
from segcli.metrics.deepest import bounding_box

LONG_SIDE = 480


class RelationScore(NamedTuple):
    """IoU, boundary F, and the distance of the boxes' centres as a share of the padded map's diagonal."""

    iou: float
    contour: float
    location: float


def relation_score(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> RelationScore:
    """Scores of a pair of masks [H, W] whose long side is 480; two empty masks have IoU 1.

    Raises ValueError when the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of different shapes, {truth.shape} and {prediction.shape}")
    both = int(np.count_nonzero(truth & prediction))
    either = int(np.count_nonzero(truth | prediction))
    iou = both / (either + 1e-7) if either else 1.0
    (xt, yt), (xp, yp) = _centre(truth), _centre(prediction)
    distance = math.sqrt((xt - xp) ** 2 + (yt - yp) ** 2) / math.sqrt(2 * LONG_SIDE**2)
    return RelationScore(iou, frame_score(truth, prediction).f, distance)


def long_side_size(height: int, width: int, side: int = LONG_SIDE) -> tuple[int, int]:
    """(height, width) with the long side brought to `side`; both are cut to integers, in the published order."""
    factor = 1.0 / max(height, width) * side
    return int(height * factor), int(width * factor)


def nearest(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask [H, W] brought to `size` (height, width) by nearest pixel, its index rounded as OpenCV does."""
    places = []
    for source, target in zip(mask.shape, size, strict=True):
        step = 1.0 / (target / source)  # twice the reciprocal: float64 differs from source / target now and then
        places.append(np.minimum(np.floor(np.arange(target) * step).astype(np.int64), source - 1))
    return np.asarray(mask[np.ix_(*places)])


def balanced_accuracy(truth: Sequence[bool], prediction: Sequence[bool]) -> float:
    """Mean of the recalls of "seen" and "not seen"; over those that occur."""
    recalls = []
    for state in (True, False):
        answers = [p == state for t, p in zip(truth, prediction, strict=True) if t == state]
        if answers:
            recalls.append(sum(answers) / len(answers))
    return sum(recalls) / len(recalls) if recalls else float("nan")


def _centre(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Integer centre (x, y) of the bounding box; of an empty mask that of the image, halves swapped as published."""
    box = bounding_box(mask)
    if box is None:
        return mask.shape[0] // 2, mask.shape[1] // 2
    y0, y1, x0, x1 = box
    return (x0 + x1 - 1) // 2, (y0 + y1 - 1) // 2
