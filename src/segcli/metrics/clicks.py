"""Interactive segmentation: where the next simulated click goes, IoU after it, and NoC.

The rule is the one of RITM (Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021), which SimpleClick
shares: the click goes to the middle of the deepest error. Ties are decided by exact squared distances, so that the
result depends neither on memory alignment nor on the processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.metrics.deepest import deeper_of_two

IGNORE = -1
THRESHOLDS = (0.80, 0.85, 0.90)


class Click(NamedTuple):
    """A click on pixel (y, x); positive clicks mark the object, negative ones what is not of it."""

    y: int
    x: int
    positive: bool


def next_click(truth: NDArray[Any], prediction: NDArray[np.bool_], clicked: Iterable[tuple[int, int]] = ()) -> Click:
    """RITM's next click for `prediction` bool [H, W].

    truth: [H, W], 1 is the object, -1 is left out, everything else is background.
    clicked: (y, x) of earlier clicks. They can't be chosen again, but the error around them keeps its depth.
    A positive click needs a missed region strictly deeper than every false one. Without any error that could still
    be clicked the answer is a negative click at (0, 0), as in the published code.
    """
    target = truth == 1
    wrong = target != prediction
    wrong &= truth != IGNORE
    missed = wrong & target
    false = wrong & prediction
    barred = None
    for y, x in clicked:
        if barred is None:
            barred = np.zeros(target.shape, np.bool_)
        barred[y, x] = True
    found = deeper_of_two(missed, false, barred)
    if found is None:
        return Click(0, 0, positive=False)
    positive, depth = found
    return Click(depth.y, depth.x, positive)


def click_iou(truth: NDArray[Any], prediction: NDArray[np.bool_]) -> float:
    """IoU over the pixels that are not left out; NaN when neither has a pixel (it then passes no threshold)."""
    target = truth == 1
    counted = prediction & (truth != IGNORE)
    both = int(np.count_nonzero(counted & target))
    either = int(np.count_nonzero(counted)) + int(np.count_nonzero(target)) - both
    return both / either if either else float("nan")


def clicks_needed(ious: Sequence[float], threshold: float, max_clicks: int) -> int:
    """NoC of one sample: the first click whose IoU reaches the threshold, `max_clicks` when none does.

    `ious` are the IoUs after click 1, 2, … of one run of at most `max_clicks` clicks (cut a longer one yourself: the
    published function doesn't). Compared in float32 as published: 0.8999999999 reaches 0.9. NaN reaches nothing.
    """
    reached = np.asarray(ious, np.float32) >= np.float32(threshold)
    return int(reached.argmax()) + 1 if reached.any() else max_clicks


class Noc(NamedTuple):
    """NoC of a set: mean and population standard deviation, and how many samples needed all the clicks there are."""

    mean: float
    std: float
    at_max: int


def noc(curves: Sequence[Sequence[float]], threshold: float, max_clicks: int) -> Noc:
    """NoC@threshold over samples, with at most `max_clicks` clicks ("K-NoC" for other K).

    `at_max` also counts samples that succeed exactly with the last click, as the published tables do.
    Raises ValueError without samples.
    """
    if not curves:
        raise ValueError("NoC needs at least one sample")
    needed = np.array([clicks_needed(c, threshold, max_clicks) for c in curves])
    return Noc(float(needed.mean()), float(needed.std()), int(np.count_nonzero(needed == max_clicks)))


def iou_per_click(curves: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Mean IoU after click 1, 2, …; as published, cut to the shortest run of the set."""
    if not curves:
        raise ValueError("a curve needs at least one sample")
    shortest = min(len(c) for c in curves)
    cut = np.array([c[:shortest] for c in curves], np.float32)
    return np.asarray(cut.mean(axis=0, dtype=np.float64))
