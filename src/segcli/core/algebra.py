"""What can be done to the masks of a photo without a model: choose, clean, merge, compare.

Run-length codes stay so wherever the operation allows it (pycocotools does union, intersection, areas, boxes and IoU
on them, `segcli.core.parts` finds holes and islands); only smoothing needs pixels, those of the mask's own box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segcli.core.morphology import dilate, erode
from segcli.core.parts import without_holes, without_islands
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, complement, decode_tight, empty, encode_tight, iou, merge

How = Literal["union", "intersection", "difference"]
By = Literal["all", "label", "id"]


@dataclass(frozen=True)
class Wanted:
    """Which masks to keep; every condition that is set must hold.

    least, most:   area in pixels; `shares` says that they are shares of the photo.
    score:         at least this score.
    labels, not_labels: the mask's label is one of them, or none.
    within:        x0, y0, x1, y1 in pixels, the centre of the mask's box lies inside.
    largest:       only so many, those of largest area.
    """

    least: float | None = None
    most: float | None = None
    shares: tuple[bool, bool] = (False, False)
    score: float | None = None
    labels: frozenset[str] = frozenset()
    not_labels: frozenset[str] = frozenset()
    within: tuple[float, float, float, float] | None = None
    largest: int | None = None


def chosen(masks: Prediction, wanted: Wanted) -> Prediction:
    """The masks that `wanted` describes, in their order."""
    pixels = masks.size[0] * masks.size[1]
    areas = [rle.area for rle in masks.masks]
    least = None if wanted.least is None else wanted.least * (pixels if wanted.shares[0] else 1)
    most = None if wanted.most is None else wanted.most * (pixels if wanted.shares[1] else 1)
    kept = []
    for n, rle in enumerate(masks.masks):
        name = masks.names[n]
        holds = (
            (least is None or areas[n] >= least)
            and (most is None or areas[n] <= most)
            and (wanted.score is None or masks.scores[n] >= wanted.score)
            and (not wanted.labels or name in wanted.labels)
            and name not in wanted.not_labels
            and (wanted.within is None or _centre_within(rle, wanted.within))
        )
        if holds:
            kept.append(n)
    if wanted.largest is not None:
        ranked = sorted(kept, key=lambda n: -areas[n])[: wanted.largest]
        kept = sorted(ranked)
    return masks.take(kept)


def cleaned(masks: Prediction, *, holes: int = 0, islands: int = 0, smooth: int = 0) -> Prediction:
    """Masks without holes and islands below so many pixels, their borders smoothed by a window of that radius.

    Smoothing comes first (an opening after a closing). A mask of which nothing stays is left out.
    """
    made = [_cleaned(rle, holes, islands, smooth) for rle in masks.masks]
    kept = [n for n, rle in enumerate(made) if rle.area]
    return replace(masks, masks=tuple(made), soft=None).take(kept)


def merged(parts: Sequence[Prediction], how: How = "union", by: By = "all") -> Prediction:
    """One prediction out of several of one photo.

    by:  "all": every part's masks count as one mask; "label", "id": masks with the same one are put together.
    how: union, intersection of all parts, or the first part without the others. In an intersection a label that one
         part lacks is empty.
    Scores are the largest of those that went in. Raises ValueError for parts of different size.
    """
    if len({p.size for p in parts}) > 1:
        raise ValueError("the masks are of photos of different size")
    keyed = [_keyed(p, by) for p in parts]
    keys = list(dict.fromkeys(key for one in keyed for key in one))
    if how == "difference":
        keys = list(keyed[0])
    masks, scores, labels = [], [], []
    ids: list[int] = []
    for key in keys:
        unions = [_union(p, one.get(key, ()), p.size) for p, one in zip(parts, keyed, strict=True)]
        rle = _combined(unions, how)
        if not rle.area:
            continue
        used = [p.scores[n] for p, one in zip(parts, keyed, strict=True) for n in one.get(key, ())]
        masks.append(rle)
        scores.append(max(used))
        labels.append(key if by == "label" and isinstance(key, str) else None)
        ids.append(key if isinstance(key, int) else len(ids) + 1)
    return Prediction(parts[0].size, tuple(masks), tuple(scores), tuple(labels), ids=tuple(ids))


def without_repeats(masks: Prediction, overlap: float) -> Prediction:
    """Of masks that overlap by at least that IoU the one with the best score, in order of score."""
    order = sorted(range(len(masks)), key=lambda n: -masks.scores[n])
    kept: list[int] = []
    for n in order:
        if not kept or iou([masks.masks[n]], [masks.masks[k] for k in kept]).max() < overlap:
            kept.append(n)
    return masks.take(kept)


@dataclass(frozen=True)
class Match:
    """A mask of the first source with one of the second: indices (None: nothing is left for it) and their IoU."""

    first: int | None
    second: int | None
    iou: float


def matched(first: Prediction, second: Prediction, by: Literal["overlap", "label", "id"] = "overlap") -> list[Match]:
    """Pairs of masks of one photo in two sources, with their IoU; those without partner have 0.

    by "overlap": the assignment with the largest sum of IoU; "label", "id": those with the same one (of several masks
    with one label the best assignment among them). Raises ValueError for different sizes.
    """
    if first.size != second.size:
        raise ValueError(f"{_size(first.size)} and {_size(second.size)}")
    table = iou(first.masks, second.masks)
    if by != "overlap":
        names = [(p.names if by == "label" else p.ids) for p in (first, second)]
        same = np.array([[a == b for b in names[1]] for a in names[0]], dtype=np.bool_).reshape(table.shape)
        table = np.where(same, table, 0.0)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-table)
    pairs = [Match(int(r), int(c), float(table[r, c])) for r, c in zip(rows, columns, strict=True) if table[r, c] > 0]
    left = [Match(n, None, 0.0) for n in range(len(first)) if n not in {m.first for m in pairs}]
    right = [Match(None, n, 0.0) for n in range(len(second)) if n not in {m.second for m in pairs}]
    return sorted([*pairs, *left], key=lambda m: m.first or 0) + right


def coverage(masks: Prediction) -> float:
    """The share of the photo that some mask covers."""
    return merge(masks.masks).area / (masks.size[0] * masks.size[1]) if len(masks) else 0.0


def subtract(rle: Rle, other: Rle) -> Rle:
    """What is in the first mask and not in the second."""
    return merge([rle, complement(other)], intersect=True)


def _keyed(masks: Prediction, by: By) -> dict[str | int | None, list[int]]:
    found: dict[str | int | None, list[int]] = {}
    for n in range(len(masks)):
        key = None if by == "all" else masks.names[n] if by == "label" else masks.ids[n]
        found.setdefault(key, []).append(n)
    return found


def _union(masks: Prediction, indices: Sequence[int], size: tuple[int, int]) -> Rle:
    rles = [masks.masks[n] for n in indices]
    return merge(rles) if rles else empty(size)


def _combined(rles: Sequence[Rle], how: How) -> Rle:
    if how == "difference":
        return subtract(rles[0], merge(rles[1:])) if len(rles) > 1 else rles[0]
    return merge(rles, intersect=how == "intersection")


def _cleaned(rle: Rle, holes: int, islands: int, smooth: int) -> Rle:
    if smooth:
        rle = _smoothed(rle, smooth)
    if islands:
        rle = without_islands(rle, islands)
    return without_holes(rle, holes) if holes else rle


def _smoothed(rle: Rle, radius: int) -> Rle:
    x, y, tight = decode_tight(rle)
    if not tight.size:
        return rle
    height, width = rle.size
    mask = np.pad(tight, 2 * radius)  # room for the closing
    mask = erode(dilate(mask, radius), radius, outside=False)
    mask = dilate(erode(mask, radius, outside=False), radius)
    top, left = y - 2 * radius, x - 2 * radius
    inside = mask[max(0, -top) : height - top, max(0, -left) : width - left]
    return _placed(inside, max(0, left), max(0, top), rle.size)


def _placed(mask: NDArray[np.bool_], x: int, y: int, size: tuple[int, int]) -> Rle:
    return encode_tight(mask, x, y, size) if mask.size else empty(size)


def _centre_within(rle: Rle, box: tuple[float, float, float, float]) -> bool:
    x, y, width, height = rle.bbox
    cx, cy = x + (width - 1) / 2, y + (height - 1) / 2
    return box[0] <= cx <= box[2] and box[1] <= cy <= box[3]


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
