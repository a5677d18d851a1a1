"""Episodes for seggpt-nano: frozen features of a few views of each photo, computed once, and how episodes are drawn.

The backbone never learns, so a training step reads its features from disk. An episode is one target in one view, with
examples: other photos that show the same class, or another view of the same photo with the same object.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.errors import StorageError
from segcli.datasets import folders
from segcli.datasets.folders import IGNORED, Photo
from segcli.io import atomic
from segcli.models.backbones.efficientnet_lite import EfficientNetLite
from segcli.models.seggpt.nano import Kind
from segcli.train.seggpt_nano_views import CELL, ViewPlan, draw_view, draw_zoom

_BLOCK = 32  # pixels, the coarsest level's cell: what is pasted from one view into another begins and ends on it
_LEAST_PHOTOS = 3  # of a class, to be validated on
_STILL_SEEN = 0.3  # share of a target that a paste must leave
STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


@dataclass(frozen=True)
class Listed:
    """A photo of the bank: its source, and the class of each of its object ids (None where nobody named it)."""

    name: str
    source: str
    classes: dict[int, str | None]


class Bank:
    """Features and labels of all views, on disk. View v of photo p is row p * plan.count + v."""

    def __init__(self, folder: Path) -> None:
        try:
            table = json.loads((folder / "bank.json").read_text())
        except OSError as error:
            raise StorageError(f"{folder}: holds no bank of views ({error.strerror}); make one first") from error
        self.plan = ViewPlan(**table["plan"])
        self.photos = [
            Listed(p["name"], p["source"], {int(i): c for i, c in p["classes"].items()}) for p in table["photos"]
        ]
        side, rows = self.plan.side, len(self.photos) * self.plan.count
        self.levels = {
            level: np.memmap(
                folder / f"{level}.f16", np.float16, "r", shape=(rows, table["widths"][level], side // s, side // s)
            )
            for level, s in STRIDES.items()
        }
        shape = (rows, side // CELL, side // CELL)
        self.ids = np.memmap(folder / "ids.u8", np.uint8, "r", shape=shape)
        self.shares = [np.bincount(view.ravel(), minlength=256) / view.size for view in self.ids]

    def row(self, photo: int, view: int) -> int:
        """The row of one view."""
        return photo * self.plan.count + view


def make_bank(roots: Sequence[Path], folder: Path, plan: ViewPlan, backbone: EfficientNetLite, every: int = 1) -> Bank:
    """Compute the bank of all photos below `roots` (each `every`-th), unless `folder` holds it already.

    Raises StorageError for a folder without photos or a disk without room, ItemError for a photo without a mask.
    """
    if (folder / "bank.json").is_file():
        return Bank(folder)
    listed = [
        (source.name, photo) for root in roots for source in folders.sources(root) for photo in folders.photos(source)
    ]
    listed = listed[::every]
    folder.mkdir(parents=True, exist_ok=True)
    rng, zooming = np.random.default_rng(plan.seed), np.random.default_rng([plan.seed, 1])
    table: dict[str, object] = {"plan": asdict(plan), "widths": backbone.channels, "photos": []}
    entries = []
    files = {level: (folder / f"{level}.f16").open("wb", buffering=0) for level in STRIDES}
    dtype = next(backbone.parameters()).dtype
    with (folder / "ids.u8").open("wb", buffering=0) as labels:
        for source, photo in listed:
            pixels, ids = photo.pixels(), photo.ids()
            drawn = [draw_view(pixels, ids, plan, number, rng) for number in range(plan.count - plan.zooms)]
            drawn += [draw_zoom(pixels, ids, plan, zooming) for _ in range(plan.zooms)]
            stack = torch.from_numpy(np.stack([p for p, _ in drawn])).permute(0, 3, 1, 2).to(dtype)
            with torch.inference_mode():
                levels = backbone(stack.contiguous(memory_format=torch.channels_last))
            for level, file in files.items():
                _append(file, levels[level].to(torch.float16).contiguous().numpy())
            _append(labels, np.stack([i for _, i in drawn]))
            entries.append(asdict(Listed(photo.name, source, _classes(photo, ids))))
    for file in files.values():
        file.close()
    table["photos"] = entries
    atomic.write(folder / "bank.json", json.dumps(table).encode())  # the last file: a bank that has it is whole
    return Bank(folder)


def _append(file: FileIO, values: NDArray[Any]) -> None:
    """Write an array's bytes. Raises StorageError, where numpy's own `tofile` does not say why."""
    view = np.ascontiguousarray(values).data.cast("B")
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise StorageError(f"{file.name!s}: can't be written: {atomic.describe(error)}; make room there") from None


def _classes(photo: Photo, ids: NDArray[np.uint8]) -> dict[int, str | None]:
    return {o.id: o.name for o in photo.labelled(ids)}


@dataclass(frozen=True)
class Target:
    """What is marked in one view: the union of these ids; of a class its name."""

    row: int
    ids: tuple[int, ...]
    name: str | None = None


@dataclass(frozen=True)
class Question:
    """One episode: positions in the batch's list of targets."""

    query: int
    examples: tuple[int, ...]
    kind: Kind


