"""A whole photo at once: panoptic, semantic or instance answers over any list of classes (PSALM, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.core.ask import Kind
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, encode
from segcli.models.psalm.classes import passes
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.picture import Fit, full_size
from segcli.models.psalm.postprocess import OBJECT, instances, mask_scores, panoptic
from segcli.models.psalm.seen import SeenPhoto, answer
from segcli.models.psalm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Proposals:
    """All queries of all passes: probabilities [Q, K + 1] over the whole list (last: background), logits [Q, h, w].

    A query knows only the classes of its own pass; the others have probability 0.
    """

    classes: Tensor
    masks: Tensor
    size: Fit
    each: int  # queries of one pass

    def plane(self, query: int) -> Tensor:
        """One query's mask logits at the photo's size [H, W]."""
        return full_size(self.masks[query : query + 1], self.size)[0]


def propose(model: Psalm, photo: SeenPhoto, names: Sequence[str], tokenizer: Tokenizer) -> Proposals:
    """Ask for all classes, in as many passes as their words need. Raises UsageError for a class that is too long."""
    classes, masks = [], []
    for places, pieces in passes(names, tokenizer, model.config):
        seen = answer(model, photo, pieces)
        assert seen.classes is not None
        own = seen.classes[0].softmax(-1)
        spread = own.new_zeros(len(own), len(names) + 1)
        spread[:, places.start : places.stop] = own[:, :-1]
        spread[:, -1] = own[:, -1]
        classes.append(spread)
        masks.append(seen.masks[0])
    return Proposals(torch.cat(classes), torch.cat(masks), photo.size, len(masks[0]))


def whole_photo(
    seen: Proposals,
    kind: Kind,
    names: Sequence[str],
    things: Sequence[bool | None],
    threshold: float | None,
    sure: float = OBJECT,
) -> Prediction:
    """All segments of a photo, surest first. What nobody calls stuff is a thing.

    threshold: panoptic, a query's class probability (None: `sure`, 0.8 as published); semantic, a pixel's score (every
    pixel has a class); instance, a mask's score (all of the best hundred). `ids` of a semantic answer are places in
    `names`.
    """
    counted = [thing is not False for thing in things]
    if kind == "panoptic":
        rows = _panoptic(seen, counted, sure if threshold is None else threshold)
    elif kind == "semantic":
        rows = _semantic(seen, threshold or 0.0)
    else:
        rows = _instances(seen, counted, threshold or 0.0)
    rows.sort(key=lambda row: -row.score)
    scores = tuple(round(row.score, 6) for row in rows)
    return Prediction(
        seen.size.photo,
        tuple(row.mask for row in rows),
        scores,
        labels=tuple(names[row.category] for row in rows),
        label_scores=scores,
        ids=tuple(row.category + 1 for row in rows) if kind == "semantic" else (),
        things=tuple(things[row.category] for row in rows),
    )


def label(seen: Proposals, mask: Rle, names: Sequence[str]) -> tuple[str, float]:
    """The class of a mask: that of the proposal which covers it best, by IoU times the class's probability."""
    from segcli.core.rle import decode

    inside = torch.from_numpy(decode(mask)).to(seen.masks.device)
    small = F.interpolate(inside[None, None].float(), size=seen.size.image, mode="area")[0, 0] >= 0.5
    square = F.interpolate(seen.masks[None], size=(seen.size.side,) * 2, mode="bilinear", align_corners=False)[0]
    planes = square[:, : seen.size.image[0], : seen.size.image[1]] > 0
    overlap = (planes & small).flatten(1).sum(1)
    union = (planes | small).flatten(1).sum(1).clamp(min=1)
    score, best = (seen.classes[:, :-1] * (overlap / union)[:, None]).max(0).values.max(0)
    return names[int(best)], round(float(score), 6)


@dataclass(frozen=True)
class _Row:
    mask: Rle
    category: int
    score: float


def _panoptic(seen: Proposals, things: Sequence[bool], threshold: float) -> list[_Row]:
    map_, segments = panoptic(seen.classes, seen.plane, things, threshold)
    plain = map_.cpu().numpy()
    return [_Row(encode(plain == s.id), s.category, s.score) for s in segments]


def _semantic(seen: Proposals, threshold: float) -> list[_Row]:
    """As published: scores at the network's size, then one class after the other to the photo's."""
    square = F.interpolate(seen.masks[None], size=(seen.size.side,) * 2, mode="bilinear", align_corners=False)[0]
    soft = square[:, : seen.size.image[0], : seen.size.image[1]].sigmoid()
    best: Tensor | None = None
    owner = torch.zeros(seen.size.photo, dtype=torch.int32, device=soft.device)
    for category in range(seen.classes.shape[1] - 1):
        small = torch.einsum("q,qhw->hw", seen.classes[:, category], soft)
        full = F.interpolate(small[None, None], size=seen.size.photo, mode="bilinear", align_corners=False)[0, 0]
        if best is None:
            best = full
        else:
            better = full > best
            owner[better] = category
            best = torch.where(better, full, best)
    assert best is not None
    plain, sure = owner.cpu().numpy(), best.clamp(max=1).cpu().numpy()  # sums over queries may pass 1
    plain = np.where(sure >= threshold, plain, -1)
    return [
        _Row(encode(plain == category), category, float(sure[plain == category].mean(dtype=np.float64)))
        for category in sorted(set(np.unique(plain).tolist()) - {-1})
    ]


def _instances(seen: Proposals, things: Sequence[bool], threshold: float) -> list[_Row]:
    blank = torch.ones(len(seen.classes), device=seen.classes.device)
    pairs = instances(seen.classes, blank, seen.each, things)
    masks: dict[int, tuple[Rle, float]] = {}
    rows = []
    for query, category, score in zip(
        pairs.queries.tolist(), pairs.categories.tolist(), pairs.scores.tolist(), strict=True
    ):
        if query not in masks:
            plane = seen.plane(query)
            masks[query] = encode((plane > 0).cpu().numpy()), float(mask_scores(plane[None])[0])
        mask, sure = masks[query]
        if mask.area and score * sure >= threshold:
            rows.append(_Row(mask, category, score * sure))
    return rows
