"""Panoptic quality (Kirillov et al., 2019), as panopticapi counts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError

VOID = 0
_PAIR = 1 << 24


@dataclass
class CategoryCount:
    """True and false positives, false negatives, and the sum of the true positives' IoUs, of one category."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: float = 0.0

    def add(self, other: CategoryCount) -> None:
        """Add another count to this one."""
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        self.iou += other.iou


class Segment(NamedTuple):
    """One entry of `segments_info`; `area` as written in the file, -1 for none (only the truth's is used)."""

    id: int
    category: int
    crowd: bool = False
    area: int = -1


def colour_ids(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Ids of panoptic colours [..., 3]: R + 256 G + 65536 B."""
    wide = colours.astype(np.int64)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]


def segments(entries: Iterable[Mapping[str, Any]]) -> list[Segment]:
    """Segments of a `segments_info` list."""
    return [
        Segment(int(e["id"]), int(e["category_id"]), bool(e.get("iscrowd", 0)), int(e.get("area", -1))) for e in entries
    ]


def image_counts(
    truth: NDArray[Any],
    truth_segments: Sequence[Segment],
    prediction: NDArray[Any],
    prediction_segments: Sequence[Segment],
    categories: Iterable[int],
) -> dict[int, CategoryCount]:
    """Counts of one image per category; both arrays are colours uint8 [H, W, 3] or ids [H, W] below 2^24, 0 is void.

    Areas of the prediction are counted, those of the truth are believed, both as published. A match needs the same
    category and IoU above 0.5. Raises ItemError where the published tool stops: an id of the PNG that is not listed,
    a listed id that is not in the PNG, an unknown category, different sizes.
    """
    if truth.shape[:2] != prediction.shape[:2]:
        sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (prediction, truth)]
        raise ItemError(f"the prediction is {sizes[0]}, the annotation {sizes[1]}; they must be the same size")
    overlaps = _overlaps(truth, prediction)
    areas: dict[int, int] = {}
    for (_, p), pixels in overlaps.items():
        areas[p] = areas.get(p, 0) + pixels
    _check(areas, prediction_segments, set(categories))

    true = {s.id: s for s in truth_segments}
    predicted = {s.id: s for s in prediction_segments}
    counts: dict[int, CategoryCount] = {}
    matched_truth, matched_prediction = set(), set()
    for (g, p), pixels in overlaps.items():
        t, q = true.get(g), predicted.get(p)
        if t is None or q is None or t.crowd or t.category != q.category:
            continue
        if t.area < 0:
            raise ItemError(f"segment {g} of the annotation has no area, which the score is made of")
        union = areas[p] + t.area - pixels - overlaps.get((VOID, p), 0)
        iou = pixels / union if union else float("inf")  # areas that lie may cancel
        if iou > 0.5:
            count = counts.setdefault(t.category, CategoryCount())
            count.tp += 1
            count.iou += iou
            matched_truth.add(g)
            matched_prediction.add(p)

    crowds: dict[int, int] = {}
    for s in true.values():
        if s.id in matched_truth:
            continue
        if s.crowd:
            crowds[s.category] = s.id  # the last one wins, as published
        else:
            counts.setdefault(s.category, CategoryCount()).fn += 1
    for s in predicted.values():
        if s.id in matched_prediction:
            continue
        excused = overlaps.get((VOID, s.id), 0)
        if s.category in crowds:
            excused += overlaps.get((crowds[s.category], s.id), 0)
        if not excused / areas[s.id] > 0.5:
            counts.setdefault(s.category, CategoryCount()).fp += 1
    return counts


def _overlaps(truth: NDArray[Any], prediction: NDArray[Any]) -> dict[tuple[int, int], int]:
    """(truth id, prediction id) -> pixels, in ascending order of the pair.

    Neighbouring pixels mostly share their pair, so that only the starts of runs are decoded and sorted.
    """
    size = truth.shape[0] * truth.shape[1]
    if size == 0:
        return {}
    if truth.ndim == prediction.ndim:  # one search instead of two
        starts = _pixels(_changed(truth) | _changed(prediction), truth)
    else:
        starts = np.union1d(_pixels(_changed(truth), truth), _pixels(_changed(prediction), prediction))
    pairs = _ids_at(truth, starts) * _PAIR + _ids_at(prediction, starts)
    values = np.unique(pairs)
    which = np.searchsorted(values, pairs)
    pixels = np.bincount(which, np.diff(starts, append=size), len(values)).astype(np.int64)
    return {(v >> 24, v & (_PAIR - 1)): n for v, n in zip(values.tolist(), pixels.tolist(), strict=True)}


def _changed(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Values, in row-major order, that differ from those of the pixel before; without the first pixel."""
    flat, channels = image.ravel(), _channels(image)
    return np.asarray(flat[channels:] != flat[:-channels])


def _pixels(changed: NDArray[np.bool_], image: NDArray[Any]) -> NDArray[np.intp]:
    """The first pixel, and those of which a value has changed, ascending."""
    pixels = np.flatnonzero(changed) // _channels(image) + 1
    return np.concatenate(([0], pixels[np.diff(pixels, prepend=0) > 0]))


def _channels(image: NDArray[Any]) -> int:
    return 1 if image.ndim == 2 else int(image.shape[2])


def _ids_at(image: NDArray[Any], pixels: NDArray[np.intp]) -> NDArray[np.int64]:
    if image.ndim == 3:
        return colour_ids(image.reshape(-1, image.shape[2])[pixels])
    return image.ravel()[pixels].astype(np.int64)


def _check(areas: Mapping[int, int], listed: Sequence[Segment], categories: set[int]) -> None:
    ids = {s.id for s in listed}
    unlisted = sorted(set(areas) - ids - {VOID})
    if unlisted:
        raise ItemError(f"segment {unlisted[0]} is in the PNG but not in segments_info")
    absent = sorted(ids - set(areas))
    if absent:
        raise ItemError(f"segment {absent[0]} is in segments_info but has no pixel in the PNG")
    for s in listed:
        if s.category not in categories:
            raise ItemError(f"segment {s.id} has category {s.category}, which the ground truth does not list")


class Quality(NamedTuple):
    """PQ, SQ, RQ in [0, 1] and the number of categories that they are the mean of; NaN for none."""

    pq: float
    sq: float
    rq: float
    n: int


@dataclass
class PanopticCounts:
    """Counts over a set; `isthing` maps each category of the ground truth to thing (True) or stuff."""

    isthing: Mapping[int, bool]
    counts: dict[int, CategoryCount] = field(default_factory=dict)

    def add(self, image: Mapping[int, CategoryCount]) -> None:
        """Add one image's counts."""
        for category, count in image.items():
            self.counts.setdefault(category, CategoryCount()).add(count)

    def per_category(self) -> dict[int, Quality]:
        """Quality of each category; zeros (and n = 0) for one without any segment."""
        return {c: _quality(self.counts.get(c, CategoryCount())) for c in self.isthing}

    def mean(self, things: bool | None = None) -> Quality:
        """Mean over all categories, over things (True) or over stuff (False); those without a segment are left out."""
        rows = [q for c, q in self.per_category().items() if q.n and (things is None or self.isthing[c] is things)]
        if not rows:
            return Quality(float("nan"), float("nan"), float("nan"), 0)
        pq, sq, rq, n = (sum(column) for column in zip(*rows, strict=True))
        return Quality(pq / len(rows), sq / len(rows), rq / len(rows), int(n))


def _quality(count: CategoryCount) -> Quality:
    if count.tp + count.fp + count.fn == 0:
        return Quality(0.0, 0.0, 0.0, 0)
    weight = count.tp + 0.5 * count.fp + 0.5 * count.fn
    return Quality(count.iou / weight, count.iou / count.tp if count.tp else 0.0, count.tp / weight, 1)
