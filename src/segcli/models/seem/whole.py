"""Everything in a photo at once: panoptic, semantic or instance output over any list of classes (section 4.1).

As the released evaluation code does it, a few rows or masks of a large photo at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcli.core.ask import Kind
from segcli.core.classes import known
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, encode
from segcli.models.seem.bank import spoken_name
from segcli.models.seem.marks import InputSize
from segcli.models.seem.postprocess import best_pairs, confident, mean_inside, panoptic_of, resize_masks
from segcli.models.seem.strips import BUDGET, strips

OBJECT_THRESHOLD = 0.8
"""A query's class score from which it takes part in panoptic output."""


@dataclass(frozen=True)
class Seen:
    """What object queries saw: class logits [q, K + 1] (last: background), mask logits [q, h, w], both float32."""

    logits: Tensor
    masks: Tensor
    size: InputSize

    def at(self, chosen: Tensor | slice) -> Tensor:
        """Mask logits of chosen queries at the photo's size."""
        return resize_masks(self.masks[chosen], self.size.padded, self.size.image, self.size.photo)


def countable(names: Sequence[str], told: Sequence[bool | None] = ()) -> tuple[bool | None, ...]:
    """Whether each class is a thing: as told, else by the list (COCO, ADE20K, VOC) that knows most of them, else None.

    told: one for each name, None where nobody said; or nothing at all.
    """
    tables = []
    for which in ("coco", "ade20k", "voc"):
        listed = known(which)
        exact = dict(zip(listed.names, listed.things, strict=True))
        tables.append({**{spoken_name(name): thing for name, thing in exact.items()}, **exact})
    tables.sort(key=lambda table: -sum(name in table for name in names))  # stable: COCO's before the others'
    listed_as = [next((table[name] for table in tables if name in table), None) for name in names]
    return tuple(
        thing if said is None else said for thing, said in zip(listed_as, told or [None] * len(names), strict=True)
    )


def whole_photo(
    seen: Seen,
    kind: Kind,
    names: Sequence[str],
    things: Sequence[bool | None],
    threshold: float | None,
    default: float = OBJECT_THRESHOLD,
) -> Prediction:
    """All segments of a photo under `names`, surest first. What nobody calls stuff is a thing.

    threshold: panoptic, a query's class score (default: `default`); semantic, a pixel's class score (default: every
    pixel has a class); instance, a mask's score (default: the published best hundred).
    Masks of panoptic and semantic answers don't overlap. `ids` are segment ids, in a semantic answer the class's place
    in `names`.
    """
    if kind == "semantic":
        rows = _semantic(seen, threshold or 0.0)
    elif kind == "panoptic":
        rows = _panoptic(seen, _things(things), default if threshold is None else threshold)
    else:
        rows = _instances(seen, _things(things), threshold or 0.0)
    rows.sort(key=lambda row: -row.score)
    ids = tuple(row.category + 1 for row in rows) if kind == "semantic" else ()
    return Prediction(
        seen.size.photo,
        tuple(row.mask for row in rows),
        tuple(round(row.score, 4) for row in rows),
        labels=tuple(names[row.category] for row in rows),
        label_scores=tuple(round(row.score, 4) for row in rows),
        ids=ids,
        things=tuple(things[row.category] for row in rows),
    )


@dataclass(frozen=True)
class _Row:
    mask: Rle
    category: int
    score: float


def _things(things: Sequence[bool | None]) -> set[int]:
    return {k for k, thing in enumerate(things) if thing is not False}


def _panoptic(seen: Seen, things: set[int], threshold: float) -> list[_Row]:
    pairs = confident(seen.logits, threshold)
    size = seen.size
    parts = strips(seen.masks[pairs.queries], size.padded, size.image, size.photo)
    map_, segments = panoptic_of(pairs, parts, size.photo, things)
    plain = map_.cpu().numpy()
    return [_Row(encode(plain == segment.id), segment.category, segment.score) for segment in segments]


def _semantic(seen: Seen, threshold: float) -> list[_Row]:
    classes = seen.logits.softmax(-1)[:, :-1]
    size, count = seen.size, classes.shape[1]
    best = np.zeros(size.photo, np.int32)
    total, area = np.zeros(count), np.zeros(count, np.int64)
    for rows, logits in strips(seen.masks, size.padded, size.image, size.photo, planes=count):
        scores, labels = torch.einsum("qc,qhw->chw", classes, logits.sigmoid()).max(0)
        plain = np.where((scores >= threshold).cpu().numpy(), labels.cpu().numpy(), count)
        best[rows] = plain
        inside = plain < count
        # Sums of several queries' scores may pass 1.
        sure = scores.clamp(max=1).cpu().numpy().astype(np.float64)
        total += np.bincount(plain[inside], sure[inside], minlength=count)
        area += np.bincount(plain[inside], minlength=count)
    return [_Row(encode(best == k), k, float(total[k] / area[k])) for k in range(count) if area[k]]


def _instances(seen: Seen, things: set[int], threshold: float) -> list[_Row]:
    pairs = best_pairs(seen.logits, things)
    queries = torch.tensor(sorted(set(pairs.queries.tolist())), device=pairs.queries.device)
    masks: dict[int, tuple[Rle, float]] = {}
    step = max(1, BUDGET // (4 * seen.size.photo[0] * seen.size.photo[1]))
    for some in torch.split(queries, step):
        full = seen.at(some)
        for query, plane, mean in zip(some.tolist(), full, mean_inside(full).tolist(), strict=True):
            masks[query] = encode((plane > 0).cpu().numpy()), mean
    rows = []
    for query, category, score in zip(
        pairs.queries.tolist(), pairs.categories.tolist(), pairs.scores.tolist(), strict=True
    ):
        mask, mean = masks[query]
        if mask.area and score * mean >= threshold:
            rows.append(_Row(mask, category, score * mean))
    return rows
