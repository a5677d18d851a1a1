"""Video object segmentation: J, F and J&F of results, by the rules of DAVIS, vos-benchmark and YouTube-VOS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, UsageError
from segcli.datasets.video import Video
from segcli.metrics.video import (
    GrowingLabels,
    LabelMap,
    decay_wraps,
    label_count,
    semi_supervised,
    statistics,
    unsupervised,
    youtube_objects,
)

RULES = ("davis", "davis-unsupervised", "vos-benchmark", "youtube-vos")


@dataclass(frozen=True)
class Sequence:
    """Label maps of one video, read when asked for, so that one frame is in memory at a time."""

    name: str
    frames: tuple[str, ...]
    truth: Callable[[str], LabelMap]
    prediction: Callable[[str], LabelMap]
    meta: dict[str, Any]

    @classmethod
    def of_files(cls, video: Video) -> Sequence:
        """A sequence whose results lie on disk."""
        return cls(video.name, video.frames, video.truth, video.prediction, video.meta)

    @classmethod
    def of_arrays(
        cls,
        name: str,
        truth: NDArray[Any],
        prediction: NDArray[Any],
        frames: Many[str] | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Sequence:
        """A sequence in memory, both [T, H, W]; frames are named 00000, 00001, … unless said otherwise."""
        names = tuple(frames) if frames is not None else tuple(f"{t:05d}" for t in range(len(truth)))
        place = {frame: t for t, frame in enumerate(names)}
        return cls(name, names, lambda f: truth[place[f]], lambda f: prediction[place[f]], meta or {})

    def pairs(self, frames: Iterable[str]) -> Iterator[tuple[LabelMap, LabelMap]]:
        """(truth, prediction) of those frames, one after the other."""
        for frame in frames:
            try:
                truth, prediction = self.truth(frame), self.prediction(frame)
                if truth.shape != prediction.shape:
                    sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (prediction, truth)]
                    raise ItemError(f"the prediction is {sizes[0]}, the annotation {sizes[1]}; they must match")
            except ItemError as error:
                raise ItemError(f"{self.name}, frame {frame}: {error}") from None
            yield truth, prediction


@dataclass(frozen=True)
class VideoResult:
    """J and F of each object of a video: arrays [T] over the frames on which the object counts."""

    name: str
    labels: tuple[int, ...]
    j: tuple[NDArray[np.float64], ...]
    f: tuple[NDArray[np.float64], ...]
    frames: tuple[str, ...]
    categories: tuple[str, ...] = ()

    @property
    def j_means(self) -> list[float]:
        """Mean J of each object."""
        return [statistics(v).mean for v in self.j]

    @property
    def f_means(self) -> list[float]:
        """Mean F of each object."""
        return [statistics(v).mean for v in self.f]

    @property
    def warnings(self) -> list[str]:
        """What the published numbers of this video are not to be trusted in."""
        if not self.labels:
            return [f"{self.name}: no object in the annotations that count; the sequence counts for nothing"]
        longest = max((len(v) for v in self.j), default=0)
        if decay_wraps(longest):
            return [f"{self.name}: {longest} frames; the published decay counts frames in 8 bits and is wrong here"]
        return []


def score(sequence: Sequence, rule: str, *, all_frames: bool = False) -> VideoResult:
    """Score one sequence by one of `RULES`. Raises ItemError, naming the sequence, where the rule has no answer."""
    if rule not in RULES:
        raise UsageError(f"no rule {rule}; there are {', '.join(RULES)}")
    if rule == "vos-benchmark":
        return score_growing(sequence, skip_ends=not all_frames)
    if rule == "youtube-vos":
        return score_youtube(sequence)
    return score_davis(sequence, unsupervised=rule == "davis-unsupervised")


def score_davis(sequence: Sequence, unsupervised: bool = False) -> VideoResult:
    """DAVIS 2017: objects of the first frame; semi-supervised drops the first and the last frame.

    Raises ItemError for a sequence of two frames or fewer (semi-supervised), or with a label too many.
    """
    if unsupervised:
        return _score_unsupervised(sequence)
    if len(sequence.frames) < 3:
        raise ItemError(f"{sequence.name}: {len(sequence.frames)} frames; the first and the last don't count")
    objects = _objects(sequence)
    kept = sequence.frames[1:-1]
    with _named(sequence):
        scores = np.array(list(semi_supervised(sequence.pairs(kept), objects)), np.float64)
    scores = scores.reshape(len(kept), objects, 2)
    return VideoResult(
        sequence.name, tuple(range(1, objects + 1)), tuple(scores[:, :, 0].T), tuple(scores[:, :, 1].T), kept
    )


def _score_unsupervised(sequence: Sequence) -> VideoResult:
    objects = _objects(sequence)
    with _named(sequence):
        proposals = max(int(p.max(initial=0)) for _, p in sequence.pairs(sequence.frames))
        matched = unsupervised(sequence.pairs(sequence.frames), objects, proposals)
    return VideoResult(sequence.name, matched.objects, tuple(matched.j), tuple(matched.f), sequence.frames)


def score_growing(sequence: Sequence, skip_ends: bool = True) -> VideoResult:
    """vos-benchmark: a label counts from the frame on where it is first seen; 255 is a label like others."""
    kept = sequence.frames[1:-1] if skip_ends else sequence.frames
    state = GrowingLabels()
    with _named(sequence):
        for truth, prediction in sequence.pairs(kept):
            state.add(truth, prediction)
    result = state.result()
    return VideoResult(
        sequence.name,
        tuple(result),
        tuple(v[:, 0] for v in result.values()),
        tuple(v[:, 1] for v in result.values()),
        kept,
    )


def score_youtube(sequence: Sequence) -> VideoResult:
    """YouTube-VOS: each object of meta.json on its listed frames after the first one."""
    if "objects" not in sequence.meta:
        raise ItemError(f"{sequence.name}: no entry in meta.json, which names the objects and their frames")
    wanted = {f for entry in sequence.meta["objects"].values() for f in entry["frames"][1:]}
    absent = sorted(wanted - set(sequence.frames))
    if absent:
        raise ItemError(f"{sequence.name}: meta.json lists frame {absent[0]}, which has no annotation")
    kept = tuple(f for f in sequence.frames if f in wanted)  # a prompt's frame needs no prediction
    with _named(sequence):
        scores = youtube_objects(sequence.meta, kept, sequence.pairs(kept))
    empty = [k for k, v in scores.items() if not len(v)]
    if empty:
        raise ItemError(f"{sequence.name}: object {empty[0]} has no annotated frame after its first one")
    return VideoResult(
        sequence.name,
        tuple(int(k) for k in scores),
        tuple(v[:, 0] for v in scores.values()),
        tuple(v[:, 1] for v in scores.values()),
        kept,
        tuple(str(sequence.meta["objects"][k]["category"]) for k in scores),
    )


def vos_summary(results: Many[VideoResult], wrap: bool = True) -> dict[str, float]:
    """Means over all objects of all sequences, in [0, 1]: long sequences weigh no more than short ones.

    Raises UsageError without objects.
    """
    rows = {"J": [v for r in results for v in r.j], "F": [v for r in results for v in r.f]}
    if not rows["J"]:
        raise UsageError("no object to score: every sequence is empty")
    summary: dict[str, float] = {}
    for metric, values in rows.items():
        each = [statistics(v, wrap) for v in values]
        summary[f"{metric}-Mean"] = float(np.mean([s.mean for s in each]))
        summary[f"{metric}-Recall"] = float(np.mean([s.recall for s in each]))
        summary[f"{metric}-Decay"] = float(np.mean([s.decay for s in each]))
    return {"J&F-Mean": (summary["J-Mean"] + summary["F-Mean"]) / 2, **summary}


def youtube_summary(results: Many[VideoResult], seen: Iterable[str]) -> dict[str, float]:
    """J and F over objects of seen and of unseen categories, and their mean G; in [0, 1], NaN for an empty side."""
    known = set(seen)
    summary: dict[str, float] = {}
    for metric in ("J", "F"):
        sides: dict[str, list[float]] = {"seen": [], "unseen": []}
        for r in results:
            means = r.j_means if metric == "J" else r.f_means
            for category, value in zip(r.categories, means, strict=True):
                sides["seen" if category in known else "unseen"].append(value)
        for side, values in sides.items():
            summary[f"{metric}_{side}"] = float(np.mean(values)) if values else float("nan")
    return {"G": sum(summary.values()) / 4, **summary}


def vos_benchmark_table(results: Many[VideoResult]) -> str:
    """The CSV that vos-benchmark writes: percent with one decimal, sequences in order of name."""
    width = max((len(r.name) for r in results), default=0)
    width = max(width, len("Global score"))

    def line(name: str, label: str, j: float, f: float) -> str:
        return f"{name:<{width}},{label}, {(j + f) / 2:4.1f}, {j:4.1f}, {f:4.1f}"

    total = vos_summary(results)
    lines = [f"{'sequence':<{width}},obj,  J&F,    J,    F"]
    lines.append(line("Global score", "   ", 100 * total["J-Mean"], 100 * total["F-Mean"]))
    for r in sorted(results, key=lambda r: r.name):
        for label, j, f in zip(r.labels, r.j_means, r.f_means, strict=True):
            lines.append(line(r.name, f"{label:03d}", 100 * j, 100 * f))
    return "\n".join(lines) + "\n"


def _objects(sequence: Sequence) -> int:
    """Objects of the first frame; their number may be 0, then the sequence counts for nothing, as published."""
    return label_count(sequence.truth(sequence.frames[0]))


class _named:  # noqa: N801 - reads as a phrase: `with _named(sequence):`
    """Puts the sequence's name before the message of an ItemError that doesn't start with it."""

    def __init__(self, sequence: Sequence) -> None:
        self.name = sequence.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ItemError) and not str(error).startswith(self.name):
            raise ItemError(f"{self.name}: {error}") from None
