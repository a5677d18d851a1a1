"""Semantic segmentation: mIoU and mAcc over a whole set, as detectron2's evaluator counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError


def confusion(truth: NDArray[Any], prediction: NDArray[Any], classes: int, ignore: int = 255) -> NDArray[np.int64]:
    """Pixel counts int64 [classes + 1, classes + 1], rows predicted and columns true; the last column is ignored.

    The value `classes` itself counts as ignored in the truth and as "none" in the prediction, as published.
    Raises ItemError for a class outside of 0..classes.
    """
    if truth.shape != prediction.shape:
        sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (prediction, truth)]
        raise ItemError(f"the prediction is {sizes[0]}, the annotation {sizes[1]}; they must be the same size")
    # 32-bit sums in place: the largest code is (classes + 1)², and temporary arrays cost more than the arithmetic.
    true = truth.astype(np.int32)
    true[truth == ignore] = classes
    if true.size:
        if int(true.max()) > classes or int(true.min()) < 0:
            wrong = int(true.max()) if int(true.max()) > classes else int(true.min())
            raise ItemError(f"the annotation holds class {wrong}; there are 0 to {classes - 1} and {ignore} to ignore")
        if int(prediction.max()) > classes or int(prediction.min()) < 0:
            wrong = int(prediction.max()) if int(prediction.max()) > classes else int(prediction.min())
            raise ItemError(f"the prediction holds class {wrong}; there are 0 to {classes - 1}")
    codes = prediction.astype(np.int32)
    codes *= classes + 1
    codes += true
    counts = np.bincount(codes.ravel(), minlength=(classes + 1) ** 2)
    return counts.reshape(classes + 1, classes + 1).astype(np.int64)


@dataclass(frozen=True)
class SemanticScores:
    """All in percent; classes that the truth does not show are NaN and left out of the means."""

    miou: float
    macc: float
    pacc: float
    fwiou: float
    iou: NDArray[np.float64]
    acc: NDArray[np.float64]


def semantic_scores(counts: NDArray[np.int64]) -> SemanticScores:
    """Scores of a confusion matrix as from `confusion`, summed over images.

    Predictions on ignored pixels are no false positives. NaN everywhere when no pixel is counted.
    """
    block = counts[:-1, :-1].astype(np.float64)
    hit, true, predicted = np.diagonal(block), block.sum(axis=0), block.sum(axis=1)
    shown = true > 0
    iou, acc = np.full(len(hit), np.nan), np.full(len(hit), np.nan)
    acc[shown] = hit[shown] / true[shown]
    iou[shown] = hit[shown] / (true + predicted - hit)[shown]
    total = true.sum()
    if not shown.any():
        nan = float("nan")
        return SemanticScores(nan, nan, nan, nan, iou, acc)
    return SemanticScores(
        miou=100 * float(iou[shown].sum() / shown.sum()),
        macc=100 * float(acc[shown].sum() / shown.sum()),
        pacc=100 * float(hit.sum() / total),
        fwiou=100 * float((iou[shown] * (true[shown] / total)).sum()),
        iou=100 * iou,
        acc=100 * acc,
    )
