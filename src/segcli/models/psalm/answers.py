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
    """A query's mask: its score, the mask, and its logits at the photo's size."""

    query: int
    score: float
    mask: Rle
    soft: NDArray[np.float16]


def best(said: Tensor, masks: Tensor, size: Fit, count: int) -> list[Found]:
    """The `count` queries with the largest score: probability of the condition `said` [Q] times the mask's own.

    masks: logits [Q, h, w]. A mask's own score is at most 1, so queries are looked at in the order of `said`, and the
    rest is left alone once it can't be better: most masks never have to be brought to the photo's size.
    """
    order = said.argsort(descending=True).tolist()
    found: list[Found] = []
    for first in range(0, len(order), _GROUP):
        if len(found) >= count and found[count - 1].score >= float(said[order[first]]):
            break
        found += _looked_at(order[first : first + _GROUP], said, masks, size)
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
        for one in _looked_at(order[first : first + _GROUP], said, masks, size)
        if one.score > floor
    ]
    found.sort(key=lambda one: -one.score)
    return found if found or threshold is not None else best(said, masks, size, 1)


def prediction(found: list[Found], size: Fit) -> Prediction:
    """The found masks; one with nothing inside is no answer."""
    kept = [one for one in found if one.mask.area]
    return Prediction(
        size.photo,
        tuple(one.mask for one in kept),
        tuple(round(one.score, 6) for one in kept),
        soft=np.stack([one.soft for one in kept]) if kept else None,
    )


def _looked_at(queries: list[int], said: Tensor, masks: Tensor, size: Fit) -> list[Found]:
    full = full_size(masks[torch.tensor(queries, device=masks.device)], size)
    sure = mask_scores(full)
    return [
        Found(query, float(said[query] * sure[k]), encode((full[k] > 0).cpu().numpy()), _soft(full[k]))
        for k, query in enumerate(queries)
    ]


def _soft(logits: Tensor) -> NDArray[np.float16]:
    height, width = (int(v) for v in logits.shape)
    factor = min(1.0, _SOFT_SIDE / max(height, width))
    fitting = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = F.interpolate(logits[None, None], size=fitting, mode="bilinear", align_corners=False)[0, 0]
    soft: NDArray[np.float16] = small.sigmoid().cpu().numpy().astype(np.float16)
    return soft
