"""Lessons for psalm-nano from encoded views: class lists, class names as phrases, regions, and questions.

The published lessons (`psalm_data`) at the size of a demonstration: the photo's classes among a drawn number of others,
phrases that are a class's name and mean all of it, and regions of which some are read in another view of the photo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.geometry import stroke_mask
from segcli.models.psalm.layout import expand
from segcli.models.psalm.prompts import (
    BACKGROUND,
    IGNORED,
    IMAGE,
    Turn,
    class_ids,
    class_prompt,
    region_prompt,
    sentence_ids,
    sentence_prompt,
    taught_prompt,
)
from segcli.models.psalm.tokenizer import Tokenizer
from segcli.train.psalm_data import Kind, Lesson
from segcli.train.psalm_loss import Targets
from segcli.train.psalm_nano_views import View
from segcli.train.psalm_nano_words import listed_forms, talk

KINDS: tuple[Kind, ...] = ("classes", "sentence", "regions", "words")


@dataclass(frozen=True)
class NanoLesson(Lesson):
    """A lesson about an encoded view: the encoder's maps, [C, h, w] each, in place of pixels."""

    maps: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class NanoLessons:
    """How often a batch is of each kind, from how many to how many classes are listed, how many regions asked."""

    shares: tuple[float, ...] = (0.32, 0.32, 0.31, 0.05)
    listing: tuple[int, int] = (14, 130)
    regions: int = 8
    panoptic: float = 0.25  # how often a class is named as COCO's panoptic list does it


class NanoSchool:
    """Draws batches; `names` are all classes."""

    def __init__(self, views: Sequence[View], tokenizer: Tokenizer, image_tokens: int, config: NanoLessons) -> None:
        self.views, self.tokenizer, self.image_tokens, self.config = views, tokenizer, image_tokens, config
        self.names = sorted({name for view in views for name in view.names.values() if name})
        self.forms = listed_forms()
        self.named = [view for view in views if any(view.names.values())]
        self.full = [view for view in self.named if view.complete]
        counts: dict[str, int] = {}
        for view in self.named:
            for name in set(view.present()):
                counts[name] = counts.get(name, 0) + 1
        self.counts = counts

    def batches(self, count: int, seed: int) -> Iterator[list[NanoLesson]]:
        """Endless batches of `count` lessons of one kind; same seed, same lessons."""
        rng = np.random.default_rng(seed)
        pools = {"classes": self.full, "sentence": self.named, "regions": self.views, "words": self.full}
        shares = np.array([share if pools[kind] else 0 for kind, share in zip(KINDS, self.config.shares, strict=True)])
        shares = shares / shares.sum()
        low, high = (min(bound, len(self.names)) for bound in self.config.listing)
        while True:
            kind = KINDS[int(rng.choice(len(KINDS), p=shares))]
            listing = round(math.exp(rng.uniform(math.log(low), math.log(high))))
            batch: list[NanoLesson] = []
            while len(batch) < count:
                view = pools[kind][int(rng.integers(len(pools[kind])))]
                lesson = {
                    "classes": lambda v: self.classes(v, listing, rng),  # noqa: B023
                    "sentence": lambda v: self.sentence(v, rng),
                    "regions": lambda v: self.regions(v, rng),
                    "words": lambda v: self.words(v, rng),
                }[kind](view)
                if lesson is not None:
                    batch.append(NanoLesson(**vars(lesson), maps=view.maps))
            yield batch

    def classes(self, view: View, count: int, rng: np.random.Generator) -> Lesson | None:
        """All objects of a view over `count` classes, its own among them, in a drawn order. Stuff of a class is one."""
        present = list(view.present())
        absent = [name for name in self.names if name not in present]
        chosen = [absent[k] for k in rng.choice(len(absent), max(0, count - len(present)), replace=False)]
        names = [*present, *chosen]
        masks, labels = [], []
        for name in present:
            numbers = [number for number, other in view.names.items() if other == name]
            if view.things[numbers[0]]:
                masks += [view.ids == number for number in numbers]
                labels += [names.index(name)] * len(numbers)
            else:
                masks.append(np.isin(view.ids, numbers))
                labels.append(names.index(name))
        if not masks or len(names) != count:
            return None
        order = rng.permutation(len(names))
        shown = [class_ids(self._said(names[k], rng), self.tokenizer) for k in order]
        shown.append(class_ids(BACKGROUND, self.tokenizer))
        places = torch.from_numpy(np.append(np.argsort(order), len(names)))
        pieces = expand(class_prompt(self.tokenizer, len(shown)), shown)
        return Lesson("classes", _NO_PIXELS, pieces, _targets(masks, labels), shown_at=places)

    def sentence(self, view: View, rng: np.random.Generator) -> Lesson | None:
        """One class's name, rare ones more often; what it means is all of that class."""
        present = view.present()
        if not present:
            return None
        rarity = np.array([self.counts[name] ** -0.5 for name in present])
        name = present[int(rng.choice(len(present), p=rarity / rarity.sum()))]
        numbers = [number for number, other in view.names.items() if other == name]
        said = f"{('', '', 'the ', 'a ', 'all ')[int(rng.integers(5))]}{self._said(name, rng)}"
        pieces = expand(sentence_prompt(self.tokenizer), (), sentence_ids([said], self.tokenizer))
        return Lesson("sentence", _NO_PIXELS, pieces, _targets([np.isin(view.ids, numbers)], [0]))

    def regions(self, view: View, rng: np.random.Generator) -> Lesson | None:
        """Objects under a point, a box, a stroke or their own mask."""
        numbers = list(view.names)
        if not numbers:
            return None
        count = min(len(numbers), 1 + int(rng.integers(self.config.regions)))
        chosen = [numbers[k] for k in rng.choice(len(numbers), count, replace=False)]
        masks = [view.ids == number for number in chosen]
        marked = tuple(torch.from_numpy(mark(mask, rng)) for mask in masks)
        pieces = expand(region_prompt(self.tokenizer, count))
        return Lesson("regions", _NO_PIXELS, pieces, _targets(masks, [0] * count), marked)

    def words(self, view: View, rng: np.random.Generator) -> Lesson | None:
        """A question about the photo and its answer."""
        present = view.present()
        asked = self.names[int(rng.integers(len(self.names)))]
        if present and rng.random() < 0.5:
            asked = present[int(rng.integers(len(present)))]
        turn = talk(present, asked, rng)
        ids, labels = taught_prompt(self.tokenizer, [Turn(f"<image>\n{turn.question}", turn.answer)])
        at = ids.index(IMAGE)
        spread = labels[:at] + [IGNORED] * self.image_tokens + labels[at + 1 :]
        return Lesson("words", _NO_PIXELS, expand(ids), labels=torch.tensor(spread))

    def _said(self, name: str, rng: np.random.Generator) -> str:
        return self.forms[name] if name in self.forms and rng.random() < self.config.panoptic else name


