"""`seg bench panoptic` and `semantic`: results that lie on disk, or a model's answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.draw import side_by_side
from segcli.bench.predicting import ShownClasses, WholePhotos
from segcli.bench.records import Record, Summary, digest_files, digest_json
from segcli.core.errors import ItemError
from segcli.datasets.coco import PanopticPair, read_panoptic_png
from segcli.datasets.files import read_rgb
from segcli.datasets.semantic import ClassMap, read_prediction
from segcli.io.formats.semantic import read_legend
from segcli.metrics.panoptic import CategoryCount, PanopticCounts, Quality, colour_ids, image_counts, segments
from segcli.metrics.semantic import confusion, semantic_scores


@dataclass(frozen=True)
class PanopticMeasure:
    """PQ, SQ, RQ. `things` tells for each category whether it is one; `categories` are their names.

    model: asked about each pair's photo instead of reading its files.
    """

    pairs: tuple[PanopticPair, ...]
    things: Mapping[int, bool]
    categories: Mapping[int, str]
    model: WholePhotos | None = None
    name: str = "panoptic"

    @property
    def settings(self) -> dict[str, Any]:
        """The categories' number, and those that the model was not asked for."""
        counts = {"things": sum(self.things.values()), "stuff": len(self.things) - sum(self.things.values())}
        return counts | left_out(self.model)

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
        truth = read_panoptic_png(pair.truth_png)
        prediction, found = self._prediction(pair)
        try:
            counts = image_counts(truth, segments(pair.truth_segments), prediction, segments(found), self.things)
        except (ItemError, KeyError, TypeError, ValueError) as error:
            raise ItemError(f"image {item} ({pair.truth_png.name}): {error}") from None
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
        for raw in (read_panoptic_png(pair.truth_png), self._prediction(pair)[0]):
            ids = colour_ids(raw) if raw.ndim == 3 else raw.astype(np.int64)
            shown.append(np.stack([(ids * k) % 200 + 40 * (ids > 0) for k in (37, 91, 151)], axis=-1).astype(np.uint8))
        return np.concatenate(shown, axis=1)

    def _prediction(self, pair: PanopticPair) -> tuple[NDArray[Any], Sequence[dict[str, Any]]]:
        """Colours or ids of the segments, and what they are."""
        if self.model is not None and pair.photo is not None:
            return self.model.panoptic(pair.photo)
        assert pair.prediction_png is not None  # the readers give one of both
        return read_panoptic_png(pair.prediction_png), pair.prediction_segments


@dataclass(frozen=True)
class SemanticMeasure:
    """mIoU and mAcc of PNG class maps in `results`, or of a model's answers about the maps' photos."""

    maps: tuple[ClassMap, ...]
    results: Path | WholePhotos | ShownClasses
    classes: int
    name: str = "semantic"

    @property
    def settings(self) -> dict[str, Any]:
        """Number of classes, those that the model was not asked for, and what it has learned."""
        settings: dict[str, Any] = {"classes": self.classes}
        if isinstance(self.results, ShownClasses):
            return settings | {"learned": dict(self.results.learned)}
        return settings | left_out(self.results if isinstance(self.results, WholePhotos) else None)

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
        truth, prediction = entry.truth(), self._prediction(entry)
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
        truth, prediction = entry.truth().astype(np.int32), self._prediction(entry).astype(np.int32)
        counted = truth != entry.ignored
        photo = np.full((*truth.shape, 3), 90, np.uint8)
        if entry.image is not None and entry.image.is_file():
            photo = read_rgb(entry.image)
        if photo.shape[:2] != truth.shape:
            return None
        return side_by_side(photo, np.where(counted, truth + 1, 0), np.where(counted, prediction + 1, 0))

    def _prediction(self, entry: ClassMap) -> NDArray[Any]:
        if isinstance(self.results, Path):
            return self._by_legend(read_prediction(self.results, entry.name))
        if entry.image is None:
            raise ItemError(f"{entry.name}: has no photo beside its annotation, for the model to look at")
        return self.results.classes(entry.image, none=self.classes)

    def _by_legend(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Classes from 0 out of the ids that a legend.json in `results` lists, as `seg panoptic` writes them.

        What is no class becomes `classes`, or class 0 where the set counts its background as one more than are listed.
        Values stay as they are where there is no legend.
        """
        if not self._legend:
            return stored
        background = self.classes - len(self._legend)
        if background not in (0, 1):
            raise ItemError(f"legend.json lists {len(self._legend)} classes, the data set has {self.classes}")
        table = np.full(max(int(stored.max(initial=0)), *self._legend) + 1, self.classes, np.int32)
        table[0] = 0 if background else self.classes
        table[list(self._legend)] = np.arange(len(self._legend)) + background
        found: NDArray[Any] = table[stored]
        return found

    @cached_property
    def _legend(self) -> dict[int, str]:
        return read_legend(self.results / "any.png") if isinstance(self.results, Path) else {}


def left_out(model: WholePhotos | None) -> dict[str, Any]:
    """The classes that a model was not asked for, for the settings."""
    return {} if model is None else {"classes left out": len(model.left_out), "first left out": model.left_out[:5]}
