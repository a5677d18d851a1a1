"""Ids of one frame as pictures: the mask alone, the frame with its masks on it, the objects alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcli.core.colors import davis_palette, overlay_color
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle, encode
from segcli.io.formats.cutout import cut
from segcli.io.formats.overlay import draw

Ids = NDArray[np.uint8]
"""[H, W], the number of the object that a pixel belongs to, 0 for none."""


def masks_of(ids: Ids, objects: tuple[int, ...]) -> tuple[Rle, ...]:
    """The mask of each object, empty ones too."""
    return tuple(encode(ids == number) for number in objects)


def paint_mask(ids: Ids, *, several: bool) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: white on black for a single object, DAVIS' colours where there are several."""
    if several:
        return np.asarray(davis_palette()[ids])
    white = (ids > 0).astype(np.uint8) * np.uint8(255)
    return np.repeat(white[..., None], 3, axis=2)


def paint_overlay(image: Image, masks: tuple[Rle, ...], objects: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: the frame with its objects in colours that stay theirs through the video."""
    colors = [overlay_color(number - 1) for number in objects]
    return draw(image.pixels, Prediction(image.size, masks, ids=objects), colors)


def paint_cutout(image: Image, ids: Ids) -> NDArray[np.uint8]:
    """uint8 [H, W, 4]: all objects on transparency, with the frame's own alpha."""
    return cut(image, (ids > 0).astype(np.uint8) * np.uint8(255))
