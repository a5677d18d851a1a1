"""From an ask's prompts to region masks: discs around clicks, thick strokes, filled boxes (PSALM, supplement)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask
from segcli.core.geometry import box_mask, polygon_mask, stroke_mask
from segcli.core.rle import decode

POINT_RADIUS = 10
"""Pixels of the photo, at its full size; published for COCO's photos of about 640 pixels."""
STROKE_RADIUS = 5

Mask = NDArray[np.bool_]


def grown(mask: Mask, radius: float) -> Mask:
    """All pixels at most `radius` pixels (Euclid) away from the mask."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return mask
    near: Mask = distance_transform_edt(~mask) <= radius
    return near


def region_of(ask: Ask, size: tuple[int, int]) -> Mask:
    """Everything that the ask's positive prompts mark, as one mask [H, W] of the photo's size.

    PSALM knows no negative prompts; what lies under one is taken out of the region.
    """
    masks = {True: np.zeros(size, np.bool_), False: np.zeros(size, np.bool_)}
    height, width = size
    for sign in (True, False):
        spots, strokes = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        for point in ask.points:
            if point.positive == sign:
                row, column = min(max(round(point.y), 0), height - 1), min(max(round(point.x), 0), width - 1)
                spots[row, column] = True
        for stroke in ask.scribbles:
            if stroke.positive == sign:
                strokes |= decode(stroke.drawn) if stroke.drawn is not None else stroke_mask(stroke.points, size)
        masks[sign] |= grown(spots, POINT_RADIUS) | grown(strokes, STROKE_RADIUS)
        for box in ask.boxes:
            if box.positive == sign:
                masks[sign] |= box_mask(box, size)
        for polygon in ask.polygons:
            if polygon.positive == sign:
                masks[sign] |= polygon_mask(polygon.points, size)
    for whole in (ask.mask, ask.previous):
        if whole is not None:
            masks[True] |= decode(whole)
    return masks[True] & ~masks[False]
