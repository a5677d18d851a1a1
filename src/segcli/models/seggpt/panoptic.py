"""A whole photo from two painted pictures: one of classes, one of instances (Painter's panoptic merge)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segcli.core.example import Task
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.models.seggpt.places import Found, find_instances
from segcli.models.seggpt.prepost import Unit

LEAST_SCORE, MOST_OVERLAP = 0.55, 0.5
LEAST_STUFF = 8192 / 560**2
"""Share of the photo from which a region of stuff counts: 8192 pixels at the size at which Painter ran."""


def panoptic(
    classes: Unit, places: Unit, colors: Mapping[int, NDArray[np.uint8]], task: Task, size: tuple[int, int]
) -> Prediction:
    """Things and stuff of a photo of `size` (H, W) from painted colours [h, w, 3] of classes and of places.

    Instances go first, the best on top; each takes the class that its pixels are nearest to. What is left goes to the
    nearest stuff class. Masks do not overlap; ids are 1..N.
    """
    things = [number for number in colors if number in task.things]
    stuff = [number for number in colors if number not in task.things]
    likeness = {number: _likeness(classes, color) for number, color in colors.items()}
    segments = np.zeros(classes.shape[:2], np.int32)
    owners: list[tuple[int, float]] = []
    if things:
        owners += _place_things(find_instances(places), likeness, things, segments)
    background = _likeness(classes, np.zeros(3, np.uint8))
    rivals = np.stack([background, *likeness.values()])
    nearest = np.array([0, *likeness])[rivals.argmax(axis=0)]
    for number in stuff:
        region = (nearest == number) & (segments == 0)
        if region.sum() >= max(1.0, LEAST_STUFF * region.size):
            owners.append((number, float(likeness[number][region].mean())))
            segments[region] = len(owners)
    full = np.asarray(Pillow.fromarray(segments).resize(size[::-1], Pillow.Resampling.NEAREST))
    shown = [(index, *owner) for index, owner in enumerate(owners, 1) if (full == index).any()]
    return Prediction(
        size=size,
        masks=tuple(encode(full == index) for index, _, _ in shown),
        scores=tuple(score for _, _, score in shown),
        labels=tuple(task.names[number] for _, number, _ in shown),
        things=tuple(number in task.things for _, number, _ in shown),
    )


def _place_things(
    found: Found, likeness: Mapping[int, Unit], things: list[int], segments: NDArray[np.int32]
) -> list[tuple[int, float]]:
    """Write instances into `segments` (1, 2, …) and return the class and score of each."""
    owners: list[tuple[int, float]] = []
    for mask, score in zip(found.masks, found.scores, strict=True):
        free = mask & (segments == 0)
        if score < LEAST_SCORE or free.sum() < (1 - MOST_OVERLAP) * mask.sum() or not free.any():
            continue
        owners.append((max(things, key=lambda number: float(likeness[number][mask].sum())), float(score)))
        segments[free] = len(owners)
    return owners


def _likeness(colors: Unit, color: NDArray[np.uint8]) -> Unit:
    """1 where a pixel has the colour, 0 where it is as far from it as any pixel of the photo: [h, w]."""
    away = np.abs(colors - color).sum(-1)
    return np.asarray(1 - away / max(float(away.max()), 1.0))
