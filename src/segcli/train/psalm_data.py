"""What PSALM learns from: whole photos, regions, sentences and conversations, each as lessons (PSALM, section 3.4).

A lesson is one photo with one prompt. A batch holds lessons of one kind, and all kinds come equally often.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.errors import StorageError
from segcli.datasets import folders, referring
from segcli.datasets.files import read_rgb
from segcli.models.psalm.config import PsalmConfig
from segcli.models.psalm.layout import Piece, expand
from segcli.models.psalm.marks import POINT_RADIUS, STROKE_RADIUS, grown
from segcli.models.psalm.picture import Fit, fit, pixel_values, region_mask, visible_mask
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
from segcli.train.psalm_loss import Targets
from segcli.train.psalm_prompts import SeededDraws, visual_prompts

Kind = Literal["classes", "regions", "sentence", "words"]


@dataclass(frozen=True)
class Lesson:
    """One photo and one prompt.

    pixels [3, S, S]; targets at the network's size (None for words); regions: masks [S, S], one for each target.
    shown_at: class c of the list was named at place shown_at[c]. labels: the word at each position, or IGNORED.
    """

    kind: Kind
    pixels: Tensor
    pieces: tuple[Piece, ...]
    targets: Targets | None = None
    regions: tuple[Tensor, ...] = ()
    shown_at: Tensor | None = None
    labels: Tensor | None = None


Source = Callable[[np.random.Generator], Lesson | None]
"""Draws one lesson, or None when the drawn photo holds nothing to learn for this kind."""


@dataclass(frozen=True)
class School:
    """What all sources need to know: sizes and words."""

    config: PsalmConfig
    tokenizer: Tokenizer

    def pixels(self, path: Path) -> tuple[Tensor, Fit]:
        """A photo as the network sees it."""
        photo = read_rgb(path)
        size = fit(photo.shape[:2], self.config.image_size)
        return pixel_values(photo, size), size

    def masks(self, masks: Sequence[NDArray[np.bool_]], size: Fit) -> Tensor:
        """Masks at the network's size, float32 [T, S, S]."""
        return torch.from_numpy(np.stack([region_mask(mask, size) for mask in masks])).float()


def class_source(school: School, photos: Sequence[folders.Photo]) -> Source:
    """Whole photos over all classes that the photos name, in another order each time, the background last."""
    names = sorted({o.name for photo in photos for o in photo.objects or () if o.name})
    if not names:
        raise StorageError("no photo names a class; give folders with an objects.jsonl, or other data")
    words = [class_ids(name, school.tokenizer) for name in names]
    background = class_ids(BACKGROUND, school.tokenizer)

    def draw(rng: np.random.Generator) -> Lesson | None:
        photo = photos[int(rng.integers(len(photos)))]
        ids = photo.ids()
        chosen = [o for o in photo.labelled(ids) if o.name and (ids == o.id).any()]
        if not chosen:
            return None
        pixels, size = school.pixels(photo.image)
        order = rng.permutation(len(names))
        shown = [words[k] for k in order] + [background]
        pieces = expand(class_prompt(school.tokenizer, len(shown)), shown)
        places = torch.from_numpy(np.append(np.argsort(order), len(names)))
        labels = torch.tensor([names.index(str(o.name)) for o in chosen])
        targets = Targets(school.masks([ids == o.id for o in chosen], size), labels)
        return Lesson("classes", pixels, pieces, targets, shown_at=places)

    return draw


def region_source(school: School, photos: Sequence[folders.Photo]) -> Source:
    """Objects under prompts drawn as for COCO-Interactive: for each object one of the kinds that could be drawn."""

    def draw(rng: np.random.Generator) -> Lesson | None:
        photo = photos[int(rng.integers(len(photos)))]
        ids = photo.ids()
        draws = SeededDraws(int(rng.integers(1 << 31)))
        masks, prompts = [], []
        for labelled in photo.labelled(ids):
            mask = ids == labelled.id
            drawn = visual_prompts(mask, draws)
            kinds = [
                p
                for p in (grown(drawn.point, POINT_RADIUS), drawn.mask, drawn.box, grown(drawn.scribble, STROKE_RADIUS))
                if p.any()
            ]
            if mask.any() and kinds:
                masks.append(mask)
                prompts.append(kinds[int(rng.integers(len(kinds)))])
        if not masks:
            return None
        pixels, size = school.pixels(photo.image)
        pieces = expand(region_prompt(school.tokenizer, len(masks)))
        seen = tuple(torch.from_numpy(visible_mask(prompt, size)) for prompt in prompts)
        targets = Targets(school.masks(masks, size), torch.zeros(len(masks), dtype=torch.long))
        return Lesson("regions", pixels, pieces, targets, seen)

    return draw


