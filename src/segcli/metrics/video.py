"""J and F over a video: which frames and labels count, and the statistics of a sequence.

Three published rules: DAVIS 2017 semi-supervised and unsupervised (davis2017-evaluation), and the growing label set of
vos-benchmark (MOSE, LVOS). Label maps are integer arrays [H, W]; 0 is background.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError
from segcli.metrics.boundary import FrameScore, frame_score

LabelMap = NDArray[Any]
VOID = 255
MAX_PROPOSALS = 20


class Statistics(NamedTuple):
    """Mean, recall (share of frames above 0.5) and decay (first quarter minus last) of one object."""

    mean: float
    recall: float
    decay: float


def statistics(values: NDArray[np.float64], wrap: bool = True) -> Statistics:
    """Statistics of the per-frame values [T] of one object; NaN frames are left out of means but not of recall.

    The published code keeps frame numbers in 8 bits, so that decay goes wrong from 256 frames on; `wrap` reproduces
    that. Neighbouring quarters share a frame. An empty quarter gives a decay of NaN.
    """
    values = np.asarray(values, np.float64)
    edges = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    stops = edges + 1
    if wrap:
        edges = edges & 0xFF
        stops = (edges + 1) & 0xFF
    first, last = values[edges[0] : stops[1]], values[edges[3] : stops[4]]
    recall = float(np.mean(values > 0.5)) if len(values) else float("nan")
    return Statistics(_nanmean(values), recall, _nanmean(first) - _nanmean(last))


def decay_wraps(frames: int) -> bool:
    """True when the published decay of a sequence of that many evaluated frames is wrong (see `statistics`)."""
    return frames >= 256


def label_count(first: LabelMap) -> int:
    """Number of objects of a DAVIS sequence: the highest label of its first frame, void aside."""
    labels = np.where(first == VOID, 0, first)
    return int(labels.max(initial=0))


def semi_supervised(pairs: Iterable[tuple[LabelMap, LabelMap]], objects: int) -> Iterator[list[FrameScore]]:
    """Scores of objects 1..`objects` for each (truth, prediction) of the evaluated frames.

    The evaluated frames are all but the first and the last one. Void pixels of the truth count as background.
    Raises ItemError when a prediction holds a label above `objects`, where the published tool stops as well.
    """
    for truth, prediction in pairs:
        _same_shape(truth, prediction)
        highest = int(prediction.max(initial=0))
        if highest > objects:
            raise ItemError(f"the prediction holds label {highest}, but the first frame has labels up to {objects}")
        yield [frame_score(truth == k, prediction == k) for k in range(1, objects + 1)]


class Matched(NamedTuple):
    """Unsupervised result: J and F [rows, T] of matched proposals, and the proposal and object of each row (from 1)."""

    j: NDArray[np.float64]
    f: NDArray[np.float64]
    proposals: tuple[int, ...]
    objects: tuple[int, ...]


def unsupervised(pairs: Iterable[tuple[LabelMap, LabelMap]], objects: int, proposals: int) -> Matched:
    """Best assignment of proposals to objects over all frames of a sequence, by the mean of J and F.

    `objects` and `proposals` are the highest labels. Void pixels of the truth count in neither mask. Objects without
    a proposal get an empty one. Raises ItemError for more than 20 proposals, where the published tool stops as well.
    """
    from scipy.optimize import linear_sum_assignment

    if proposals > MAX_PROPOSALS:
        raise ItemError(f"the prediction holds label {proposals}; at most {MAX_PROPOSALS} proposals are allowed")
    rows = max(proposals, objects)
    frames: list[NDArray[np.float64]] = []
    for truth, prediction in pairs:
        _same_shape(truth, prediction)
        void = truth == VOID
        shown = void if void.any() else None
        scores = [
            [frame_score(truth == g, prediction == p, shown) for g in range(1, objects + 1)] for p in range(1, rows + 1)
        ]
        frames.append(np.array(scores, np.float64).reshape(rows, objects, 2))
    j, f = np.moveaxis(np.stack(frames, axis=2), 3, 0)  # [rows, objects, T] each
    row, column = linear_sum_assignment(-((j.mean(axis=2) + f.mean(axis=2)) / 2))
    return Matched(j[row, column], f[row, column], tuple(int(r) + 1 for r in row), tuple(int(c) + 1 for c in column))


class GrowingLabels:
    """vos-benchmark's rule: from the frame on where a label was first seen, in truth or prediction, it is scored.

    Feed the evaluated frames in order; `result` gives J and F of each label that the truth showed.
    """

    def __init__(self) -> None:
        self._scores: dict[int, list[FrameScore]] = {}
        self._true: set[int] = set()

    def add(self, truth: LabelMap, prediction: LabelMap) -> None:
        """Score one frame. Every value but 0 is an ordinary label, 255 too."""
        _same_shape(truth, prediction)
        masks_t, masks_p = self._masks(truth), self._masks(prediction)
        self._true.update(masks_t)
        for label in sorted({*self._scores, *masks_t, *masks_p}):
            none = np.zeros(truth.shape, np.bool_)
            score = frame_score(masks_t.get(label, none), masks_p.get(label, none))
            self._scores.setdefault(label, []).append(score)

    def result(self) -> dict[int, NDArray[np.float64]]:
        """Label -> [T', 2] with J and F of its own frames; predicted-only labels are left out."""
        return {k: np.array(v, np.float64) for k, v in sorted(self._scores.items()) if k in self._true}

    def _masks(self, labels: LabelMap) -> dict[int, NDArray[np.bool_]]:
        """Masks of the labels that occur. Known ones are tried first: sorting a frame costs more than comparing it."""
        masks = {}
        left = int(np.count_nonzero(labels))
        for label in self._scores:
            mask = labels == label
            area = int(np.count_nonzero(mask))
            if area:
                masks[label] = mask
                left -= area
        if left:
            for label in np.unique(labels).tolist():
                if label and label not in masks:
                    masks[label] = labels == label
        return masks


def youtube_objects(
    meta: Mapping[str, Any], names: Iterable[str], pairs: Iterable[tuple[LabelMap, LabelMap]]
) -> dict[str, NDArray[np.float64]]:
    """J and F [T', 2] of each object of one YouTube-VOS video.

    meta: the video's entry of meta.json, `{"objects": {id: {"category", "frames"}}}`; names and pairs: its annotated
    frames. An object is scored on its listed frames after the first one, which is its prompt.
    """
    scores: dict[str, list[FrameScore]] = {k: [] for k in meta["objects"]}
    for name, (truth, prediction) in zip(names, pairs, strict=True):
        _same_shape(truth, prediction)
        for k, entry in meta["objects"].items():
            if name in entry["frames"][1:]:
                scores[k].append(frame_score(truth == int(k), prediction == int(k)))
    return {k: np.array(v, np.float64).reshape(-1, 2) for k, v in scores.items()}


def _same_shape(truth: LabelMap, prediction: LabelMap) -> None:
    if truth.shape != prediction.shape:
        sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (prediction, truth)]
        raise ItemError(f"the prediction is {sizes[0]}, the annotation {sizes[1]}; they must be the same size")


def _nanmean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.nanmean(values)) if len(known) else float("nan")
