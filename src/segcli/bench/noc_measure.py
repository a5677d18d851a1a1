"""`seg bench noc` and `seg bench iou1`: a model asked about the objects of photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.clicking import ClickRun, ClickSample, click_loop, opener_of
from segcli.bench.draw import side_by_side
from segcli.bench.noc import summary
from segcli.bench.photos import AskedPhoto, Loaded
from segcli.bench.prompts import prompt, recorded
from segcli.bench.records import Record, Summary, digest_arrays
from segcli.bench.rules import RULES, THRESHOLDS
from segcli.core.errors import UsageError
from segcli.core.rle import Rle, decode, encode, from_coco
from segcli.metrics.clicks import Click, click_iou
from segcli.models.api import Promptable


@dataclass(frozen=True)
class NocMeasure:
    """Clicks until the object is right. `stop_at` ends an object early (the papers: 0.90), None asks all clicks."""

    photos: tuple[AskedPhoto, ...]
    model: Promptable
    clicks: int = 20
    stop_at: float | None = None
    rule: str = "ritm"
    thresholds: tuple[float, ...] = ()
    name: str = "noc"

    @property
    def settings(self) -> dict[str, Any]:
        """Rule, clicks and thresholds."""
        return {
            "rule": self.rule,
            "clicks": self.clicks,
            "stop_at": self.stop_at,
            "thresholds": list(self.thresholds or THRESHOLDS[self.rule]),
            "min_area": self.photos[0].min_area if self.photos else None,
        }

    @cached_property
    def _by_name(self) -> dict[str, AskedPhoto]:
        return {p.name: p for p in self.photos}

    @cached_property
    def _read(self) -> dict[str, Loaded]:
        return {}

    def ahead(self, item: str) -> None:
        """Read a photo while the one before is measured."""
        self._read[item] = self._by_name[item].load()

    def items(self) -> Sequence[str]:
        """Names of the photos."""
        return [p.name for p in self.photos]

    def measure(self, item: str) -> Record:
        """Click at all objects of one photo."""
        started = time.perf_counter()
        image, targets = self._read.pop(item) if item in self._read else self._by_name[item].load()
        loaded = time.perf_counter()
        answer = opener_of(self.model)(image) if targets else None
        encoded = time.perf_counter()
        objects: list[dict[str, Any]] = []
        spent = 0.0
        worst: dict[str, Any] = {}
        for target, truth in targets:
            assert answer is not None
            last: list[NDArray[np.bool_]] = []

            def keep(clicks: Sequence[Click], previous: NDArray[np.bool_] | None, last: Any = last) -> Any:
                last[:] = [answer(clicks, previous)]
                return last[0]

            clicks, ious, borders, seconds = click_loop(
                ClickSample(image, target, truth), keep, self.clicks, self.stop_at, RULES[self.rule]
            )
            spent += sum(seconds)
            made = [list(c) for c in clicks]
            objects.append({"target": target, "clicks": made, "ious": list(ious), "borders": list(borders)})
            if not worst or ious[-1] < worst["iou"]:
                final = encode(last[0] if last else np.zeros(truth.shape, np.bool_)).coco()
                worst = {"iou": ious[-1], "target": target, "rle": final, "clicks": made}
        return Record(
            item,
            digest_arrays([t for _, t in targets]),
            {"objects": objects},
            None if not worst or worst["iou"] != worst["iou"] else worst["iou"],
            aside=worst,
            seconds={"loading": loaded - started, "encoding": encoded - loaded, "clicking": spent},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """NoC, IoU and boundary F after some clicks, a row an object."""
        runs = [
            ClickRun(
                r.name,
                o["target"],
                clicks=tuple(Click(*c) for c in o["clicks"]),
                ious=tuple(o["ious"]),
                borders=tuple(o["borders"]),
                seconds=(),
                encode_seconds=0.0,
            )
            for r in records
            for o in r.values["objects"]
        ]
        values = summary(runs, self.clicks, self.thresholds or THRESHOLDS[self.rule])
        curve = values.pop("IoU-per-click")
        rows = tuple(
            {"photo": r.image, "object": r.target, "clicks": len(r.clicks), "IoU@1": r.ious[0], "IoU": r.ious[-1]}
            for r in runs
        )
        return Summary(values, rows, {"IoU per click": {"mean": curve}})

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """The photo's worst object, with its clicks."""
        return _picture(self._by_name[record.name], record)


