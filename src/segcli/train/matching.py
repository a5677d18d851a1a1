"""Which query is held responsible for which target: the cheapest one-to-one assignment (DETR, section 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Match = tuple[Tensor, Tensor]
"""Query indices (ascending) and the target index of each."""


def assign(cost: Tensor) -> Match:
    """Cheapest assignment of a cost matrix [queries, targets]; infinite entries are forbidden pairs.

    Raises ValueError when every assignment has a forbidden pair.
    """
    from scipy.optimize import linear_sum_assignment

    queries, targets = linear_sum_assignment(cost.detach().double().cpu().numpy())
    return torch.as_tensor(queries, dtype=torch.long), torch.as_tensor(targets, dtype=torch.long)


def bce_cost(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of every query with every target: [Q, P], [T, P] -> [Q, T]."""
    as_inside = F.softplus(-logits)
    as_outside = F.softplus(logits)
    return (as_inside @ targets.t() + as_outside @ (1 - targets).t()) / logits.shape[1]


def dice_cost(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - Dice of every query with every target, smoothed by 1: [Q, P], [T, P] -> [Q, T]."""
    inside = logits.sigmoid()
    overlap = 2 * inside @ targets.t()
    total = inside.sum(1)[:, None] + targets.sum(1)[None]
    return 1 - (overlap + 1) / (total + 1)


def iou_cost(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - IoU of the thresholded masks at the points (the paper's matching, its equations 5 and 6)."""
    inside = (logits > 0).to(targets.dtype)
    overlap = inside @ targets.t()
    union = inside.sum(1)[:, None] + targets.sum(1)[None] - overlap
    return 1 - overlap / union.clamp(min=1)


def forbid(cost: Tensor, allowed: Tensor) -> Tensor:
    """Cost with forbidden pairs set to infinity; allowed: bool, same shape."""
    return torch.where(allowed, cost, torch.full_like(cost, torch.inf))
