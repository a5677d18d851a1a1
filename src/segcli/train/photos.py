"""Training photos: folders of `images/` + `masks/` with an optional `objects.jsonl`, or packs of such photos, decoded
once into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segcli.datasets import folders
from segcli.datasets.folders import FolderObject, Photo
from segcli.train.pack import Pack, PackedPhoto
from segcli.train.views import IGNORE, TrainingPhoto

MAX_SIDE = 384
_THING, _UNKNOWN, _STUFF = 1.0, 0.4, 0.15  # how often a click target is a thing, an unnamed region, a stuff region
_DONOR_AREA = 0.02  # an object is worth pasting from 2 % of its photo on
_LEAST_PIXELS = 32

Bytes = NDArray[np.uint8]


def load_photos(roots: Iterable[Path], max_side: int = MAX_SIDE) -> list[TrainingPhoto]:
    """All photos of `roots`: folders that hold `images/` and `masks/` (object ids, 255 ignored), folders of such
    folders, and packs that `seg train pack` wrote.

    With an `objects.jsonl` things are drawn more often than stuff; without one every id counts the same.
    Raises StorageError for a folder without photos, a broken list or a broken pack, ItemError for a photo without a
    mask.
    """
    listed = [photo for root in roots for photo in _listed(root)]
    with ThreadPoolExecutor(4) as pool:
        return [read for read in pool.map(partial(_read, max_side=max_side), listed) if read.weights]


def training_photo(pixels: Bytes, ids: Bytes, objects: Sequence[FolderObject] | None) -> TrainingPhoto:
    """A photo [h, w, 3] with ids [h, w] and its listed objects, or None where no list exists."""
    area = np.bincount(ids.ravel(), minlength=256)
    shown = objects if objects is not None else [FolderObject(int(i)) for i in np.flatnonzero(area[1:IGNORE]) + 1]
    weights = {o.id: _weight(o, objects is not None) for o in shown}
    kept = {i: w for i, w in weights.items() if 0 < i < IGNORE and area[i] >= _LEAST_PIXELS}
    border = {int(i) for edge in (ids[0], ids[-1], ids[:, 0], ids[:, -1]) for i in np.unique(edge)}
    donors = tuple(i for i, w in kept.items() if w == _THING and i not in border and area[i] >= _DONOR_AREA * ids.size)
    return TrainingPhoto(pixels, ids, kept, donors, {o.id: o.name for o in shown if o.name and o.id in kept})


def shrunk(pixels: Bytes, ids: Bytes, max_side: int) -> tuple[Bytes, Bytes]:
    """Both with a longest side of at most `max_side`; ids stay ids."""
    scale = max_side / max(ids.shape)
    if scale >= 1:
        return pixels, ids
    size = (max(1, round(ids.shape[1] * scale)), max(1, round(ids.shape[0] * scale)))
    return (
        np.asarray(Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BILINEAR)),
        np.asarray(Pillow.fromarray(ids).resize(size, Pillow.Resampling.NEAREST)),
    )


def _listed(root: Path) -> Iterator[Photo | PackedPhoto]:
    if root.is_file():
        yield from Pack(root)
        return
    for source in folders.sources(root):
        yield from folders.photos(source)


def _weight(labelled: FolderObject, listed: bool) -> float:
    if not listed:
        return _THING
    if labelled.thing is None:
        return _UNKNOWN
    return _THING if labelled.thing else _STUFF


def _read(photo: Photo | PackedPhoto, max_side: int) -> TrainingPhoto:
    return training_photo(*shrunk(photo.pixels(), photo.ids(), max_side), photo.objects)
