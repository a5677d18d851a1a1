"""How seem-nano answers asks with words: a word's places, made sharp by the click path; labels; whole photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import UsageError
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.seem.focus import cells_of, focus_window, whole
from segcli.models.seem.maps import extent

if TYPE_CHECKING:
    from segcli.models.seem.nano_predictor import EncodedPhoto, NanoPredictor
    from segcli.models.seem.nano_words import Words

_SIDE = 384  # longest side of the look that is searched for words
_THERE = 0.4  # a word is where its probability is at least this
_LEAST_AREA = 0.001  # of the photo: smaller places of a word are doubt, not objects
_SPECK = 0.02  # of a word's largest place
_AGREE = 0.5  # overlap from which the click path's version of a place is believed
_CALLED = 0.3  # --all: the least score of an instance unless the ask says otherwise
_SPATIAL = frozenset({PromptKind.POINT, PromptKind.BOX, PromptKind.SCRIBBLE, PromptKind.POLYGON, PromptKind.MASK})

Plane = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """One connected place of a word: mask [H, W] of the photo, the word's mean probability in it."""

    mask: Plane
    score: float


def named(looker: NanoPredictor, words: Words, photo: EncodedPhoto, ask: Ask) -> Prediction:
    """The answer to an ask with text; empty when the photo does not show the word.

    Alone, a word means everything in the photo that it names, or with `every` each connected place of it. Beside
    clicks, boxes and the like it says which kind of thing they point at, unless `answer` lets one of them speak alone.
    """
    assert ask.text is not None
    word = words.vocabulary.find(ask.text)
    places_too = bool(ask.kinds & _SPATIAL)
    if places_too and ask.answer == "visual":
        return _called(looker.pointed(photo, replace(ask, text=None)), ask.text, word)
    chances = word_map(looker, words, photo, [words.vocabulary.covered(word)])[0]
    if places_too and ask.answer == "all":
        return _called(_pointed_by_name(looker, photo, ask, chances), ask.text, word)
    counted = word not in words.vocabulary.stuff
    found = [_sharp(looker, photo, place) if counted else place for place in _places(chances, photo.size)]
    if ask.every:
        least = _CALLED if ask.threshold is None else ask.threshold
        found = sorted((p for p in found if p.score >= least), key=lambda p: -p.score)
    elif found:
        union = np.logical_or.reduce([p.mask for p in found])
        shown = _resized(chances[None], photo.size)[0].numpy()
        found = [Place(union, float(shown[union].mean()))]
        if ask.threshold is not None and found[0].score < ask.threshold:
            found = []
    masks = tuple(encode(p.mask) for p in found)
    return _called(Prediction(photo.size, masks, tuple(round(p.score, 4) for p in found)), ask.text, word)


def word_map(looker: NanoPredictor, words: Words, photo: EncodedPhoto, meant: Sequence[Sequence[int]]) -> Tensor:
    """Probability of each group of words, and of none of them, over the whole photo: [G + 1, h, w]."""
    place, encoded = looker.look(photo, whole(photo.size), _SIDE)
    return words.where(encoded, place, meant)


def labelled(looker: NanoPredictor, words: Words, photo: EncodedPhoto, ask: Ask, answer: Prediction) -> Prediction:
    """The same masks, each with the likeliest of the ask's classes and its probability."""
    meant = words.known(ask.classes)
    names = list(meant)
    labels, scores = [], []
    for index in range(len(answer)):
        mask = torch.from_numpy(answer.dense(index))
        box = extent(mask.float(), photo.size)
        assert box is not None  # answers hold no empty masks
        place, encoded = looker.look(photo, focus_window(box, photo.size), looker.focus_side)
        covered = cells_of(mask, photo.size, place, 16)[0, 0]
        chances = words.what(encoded, place, covered, list(meant.values()))[:-1]
        best = int(chances.argmax())
        labels.append(names[best])
        scores.append(round(float(chances[best]), 4))
    return replace(answer, labels=tuple(labels), label_scores=tuple(scores))


