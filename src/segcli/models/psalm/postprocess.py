"""From queries and their scores to masks, instances and panoptic maps (the released evaluation code)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """One segment of a panoptic map: its id there, its class's place in the list, whether it is a thing, how sure."""

    id: int
    category: int
    isthing: bool
    score: float


@dataclass(frozen=True)
class Instances:
    """N instances: which query's mask [N], scores [N], categories [N]; in no particular order."""

    queries: Tensor
    scores: Tensor
    categories: Tensor


def mask_scores(masks: Tensor) -> Tensor:
    """How sure a mask is inside itself: mean probability where the logit is positive, [Q, H, W] -> [Q]."""
    inside = masks > 0
    total = (masks.sigmoid() * inside).flatten(1).sum(1)
    return total / (inside.flatten(1).sum(1) + 1e-6)


def condition_scores(logits: Tensor, sure: Tensor) -> Tensor:
    """Scores of queries for sentences or regions: sigmoid(logits [Q, n]) times `mask_scores` [Q] -> [Q, n]."""
    return logits.sigmoid() * sure[:, None]


def semantic(classes: Tensor, masks: Tensor) -> Tensor:
    """Class scores [K, H, W] from class probabilities [Q, K + 1] (last: background) and mask logits [Q, H, W]."""
    return torch.einsum("qc,qhw->chw", classes[:, :-1], masks.sigmoid())


def instances(classes: Tensor, sure: Tensor, most: int, things: Sequence[bool] | None = None) -> Instances:
    """The `most` best pairs of query and class (published: as many as queries); `things` keeps those classes only.

    classes: probabilities [Q, K + 1]; sure: `mask_scores` [Q]. The score is the class's probability times the mask's.
    """
    plain = classes[:, :-1]
    scores, flat = plain.flatten().topk(min(most, plain.numel()), sorted=False)
    queries, categories = flat // plain.shape[1], flat % plain.shape[1]
    if things is not None:
        keep = torch.tensor(list(things), dtype=torch.bool, device=plain.device)[categories]
        queries, scores, categories = queries[keep], scores[keep], categories[keep]
    return Instances(queries, scores * sure[queries], categories)


def panoptic(
    classes: Tensor, plane: Callable[[int], Tensor], things: Sequence[bool], threshold: float = OBJECT
) -> tuple[Tensor, list[Segment]]:
    """Panoptic map (0: void, ids from 1 in the queries' order) and its segments.

    classes: probabilities [Q, K + 1]; plane: a query's mask logits [H, W], asked for one by one, so that a large photo
    needs no memory for all of them; things: [K]. Stuff of one class is one segment.
    """
    scores, labels = classes.max(-1)
    kept = ((labels != classes.shape[-1] - 1) & (scores > threshold)).nonzero()[:, 0].tolist()
    owner = best = None
    insides: list[Tensor] = []
    for place, query in enumerate(kept):
        soft = plane(query).sigmoid()
        insides.append(soft >= 0.5)
        strength = scores[query] * soft
        if owner is None or best is None:
            owner, best = torch.zeros_like(soft, dtype=torch.int32), strength
        else:
            stronger = strength > best
            owner[stronger] = place
            best = torch.where(stronger, strength, best)
    if owner is None:
        return torch.zeros_like(plane(0), dtype=torch.int32), []
    map_ = torch.zeros_like(owner)
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for place, (query, inside) in enumerate(zip(kept, insides, strict=True)):
        won = owner == place
        segment = won & inside
        area, whole, category = int(won.sum()), int(inside.sum()), int(labels[query])
        if not area or not whole or not bool(segment.any()) or area / whole < OVERLAP:
            continue
        if category in stuff:
            map_[segment] = stuff[category]
            continue
        number = len(segments) + 1
        if not things[category]:
            stuff[category] = number
        map_[segment] = number
        segments.append(Segment(number, category, things[category], float(scores[query])))
    return map_, segments


def several(scores: Tensor, threshold: float = SEVERAL) -> Tensor:
    """Queries that a sentence means when it may mean several: those above `threshold`, else the best one: bool [Q]."""
    chosen = scores > threshold
    return chosen if bool(chosen.any()) else torch.arange(len(scores), device=scores.device) == scores.argmax()
