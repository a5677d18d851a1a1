"""COCO's average precision, by pycocotools itself, from dictionaries as in COCO's JSON files."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class AveragePrecision(NamedTuple):
    """The 12 summary figures by name in [0, 1] (-1 where nothing can be measured), and AP per category id.

    precision: [thresholds, recalls, categories, areas, max detections], -1 where undefined.
    """

    stats: dict[str, float]
    per_category: dict[int, float]
    precision: NDArray[np.float64]


def average_precision(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], kind: Literal["segm", "bbox"] = "segm"
) -> AveragePrecision:
    """AP of results in COCO's format, by masks or by boxes (taken from the masks where a result has no `bbox`).

    Raises ItemError for a result of an image that the truth does not list.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known = {image["id"] for image in truth["images"]}
    for result in results:
        if result["image_id"] not in known:
            raise ItemError(f"a result has image_id {result['image_id']}, which the ground truth does not list")
    if not results:
        return _without_results(truth)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks; stdout belongs to the caller
        reference = COCO()
        reference.dataset = cast("Any", copy.deepcopy(truth))
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(copy.deepcopy(list(results))), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision: NDArray[np.float64] = evaluation.eval["precision"]
    per_category = {}
    for k, category in enumerate(evaluation.params.catIds):
        values = precision[:, :, k, 0, -1]
        per_category[int(category)] = float(np.mean(values[values > -1])) if (values > -1).any() else -1.0
    return AveragePrecision(
        dict(zip(STATS, (float(v) for v in evaluation.stats), strict=True)), per_category, precision
    )


def _without_results(truth: dict[str, Any]) -> AveragePrecision:
    """Nothing detected, which pycocotools can't load: 0 wherever there is something to find, else -1."""
    sizes = [a["area"] for a in truth["annotations"] if not a.get("iscrowd", 0)]
    found = {
        "s": any(a <= 32**2 for a in sizes),
        "m": any(32**2 <= a <= 96**2 for a in sizes),
        "l": any(a >= 96**2 for a in sizes),
    }
    stats = {name: 0.0 if found.get(name[-1], bool(sizes)) else -1.0 for name in STATS}
    shown = {a["category_id"] for a in truth["annotations"] if not a.get("iscrowd", 0)}
    per_category = {c["id"]: 0.0 if c["id"] in shown else -1.0 for c in truth["categories"]}
    return AveragePrecision(stats, per_category, np.zeros((0, 0, 0, 0, 0)))
