"""`seg bench fewshot`: the official episodes of PASCAL-5i, COCO-20i and FSS-1000, and mIoU and FB-IoU over them.

Answers come from a model, or from JSON lines `{"id": EPISODE, "rle": …}` at the query photo's own resolution.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segcli.bench.asking import read_image
from segcli.bench.draw import side_by_side
from segcli.bench.records import Record, Summary, digest_files
from segcli.bench.sentences import Answer
from segcli.core.ask import Ask, Reference
from segcli.core.errors import ItemError, UsageError
from segcli.core.example import Example
from segcli.core.rle import decode, encode, from_coco
from segcli.datasets.fewshot import (
    FewShotMask,
    coco_class,
    coco_lists,
    fold_classes,
    fss_classes,
    fss_mask,
    pascal_list,
    pascal_mask,
)
from segcli.datasets.files import read_indices, read_rgb
from segcli.metrics.fewshot import (
    CLASSES,
    EpisodeCounts,
    coco_episodes,
    episode_counts,
    fewshot_scores,
    fss_episodes,
    pascal_episodes,
)
from segcli.models.api import Promptable

LAYOUTS = ("pascal-5i", "coco-20i", "fss-1000")


class Shown(NamedTuple):
    """A photo and the file of its mask."""

    image: Path
    mask: Path


@runtime_checkable
class Learner(Protocol):
    """A model that takes its examples once, for all photos to come, and not with each ask."""

    def learn(self, examples: Sequence[Example], *, kind: Any) -> None:
        """Take these examples. `kind` is "semantic" where masks mean a class."""
        ...


@dataclass(frozen=True)
class NamedEpisode:
    """One query with its examples, as files."""

    name: str
    cls: int
    query: Shown
    supports: tuple[Shown, ...]


def open_episodes(
    root: Path, layout: str, fold: int, shots: int, count: int = 1000, seed: int = 0, split: str = "test"
) -> tuple[list[NamedEpisode], tuple[int, ...]]:
    """Episodes and the classes that are averaged over. Seed 0 gives the published draws. Raises UsageError.

    PASCAL-5i: `foldF.txt`, `VOC2012/JPEGImages`, `VOC2012/SegmentationClassAug`. COCO-20i: `foldF.pkl`,
    `COCO2014/annotations/`. FSS-1000: `CLASS/1.jpg` beside `CLASS/1.png`, a folder a class of the split.
    """
    if layout == "pascal-5i":
        entries = pascal_list(root / f"fold{fold}.txt")
        voc = root / "VOC2012"

        def pascal(k: int) -> Shown:
            name = entries[k][0]
            return Shown(voc / "JPEGImages" / f"{name}.jpg", voc / "SegmentationClassAug" / f"{name}.png")

        found = [
            NamedEpisode(str(i), e.cls, pascal(e.query), tuple(map(pascal, e.supports)))
            for i, e in enumerate(pascal_episodes(entries, shots, count, seed))
        ]
        return found, fold_classes("pascal", fold)
    if layout == "coco-20i":
        classes = fold_classes("coco", fold)
        base = root / "COCO2014"

        def coco(path: str) -> Shown:
            return Shown(base / path, (base / "annotations" / path).with_suffix(".png"))

        drawn = coco_episodes(coco_lists(root / f"fold{fold}.pkl"), classes, shots, count, seed)
        found = [NamedEpisode(str(i), e.cls, coco(e.query), tuple(map(coco, e.supports))) for i, e in enumerate(drawn)]
        return found, classes
    if layout == "fss-1000":
        folders = fss_classes(root, split)
        names = {cls: name for cls, name, _ in folders}
        episodes = fss_episodes([(cls, images) for cls, _, images in folders], shots, seed)

        def fss(cls: int, stem: str) -> Shown:
            return Shown(root / names[cls] / f"{stem}.jpg", root / names[cls] / f"{stem}.png")

        found = [
            NamedEpisode(str(i), e.cls, fss(e.cls, e.query), tuple(fss(e.cls, s) for s in e.supports))
            for i, e in enumerate(episodes)
        ]
        return found, tuple(names)
    raise UsageError(f"--layout {layout}: there are {', '.join(LAYOUTS)}")


@dataclass(frozen=True)
class FewShotMeasure:
    """Episodes answered by a model or by results; exactly one of the two is given."""

    episodes: tuple[NamedEpisode, ...]
    classes: tuple[int, ...]
    layout: str
    shots: int
    model: Promptable | None = None
    answers: Mapping[str, Answer] | None = None
    name: str = "fewshot"

    @property
    def settings(self) -> dict[str, Any]:
        """Benchmark, shots and number of episodes."""
        return {"layout": self.layout, "shots": self.shots, "episodes": len(self.episodes)}

    @cached_property
    def _by_name(self) -> dict[str, NamedEpisode]:
        return {e.name: e for e in self.episodes}

    def items(self) -> Sequence[str]:
        """Numbers of the episodes, in the order in which they were drawn."""
        return [e.name for e in self.episodes]

    def measure(self, item: str) -> Record:
        """Counts of one episode at the query's own resolution."""
        episode = self._by_name[item]
        started = time.perf_counter()
        truth = self._mask(episode.query, episode.cls)
        prediction = self._predicted(episode, truth.mask.shape)
        counts = episode_counts(truth.mask, prediction, truth.ignore)
        return Record(
            item,
            digest_files([episode.query.mask]),
            {"class": episode.cls, "counts": list(counts)},
            counts.object_both / counts.object_either if counts.object_either else 1.0,
            aside={"rle": encode(prediction).coco()},
            seconds={"episodes": time.perf_counter() - started},
        )

    def summarise(self, records: Sequence[Record]) -> Summary:
        """mIoU and FB-IoU in percent."""
        counts = [(int(r.values["class"]), EpisodeCounts(*r.values["counts"])) for r in records]
        total = CLASSES[self.layout.split("-")[0]]
        if max(self.classes) >= total:
            raise UsageError(f"class {max(self.classes)}: {self.layout} has classes up to {total - 1}")
        scores = fewshot_scores(counts, self.classes, total)
        without = sorted(set(self.classes) - {c for c, _ in counts})
        notes = [f"{len(without)} of {len(self.classes)} classes have no episode and count as 0"] if without else []
        rows = [{"episode": r.name, "class": r.values["class"], "IoU": r.score} for r in records]
        return Summary({"mIoU": scores.miou, "FB-IoU": scores.fb_iou}, tuple(rows), notes=tuple(notes))

    def picture(self, record: Record) -> NDArray[np.uint8] | None:
        """The query."""
        episode = self._by_name[record.name]
        truth = self._mask(episode.query, episode.cls).mask
        answer = decode(from_coco(record.aside["rle"])).astype(np.uint8)
        return side_by_side(read_rgb(episode.query.image), truth, answer)

    def _mask(self, shown: Shown, cls: int) -> FewShotMask:
        if self.layout == "pascal-5i":
            return pascal_mask(shown.mask, cls)
        if self.layout == "coco-20i":
            return coco_class(read_indices(shown.mask), cls)
        return fss_mask(shown.mask)

    def _predicted(self, episode: NamedEpisode, size: tuple[int, int]) -> NDArray[np.bool_]:
        if self.answers is not None:
            if episode.name not in self.answers:
                raise ItemError(f"episode {episode.name}: has no line in the results")
            return self.answers[episode.name].mask(size, f"episode {episode.name}")
        assert self.model is not None
        (encoded,) = self.model.encode([read_image(episode.query.image, size)])
        masks = [self._mask(s, episode.cls).mask for s in episode.supports]
        if isinstance(self.model, Learner):
            self.model.learn(
                [Example(read_image(s.image, m.shape), m) for s, m in zip(episode.supports, masks, strict=True)],
                kind="semantic",
            )
            ask = Ask()
        else:
            ask = Ask(
                references=tuple(
                    Reference(str(s.image), encode(m)) for s, m in zip(episode.supports, masks, strict=True)
                )
            )
        (prediction,) = self.model.decode(encoded, [ask])
        return prediction.dense(0) if len(prediction) else np.zeros(size, np.bool_)
