"""How RAS is trained: which candidates are the group, and the loss over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

POSITIVE_WEIGHT = 5.0


def selection_loss(
    logits: Sequence[Tensor],
    labels: Sequence[Tensor],
    positive: float = POSITIVE_WEIGHT,
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Binary cross-entropy with positives weighted, a plain mean over a sample's candidates, then over samples.

    The weight multiplies terms of the mean and does not divide it. Samples without candidates count as nothing.
    weights: [N] a sample, of each candidate's term in the mean; all 1 in the published training.
    """
    each_weight = [None] * len(logits) if weights is None else weights
    weight = torch.tensor(positive)
    each = [
        F.binary_cross_entropy_with_logits(one.float(), truth.float(), own, pos_weight=weight.to(one.device))
        for one, truth, own in zip(logits, labels, each_weight, strict=True)
        if len(one)
    ]
    return torch.stack(each).mean() if each else torch.zeros((), requires_grad=True)


def assign(ious: NDArray[np.float64], threshold: float = 0.5, *, rescue: bool = True) -> NDArray[np.bool_]:
    """Which candidates are positive, from their IoU [N, targets] with the masks that are meant: bool [N].

    Those that reach `threshold` with some target; with `rescue` also the best one of each target that none reaches,
    if it touches the target at all.
    """
    if not ious.size:
        return np.zeros(len(ious), np.bool_)
    positive: NDArray[np.bool_] = np.asarray((ious >= threshold).any(axis=1))
    if rescue:
        for column in ious.T:
            best = int(column.argmax())
            if column[best] < threshold and column[best] > 0:
                positive[best] = True
    return positive
