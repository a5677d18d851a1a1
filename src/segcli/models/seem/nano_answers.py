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
from segcli.models.seem.focus import Window, cells_of, focus_window, whole
from segcli.models.seem.maps import extent
from segcli.models.seem.nano_words import grouped

if TYPE_CHECKING:
    from segcli.models.seem.nano_predictor import EncodedPhoto, NanoPredictor
    from segcli.models.seem.nano_words import Words

_SIDE = 448  # longest side of the look at the whole photo that is searched for words
_PART, _PART_SIDE = 0.6, 384  # four looks at so much of the photo, one in each corner, for what is small
_CELLS = 80  # longest side of the map of all words' probabilities
_THERE = 0.2  # a word may be where its probability is at least this,
_MEANT = 0.1  # and is, where a look at the place alone calls it so with this probability
_MOST = 12  # so many places of one word get a look of their own, the largest ones
_LEAST_AREA = 0.001  # of the photo: smaller places of a word are doubt, not objects
_SPECK = 0.02  # of a word's largest place
_AGREE = 0.5  # overlap from which the click path's version of a place is believed
_CALLED = 0.2  # --all: the least score of an instance unless the ask says otherwise
_SPATIAL = frozenset({PromptKind.POINT, PromptKind.BOX, PromptKind.SCRIBBLE, PromptKind.POLYGON, PromptKind.MASK})

Plane = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """One connected place of a word: mask [H, W] of the photo, how probable it is that it is meant."""

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
    meant = words.vocabulary.covered(word)
    chances = grouped(everywhere(looker, words, photo), [meant])[0]
    if places_too and ask.answer == "all":
        return _called(_pointed_by_name(looker, photo, ask, chances), ask.text, word)
    found = []
    for place in _places(chances, photo.size):
        sharp = _sharp(looker, photo, place)
        likely = float(_look_at(looker, words, photo, sharp.mask, [meant])[0])
        if likely >= _MEANT:
            found.append(Place(sharp.mask, (place.score + likely) / 2))
    least = ask.threshold
    if ask.every:
        least = _CALLED if least is None else least
        found = sorted((p for p in found if p.score >= least), key=lambda p: -p.score)
    elif found:
        areas = [int(p.mask.sum()) for p in found]
        score = sum(p.score * a for p, a in zip(found, areas, strict=True)) / sum(areas)
        found = [Place(np.logical_or.reduce([p.mask for p in found]), score)]
        found = [] if least is not None and score < least else found
    masks = tuple(encode(p.mask) for p in found)
    return _called(Prediction(photo.size, masks, tuple(round(p.score, 4) for p in found)), ask.text, word)


def everywhere(looker: NanoPredictor, words: Words, photo: EncodedPhoto) -> Tensor:
    """Probability of every word, and of none, all over the photo: [V + 1, h, w], kept with the photo.

    Mean of a look at the whole photo and of larger looks at its corners.
    """
    if photo.chances is None:
        height, width = (max(1, round(v * _CELLS / max(photo.size))) for v in photo.size)
        looks = [(whole(photo.size), _SIDE)]
        part_h, part_w = (max(1, round(v * _PART)) for v in photo.size)
        for y in {0, photo.size[0] - part_h}:
            for x in {0, photo.size[1] - part_w}:
                looks.append((Window(x, y, x + part_w, y + part_h), _PART_SIDE))
        total, count = torch.zeros(len(words.vocabulary.words) + 1, height, width), torch.zeros(height, width)
        for window, side in looks:
            place, encoded = looker.see(photo, window, side)
            rows = slice(round(window.y0 * height / photo.size[0]), round(window.y1 * height / photo.size[0]))
            columns = slice(round(window.x0 * width / photo.size[1]), round(window.x1 * width / photo.size[1]))
            fit = (rows.stop - rows.start, columns.stop - columns.start)
            if min(fit):
                total[:, rows, columns] += _resized(words.where(encoded, place).float(), fit)
                count[rows, columns] += 1
        photo.chances = (total / count).half()
    return photo.chances.float()


def labelled(looker: NanoPredictor, words: Words, photo: EncodedPhoto, ask: Ask, answer: Prediction) -> Prediction:
    """The same masks, each with the likeliest of the ask's classes and its probability."""
    meant = words.offered(ask.classes)
    names = list(meant)
    labels, scores = [], []
    for index in range(len(answer)):
        chances = _look_at(looker, words, photo, answer.dense(index), list(meant.values()))[:-1]
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
    meant = words.offered(ask.classes)
    names, groups = list(meant), list(meant.values())
    said = dict(zip(ask.classes, ask.things, strict=True)) if ask.things else {}
    chances = _resized(grouped(everywhere(looker, words, photo), groups), photo.size)
    owner = chances.argmax(0).numpy()
    found: list[tuple[Place, str, bool]] = []
    for index, name in enumerate(names):
        thing = said.get(name)
        if thing is None:
            thing = words.vocabulary.find(name) not in words.vocabulary.stuff
        mine = owner == index
        if not mine.any() or (ask.kind == "instance" and not thing):
            continue
        chance = chances[index].numpy()
        if ask.kind == "semantic":
            parts = [Place(mine, float(chance[mine].mean()))]
        else:
            parts = _sharp_parts(looker, photo, mine, chance, sharpen=thing)
            parts = [p for p in parts if _look_at(looker, words, photo, p.mask, groups)[index] >= _MEANT]
            if parts and not thing:
                union = np.logical_or.reduce([p.mask for p in parts])
                parts = [Place(union, float(chance[union].mean()))]
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


def _sharp_parts(
    looker: NanoPredictor, photo: EncodedPhoto, mask: Plane, chance: NDArray[np.floating], *, sharpen: bool
) -> list[Place]:
    """The largest connected parts of a mask, with sharp borders where that is wanted."""
    parts = [p for p in _parts(mask, chance)[:_MOST] if p.mask.mean() >= _LEAST_AREA]
    return [_sharp(looker, photo, p) for p in parts] if sharpen else parts


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
    return [p for p in found if p.mask.mean() >= _LEAST_AREA and p.mask.sum() >= _SPECK * largest][:_MOST]


def _look_at(
    looker: NanoPredictor, words: Words, photo: EncodedPhoto, mask: Plane, meant: Sequence[Sequence[int]]
) -> Tensor:
    """Probability [G + 1] that the mask, which is not empty, is one of the groups of words, the last: none of them."""
    shown = torch.from_numpy(mask)
    box = extent(shown, photo.size)
    assert box is not None
    place, encoded = looker.look(photo, focus_window(box, photo.size), looker.focus_side)
    return words.what(encoded, place, cells_of(shown, photo.size, place, 16)[0, 0], meant)


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
