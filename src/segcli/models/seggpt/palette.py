"""Colours of classes in a target picture, and the way back from painted colours to classes."""

from __future__ import annotations

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
