"""Sentences about scenes, drawn at random: what ras-nano learns from, and what it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from segcli.models.ras.colours import COLOURS
from segcli.train import groups_templates as say
from segcli.train.groups_rules import Meant, beside, compared, groups_of_words, of_word, on_side
from segcli.train.ras_scenes import Objects

IRREGULAR = {"person": "people", "sheep": "sheep", "knife": "knives", "mouse": "mice", "scissors": "scissors"}
Rng = np.random.Generator


def plural(word: str) -> str:
    """A noun's plural, near enough for class names."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def pick(rng: Rng, options: Sequence[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def any_of(rng: Rng, numbers: Sequence[int]) -> int:
    """One of the numbers."""
    return int(numbers[int(rng.integers(len(numbers)))])


def _noun(rng: Rng, word: str) -> str:
    return plural(word) if rng.random() < 0.5 else word


def category(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All of one class; sometimes of one that the photo does not have."""
    if o.complete and words and rng.random() < 0.15:
        absent = pick(rng, words)
        if absent not in o.categories:
            return Meant("absent", pick(rng, say.CATEGORY).format(word=_noun(rng, absent)), (), ())
    present = [c for c in dict.fromkeys(o.categories) if c]
    if not present:
        return None
    word = pick(rng, present)
    return Meant("class", pick(rng, say.CATEGORY).format(word=_noun(rng, word)), (), of_word(_categories(o), word))


def same_category(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All of a reference's class, or of any other."""
    groups = groups_of_words(_categories(o), 1 if rng.random() < 0.3 else 2)
    if not groups:
        return None
    members = groups[pick(rng, list(groups))]
    reference = any_of(rng, members)
    if rng.random() < 0.15 and all(o.categories):
        others = tuple(n for n in range(len(o.masks)) if n not in members)
        return Meant("other class", pick(rng, say.OTHER_CATEGORY), (reference,), others)
    return Meant("same class", pick(rng, say.SAME_CATEGORY), (reference,), members)


def attribute(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All of one colour, in words or shown."""
    present = [c for c in dict.fromkeys(o.colours) if c]
    if not present or rng.random() < 0.1:
        word = pick(rng, COLOURS)
        return Meant("colour", pick(rng, say.ATTRIBUTE).format(word=word), (), of_word(_colours(o), word))
    word = pick(rng, present)
    members = of_word(_colours(o), word)
    if rng.random() < 0.5:
        return Meant("colour", pick(rng, say.ATTRIBUTE).format(word=word), (), members)
    return Meant("same colour", pick(rng, say.SAME_COLOUR), (any_of(rng, members),), members)


def position(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All in one half of the photo."""
    side = pick(rng, say.SIDES)
    sentence = pick(rng, say.POSITION).format(word=pick(rng, say.SIDE[side]))
    return Meant("position", sentence, (), on_side(o.boxes, side, o.size))


def position_than(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All on one side of a reference."""
    side, reference = pick(rng, say.SIDES), int(rng.integers(len(o.masks)))
    sentence = pick(rng, say.POSITION_THAN).format(word=pick(rng, say.THAN[side]))
    return Meant("position of", sentence, (reference,), beside(o.boxes, side, reference))


def size_than(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All larger or smaller than a reference; sometimes between two."""
    areas, reference = o.areas, int(rng.integers(len(o.masks)))
    if len(o.masks) > 2 and rng.random() < 0.1:
        low, high = sorted(rng.choice(len(o.masks), 2, replace=False), key=lambda n: areas[int(n)])
        meant = set(compared(areas, int(low), larger=True)) & set(compared(areas, int(high), larger=False))
        return Meant("size", pick(rng, say.BETWEEN_SIZES), (int(low), int(high)), tuple(sorted(meant)))
    larger = bool(rng.random() < 0.5)
    sentence = pick(rng, say.SIZE_THAN).format(word=pick(rng, say.LARGER if larger else say.SMALLER))
    return Meant("size", sentence, (reference,), compared(areas, reference, larger=larger))


def superlative(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """The largest or the smallest."""
    order = np.argsort(o.areas)
    if rng.random() < 0.5:
        return Meant("superlative", pick(rng, say.LARGEST), (), (int(order[-1]),))
    return Meant("superlative", pick(rng, say.SMALLEST), (), (int(order[0]),))


def relation(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """All that touch a reference, or lie on it: they touch it, end within its height, and their centre is higher."""
    reference = int(rng.integers(len(o.masks)))
    near = [int(n) for n in np.flatnonzero(o.touching[reference])]
    if rng.random() < 0.5:
        return Meant("touching", pick(rng, say.TOUCHING), (reference,), tuple(near))
    boxes = o.boxes
    top, bottom = boxes[reference][1], boxes[reference][3]
    higher = set(beside(boxes, "top", reference))
    on = tuple(n for n in near if n in higher and top <= boxes[n][3] <= bottom)
    return Meant("on", pick(rng, say.ON), (reference,), on)


def identity(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """The references themselves, or all but one."""
    count = len(o.masks)
    if count > 1 and rng.random() < 0.4:
        a, b = (int(n) for n in rng.choice(count, 2, replace=False))
        return Meant("references", pick(rng, say.BOTH), (a, b), tuple(sorted((a, b))))
    one = int(rng.integers(count))
    if rng.random() < 0.6:
        return Meant("references", pick(rng, say.EXCEPT), (one,), tuple(n for n in range(count) if n != one))
    return Meant("references", pick(rng, say.IDENTITY), (one,), (one,))


def combined(o: Objects, rng: Rng, words: Sequence[str]) -> Meant | None:
    """A class with a place or a colour, or the classes of two references."""
    present = [c for c in dict.fromkeys(o.categories) if c]
    if not present:
        return None
    word = pick(rng, present)
    members, noun, side = set(of_word(_categories(o), word)), _noun(rng, word), pick(rng, say.SIDES)
    match int(rng.integers(4)):
        case 0:
            reference = int(rng.integers(len(o.masks)))
            sentence = pick(rng, say.CATEGORY_THAN).format(category=noun, word=pick(rng, say.THAN[side]))
            return Meant("combined", sentence, (reference,), _both(members, beside(o.boxes, side, reference)))
        case 1:
            sentence = pick(rng, say.CATEGORY_SIDE).format(category=noun, word=pick(rng, say.SIDE[side]))
            return Meant("combined", sentence, (), _both(members, on_side(o.boxes, side, o.size)))
        case 2:
            colours = [c for n in sorted(members) if (c := o.colours[n])]
            if not colours:
                return None
            colour = pick(rng, colours)
            sentence = pick(rng, say.COLOURED_CATEGORY).format(category=noun, colour=colour)
            return Meant("combined", sentence, (), _both(members, of_word(_colours(o), colour)))
    other = pick(rng, present)
    mine, theirs = any_of(rng, sorted(members)), any_of(rng, of_word(_categories(o), other))
    united = tuple(sorted(members | set(of_word(_categories(o), other))))
    return Meant("combined", pick(rng, say.SAME_AS_EITHER), (mine, theirs), united)


Draw = Callable[[Objects, Rng, Sequence[str]], Meant | None]
KINDS: dict[Draw, float] = {
    position: 1.5, position_than: 2, size_than: 2, same_category: 3, identity: 1.5, category: 5, attribute: 3,
    superlative: 1.5, relation: 2, combined: 4,
}  # fmt: skip
"""Each kind of sentence with how often it is drawn, those that are learnt soonest first."""


def draw(o: Objects, rng: Rng, words: Sequence[str], first: int | None = None) -> Meant:
    """One sentence about a photo, of the `first` kinds or of all.

    words: all class names, for sentences about absent ones.
    """
    kinds, weights = list(KINDS)[:first], np.array(list(KINDS.values())[:first])
    while True:
        if (meant := kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))](o, rng, words)) is not None:
            return meant


def sentences() -> list[str]:
    """Every template, for the tokenizer."""
    found: list[str] = []
    for name, value in vars(say).items():
        if name.isupper():
            values = [v for group in value.values() for v in group] if isinstance(value, dict) else list(value)
            found += values
    return found


def _categories(o: Objects) -> list[tuple[str, ...]]:
    return [() if c is None else (c,) for c in o.categories]


def _colours(o: Objects) -> list[tuple[str, ...]]:
    return [() if c is None else (c,) for c in o.colours]


def _both(members: set[int], others: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in others if n in members)