_NO_PIXELS = torch.zeros(0)  # the view's maps are read instead


def mark(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A prompt for a mask that isn't empty: a disc half of the time, else a box, a stroke or the mask."""
    kind = rng.random()
    rows, columns = np.nonzero(mask)
    if kind < 0.5:
        at = int(rng.integers(len(rows)))
        if rng.random() < 0.5:  # as people click: far inside, by the best of a few
            tries = rng.integers(len(rows), size=24)
            at = int(max(tries, key=lambda k: _depth(mask, int(rows[k]), int(columns[k]))))
        y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
        radius = rng.uniform(3, 8)  # ten pixels of photos that are larger or smaller
        return np.asarray((y - rows[at]) ** 2 + (x - columns[at]) ** 2 <= radius**2)
    if kind < 0.65:
        box = np.zeros_like(mask)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        return box
    if kind < 0.8:
        ends = rng.integers(len(rows), size=2)
        line = [(float(columns[k]), float(rows[k])) for k in ends]
        return stroke_mask(line, (mask.shape[0], mask.shape[1]), 4.0)
    return mask.copy()


def _depth(mask: NDArray[np.bool_], row: int, column: int) -> float:
    """The share of a window of 33 pixels that is inside."""
    return float(mask[max(0, row - 16) : row + 17, max(0, column - 16) : column + 17].sum())


def _targets(masks: Sequence[NDArray[np.bool_]], labels: Sequence[int]) -> Targets:
    return Targets(torch.from_numpy(np.stack(masks)).float(), torch.tensor(labels))
