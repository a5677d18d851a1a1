"""`seg bench instance`: COCO's AP of a file of results, or of a model's answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segcli.bench.maps import left_out
from segcli.bench.predicting import WholePhotos
from segcli.bench.records import Record, Summary, digest_files, digest_json
from segcli.core.errors import ItemError, UsageError
from segcli.datasets.coco import read_instances, read_results
from segcli.metrics.coco import AveragePrecision, average_precision


@dataclass(frozen=True)
class InstanceMeasure:
    """COCO AP of a results file; the whole set is one item, since detections of all images are ranked together."""

    truth: Path
    results: Path
    kind: Literal["segm", "bbox"] = "segm"
    name: str = "instance"

    @property
    def settings(self) -> dict[str, Any]:
        """Masks or boxes."""
        return {"kind": self.kind}

    def items(self) -> Sequence[str]:
        """One."""
        return [self.truth.name]

    def measure(self, item: str) -> Record:
        """All twelve figures and AP of each category."""
        started = time.perf_counter()
        truth = truth_with_images(self.truth)
        found = _precision(truth, read_results(self.results), self.kind, self.results)
        return Record(
            item,
            digest_files([self.truth]),
            {"stats": found.stats, "categories": _named(truth, found)},
            seconds={"scoring": time.perf_counter() - started},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """In percent; what can't be measured is NaN (pycocotools says -1)."""
        return _summary(records[0].values["stats"], records[0].values["categories"])

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: there is no single case to show."""
        return None


@dataclass(frozen=True)
class AskedInstanceMeasure:
    """COCO AP of a model: an item is an image, and the ranking over all images comes at the end."""

    truth: Path
    photos: Path
    model: WholePhotos
    kind: Literal["segm", "bbox"] = "segm"
    name: str = "instance"

    @property
    def settings(self) -> dict[str, Any]:
        """Masks or boxes, and the classes that the model was not asked for."""
        return {"kind": self.kind} | left_out(self.model)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return truth_with_images(self.truth)

    @cached_property
    def _images(self) -> dict[str, dict[str, Any]]:
        return {str(image["id"]): image for image in self._content["images"]}

    @cached_property
    def _annotations(self) -> dict[Any, list[Any]]:
        found: dict[Any, list[Any]] = {}
        for annotation in self._content["annotations"]:
            found.setdefault(annotation["image_id"], []).append(annotation)
        return found

    def items(self) -> Sequence[str]:
        """Image ids."""
        return list(self._images)

    def measure(self, item: str) -> Record:
        """What the model finds in one image."""
        image = self._images[item]
        started = time.perf_counter()
        found = self.model.detections(self.photos / str(image["file_name"]), image["id"])
        digest = digest_json([image["file_name"], self._annotations.get(image["id"], [])])
        return Record(item, digest, {"detections": found}, seconds={"asking": time.perf_counter() - started})

    def summarise(self, records: Sequence[Record]) -> Summary:
        """As of a file of results, over the images that were asked about."""
        asked = {r.name for r in records}
        ids = {image["id"] for name, image in self._images.items() if name in asked}
        truth = self._content | {
            "images": [image for image in self._content["images"] if image["id"] in ids],
            "annotations": [a for a in self._content["annotations"] if a["image_id"] in ids],
        }
        found = _precision(truth, [d for r in records for d in r.values["detections"]], self.kind, self.truth)
        return _summary(found.stats, _named(truth, found))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: AP has no score of one image."""
        return None


def truth_with_images(path: Path) -> dict[str, Any]:
    """A COCO instances file. Raises UsageError when it lists no image, StorageError as the reader does."""
    truth = read_instances(path)
    if not truth["images"]:
        raise UsageError(f"{path}: lists no image, there is nothing to measure")
    return truth


def names_of(truth: Mapping[str, Any]) -> dict[int, str]:
    """Category id -> name."""
    return {c["id"]: str(c.get("name", c["id"])) for c in truth["categories"]}


def _precision(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], kind: Literal["segm", "bbox"], path: Path
) -> AveragePrecision:
    try:
        return average_precision(truth, results, kind)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise ItemError(f"{path}: pycocotools can't score it ({type(error).__name__}: {error})") from None


def _named(truth: Mapping[str, Any], found: AveragePrecision) -> dict[str, float]:
    names = names_of(truth)
    return {names[c]: ap for c, ap in found.per_category.items()}


def _summary(stats: Mapping[str, float], categories: Mapping[str, float]) -> Summary:
    """In percent; what can't be measured is NaN (pycocotools says -1)."""
    nan = float("nan")
    metrics = {k: 100 * v if v > -1 else nan for k, v in stats.items()}
    lacking = [k for k, v in metrics.items() if v != v]
    notes = [f"nothing to find for {', '.join(lacking)} (pycocotools says -1)"] if lacking else []
    rows = [{"category": c, "AP": 100 * ap if ap > -1 else nan} for c, ap in categories.items()]
    return Summary(metrics, tuple(rows), notes=tuple(notes))
