"""The spatial ensemble: several examples tiled into one (arXiv 2304.03284, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segcli.core.errors import UsageError
from segcli.models.seggpt.prepost import Pixels, resized_mask, resized_photo


def tiled(pictures: Sequence[Pixels]) -> Pixels:
    """n*n pictures uint8 [h, w, 3] of one size -> one picture [n*h, n*w, 3], row by row.

    Raises UsageError for a count that is not a square.
    """
    side = round(len(pictures) ** 0.5)
    if not pictures or side * side != len(pictures):
        raise UsageError(f"{len(pictures)} examples: the spatial ensemble tiles 1, 4, 9 or 16 of them; give as many")
    rows = [np.concatenate(list(pictures[start : start + side]), axis=1) for start in range(0, side * side, side)]
    return np.concatenate(rows, axis=0)


def spatial_example(photos: Sequence[Pixels], masks: Sequence[Pixels], side: int) -> tuple[Pixels, Pixels]:
    """Examples, photos and colour masks uint8 [h, w, 3] -> one example of [side, side, 3] each.

    The paper states only that examples are tiled and sub-sampled; the order (row by row) and the filters (those of a
    single example) are ours. Every example is brought to `side` first, so that each takes an equal share.
    """
    photo = tiled([resized_photo(each, side) for each in photos])
    mask = tiled([resized_mask(each, side) for each in masks])
    return resized_photo(photo, side), resized_mask(mask, side)
