"""Colours of classes in a target picture, and the way back from painted colours to classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def class_colors(count: int) -> NDArray[np.uint8]:
    """The published colours of `count` classes, uint8 [count, 3]; black is never among them.

    The cube root is the floating one on purpose: 64 gives 3.99..., hence 4 levels a channel and not 5.
    """
    base = int(count ** (1 / 3)) + 1
    step = 256 // base
    index = np.arange(count)
    digits = np.stack([index // base**2, index % base**2 // base, index % base], axis=1)
    return (255 - step * digits).astype(np.uint8)


def with_background(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Black for the background, then the colours: uint8 [1 + n, 3]."""
    return np.concatenate([np.zeros((1, 3), np.uint8), colors])


def nearest_class(
    colors: NDArray[np.float64] | NDArray[np.int64],
    palette: NDArray[np.uint8],
    distance: Literal["absolute", "squared"] = "absolute",
) -> NDArray[np.int64]:
    """Index of the nearest row of `palette` for painted colours [H, W, 3]; the first of equals.

    `absolute` sums |difference| over the channels (Painter's ADE20K rule), `squared` its square (the transformers
    library). Works class by class, so that 150 classes of a large photo need three planes of memory and not 150.
    """
    best = np.full(colors.shape[:2], np.inf)
    chosen = np.zeros(colors.shape[:2], np.int64)
    for index, color in enumerate(palette.astype(np.float64)):
        difference = colors - color
        away = np.abs(difference).sum(-1) if distance == "absolute" else (difference**2).sum(-1)
        closer = away < best
        best[closer] = away[closer]
        chosen[closer] = index
    return chosen


def colors_of(ids: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """A colour for each id: white for a single one, the published class colours for several."""
    return dict(zip(ids, class_colors(len(ids)), strict=True))


def paint(ids: NDArray[np.integer], colors: Mapping[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Ids [H, W] -> their colours on black, uint8 [H, W, 3]."""
    picture = np.zeros((*ids.shape, 3), np.uint8)
    for number, color in colors.items():
        picture[ids == number] = color
    return picture


def closeness(colors: NDArray[np.float64], palette: Mapping[int, NDArray[np.uint8]]) -> dict[int, NDArray[np.float64]]:
    """How far each pixel [H, W, 3] is on its way from the nearest other colour (or black) to an id's own: [H, W].

    In [0, 1], above 0.5 where the id's colour is the nearest. For white alone it is the channel mean / 255.
    """
    away = {0: np.abs(colors).sum(-1)}
    away |= {number: np.abs(colors - color).sum(-1) for number, color in palette.items()}
    result = {}
    for number in palette:
        others = np.min([value for other, value in away.items() if other != number], axis=0)
        result[number] = others / np.maximum(others + away[number], np.finfo(np.float64).tiny)
    return result
