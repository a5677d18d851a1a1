"""From queries and their scores for one sentence or region to masks of the photo's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, encode
from segcli.models.psalm.picture import Fit, full_size
from segcli.models.psalm.postprocess import SEVERAL, mask_scores

_SOFT_SIDE = 1024  # longest side of the probabilities that are handed out
_GROUP = 4  # masks brought to the photo's size at a time


@dataclass(frozen=True, eq=False)
class Found:
    """A query and its score."""

    query: int
    score: float


def best(said: Tensor, masks: Tensor, size: Fit, count: int) -> list[Found]:
    """The `count` queries with the largest score: probability of the condition `said` [Q] times the mask's own.

    masks: logits [Q, h, w]. A mask's own score is at most its largest probability, which resizing never raises. So
    queries are looked at by that bound, and the rest is left alone once it can't be better: most masks never have to
    be brought to the photo's size.
    """
    bound = said * masks.flatten(1).amax(1).sigmoid()
    order = bound.argsort(descending=True).tolist()
    found: list[Found] = []
    for first in range(0, len(order), _GROUP):
        if len(found) >= count and found[count - 1].score >= float(bound[order[first]]):
            break
        found += _scored(order[first : first + _GROUP], said, masks, size)
        found.sort(key=lambda one: -one.score)
    return found[:count]


def above(said: Tensor, masks: Tensor, size: Fit, threshold: float | None) -> list[Found]:
    """All queries whose score is above `threshold`, best first.

    None is the published rule for sentences with several targets: those above 0.6, or else the best one.
    """
    floor = SEVERAL if threshold is None else threshold
    order = [query for query in said.argsort(descending=True).tolist() if float(said[query]) > floor]
    found = [
        one
        for first in range(0, len(order), _GROUP)
        for one in _scored(order[first : first + _GROUP], said, masks, size)
        if one.score > floor
    ]
    found.sort(key=lambda one: -one.score)
    return found if found or threshold is not None else best(said, masks, size, 1)


def prediction(found: list[Found], masks: Tensor, size: Fit) -> Prediction:
    """The found queries' masks; one with nothing inside is no answer."""
    kept: list[tuple[Rle, float, NDArray[np.float16]]] = []
    for one in found:
        full = full_size(masks[one.query : one.query + 1], size)[0]
        mask = encode((full > 0).cpu().numpy())
        if mask.area:
            kept.append((mask, round(one.score, 6), _soft(full)))
    return Prediction(
        size.photo,
        tuple(mask for mask, _, _ in kept),
        tuple(score for _, score, _ in kept),
        soft=np.stack([soft for _, _, soft in kept]) if kept else None,
    )


def dense(one: Found, masks: Tensor, size: Fit) -> NDArray[np.bool_]:
    """A found query's mask [H, W]."""
    inside: NDArray[np.bool_] = (full_size(masks[one.query : one.query + 1], size)[0] > 0).cpu().numpy()
    return inside


def _scored(queries: list[int], said: Tensor, masks: Tensor, size: Fit) -> list[Found]:
    sure = mask_scores(full_size(masks[torch.tensor(queries, device=masks.device)], size))
    return [Found(query, float(said[query] * sure[k])) for k, query in enumerate(queries)]


def _soft(logits: Tensor) -> NDArray[np.float16]:
    height, width = (int(v) for v in logits.shape)
    factor = min(1.0, _SOFT_SIDE / max(height, width))
    fitting = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = F.interpolate(logits[None, None], size=fitting, mode="bilinear", align_corners=False)[0, 0]
    soft: NDArray[np.float16] = small.sigmoid().cpu().numpy().astype(np.float16)
    return soft
