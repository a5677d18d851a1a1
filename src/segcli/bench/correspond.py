"""`seg bench correspond`: results for Ego-Exo4D's correspondence, scored as its official tool does.

Existence is the balanced accuracy of "the object is in this frame" (confidence above 0.5) over all frames; IoU, contour
and location are means over the frames where it is, of all takes together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.records import Record, Summary, digest_json
from segcli.core.errors import ItemError
from segcli.core.rle import decode
from segcli.datasets.correspondence import Correspondence, Found
from segcli.metrics.relation import balanced_accuracy, long_side_size, nearest, relation_score

CONFIDENT = 0.5
_SCORES = ("IoU", "contour", "location")


@dataclass(frozen=True)
class CorrespondMeasure:
    """Results of one direction. `results` gives the mask and the confidence of a frame."""

    pairs: tuple[Correspondence, ...]
    results: Callable[[Correspondence, str], Found]
    direction: str
    name: str = "correspond"

    @property
    def settings(self) -> dict[str, Any]:
        """The direction."""
        return {"direction": self.direction}

    @cached_property
    def _by_name(self) -> dict[str, Correspondence]:
        return {p.item: p for p in self.pairs}

    def items(self) -> Sequence[str]:
        """TAKE/OBJECT/SOURCE_TARGET."""
        return [p.item for p in self.pairs]

    def measure(self, item: str) -> Record:
        """Scores of the frames of one object in one pair of cameras."""
        pair = self._by_name[item]
        started = time.perf_counter()
        scores: list[list[float]] = []
        seen: list[bool] = []
        said: list[bool] = []
        for frame in pair.frames:
            found, truth = self.results(pair, frame), pair.truth(frame)
            seen.append(truth is not None)
            said.append(found.confidence > CONFIDENT)
            if truth is None:
                continue
            size = long_side_size(*truth.size)
            if found.mask.size != size:
                got, wanted = (f"{w}x{h}" for h, w in (found.mask.size, size))
                raise ItemError(f"{item}, frame {frame}: the result is {got}; it must be {wanted}, the photo's shape")
            scores.append(list(relation_score(nearest(decode(truth), size), decode(found.mask))))
        return Record(
            item,
            digest_json([[f, pair.truths.get(f)] for f in pair.frames]),
            {"scores": scores, "seen": seen, "said": said},
            float(np.mean([s[0] for s in scores])) if scores else None,
            seconds={"scoring": time.perf_counter() - started},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """Means over all frames, a row a pair of cameras."""
        scores = [s for r in records for s in r.values["scores"]]
        seen = [s for r in records for s in r.values["seen"]]
        said = [s for r in records for s in r.values["said"]]
        metrics = {"frames": len(seen), "existence": balanced_accuracy(seen, said), **_means(scores)}
        notes = []
        if not scores:
            notes.append("no frame shows its object in both cameras: IoU, contour and location are undefined")
        rows = [{"pair": r.name, "frames": len(r.values["seen"]), **_means(r.values["scores"])} for r in records]
        return Summary(metrics, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """None: the photos are not part of what is read."""
        return None


def _means(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    columns = np.mean(scores, axis=0).tolist() if scores else [float("nan")] * len(_SCORES)
    return dict(zip(_SCORES, columns, strict=True))
