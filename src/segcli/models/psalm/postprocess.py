"""From queries and their scores to masks, instances and panoptic maps (the released evaluation code)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

OBJECT = 0.8
"""A query whose best class is less probable is left out of panoptic maps."""
OVERLAP = 0.8
"""A segment of which less than this share remains after others took theirs is left out."""
SEVERAL = 0.6
"""Score from which on a query belongs to the answer of a sentence that may mean several objects (gRefCOCO)."""


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its id in the map, its class's place in the list, whether it is a thing."""

    id: int
    category: int
    isthing: bool


@dataclass(frozen=True)
class Instances:
    """N instances: which query's mask [N], scores [N], categories [N]; in no particular order."""

    queries: Tensor
    scores: Tensor
    categories: Tensor


def mask_scores(masks: Tensor) -> Tensor:
    """How sure a mask is inside itself: mean probability where the logit is positive, [Q, H, W] -> [Q]."""
    inside = masks > 0
    total = torch.where(inside, masks.sigmoid(), 0).flatten(1).sum(1)
    return total / (inside.flatten(1).sum(1) + 1e-6)


def condition_scores(logits: Tensor, sure: Tensor) -> Tensor:
    """Scores of queries for sentences or regions: sigmoid(logits [Q, n]) times `mask_scores` [Q] -> [Q, n]."""
    return logits.sigmoid() * sure[:, None]


def semantic(logits: Tensor, masks: Tensor) -> Tensor:
    """Class scores [K, H, W] from class logits [Q, K + 1] (last: background) and mask logits [Q, H, W]."""
    return torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], masks.sigmoid())


def instances(logits: Tensor, sure: Tensor, things: Sequence[bool] | None = None) -> Instances:
    """The best pairs of query and class, as many as there are queries; `things` keeps those classes only.

    logits: [Q, K + 1]; sure: `mask_scores` [Q]. The score is the class's probability times the mask's.
    """
    classes = logits.softmax(-1)[:, :-1]
    scores, flat = classes.flatten().topk(min(len(classes), classes.numel()), sorted=False)
    queries, categories = flat // classes.shape[1], flat % classes.shape[1]
    if things is not None:
        keep = torch.tensor(list(things), dtype=torch.bool, device=logits.device)[categories]
        queries, scores, categories = queries[keep], scores[keep], categories[keep]
    return Instances(queries, scores * sure[queries], categories)


def panoptic(logits: Tensor, masks: Tensor, things: Sequence[bool]) -> tuple[Tensor, list[Segment], list[float]]:
    """Panoptic map [H, W] (0: void, ids from 1 in the queries' order), its segments, and their class probabilities.

    logits: [Q, K + 1]; masks: logits [Q, H, W]; things: [K]. Stuff of one class is one segment.
    """
    scores, labels = logits.softmax(-1).max(-1)
    keep = (labels != logits.shape[-1] - 1) & (scores > OBJECT)
    map_ = torch.zeros(masks.shape[-2:], dtype=torch.int32, device=masks.device)
    segments: list[Segment] = []
    found: list[float] = []
    if not bool(keep.any()):
        return map_, segments, found
    soft = masks[keep].sigmoid()
    kept = scores[keep]
    owner = (kept[:, None, None] * soft).argmax(0)
    stuff: dict[int, int] = {}
    for k, category in enumerate(labels[keep].tolist()):
        won, inside = owner == k, soft[k] >= 0.5
        area, whole = int(won.sum()), int(inside.sum())
        segment = won & inside
        if not area or not whole or not bool(segment.any()) or area / whole < OVERLAP:
            continue
        if category in stuff:
            map_[segment] = stuff[category]
            continue
        number = len(segments) + 1
        if not things[category]:
            stuff[category] = number
        map_[segment] = number
        segments.append(Segment(number, category, things[category]))
        found.append(float(kept[k]))
    return map_, segments, found


def several(scores: Tensor, threshold: float = SEVERAL) -> Tensor:
    """Queries that a sentence means when it may mean several: those above `threshold`, else the best one: bool [Q]."""
    chosen = scores > threshold
    return chosen if bool(chosen.any()) else torch.arange(len(scores), device=scores.device) == scores.argmax()
