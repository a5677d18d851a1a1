"""Losses of masks and classes that several systems share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_bce(logits: Tensor, targets: Tensor, count: float) -> Tensor:
    """Binary cross-entropy, mean over points [N, P], sum over masks, divided by `count`."""
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return each.mean(1).sum() / count


def mask_dice(logits: Tensor, targets: Tensor, count: float) -> Tensor:
    """1 - Dice over points [N, P], smoothed by 1, sum over masks, divided by `count`."""
    inside = logits.sigmoid()
    overlap = 2 * (inside * targets).sum(1)
    each = 1 - (overlap + 1) / (inside.sum(1) + targets.sum(1) + 1)
    return each.sum() / count


def shared_text_targets(owner: Tensor, texts: Tensor, hashes: Tensor, queries: int) -> Tensor:
    """Which share of text t query q should answer, [queries, T].

    Query owner[k] was matched with text texts[k]. Texts with the same hash mean the same, so that their queries share
    all of them equally.
    """
    matched = torch.zeros(queries, hashes.numel())
    matched[owner, texts] = 1
    same = (hashes[:, None] == hashes[None]).float()
    return matched @ (same / same.sum(1, keepdim=True))


def query_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over queries of each text, mean over texts (0 without one): logits and targets [queries, T]."""
    if logits.shape[1] == 0:
        return logits.sum()
    return -(targets * F.log_softmax(logits, 0)).sum(0).mean()
