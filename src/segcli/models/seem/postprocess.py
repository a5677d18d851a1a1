"""From queries to panoptic, semantic and instance output at the photo's size (the released evaluation code)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its id in the map, its class, whether it is a thing."""

    id: int
    category: int
    isthing: bool


@dataclass(frozen=True)
class Instances:
    """N instances: masks bool [N, H, W], scores [N], categories [N], in no particular order."""

    masks: Tensor
    scores: Tensor
    categories: Tensor


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


def panoptic(
    logits: Tensor,
    masks: Tensor,
    things: Collection[int],
    object_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> tuple[Tensor, list[Segment]]:
    """Panoptic map [H, W] (0: void, ids from 1 in query order) and its segments.

    A query counts if its best class isn't "no object" and scores above `object_threshold`; its segment counts if at
    least `overlap_threshold` of its mask remains after the others took theirs. Stuff of one class is one segment.
    """
    scores, labels = logits.softmax(-1).max(-1)
    keep = (labels != logits.shape[-1] - 1) & (scores > object_threshold)
    map_ = torch.zeros(masks.shape[-2:], dtype=torch.int32, device=masks.device)
    segments: list[Segment] = []
    if not bool(keep.any()):
        return map_, segments
    soft = masks[keep].sigmoid()
    owner = (scores[keep][:, None, None] * soft).argmax(0)
    stuff_ids: dict[int, int] = {}
    for k, category in enumerate(labels[keep].tolist()):
        won, inside = owner == k, soft[k] >= 0.5
        area = int(inside.sum())
        segment = won & inside
        if not area or not bool(won.any()) or not bool(segment.any()):
            continue
        if int(won.sum()) / area < overlap_threshold:
            continue
        if category not in things and category in stuff_ids:
            map_[segment] = stuff_ids[category]
            continue
        number = len(segments) + 1
        if category not in things:
            stuff_ids[category] = number
        map_[segment] = number
        segments.append(Segment(number, category, category in things))
    return map_, segments


def instances(logits: Tensor, masks: Tensor, things: Collection[int] | None = None, limit: int = 100) -> Instances:
    """The `limit` best pairs of query and class; the score is the class's times the mean of the mask inside itself.

    things: keep only these classes (as published where panoptic output is also made); None keeps all.
    """
    classes = logits.softmax(-1)[:, :-1]
    scores, flat = classes.flatten().topk(min(limit, classes.numel()), sorted=False)
    queries, categories = flat // classes.shape[1], flat % classes.shape[1]
    if things is not None:
        kept = torch.isin(categories, torch.tensor(sorted(things), device=categories.device))
        queries, categories, scores = queries[kept], categories[kept], scores[kept]
    chosen = masks[queries]
    inside = chosen > 0
    mean = (chosen.sigmoid() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6)
    return Instances(inside, scores * mean, categories)
