"""Views of a photo that seggpt-nano trains on: the whole photo, parts of it, and windows around its objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance

from segcli.datasets.folders import IGNORED

CELL = 2  # labels are kept at stride 2
_LEAST_ZOOMED = 0.002  # share of a photo that an object must cover to be zoomed at
_SMALLEST_ZOOM = 0.2  # of a photo's sides


@dataclass(frozen=True)
class ViewPlan:
    """Which views of a photo are kept: the whole one, then `recoloured` whole ones, `crops`, and `zooms`.

    A zoom is a window around one of the photo's objects, as an answer's closer look is.
    """

    side: int = 320
    recoloured: int = 1
    crops: int = 2
    zooms: int = 0
    smallest: float = 0.4  # shortest side of a crop, of the photo's
    seed: int = 0

    @property
    def count(self) -> int:
        """Views of each photo."""
        return 1 + self.recoloured + self.crops + self.zooms


def draw_view(
    pixels: NDArray[np.uint8], ids: NDArray[np.uint8], plan: ViewPlan, number: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """View `number`: pixels [S, S, 3] and ids [S/2, S/2]. 0 is the photo as it is; crops are flipped at will."""
    height, width = ids.shape
    box = (0.0, 0.0, float(width), float(height))
    if number > plan.recoloured:
        w, h = (side * rng.uniform(plan.smallest, 1.0) for side in (width, height))
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box = (x, y, x + w, y + h)
    photo, small = _seen(pixels, ids, box, plan.side)
    if number > 0:
        photo = _recoloured(photo, rng, 0.7, 1.35)
        if number <= plan.recoloured or rng.random() < 0.5:
            photo, small = _mirrored(photo, small)
    return np.asarray(photo), np.asarray(small)


def draw_zoom(
    pixels: NDArray[np.uint8], ids: NDArray[np.uint8], plan: ViewPlan, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A window around one of the marked objects, moved and stretched: pixels [S, S, 3] and ids [S/2, S/2]."""
    marked = [i for i in np.unique(ids).tolist() if 0 < i < IGNORED and (ids == i).mean() > _LEAST_ZOOMED]
    chosen = ids == marked[int(rng.integers(len(marked)))] if marked else np.ones_like(ids, np.bool_)
    spans = []
    for length, inside in zip(ids.shape, (chosen.any(1), chosen.any(0)), strict=True):
        places = np.flatnonzero(inside)
        span = min(length, max(_SMALLEST_ZOOM * length, (places[-1] + 1 - places[0]) * rng.uniform(1.1, 2.6)))
        middle = (places[0] + places[-1] + 1) / 2 + span * rng.uniform(-0.2, 0.2)
        start = min(max(0.0, middle - span / 2), length - span)
        spans.append((start, start + span))
    (y0, y1), (x0, x1) = spans
    photo, small = _seen(pixels, ids, (x0, y0, x1, y1), plan.side)
    photo = _recoloured(photo, rng, 0.6, 1.5)
    if rng.random() < 0.1:
        photo = photo.convert("L").convert("RGB")
    if rng.random() < 0.5:
        photo, small = _mirrored(photo, small)
    return np.asarray(photo), np.asarray(small)


def _seen(
    pixels: NDArray[np.uint8], ids: NDArray[np.uint8], box: tuple[float, float, float, float], side: int
) -> tuple[Pillow.Image, Pillow.Image]:
    photo = Pillow.fromarray(pixels).resize((side, side), Pillow.Resampling.BILINEAR, box=box)
    return photo, Pillow.fromarray(ids).resize((side // CELL, side // CELL), Pillow.Resampling.NEAREST, box=box)


def _recoloured(photo: Pillow.Image, rng: np.random.Generator, least: float, most: float) -> Pillow.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        photo = enhance(photo).enhance(rng.uniform(least, most))
    return photo


def _mirrored(*planes: Pillow.Image) -> list[Pillow.Image]:
    return [plane.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT) for plane in planes]
