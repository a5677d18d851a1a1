"""Training photos: folders of `images/` + `masks/` with an optional `objects.jsonl`, decoded once into memory."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from segcli.datasets import folders
from segcli.datasets.folders import FolderObject, Photo
from segcli.train.views import IGNORE, TrainingPhoto

_THING, _UNKNOWN, _STUFF = 1.0, 0.4, 0.15  # how often a click target is a thing, an unnamed region, a stuff region
_DONOR_AREA = 0.02  # an object is worth pasting from 2 % of its photo on
_LEAST_PIXELS = 32


def load_photos(roots: Iterable[Path], max_side: int = 384) -> list[TrainingPhoto]:
    """All photos below folders that hold `images/` and `masks/` (object ids, 255 ignored), or folders of such folders.

    With an `objects.jsonl` things are drawn more often than stuff; without one every id counts the same.
    Raises StorageError for a folder without photos or a broken list, ItemError for a photo without a mask.
    """
    listed = [photo for root in roots for source in folders.sources(root) for photo in folders.photos(source)]
    with ThreadPoolExecutor(4) as pool:
        return [read for read in pool.map(partial(_read, max_side=max_side), listed) if read.weights]


def _weight(labelled: FolderObject, listed: bool) -> float:
    if not listed:
        return _THING
    if labelled.thing is None:
        return _UNKNOWN
    return _THING if labelled.thing else _STUFF


def _read(photo: Photo, max_side: int) -> TrainingPhoto:
    pixels, ids = photo.pixels(), photo.ids()
    scale = max_side / max(ids.shape)
    if scale < 1:
        size = (round(ids.shape[1] * scale), round(ids.shape[0] * scale))
        pixels = np.asarray(Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BILINEAR))
        ids = np.asarray(Pillow.fromarray(ids).resize(size, Pillow.Resampling.NEAREST))
    area = np.bincount(ids.ravel(), minlength=256)
    weights = {o.id: _weight(o, photo.objects is not None) for o in photo.labelled(ids)}
    kept = {i: w for i, w in weights.items() if 0 < i < IGNORE and area[i] >= _LEAST_PIXELS}
    border = {int(i) for edge in (ids[0], ids[-1], ids[:, 0], ids[:, -1]) for i in np.unique(edge)}
    donors = tuple(i for i, w in kept.items() if w == _THING and i not in border and area[i] >= _DONOR_AREA * ids.size)
    return TrainingPhoto(pixels, ids, kept, donors)
