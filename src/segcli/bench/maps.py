"""`seg bench panoptic`, `semantic` and `instance`: results that lie on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segcli.bench.draw import side_by_side
from segcli.bench.records import Record, Summary, digest_files, digest_json
from segcli.core.errors import ItemError, UsageError
from segcli.datasets.coco import PanopticPair, read_panoptic_png
from segcli.datasets.files import read_rgb
from segcli.datasets.semantic import ClassMap, read_prediction
from segcli.metrics.coco import average_precision
from segcli.metrics.panoptic import CategoryCount, PanopticCounts, Quality, colour_ids, image_counts, segments
from segcli.metrics.semantic import confusion, semantic_scores


@dataclass(frozen=True)
class PanopticMeasure:
    """PQ, SQ, RQ. `things` tells for each category whether it is one; `categories` are their names."""

    pairs: tuple[PanopticPair, ...]
    things: Mapping[int, bool]
    categories: Mapping[int, str]
    name: str = "panoptic"

    @property
    def settings(self) -> dict[str, Any]:
        """The categories' number."""
        return {"things": sum(self.things.values()), "stuff": len(self.things) - sum(self.things.values())}

    @cached_property
    def _by_name(self) -> dict[str, PanopticPair]:
        return {p.name: p for p in self.pairs}

    def items(self) -> Sequence[str]:
        """Image ids."""
        return [p.name for p in self.pairs]

    def measure(self, item: str) -> Record:
        """Counts of one image."""
        pair = self._by_name[item]
        started = time.perf_counter()
        truth, prediction = read_panoptic_png(pair.truth_png), read_panoptic_png(pair.prediction_png)
        try:
            counts = image_counts(
                truth, segments(pair.truth_segments), prediction, segments(pair.prediction_segments), self.things
            )
        except (ItemError, KeyError, TypeError, ValueError) as error:
            raise ItemError(f"image {item} ({pair.prediction_png.name}): {error}") from None
        total = PanopticCounts(self.things)
        total.add(counts)
        score = total.mean().pq
        return Record(
            item,
            digest_files([pair.truth_png]) + digest_json(list(pair.truth_segments))[:16],
            {str(c): [n.tp, n.fp, n.fn, n.iou] for c, n in counts.items()},
            None if score != score else score,
            seconds={"scoring": time.perf_counter() - started},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """PQ of all, things and stuff in percent, and a row a category."""
        total = PanopticCounts(self.things)
        for record in records:
            total.add({int(c): CategoryCount(*v) for c, v in record.values.items()})
        metrics: dict[str, float] = {}
        notes = []
        for word, things in (("", None), ("-things", True), ("-stuff", False)):
            quality: Quality = total.mean(things)
            metrics |= {f"PQ{word}": 100 * quality.pq, f"SQ{word}": 100 * quality.sq, f"RQ{word}": 100 * quality.rq}
            if quality.n == 0:
                kind = {"": "any category", "-things": "things", "-stuff": "stuff"}[word]
                notes.append(f"no segment of {kind} was counted: PQ{word} is undefined (panopticapi stops here)")
        rows = [
            {"category": self.categories[c], "PQ": 100 * q.pq, "SQ": 100 * q.sq, "RQ": 100 * q.rq, "counted": bool(q.n)}
            for c, q in total.per_category().items()
        ]
        return Summary(metrics, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """Both maps of ids, coloured alike where they agree on the place."""
        pair = self._by_name[record.name]
        shown = []
        for path in (pair.truth_png, pair.prediction_png):
            raw = read_panoptic_png(path)
            ids = colour_ids(raw) if raw.ndim == 3 else raw.astype(np.int64)
            shown.append(np.stack([(ids * k) % 200 + 40 * (ids > 0) for k in (37, 91, 151)], axis=-1).astype(np.uint8))
        return np.concatenate(shown, axis=1)


@dataclass(frozen=True)
class SemanticMeasure:
    """mIoU and mAcc of PNG class maps in `results`."""

    maps: tuple[ClassMap, ...]
    results: Path
    classes: int
    name: str = "semantic"

    @property
    def settings(self) -> dict[str, Any]:
        """Number of classes."""
        return {"classes": self.classes}

    @cached_property
    def _by_name(self) -> dict[str, ClassMap]:
        return {m.name: m for m in self.maps}

    def items(self) -> Sequence[str]:
        """Names of the images."""
        return [m.name for m in self.maps]

    def measure(self, item: str) -> Record:
        """Confusion of one image, as the entries that are not 0."""
        entry = self._by_name[item]
        started = time.perf_counter()
        truth, prediction = entry.truth(), read_prediction(self.results, item)
        try:
            counts = confusion(truth, prediction, self.classes, entry.ignored)
        except ItemError as error:
            raise ItemError(f"{item}: {error}") from None
        score = semantic_scores(counts).miou / 100
        beyond = self.classes != entry.ignored and bool((truth == self.classes).any())
        warning = f"{item}: the annotation holds class {self.classes}, one too many; it is ignored, as in detectron2"
        rows, columns = np.nonzero(counts)
        return Record(
            item,
            digest_files([entry.annotation]),
            {"confusion": [[int(r), int(c), int(counts[r, c])] for r, c in zip(rows, columns, strict=True)]},
            None if score != score else score,
            (warning,) if beyond else (),
            seconds={"scoring": time.perf_counter() - started},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """Scores over the whole set in percent, a row a class."""
        counts = np.zeros((self.classes + 1, self.classes + 1), np.int64)
        for record in records:
            for row, column, pixels in record.values["confusion"]:
                counts[row, column] += pixels
        scores = semantic_scores(counts)
        notes = [] if scores.miou == scores.miou else ["no pixel is counted: every annotation is ignored"]
        rows = [
            {"class": k, "IoU": float(iou), "acc": float(acc)}
            for k, (iou, acc) in enumerate(zip(scores.iou, scores.acc, strict=True))
        ]
        metrics = {"mIoU": scores.miou, "mAcc": scores.macc, "pAcc": scores.pacc, "fwIoU": scores.fwiou}
        return Summary(metrics, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """The photo with what is right, missed and wrong."""
        entry = self._by_name[record.name]
        truth, prediction = entry.truth().astype(np.int32), read_prediction(self.results, record.name).astype(np.int32)
        counted = truth != entry.ignored
        photo = np.full((*truth.shape, 3), 90, np.uint8)
        if entry.image is not None and entry.image.is_file():
            photo = read_rgb(entry.image)
        if photo.shape[:2] != truth.shape:
            return None
        return side_by_side(photo, np.where(counted, truth + 1, 0), np.where(counted, prediction + 1, 0))


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
        from segcli.datasets.coco import read_instances, read_results

        started = time.perf_counter()
        truth = read_instances(self.truth)
        if not truth["images"]:
            raise UsageError(f"{self.truth}: lists no image, there is nothing to measure")
        try:
            found = average_precision(truth, read_results(self.results), self.kind)
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise ItemError(f"{self.results}: pycocotools can't score it ({type(error).__name__}: {error})") from None
        names = {c["id"]: str(c.get("name", c["id"])) for c in truth["categories"]}
        return Record(
            item,
            digest_files([self.truth]),
            {"stats": found.stats, "categories": {names[c]: ap for c, ap in found.per_category.items()}},
            seconds={"scoring": time.perf_counter() - started},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """In percent; what can't be measured is NaN (pycocotools says -1)."""
        values = records[0].values
        nan = float("nan")
        metrics = {k: 100 * v if v > -1 else nan for k, v in values["stats"].items()}
        lacking = [k for k, v in metrics.items() if v != v]
        notes = [f"nothing to find for {', '.join(lacking)} (pycocotools says -1)"] if lacking else []
        rows = [{"category": c, "AP": 100 * ap if ap > -1 else nan} for c, ap in values["categories"].items()]
        return Summary(metrics, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: there is no single case to show."""
        return None
