"""From queries to panoptic, semantic and instance output at the photo's size (the released evaluation code)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its id in the map, its class, whether it is a thing, its (best) query's score."""

    id: int
    category: int
    isthing: bool
    score: float


@dataclass(frozen=True)
class Instances:
    """N instances: masks bool [N, H, W], scores [N], categories [N], in no particular order."""

    masks: Tensor
    scores: Tensor
    categories: Tensor


@dataclass(frozen=True)
class Pairs:
    """N pairs of a query and a class, with the class's score: each [N]."""

    queries: Tensor
    categories: Tensor
    scores: Tensor


def resize_masks(masks: Tensor, padded: Size, image: Size, output: Size) -> Tensor:
    """Mask logits [q, h, w] -> [q, *output]: bilinear to the padded input, crop to the image, bicubic to the output."""
    up = F.interpolate(masks[None], size=padded, mode="bilinear", align_corners=False)
    up = up[:, :, : image[0], : image[1]]
    return F.interpolate(up, size=output, mode="bicubic", align_corners=False, antialias=True)[0]


def resize_interactive(masks: Tensor, padded: Size, image: Size, output: Size) -> Tensor:
    """The same for interactive masks, whose evaluation resizes bilinearly twice."""
    up = F.interpolate(masks[None], size=padded, mode="bilinear", align_corners=False)
    up = up[:, :, : image[0], : image[1]]
    return F.interpolate(up, size=output, mode="bilinear", align_corners=False)[0]


def semantic(logits: Tensor, masks: Tensor) -> Tensor:
    """Class scores [K, H, W] from class logits [q, K + 1] (last: no object) and mask logits [q, H, W]."""
    classes = logits.softmax(-1)[:, :-1]
    return torch.einsum("qc,qhw->chw", classes, masks.sigmoid())


def confident(logits: Tensor, threshold: float) -> Pairs:
    """Queries whose best class isn't "no object" (the last one) and scores above `threshold`, in query order."""
    scores, labels = logits.softmax(-1).max(-1)
    kept = ((labels != logits.shape[-1] - 1) & (scores > threshold)).nonzero()[:, 0]
    return Pairs(kept, labels[kept], scores[kept])


def panoptic(
    logits: Tensor,
    masks: Tensor,
    things: Collection[int],
    object_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> tuple[Tensor, list[Segment]]:
    """Panoptic map [H, W] (0: void, ids from 1 in query order) and its segments; masks are logits [q, H, W].

    A query counts if it is `confident`; its segment counts if at least `overlap_threshold` of its mask remains after
    the others took theirs. Stuff of one class is one segment.
    """
    pairs = confident(logits, object_threshold)
    size = (int(masks.shape[-2]), int(masks.shape[-1]))
    return panoptic_of(pairs, [(slice(0, size[0]), masks[pairs.queries])], size, things, overlap_threshold)


def panoptic_of(
    pairs: Pairs,
    strips: Iterable[tuple[slice, Tensor]],
    size: Size,
    things: Collection[int],
    overlap_threshold: float = 0.8,
) -> tuple[Tensor, list[Segment]]:
    """`panoptic` of confident queries whose mask logits come in strips, [N, rows, W] each."""
    device, count = pairs.scores.device, len(pairs.scores)
    if not count:
        return torch.zeros(size, dtype=torch.int32, device=device), []
    owner = torch.zeros(size, dtype=torch.long, device=device)
    covered = torch.zeros(size, dtype=torch.bool, device=device)  # by the owner's own mask
    areas, won, left = (torch.zeros(count, dtype=torch.long, device=device) for _ in range(3))
    for rows, logits in strips:
        soft = logits.sigmoid()
        best = (pairs.scores[:, None, None] * soft).argmax(0)
        inside = soft.gather(0, best[None])[0] >= 0.5
        owner[rows], covered[rows] = best, inside
        areas += (soft >= 0.5).flatten(1).sum(1)
        won += torch.bincount(best.flatten(), minlength=count)
        left += torch.bincount(best[inside], minlength=count)
    numbers = torch.zeros(count, dtype=torch.int32, device=device)
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for k, category in enumerate(pairs.categories.tolist()):
        if not int(left[k]) or int(won[k]) / int(areas[k]) < overlap_threshold:
            continue
        score = float(pairs.scores[k])
        if category in stuff:
            number = stuff[category]
            numbers[k] = number
            first = segments[number - 1]
            segments[number - 1] = Segment(number, category, False, max(first.score, score))
            continue
        number = len(segments) + 1
        if category not in things:
            stuff[category] = number
        numbers[k] = number
        segments.append(Segment(number, category, category in things, score))
    return torch.where(covered, numbers[owner], 0), segments


def best_pairs(logits: Tensor, things: Collection[int] | None = None, limit: int = 100) -> Pairs:
    """The `limit` best pairs of query and class, of which those of `things` are kept (None: all)."""
    classes = logits.softmax(-1)[:, :-1]
    scores, flat = classes.flatten().topk(min(limit, classes.numel()), sorted=False)
    queries, categories = flat // classes.shape[1], flat % classes.shape[1]
    if things is not None:
        kept = torch.isin(categories, torch.tensor(sorted(things), device=categories.device))
        queries, categories, scores = queries[kept], categories[kept], scores[kept]
    return Pairs(queries, categories, scores)


def mean_inside(masks: Tensor) -> Tensor:
    """Mean probability of mask logits [q, H, W] inside their masks, [q]."""
    inside = masks > 0
    return (masks.sigmoid() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6)


def instances(logits: Tensor, masks: Tensor, things: Collection[int] | None = None, limit: int = 100) -> Instances:
    """The `limit` best pairs of query and class; the score is the class's times the mean of the mask inside itself.

    things: keep only these classes (as published where panoptic output is also made); None keeps all.
    """
    pairs = best_pairs(logits, things, limit)
    chosen = masks[pairs.queries]
    return Instances(chosen > 0, pairs.scores * mean_inside(chosen), pairs.categories)
