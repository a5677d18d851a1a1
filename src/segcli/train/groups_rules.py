"""Which objects a template means: the rules of MaskGroups, on plain boxes and words.

Boxes are x0, y0, x1, y1. Rules give the indices that are meant; a rule that compares with a reference leaves the
reference itself out, one that asks for its kind keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]
Triplet = tuple[str, str, str]
"""Subject, relation, object."""


@dataclass(frozen=True)
class Meant:
    """A sentence's words, the references in order of their places, and what is meant. Indices of objects."""

    kind: str
    sentence: str
    references: tuple[int, ...]
    targets: tuple[int, ...]


def centre(box: Box) -> tuple[float, float]:
    """x, y of a box's centre."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def of_word(words: Sequence[Iterable[str]], word: str) -> tuple[int, ...]:
    """Objects that have `word` among theirs (categories or attributes)."""
    return tuple(n for n, own in enumerate(words) if word in own)


def groups_of_words(words: Sequence[Iterable[str]], least: int = 2) -> dict[str, tuple[int, ...]]:
    """Each word that at least `least` objects have, with those objects."""
    found: dict[str, list[int]] = defaultdict(list)
    for n, own in enumerate(words):
        for word in own:
            found[word].append(n)
    return {word: tuple(members) for word, members in found.items() if len(members) >= least}


def on_side(boxes: Sequence[Box], side: str, size: tuple[int, int]) -> tuple[int, ...]:
    """Objects whose box's centre lies in a half of the photo of `size` (H, W)."""
    middle = (size[1] / 2, size[0] / 2)
    return tuple(n for n, box in enumerate(boxes) if _beyond(centre(box), middle, side))


def beside(boxes: Sequence[Box], side: str, reference: int) -> tuple[int, ...]:
    """Objects whose centre lies on that side of the reference's centre."""
    own = centre(boxes[reference])
    return tuple(n for n, box in enumerate(boxes) if n != reference and _beyond(centre(box), own, side))


def related(triplets: Iterable[tuple[int, str, int]]) -> list[tuple[str, int, tuple[int, ...], bool]]:
    """Groups of relation triplets of indices: (relation, reference, meant, mirrored).

    One subject that has one relation to several objects means those; one object to which several subjects have one
    relation (mirrored) means the subjects.
    """
    objects: dict[tuple[int, str], list[int]] = defaultdict(list)
    subjects: dict[tuple[int, str], list[int]] = defaultdict(list)
    for subject, relation, other in triplets:
        if other not in objects[subject, relation]:
            objects[subject, relation].append(other)
        if subject not in subjects[other, relation]:
            subjects[other, relation].append(subject)
    found = [(r, n, tuple(meant), False) for (n, r), meant in objects.items() if len(meant) > 1]
    return found + [(r, n, tuple(meant), True) for (n, r), meant in subjects.items() if len(meant) > 1]


def compared(areas: Sequence[float], reference: int, *, larger: bool) -> tuple[int, ...]:
    """Objects larger (or smaller) than the reference."""
    own = areas[reference]
    return tuple(n for n, area in enumerate(areas) if (area > own if larger else area < own))


def _beyond(point: tuple[float, float], other: tuple[float, float], side: str) -> bool:
    rules: Mapping[str, bool] = {
        "left": point[0] < other[0],
        "right": point[0] > other[0],
        "top": point[1] < other[1],
        "bottom": point[1] > other[1],
    }
    return rules[side]
