"""Instances of any class as colours of the place where they are, and the way back (Painter's COCO instance rule).

The centre of an instance's mass falls into one of 80 x 80 places; a place has a colour of its own. So one picture holds
all instances of a photo, and the model need not know their classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACES, CELLS = 80, 4
"""Places along each side, and super-cells: one channel says the super-cell, the two others the place in it."""
_INSIDE = PLACES // CELLS
_CELL_STEP, _STEP = 15, 13
NEAR = 19.0
"""Mean difference of the channels below which a pixel is of a place's colour."""
_CANDIDATES, _KEPT, _SIGMA = 2000, 100, 2.0
_LEAST_PIXELS = 16
_OVERLAP_SIDE = 112
"""Overlaps between candidates are measured on about that many pixels along each side."""


@dataclass(frozen=True, eq=False)
class Found:
    """N instances: masks bool [N, h, w], scores [N] in [0, 1], best first."""

    masks: NDArray[np.bool_]
    scores: NDArray[np.float64]


def place_color(row: float, column: float) -> NDArray[np.uint8]:
    """Colour of a mass centre given as fractions of the photo's height and width."""
    y, x = (min(int(value * (PLACES - 1)), PLACES - 1) for value in (row, column))
    cell = y // _INSIDE * CELLS + x // _INSIDE
    return np.array([255 - _CELL_STEP * cell, 255 - _STEP * (y % _INSIDE), 255 - _STEP * (x % _INSIDE)], np.uint8)


def paint_places(instances: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Instance numbers [H, W], 0 for none -> colours uint8 [H, W, 3] on black."""
    height, width = instances.shape
    picture = np.zeros((height, width, 3), np.uint8)
    for number in np.unique(instances[instances > 0]):
        rows, columns = np.nonzero(instances == number)
        picture[rows, columns] = place_color(rows.mean() / height, columns.mean() / width)
    return picture


def find_instances(colors: NDArray[np.float64]) -> Found:
    """Instances in painted colours [h, w, 3], 0 to 255.

    A candidate is each colour that is the nearest one of some pixels; its mask are all pixels closer than `NEAR`, and
    closer to it than to black: the darkest place's colour is nearer to the background than that. What overlaps is
    thinned by matrix NMS (Gaussian, as SOLOv2). The published code tries all 6400 colours and knows no background;
    colours that no pixel is nearest to repeat their neighbours' masks.
    """
    height, width = colors.shape[:2]
    black = colors.mean(-1)
    cell = np.clip(np.rint((255 - colors[..., 0]) / _CELL_STEP), 0, CELLS * CELLS - 1).astype(np.int64)
    inner = np.clip(np.rint((255 - colors[..., 1:]) / _STEP), 0, _INSIDE - 1).astype(np.int64)
    codes, counts = np.unique((cell * _INSIDE + inner[..., 0]) * _INSIDE + inner[..., 1], return_counts=True)
    masks, scores = [], []
    for code in codes[counts >= _LEAST_PIXELS]:
        levels = (code // _INSIDE**2 * _CELL_STEP, code // _INSIDE % _INSIDE * _STEP, code % _INSIDE * _STEP)
        away = np.abs(colors - (255.0 - np.array(levels))).mean(-1)
        mask = away < np.minimum(black, NEAR)
        if mask.sum() >= _LEAST_PIXELS:
            masks.append(mask)
            scores.append(float(1 - away[mask].mean() / max(float(away.max()), 1.0)))
    if not masks:
        return Found(np.zeros((0, height, width), np.bool_), np.zeros(0))
    order = np.argsort(scores, kind="stable")[::-1][:_CANDIDATES]
    ranked = np.stack([masks[index] for index in order])
    thinned = matrix_nms(ranked, np.array(scores)[order])
    best = np.argsort(-thinned, kind="stable")[:_KEPT]
    return Found(ranked[best], thinned[best])


def matrix_nms(masks: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores [N] lowered by overlap with better masks [N, h, w], which come first (SOLOv2, section 3.3, Gaussian)."""
    step = max(1, min(masks.shape[1:]) // _OVERLAP_SIDE)
    flat = masks[:, ::step, ::step].reshape(len(masks), -1).astype(np.float32)
    shared = flat @ flat.T
    area = flat.sum(1)
    overlap = np.triu(shared / np.maximum(area[:, None] + area[None] - shared, 1e-9), k=1).astype(np.float64)
    worst = overlap.max(axis=0, initial=0.0)  # of each mask with any better one
    decay = np.exp(-_SIGMA * (overlap**2 - worst[:, None] ** 2))
    decay[np.tril_indices(len(masks))] = 1.0
    return np.asarray(scores * decay.min(axis=0, initial=1.0))
