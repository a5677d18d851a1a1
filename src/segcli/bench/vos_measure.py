"""`seg bench vos`: J&F of results that lie on disk, or of a model that is carried through the videos."""

from __future__ import annotations

import time
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.draw import side_by_side
from segcli.bench.following import Follow, Followed, carried, labels_of, tracked
from segcli.bench.records import Record, Summary, digest_files
from segcli.bench.vos import Sequence, VideoResult, score, vos_summary, youtube_summary
from segcli.core.errors import ItemError
from segcli.core.rle import from_coco
from segcli.datasets.video import Video
from segcli.models.api import Promptable, Tracking


@dataclass(frozen=True)
class VosMeasure:
    """Videos with results, or a model instead, scored by one of the rules of `segcli.bench.vos`.

    wrap: reproduce the published decay's 8-bit frame numbers. seen: categories of the training set (YouTube-VOS).
    memory: frames that the model's tracker remembers; None carries the model's rough masks instead.
    """

    videos: tuple[Video, ...]
    rule: str = "davis"
    wrap: bool = True
    all_frames: bool = False
    seen: tuple[str, ...] = ()
    model: Promptable | Tracking | None = None
    memory: int | None = None
    name: str = "vos"

    @property
    def settings(self) -> dict[str, Any]:
        """Rule and switches."""
        way: dict[str, Any] = {}
        if self.model is not None:
            way = {"follows": "carried masks" if self.memory is None else "tracker", "memory": self.memory}
        switches = {"decay_wrap": self.wrap, "all_frames": self.all_frames, "seen": list(self.seen)}
        return {"rule": self.rule, **switches, **way}

    def items(self) -> Many[str]:
        """Names of the videos."""
        return [v.name for v in self.videos]

    def measure(self, item: str) -> Record:
        """Score one video."""
        video = self._video(item)
        started = time.perf_counter()
        sequence = Sequence.of_files(video)
        followed = None
        if self.model is not None:
            followed = Followed(self._follow(), video)
            sequence = replace(sequence, prediction=followed)
        result = score(sequence, self.rule, all_frames=self.all_frames)
        means = self._frame_means(result)
        aside: dict[str, Any] = {"frame": result.frames[int(np.argmin(means))]} if len(means) else {}
        if followed is not None and aside:
            aside["masks"] = {str(k): m.coco() for k, m in followed.kept(aside["frame"]).items()}
        return Record(
            item,
            digest_files(video.annotations / f"{f}.png" for f in video.frames),
            {
                "labels": list(result.labels),
                "j": [v.tolist() for v in result.j],
                "f": [v.tolist() for v in result.f],
                "frames": list(result.frames),
                "categories": list(result.categories),
            },
            float(np.mean([result.j_means, result.f_means])) if result.labels else None,
            tuple(w for w in result.warnings if self.wrap or "decay" not in w),
            aside,
            {"following and scoring" if self.model else "scoring": time.perf_counter() - started},
        )

    def summarise(self, records: Many[Record]) -> Summary:
        """Global means, a row an object, J&F of each video by frame."""
        results = [_result(r) for r in records]
        metrics = vos_summary(results, self.wrap)
        notes = []
        if self.rule == "youtube-vos":
            metrics = youtube_summary(results, self.seen) | metrics
            if not self.seen:
                notes.append("no seen categories were given (--seen), so that all count as unseen and G is undefined")
        rows = [
            {"sequence": r.name, "object": label, "J&F": (j + f) / 2, "J": j, "F": f}
            for r in results
            for label, j, f in zip(r.labels, r.j_means, r.f_means, strict=True)
        ]
        curves = {"J&F by frame": {r.name: self._frame_means(r).tolist() for r in results if r.labels}}
        return Summary(metrics, tuple(rows), curves, tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """The worst frame: truth beside answer, over the photo where there is one."""
        frame = record.aside.get("frame")
        if frame is None:
            return None
        video = self._video(record.name)
        masks = record.aside.get("masks")
        truth = video.truth(frame)
        prediction = (
            video.prediction(frame) if masks is None else labels_of({int(k): from_coco(m) for k, m in masks.items()})
        )
        try:
            photo = video.photo(frame)
        except ItemError:
            photo = np.full((*truth.shape, 3), 90, np.uint8)
        return side_by_side(photo, truth, prediction)

    def _follow(self) -> Follow:
        if self.memory is not None and isinstance(self.model, Tracking):
            return tracked(self.model, self.memory)
        assert isinstance(self.model, Promptable)  # checked when it was chosen
        return carried(self.model)

    def _video(self, name: str) -> Video:
        return next(v for v in self.videos if v.name == name)

    @staticmethod
    def _frame_means(result: VideoResult) -> NDArray[np.float64]:
        """Mean of J and F over the objects for each frame; objects that enter late are missing in the first ones."""
        longest = max((len(v) for v in result.j), default=0)
        table = np.full((2 * len(result.j), longest), np.nan)
        for row, values in enumerate([*result.j, *result.f]):
            table[row, longest - len(values) :] = values
        return np.asarray(np.nanmean(table, axis=0)) if table.size else np.zeros(0)


def _result(record: Record) -> VideoResult:
    v = record.values
    return VideoResult(
        record.name,
        tuple(v["labels"]),
        tuple(np.array(row, np.float64) for row in v["j"]),
        tuple(np.array(row, np.float64) for row in v["f"]),
        tuple(v["frames"]),
        tuple(v["categories"]),
    )