@dataclass(frozen=True, eq=False)
class EpisodeBatch:
    """Targets with their views' levels [T, …], masks [T, S/4, S/4] in 0..1, valid likewise, and episodes of them.

    labels: long [T, S/16, S/16], the number of the cell's class, -1 where it has none; for the class loss.
    """

    levels: dict[str, Tensor]
    masks: Tensor
    valid: Tensor
    labels: Tensor
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Draw:
    """How a step is drawn: `classes` classes with `photos` photos each, `queries` of which are asked, and `twins`.

    single, all_shown: how many of the questions about a class come with one example, and how many with all that were
    drawn; the others with any number. pasted: how many of the views get a block of another view's cells, its objects
    included. absent: how many of the questions about a class are asked again about a photo that does not show it.
    """

    classes: int = 3
    photos: int = 5
    queries: int = 4
    twins: int = 3
    least: float = 0.012  # share of a view that a target covers
    most: float = 0.85
    single: float = 0.4
    all_shown: float = 0.0
    pasted: float = 0.0
    absent: float = 0.0


class Episodes:
    """Draws episodes of some photos and classes. Same seed, same episodes."""

    def __init__(self, bank: Bank, photos: Sequence[int], without: frozenset[str], draw: Draw) -> None:
        self.bank, self.draw = bank, draw
        self.names = sorted({c for p in bank.photos for c in p.classes.values() if c})
        self.shown: dict[str, dict[int, list[int]]] = defaultdict(dict)  # class -> photo -> views
        self.objects: list[tuple[int, tuple[int, ...]]] = []
        self.photos = list(photos)
        self.of_source: dict[str, set[str]] = defaultdict(set)  # classes that a source names at all
        for listed in bank.photos:
            self.of_source[listed.source] |= {c for c in listed.classes.values() if c}
        for photo in photos:
            classes = bank.photos[photo].classes
            for name in sorted({c for c in classes.values() if c} - without):
                if views := self._views(photo, tuple(i for i, c in classes.items() if c == name)):
                    self.shown[name][photo] = views
            if own := tuple(i for i, c in classes.items() if c not in without):
                self.objects.append((photo, own))
        self.classes = [c for c in sorted(self.shown) if len(self.shown[c]) >= 2]

    def _views(self, photo: int, ids: tuple[int, ...]) -> list[int]:
        """Views of a photo in which these ids cover neither too little nor too much."""
        shares = [self.bank.shares[self.bank.row(photo, v)][list(ids)].sum() for v in range(self.bank.plan.count)]
        return [v for v, share in enumerate(shares) if self.draw.least <= share <= self.draw.most]

    def ids_of(self, photo: int, name: str) -> tuple[int, ...]:
        """Ids of a class in a photo."""
        return tuple(i for i, c in self.bank.photos[photo].classes.items() if c == name)

    def stream(self, seed: int) -> Iterator[EpisodeBatch]:
        """Endless batches."""
        rng = np.random.default_rng(seed)
        weights = np.array([len(self.shown[c]) for c in self.classes]) ** 0.5
        several = min(self.draw.classes, len(self.classes))  # data may have fewer than the plan asks for
        while True:
            targets: list[Target] = []
            questions: list[Question] = []
            for name in rng.choice(len(self.classes), several, False, weights / weights.sum()):
                self._class_episodes(self.classes[name], targets, questions, rng)
            self._absent(targets, questions, rng)
            for _ in range(self.draw.twins):
                self._twins(targets, questions, rng)
            yield self.collate(targets, questions, rng)

    def _class_episodes(
        self, name: str, targets: list[Target], questions: list[Question], rng: np.random.Generator
    ) -> None:
        shown = self.shown[name]
        first = len(targets)
        photos = rng.permutation(sorted(shown))[: self.draw.photos]
        for photo in photos:
            view = int(rng.choice(shown[int(photo)]))
            targets.append(Target(self.bank.row(int(photo), view), self.ids_of(int(photo), name), name))
        places = np.arange(first, len(targets))
        for query in places[: self.draw.queries]:
            others = rng.permutation(places[places != query])
            chance, shots = rng.random(), int(rng.integers(1, len(others) + 1))
            if chance < self.draw.single + self.draw.all_shown:
                shots = 1 if chance < self.draw.single else len(others)
            questions.append(Question(int(query), tuple(int(o) for o in others[:shots]), "semantic"))

    def _absent(self, targets: list[Target], questions: list[Question], rng: np.random.Generator) -> None:
        """Ask some questions again about a photo drawn for another class, if it does not show this one.

        A photo whose source never names the class may show it all the same, and is not asked about.
        """
        drawn = list(targets)
        for question in list(questions):
            name = targets[question.query].name
            other = drawn[int(rng.integers(len(drawn)))]
            photo = self._photo(other)
            named = name in self.of_source[photo.source]
            if rng.random() < self.draw.absent and named and name not in photo.classes.values():
                targets.append(Target(other.row, (), name))
                questions.append(Question(len(targets) - 1, question.examples, question.kind))

    def _photo(self, target: Target) -> Listed:
        return self.bank.photos[target.row // self.bank.plan.count]

    def _twins(self, targets: list[Target], questions: list[Question], rng: np.random.Generator) -> None:
        """Two views of one photo with the same object."""
        for _ in range(20):
            photo, ids = self.objects[int(rng.integers(len(self.objects)))]
            chosen = (int(rng.choice(ids)),)
            views = self._views(photo, chosen)
            if len(views) >= 2:
                one, other = rng.permutation(views)[:2]
                targets += [Target(self.bank.row(photo, int(v)), chosen) for v in (one, other)]
                questions.append(Question(len(targets) - 1, (len(targets) - 2,), "instance"))
                return

    def collate(
        self, targets: Sequence[Target], questions: Sequence[Question], rng: np.random.Generator | None = None
    ) -> EpisodeBatch:
        """Read what the targets need; with `rng`, paste as the plan says."""
        rows = [t.row for t in targets]
        levels = {k: np.stack([v[r] for r in rows]) for k, v in self.bank.levels.items()}
        ids = np.stack([self.bank.ids[r] for r in rows])
        masks = np.stack([np.isin(i, t.ids) for i, t in zip(ids, targets, strict=True)])
        labels = np.stack([self._labels(i, t.row // self.bank.plan.count) for i, t in zip(ids, targets, strict=True)])
        known = ids != IGNORED
        if rng is not None:
            for number in np.flatnonzero(rng.random(len(targets)) < self.draw.pasted).tolist():
                self._paste(targets, number, {**levels, "masks": masks, "known": known, "labels": labels}, rng)
        return EpisodeBatch(
            {k: torch.from_numpy(v) for k, v in levels.items()},
            _pooled(masks),
            (_pooled(known) > 0.99).float(),
            torch.from_numpy(labels),
            tuple(questions),
        )

    def _paste(
        self, targets: Sequence[Target], number: int, planes: dict[str, NDArray[Any]], rng: np.random.Generator
    ) -> None:
        """Put a block of another target's view, unchanged, into the view of target `number`, in all planes."""
        target, other = targets[number], targets[int(rng.integers(len(targets)))]
        if other.row // self.bank.plan.count == target.row // self.bank.plan.count:
            return
        side = self.bank.plan.side // _BLOCK
        spans = []
        for size in rng.integers(max(1, side // 4), max(1, side * 3 // 4), 2, endpoint=True).tolist():
            start = int(rng.integers(0, side - size, endpoint=True))
            spans.append((start, start + size))

        def block(stride: int) -> tuple[slice, slice]:
            first, second = (slice(a * _BLOCK // stride, b * _BLOCK // stride) for a, b in spans)
            return first, second

        ids, photo = self.bank.ids[other.row], self._photo(other)
        same = tuple(i for i, name in photo.classes.items() if name is not None and name == target.name)
        mask = planes["masks"][number].copy()
        mask[block(CELL)] = np.isin(ids[block(CELL)], same)
        if mask.sum() < _STILL_SEEN * planes["masks"][number].sum():
            return
        for level, stride in STRIDES.items():
            planes[level][number][:, *block(stride)] = self.bank.levels[level][other.row][:, *block(stride)]
        planes["masks"][number] = mask
        planes["known"][number][block(CELL)] = ids[block(CELL)] != IGNORED
        labels = self._labels(ids, other.row // self.bank.plan.count)
        planes["labels"][number][block(16)] = labels[block(16)]

    def _labels(self, ids: NDArray[np.uint8], photo: int) -> NDArray[np.int64]:
        number = {name: n for n, name in enumerate(self.names)}
        table = np.full(256, -1, np.int64)
        for i, name in self.bank.photos[photo].classes.items():
            if name in self.shown:
                table[i] = number[name]
        return table[ids[4::8, 4::8]]


def _pooled(masks: NDArray[np.bool_]) -> Tensor:
    """[T, S/2, S/2] -> shares [T, S/4, S/4]."""
    count, height, width = masks.shape
    shares: NDArray[np.float32] = masks.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4), dtype=np.float32)
    return torch.from_numpy(shares)


@dataclass(frozen=True, eq=False)
class Fixed:
    """One episode to validate on: a question and its targets, read when it is asked."""

    source: Episodes
    targets: tuple[Target, ...]
    question: Question

    def batch(self) -> EpisodeBatch:
        """The episode as a batch of its own."""
        return self.source.collate(self.targets, [self.question])


def fixed_episodes(source: Episodes, classes: Sequence[str], shots: int, count: int, seed: int) -> list[Fixed]:
    """Whole-photo episodes, classes in turn, with at most `shots` examples: fewer where a class has fewer photos.

    The same photos are asked about whatever the number of examples, and fewer examples are the first ones of more.
    """
    rng = np.random.default_rng(seed)
    whole = {c: [p for p in sorted(source.shown[c]) if 0 in source.shown[c][p]] for c in classes}
    usable = [c for c in classes if len(whole[c]) >= _LEAST_PHOTOS]
    episodes = []
    for number in range(count if usable else 0):
        name = usable[number % len(usable)]
        photos = rng.permutation(whole[name])[: shots + 1].tolist()
        targets = tuple(Target(source.bank.row(p, 0), source.ids_of(p, name), name) for p in photos)
        episodes.append(Fixed(source, targets, Question(0, tuple(range(1, len(targets))), "semantic")))
    return episodes
