"""Looks at training photos with the names of what is where, for the words of seem-nano.

The networks below the word head stay as they are, so each look is encoded once and kept on disk in half precision:
an epoch over the kept looks costs a small part of encoding them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segcli.datasets import folders
from segcli.models.seem.vocabulary import Vocabulary, covers
from segcli.train.views import IGNORE, TrainingPhoto, crop, recolour, whole_box, zoom_box

Bytes = NDArray[np.uint8]
UNLABELLED = 254  # code of pixels without a label in photos whose classes are all labelled
_LEAST_AREA = 0.002  # of a photo: smaller regions get no look of their own


@dataclass(frozen=True)
class WordPhoto:
    """A decoded photo with the vocabulary's index for each object id (None: a class outside of the vocabulary).

    open: the words that unlabelled pixels may still be (True per word, the last for "none"), or None when nothing is
    known about them.
    """

    name: str
    photo: TrainingPhoto
    words: dict[int, int | None]
    open: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Look:
    """uint8 pixels [S, S, 3]; codes [S/4, S/4]: the word's index, UNLABELLED or IGNORE; `region` [S/4, S/4] bool is
    the object that the look was made for, with its word (-1: none)."""

    pixels: Bytes
    codes: Bytes
    region: NDArray[np.bool_]
    word: int
    photo: int


def load(roots: Sequence[Path], vocabulary: Vocabulary, max_side: int = 384) -> list[WordPhoto]:
    """Photos of sources whose list names classes. Raises StorageError and ItemError as the folders' reader does."""
    found = []
    for root in roots:
        for source in folders.sources(root):
            photos = [p for p in folders.photos(source) if p.objects and any(o.name for o in p.objects)]
            labelled = {vocabulary.index(o.name) for p in photos for o in p.objects or () if o.name}
            things = {i for i in labelled if i is not None and vocabulary.words[i] not in vocabulary.stuff}
            for photo in photos:
                known = things if photo.complete and not photo.stuff_labelled else labelled
                free = None
                if photo.complete:
                    free = np.ones(len(vocabulary.words) + 1, np.bool_)
                    free[[i for i in known if i is not None]] = False
                found.append(_read(photo, vocabulary, free, max_side))
    return found


def _read(photo: folders.Photo, vocabulary: Vocabulary, free: NDArray[np.bool_] | None, max_side: int) -> WordPhoto:
    pixels, ids = photo.pixels(), photo.ids()
    scale = max_side / max(ids.shape)
    if scale < 1:
        size = (round(ids.shape[1] * scale), round(ids.shape[0] * scale))
        pixels = np.asarray(Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BILINEAR))
        ids = np.asarray(Pillow.fromarray(ids).resize(size, Pillow.Resampling.NEAREST))
    words = {o.id: vocabulary.index(o.name) if o.name else None for o in photo.labelled(ids)}
    return WordPhoto(photo.name, TrainingPhoto(pixels, ids, dict.fromkeys(words, 1.0)), words, free)


def looks(photos: Sequence[WordPhoto], wholes: int, zooms: int, most: int, side: int, seed: int) -> Iterator[Look]:
    """`wholes` looks at each photo and `zooms` at each of at most `most` of its objects. Same seed, same looks."""
    rng = np.random.default_rng(seed)
    for index, photo in enumerate(photos):
        for _ in range(wholes):
            yield _look(photo, index, None, whole_box(photo.photo.labels.shape, rng), side, rng)
        area = np.bincount(photo.photo.labels.ravel(), minlength=256)
        worth = [i for i, w in photo.words.items() if w is not None and area[i] >= _LEAST_AREA * area.sum()]
        for chosen in rng.permutation(worth)[:most]:
            for _ in range(zooms):
                box = zoom_box(photo.photo.labels == chosen, rng)
                yield _look(photo, index, int(chosen), box, side, rng)


def _look(
    photo: WordPhoto,
    index: int,
    chosen: int | None,
    box: tuple[float, float, float, float],
    side: int,
    rng: np.random.Generator,
) -> Look:
    pixels, labels = crop(photo.photo, box, side)
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    table = np.full(256, IGNORE, np.uint8)
    table[0] = IGNORE if photo.open is None else UNLABELLED
    for number, word in photo.words.items():
        table[number] = UNLABELLED if word is None and photo.open is not None else IGNORE if word is None else word
    codes = table[labels][1::4, 1::4]
    word = -1 if chosen is None else photo.words[chosen]
    region = labels[1::4, 1::4] == (-1 if chosen is None else chosen)
    assert word is not None
    return Look(recolour(np.ascontiguousarray(pixels), rng), np.ascontiguousarray(codes), region, word, index)


def allowed_words(vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """[V, V + 1]: which words an object labelled so may be called; a broad label may be any narrower one."""
    count = len(vocabulary.words)
    allowed = np.zeros((count, count + 1), np.bool_)
    allowed[np.arange(count), np.arange(count)] = True
    for broad in covers():
        if broad in vocabulary.words:
            allowed[vocabulary.words.index(broad), list(vocabulary.covered(broad))] = True
    return allowed