def whole_photo(looker: NanoPredictor, words: Words, photo: EncodedPhoto, ask: Ask) -> Prediction:
    """Masks of everything that the ask's classes name; panoptic and semantic ones do not overlap.

    Things of a class that touch are one mask: this member does not tell them apart.
    """
    if not ask.classes:
        raise UsageError("a whole photo is asked for by class names; give --classes")
    meant = words.known(ask.classes)
    names = list(meant)
    chances = _resized(word_map(looker, words, photo, list(meant.values())), photo.size)
    owner = chances.argmax(0).numpy()
    found: list[tuple[Place, str, bool]] = []
    for index, name in enumerate(names):
        thing = words.vocabulary.find(name) not in words.vocabulary.stuff
        mine = owner == index
        if not mine.any() or (ask.kind == "instance" and not thing):
            continue
        chance = chances[index].numpy()
        if ask.kind == "semantic" or not thing:
            parts = [Place(mine, float(chance[mine].mean()))]
        else:
            parts = [_sharp(looker, photo, p) for p in _parts(mine, chance)]
        found += [(part, name, thing) for part in parts if part.mask.mean() >= _LEAST_AREA]
    found.sort(key=lambda each: -each[0].score)
    least = 0.0 if ask.threshold is None else ask.threshold
    free = np.ones(photo.size, np.bool_)
    kept = []
    for part, name, thing in found:
        mask = part.mask if ask.kind == "instance" else part.mask & free
        if part.score >= least and mask.mean() >= _LEAST_AREA:
            free &= ~mask
            kept.append((encode(mask), round(part.score, 4), name, thing))
    return Prediction(
        photo.size,
        masks=tuple(k[0] for k in kept),
        scores=tuple(k[1] for k in kept),
        labels=tuple(k[2] for k in kept),
        label_scores=tuple(k[1] for k in kept),
        things=tuple(k[3] for k in kept),
    )


def _pointed_by_name(looker: NanoPredictor, photo: EncodedPhoto, ask: Ask, chances: Tensor) -> Prediction:
    """What is pointed at, with the word's connected place under the prompts as a rough first answer.

    A word that the photo does not show where the prompts are adds nothing.
    """
    alone = replace(ask, text=None)
    answer = looker.pointed(photo, alone)
    if ask.previous is not None or not len(answer):
        return answer
    shown = answer.dense(0)
    touching = [p.mask for p in _places(chances, photo.size) if (p.mask & shown).any()]
    if not touching:
        return answer
    rough = max(touching, key=lambda mask: int((mask & shown).sum()))
    return looker.pointed(photo, replace(alone, previous=encode(rough)))


def _places(chances: Tensor, size: tuple[int, int]) -> list[Place]:
    """The connected places where a word is, largest first; chances [h, w] at any resolution."""
    shown = _resized(chances[None], size)[0].numpy()
    found = _parts(shown >= _THERE, shown)
    largest = max((p.mask.sum() for p in found), default=0)
    return [p for p in found if p.mask.mean() >= _LEAST_AREA and p.mask.sum() >= _SPECK * largest]


def _parts(mask: Plane, chance: NDArray[np.floating]) -> list[Place]:
    from scipy.ndimage import find_objects, label

    parts, count = label(mask)
    found = []
    for number, box in enumerate(find_objects(parts), 1):
        own = np.zeros_like(mask)
        own[box] = parts[box] == number
        found.append(Place(own, float(chance[own].mean())))
    assert len(found) == count
    return sorted(found, key=lambda p: -int(p.mask.sum()))


def _sharp(looker: NanoPredictor, photo: EncodedPhoto, place: Place) -> Place:
    """The place with the border that a second look at it finds, if that look means the same thing."""
    answer = looker.pointed(photo, Ask(mask=encode(place.mask)))
    if not len(answer):
        return place
    mask = answer.dense(0)
    overlap = (mask & place.mask).sum() / (mask | place.mask).sum()
    return Place(mask, place.score) if overlap >= _AGREE else place


def _resized(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]


def _called(answer: Prediction, phrase: str, word: str) -> Prediction:
    """The answer with what was asked for written on it."""
    count = len(answer)
    return replace(answer, phrases=(phrase,) * count, labels=(word,) * count)