def sentence_source(school: School, root: Path, photos: Path, split: str = "train") -> Source:
    """Referring expressions of a RefCOCO folder: all sentences of a reference in one prompt, as published."""
    by_reference: dict[int, list[referring.Sentence]] = {}
    for sentence in referring.refcoco(root, split):
        by_reference.setdefault(sentence.ref_id, []).append(sentence)
    references = list(by_reference.values())

    def draw(rng: np.random.Generator) -> Lesson | None:
        sentences = references[int(rng.integers(len(references)))]
        mask = sentences[0].mask()
        if not mask.any():
            return None
        pixels, size = school.pixels(photos / sentences[0].image)
        words = sentence_ids([s.text for s in sentences], school.tokenizer)
        pieces = expand(sentence_prompt(school.tokenizer), (), words)
        return Lesson("sentence", pixels, pieces, Targets(school.masks([mask], size), torch.zeros(1, dtype=torch.long)))

    return draw


@dataclass(frozen=True)
class Talk:
    """A photo and what was said about it."""

    photo: Path
    turns: tuple[Turn, ...]


def read_talks(path: Path, photos: Path) -> list[Talk]:
    """Conversations of LLaVA's JSON (captions and instructions); those without a photo are passed over.

    [{"image": FILE, "conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]}, …]
    Raises StorageError for a file of another form, or without a conversation about a photo.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        talks = []
        for number, entry in enumerate(content):
            if "image" not in entry:
                continue
            said = entry["conversations"]
            if len(said) % 2 or any(s["from"] != ("human", "gpt")[k % 2] for k, s in enumerate(said)):
                raise StorageError(f"{path}: conversation {number} does not go human, gpt, human, gpt; correct it")
            turns = [Turn(q["value"], a["value"]) for q, a in zip(said[::2], said[1::2], strict=True)]
            first = turns[0].question.replace("<image>", "").strip("\n")
            plain = [Turn(t.question.replace("<image>", ""), t.answer) for t in turns[1:]]
            talks.append(Talk(photos / entry["image"], (Turn(f"<image>\n{first}", turns[0].answer), *plain)))
    except OSError as error:
        raise StorageError(f"{path}: can't be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not LLaVA's JSON of conversations ({type(error).__name__}: {error})") from None
    if not talks:
        raise StorageError(f"{path}: holds no conversation about a photo")
    return talks


def word_source(school: School, talks: Sequence[Talk], plain: bool = False) -> Source:
    """Conversations, of which the answers are learned; `plain`: the photo and the last answer alone, as a caption."""

    def draw(rng: np.random.Generator) -> Lesson | None:
        talk = talks[int(rng.integers(len(talks)))]
        if plain:
            caption = school.tokenizer.encode(f"{talk.turns[-1].answer}\n")
            ids, labels = [IMAGE, *caption], [IGNORED, *caption]
        else:
            ids, labels = taught_prompt(school.tokenizer, talk.turns)
        at = ids.index(IMAGE)
        room = school.config.phi.positions - school.config.image_tokens + 1
        ids, labels = ids[:room], labels[:room]
        spread = labels[:at] + [IGNORED] * school.config.image_tokens + labels[at + 1 :]
        if all(label == IGNORED for label in spread):
            return None
        pixels, _ = school.pixels(talk.photo)
        return Lesson("words", pixels, expand(ids), labels=torch.tensor(spread))

    return draw


def batches(sources: Sequence[Source], count: int, seed: int) -> Iterator[list[Lesson]]:
    """Endless batches of `count` lessons of one source; each source equally often. Same seed, same lessons.

    Raises StorageError when a source gives nothing in a thousand draws.
    """
    rng = np.random.default_rng(seed)
    while True:
        source = sources[int(rng.integers(len(sources)))]
        lessons: list[Lesson] = []
        tries = 0
        while len(lessons) < count:
            lesson = source(rng)
            tries += 1
            if lesson is not None:
                lessons.append(lesson)
            elif tries > 1000 and not lessons:
                raise StorageError("nothing to learn was found in a thousand photos; give other data")
        yield lessons