@dataclass(frozen=True)
class Iou1Measure:
    """IoU after one prompt of each kind, the recorded one where the data set has them, else one drawn from `seed`.

    seem_box: for a box only the click that SEEM's evaluation gives.
    """

    photos: tuple[AskedPhoto, ...]
    model: Promptable
    kinds: tuple[str, ...]
    seed: int = 0
    seem_box: bool = False
    name: str = "iou1"

    @property
    def settings(self) -> dict[str, Any]:
        """Kinds of prompt and the seed that draws them."""
        return {
            "prompts": list(self.kinds),
            "asked": "recorded" if self._recorded else "drawn",
            "seed": self.seed,
            "seem_box": self.seem_box,
            "min_area": self.photos[0].min_area if self.photos else None,
        }

    @cached_property
    def _by_name(self) -> dict[str, AskedPhoto]:
        return {p.name: p for p in self.photos}

    @property
    def _recorded(self) -> bool:
        return any(p.recorded for p in self.photos)

    @cached_property
    def _read(self) -> dict[str, Loaded]:
        return {}

    def ahead(self, item: str) -> None:
        """Read a photo while the one before is measured."""
        self._read[item] = self._by_name[item].load()

    def items(self) -> Sequence[str]:
        """Names of the photos."""
        return [p.name for p in self.photos]

    def measure(self, item: str) -> Record:
        """Ask once for every object and kind of prompt."""
        started = time.perf_counter()
        image, targets = self._read.pop(item) if item in self._read else self._by_name[item].load()
        objects: list[dict[str, Any]] = []
        worst: dict[str, Any] = {}
        encoded = self.model.encode([image])[0] if targets else None
        drawn = self._by_name[item].prompts()
        for target, truth in targets:
            assert encoded is not None
            if self._recorded:
                asks = {k: recorded(k, drawn[target][k]) for k in self.kinds if k in drawn[target]}
            else:
                asks = {k: prompt(self._kind(k), truth == 1, self.seed, f"{item} {target}") for k in self.kinds}
            scores: dict[str, float | None] = dict.fromkeys(self.kinds)
            for kind, answer in zip(asks, self.model.decode(encoded, list(asks.values())) if asks else [], strict=True):
                mask = answer.dense(0) if len(answer) else np.zeros(truth.shape, np.bool_)
                scores[kind] = iou = click_iou(truth, mask)
                if not worst or iou < worst["iou"]:
                    worst = {"iou": iou, "target": target, "rle": encode(mask).coco(), "clicks": []}
            objects.append({"target": target, **scores})
        return Record(
            item,
            digest_arrays([t for _, t in targets]),
            {"objects": objects},
            None if not worst or worst["iou"] != worst["iou"] else worst["iou"],
            aside=worst,
            seconds={"asking": time.perf_counter() - started},
        )

    def _kind(self, kind: str) -> str:
        return "seem-box" if kind == "box" and self.seem_box else kind

    def summarise(self, records: Sequence[Record]) -> Summary:
        """Mean IoU of each kind of prompt."""
        rows = [{"photo": r.name, "object": o["target"], **o} for r in records for o in r.values["objects"]]
        if not rows:
            raise UsageError("no object to ask for: the set is empty, or all objects are stuff or too small")
        for row in rows:
            row.pop("target")
        metrics: dict[str, float] = {}
        notes = []
        for kind in self.kinds:
            scores = [row[kind] for row in rows if row[kind] is not None]
            metrics[f"1-IoU {kind}"] = float(np.mean(scores)) if scores else float("nan")
            if len(scores) < len(rows):
                notes.append(f"{len(rows) - len(scores)} objects have no recorded {kind}; they do not count for it")
        return Summary({"objects": len(rows), **metrics}, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """The photo's worst answer."""
        return _picture(self._by_name[record.name], record)


def _picture(photo: AskedPhoto, record: Record) -> NDArray[np.uint8] | None:
    if not record.aside:
        return None
    image, targets = photo.load()
    truth = dict(targets)[record.aside["target"]]
    shown: Rle = from_coco(record.aside["rle"])
    clicks = tuple(Click(*c) for c in record.aside["clicks"])
    return side_by_side(image.pixels, np.where(truth == 1, 1, 0), np.where(decode(shown) & (truth != -1), 1, 0), clicks)
