"""Masks that a person gives for a frame: one object, or several by number.

Programs that draw with soft brushes or resize indexed masks leave ids along the borders between regions that nobody
meant (the mean of two ids is a third one). An id that is nowhere three pixels wide is taken for such an edge when it

- covers less than a thousandth of the frame and touches at least two other ids, or
- covers less than a hundredth and has a smaller and a larger id beside it along nearly all of its length, as means do.

Its pixels go to the background, and the id is reported. A grey file of many values that is mostly black and white is
one object with a soft border.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, UsageError
from segcli.core.morphology import dilate, erode
from segcli.core.rle import decode
from segcli.io.images import read_image, read_indexed, read_mask
from segcli.io.video.frames import size_words

EDGE_SHARE = 0.001
MEAN_SHARE = 0.01
_SOFT_VALUES = 16  # more than so many grey values, most of the picture black and white: one object, softly drawn
MOST_OBJECTS = 255


@dataclass(frozen=True, eq=False)
class GivenMasks:
    """Object -> mask [H, W], and the ids that were taken for soft edges."""

    masks: dict[int, NDArray[np.bool_]]
    edges: tuple[int, ...] = ()


def read_given(path: Path, size: tuple[int, int] | None, frame: str) -> GivenMasks:
    """The objects of an indexed or grey mask; a black and white one, or one in colour, is object 1.

    size: of the frame (H, W), None for any. frame: what messages call it. Raises UsageError for a mask that can't be
    read, has another size, or marks nothing.
    """
    try:
        ids, binary = _ids(path)
    except ItemError as error:
        raise UsageError(str(error)) from None
    if size is not None and ids.shape != size:
        raise UsageError(
            f"{path}: the mask has {size_words((ids.shape[0], ids.shape[1]))} pixels, {frame} has {size_words(size)}; "
            "give a mask of the video's size"
        )
    present = [int(number) for number in np.unique(ids) if number]
    if not present:
        raise UsageError(f"{path}: the mask marks nothing; paint the object, or leave the mask out")
    if not binary and ids.max() < 256 and _softly_drawn(ids) and not _indexed(path):
        inside = ids >= 128
        return GivenMasks({1: inside}, tuple(number for number in present if number < 255))
    edges = () if binary else soft_edges(ids)
    kept = [number for number in present if number not in edges]
    if len(kept) == 1 and kept[0] >= 128 and not _indexed(path):
        return GivenMasks({1: ids == kept[0]}, edges)
    if max(kept) > MOST_OBJECTS:
        raise UsageError(f"{path}: holds object {max(kept)}; a video has objects 1 to {MOST_OBJECTS}")
    return GivenMasks({number: ids == number for number in kept}, edges)


def soft_edges(ids: NDArray[np.integer]) -> tuple[int, ...]:
    """Ids that are soft edges (see above). Never all that there are."""
    counts = np.bincount(ids.ravel())
    small = [number for number in np.flatnonzero(counts).tolist() if number and counts[number] < MEAN_SHARE * ids.size]
    found = []
    for number in small:
        rows, columns = np.nonzero(ids == number)
        part = ids[max(rows.min() - 2, 0) : rows.max() + 3, max(columns.min() - 2, 0) : columns.max() + 3]
        own = part == number
        if erode(own, 1).any():
            continue
        between = own & dilate(part < number, 1) & dilate(part > number, 1)
        tiny = counts[number] < EDGE_SHARE * ids.size and len(np.unique(part[dilate(own, 1) & ~own])) >= 2
        if tiny or between.sum() >= 0.9 * own.sum():
            found.append(number)
    present = np.flatnonzero(counts[1:]) + 1
    return tuple(found) if len(found) < len(present) else ()


def _softly_drawn(ids: NDArray[np.integer]) -> bool:
    """True for a black and white picture with soft borders."""
    return len(np.unique(ids)) > _SOFT_VALUES and float(((ids < 8) | (ids > 247)).mean()) > 0.8


def _ids(path: Path) -> tuple[NDArray[np.uint16], bool]:
    """Ids [H, W], and whether the file only says inside and outside."""
    try:
        ids = read_indexed(path, str(path))
    except ItemError as error:
        if "holds colours" not in str(error):
            raise
        _refuse_colours(path)
        return decode(read_mask(path, str(path))).astype(np.uint16), True
    if path.suffix.lower() in (".jpg", ".jpeg"):  # no id survives it
        return (ids >= 128).astype(np.uint16), True
    return ids, False


def _refuse_colours(path: Path) -> None:
    """Raise UsageError for a picture of several colours: which of them are objects only its maker knows."""
    pixels = read_image(path, str(path)).pixels
    packed = pixels[..., 0].astype(np.uint32) << 16 | pixels[..., 1].astype(np.uint32) << 8 | pixels[..., 2]
    colours, counts = np.unique(packed, return_counts=True)
    large = [c for c, n in zip(colours.tolist(), counts.tolist(), strict=True) if c and n >= EDGE_SHARE * packed.size]
    if len(large) > 1:
        raise UsageError(
            f"{path}: holds {len(large)} colours, not ids; give an indexed or grey PNG, or black and white"
        )


def _indexed(path: Path) -> bool:
    import PIL.Image

    with PIL.Image.open(path) as file:
        return file.mode == "P"
