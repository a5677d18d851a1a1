"""Referring and generalised referring segmentation, after three published evaluators, and groups of masks (ORES).

Each sample is one sentence; what is summed are pixel counts, so that masks need not be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Overlap(NamedTuple):
    """Pixels in both masks and in either."""

    both: int
    either: int


def overlap(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Overlap:
    """Overlap of two masks [H, W]."""
    both = int(np.count_nonzero(truth & prediction))
    return Overlap(both, int(np.count_nonzero(truth)) + int(np.count_nonzero(prediction)) - both)


def seem_scores(
    samples: Sequence[Overlap], thresholds: Iterable[float] = (0.5, 0.6, 0.7, 0.8, 0.9)
) -> dict[str, float]:
    """cIoU, mIoU and precision@t in percent as SEEM and X-Decoder report them (float32; two empty masks score 0).

    Raises ValueError without samples.
    """
    both, either = _columns(samples)
    ious = both.astype(np.float32) / (either.astype(np.float32) + np.float32(1e-6))
    result = {
        "cIoU": 100 * float(both.sum() / either.sum()) if either.sum() else float("nan"),
        "mIoU": 100 * float(ious.mean(dtype=np.float32)),
    }
    for t in thresholds:
        result[f"precision@{t}"] = 100 * float(np.mean(ious >= np.float32(t)))
    return result


def psalm_scores(samples: Sequence[Overlap]) -> dict[str, float]:
    """cIoU and gIoU in [0, 1] as PSALM reports them; two empty masks score 1."""
    both, either = _columns(samples)
    ious = np.where(either == 0, 1.0, both / (either + 1e-5))
    return {"cIoU": float(both.sum() / (either.sum() + 1e-10)), "gIoU": float(ious.mean())}


class Grefer(NamedTuple):
    """One sentence that may have no target: pixel counts, and whether truth and prediction say "no target".

    `predicted` is the area of the prediction. The flag of the prediction comes from a classifier of the model's own, or
    from a rule on its mask (`says_no_target`); the mask counts even beside a flag.
    """

    overlap: Overlap
    no_target: bool
    says_none: bool


def says_no_target(prediction: NDArray[np.bool_], pixels: int = 50) -> bool:
    """The GRES paper's rule for models without a no-target head: fewer positive pixels than this."""
    return int(np.count_nonzero(prediction)) < pixels


def grefer_scores(samples: Sequence[Grefer], thresholds: Iterable[float] = (0.7, 0.8, 0.9)) -> dict[str, float]:
    """gIoU, cIoU, Pr@t (percent), T_acc and N_acc (in [0, 1]) as ReLA's evaluator gives them.

    Where that divides by zero (no target sample, or no pixel in any union) the value is NaN.
    """
    ious: list[float] = []
    total_both = total_either = 0
    for s in samples:
        both, either = s.overlap
        if s.no_target:
            ious.append(1.0 if s.says_none else 0.0)
            total_either += 0 if s.says_none else either
        else:
            both = 0 if s.says_none else both
            ious.append(both / either if either and not s.says_none else 0.0)
            total_both += both
            total_either += either
    targets = [iou for s, iou in zip(samples, ious, strict=True) if not s.no_target]
    nan = float("nan")
    result = {
        "gIoU": 100 * (sum(ious) / len(ious)) if ious else nan,
        "cIoU": 100 * (total_both / total_either) if total_either else nan,
    }
    result |= no_target_accuracy(samples)
    for t in thresholds:
        passed = sum(iou >= t for iou in targets)
        result[f"Pr@{t}"] = 100 * passed / len(targets) if targets else nan
    return result


def no_target_accuracy(samples: Sequence[Grefer]) -> dict[str, float]:
    """N_acc: share of the no-target samples recognised; T_acc: of the others. Both 0 without no-target samples."""
    none = [s.says_none for s in samples if s.no_target]
    some = [not s.says_none for s in samples if not s.no_target]
    if not none:
        return {"T_acc": 0.0, "N_acc": 0.0}
    return {"T_acc": sum(some) / len(some) if some else float("nan"), "N_acc": sum(none) / len(none)}


def best_candidates(targets: Sequence[NDArray[np.bool_]], candidates: Sequence[NDArray[np.bool_]]) -> list[int]:
    """For each target the candidate of highest IoU, the first of equal ones; -1 where all miss it (ORES oracle)."""
    chosen = []
    for target in targets:
        ious = [b / e if e else 0.0 for b, e in (overlap(target, c) for c in candidates)]
        best = int(np.argmax(ious)) if ious else -1
        chosen.append(best if best >= 0 and ious[best] > 0 else -1)
    return chosen


def union(masks: Iterable[NDArray[np.bool_]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Union of masks [H, W]; empty for none."""
    result = np.zeros(shape, np.bool_)
    for mask in masks:
        result |= mask
    return result


def group_scores(samples: Sequence[Overlap]) -> dict[str, float]:
    """gIoU and cIoU in percent of groups of masks: union of the chosen against union of the meant ones.

    A group without target that is answered with nothing scores 1.
    """
    both, either = _columns(samples)
    ious = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    total = either.sum()
    return {"gIoU": 100 * float(ious.mean()), "cIoU": 100 * float(both.sum() / total) if total else float("nan")}


def _columns(samples: Sequence[Overlap]) -> tuple[NDArray[Any], NDArray[Any]]:
    if not samples:
        raise ValueError("no samples")
    counts = np.array(samples, np.int64)
    return counts[:, 0], counts[:, 1]
