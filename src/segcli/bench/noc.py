"""NoC: how many clicks a model needs (RITM's protocol), and its IoU after each click."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.clicking import ClickRule, ClickRun, ClickSample, opener_of, run_clicks
from segcli.bench.rules import ritm
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.datasets.folders import IGNORED, Photo, click_targets
from segcli.metrics.clicks import IGNORE, THRESHOLDS, noc
from segcli.models.api import Promptable


def folder_samples(photos: Iterable[Photo], min_area: float = 0.01) -> Iterator[ClickSample]:
    """The objects of photos as samples, in the order of the list; pixels of value 255 are not counted."""
    for photo in photos:
        ids = photo.ids()
        targets = click_targets(photo, ids, min_area)
        if not targets:
            continue
        pixels = photo.pixels()
        if pixels.shape[:2] != ids.shape:
            raise UsageError(f"{photo.mask}: is {_size(ids)}, its photo {_size(pixels)}; they must be the same size")
        image = Image(pixels=pixels, size=(pixels.shape[0], pixels.shape[1]), name=photo.name)
        for target in targets:
            truth = (ids == target.id).astype(np.int8)
            truth[ids == IGNORED] = IGNORE
            yield ClickSample(image, str(target.id), truth)


def run_noc(
    model: Promptable,
    samples: Iterable[ClickSample],
    clicks: int = 20,
    stop_at: float | None = None,
    rule: ClickRule = ritm,
) -> list[ClickRun]:
    """Run a model through the click loop. `stop_at` ends a sample early (0.90 in the papers); None gives all clicks."""
    return list(run_clicks(opener_of(model), samples, clicks, stop_at, rule))


def summary(
    runs: Sequence[ClickRun],
    clicks: int,
    thresholds: Sequence[float] = THRESHOLDS,
    at: Sequence[int] = (1, 3, 5, 10),
) -> dict[str, Any]:
    """NoC per threshold, mean IoU and mean boundary F after some clicks, of runs with up to `clicks` clicks.

    A run that stopped early keeps its last scores. Raises UsageError without runs.
    """
    if not runs:
        raise UsageError(
            "no object to click at: the set is empty, or all objects are stuff or smaller than the least area"
        )
    curves = [r.ious for r in runs]
    full, borders = _to_the_end(curves, clicks), _to_the_end([r.borders for r in runs], clicks)
    result: dict[str, Any] = {"objects": len(runs), "photos": len({r.image for r in runs})}
    for threshold in thresholds:
        value = noc(curves, threshold, clicks)
        percent = f"{threshold * 100:.4g}"
        result[f"NoC@{percent}"] = value.mean
        result[f"NoC@{percent}-std"] = value.std
        result[f">={clicks}@{percent}"] = value.at_max
    result |= {f"IoU@{k}": float(full[:, k - 1].mean()) for k in at if k <= clicks}
    result |= {f"F@{k}": float(borders[:, k - 1].mean()) for k in at if k <= clicks}
    result["IoU-per-click"] = [float(v) for v in full.mean(axis=0)]
    return result


def _to_the_end(curves: Sequence[Sequence[float]], clicks: int) -> NDArray[np.float64]:
    """Curves of up to `clicks` values as rows of so many, the last value kept."""
    return np.array([[*c, *[c[-1]] * (clicks - len(c))] for c in curves])


def _size(array: np.ndarray[Any, Any]) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
