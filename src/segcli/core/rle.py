"""Run-length encoded masks: COCO's column-major runs in its compressed string form.

pycocotools does what is done on codes (imported on first use, so that `core` stays light to import). Masks are encoded
here, within their own box: pycocotools wants the whole photo in column order, which costs more than the encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rle:
    """One boolean mask [H, W], hashable. `size` is (H, W); `counts` is COCO's compressed string."""

    size: tuple[int, int]
    counts: bytes

    def coco(self) -> dict[str, Any]:
        """The dict that pycocotools and COCO JSON files use (`counts` as str)."""
        return {"size": list(self.size), "counts": self.counts.decode("ascii")}

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        return int(_mask().area(_raw(self)))

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """Tight box x, y, width, height in pixels; all zero for an empty mask."""
        x, y, w, h = (int(v) for v in _mask().toBbox(_raw(self)))
        return x, y, w, h


def encode(mask: NDArray[Any]) -> Rle:
    """Encode a mask [H, W] (non-zero is inside)."""
    if mask.ndim != 2:
        raise ValueError(f"a mask is [H, W], not {mask.shape}")
    size = (int(mask.shape[0]), int(mask.shape[1]))
    inside = mask if mask.dtype == np.bool_ else mask != 0
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return empty(size)
    y, x = int(rows[0]), int(columns[0])
    return encode_tight(inside[y : rows[-1] + 1, x : columns[-1] + 1], x, y, size)


def encode_tight(mask: NDArray[np.bool_], x: int, y: int, size: tuple[int, int]) -> Rle:
    """Encode bool [h, w], the part of a mask of `size` (H, W) whose upper left pixel is x, y; the rest is empty.

    Takes time and memory for the part only, however large the photo.
    """
    height, width = mask.shape
    flat = np.zeros(1 + width * (height + 1), dtype=np.bool_)  # a pixel before the first column and one behind each
    flat[1:].reshape(width, height + 1)[:, :height] = mask.T
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    borders = changes + changes // (height + 1) * (size[0] - height - 1) + (x * size[0] + y)
    if height == size[0]:  # a run that goes on in the next column ended at its start
        same = np.flatnonzero(borders[1:] == borders[:-1])
        borders = np.delete(borders, np.concatenate([same, same + 1]))
    return from_borders(borders, size)


def encode_ids(ids: NDArray[Any]) -> dict[int, Rle]:
    """The mask of each id but 0 in ids [H, W], in ascending order; all are encoded in one pass."""
    size = (int(ids.shape[0]), int(ids.shape[1]))
    flat = np.ascontiguousarray(ids.T).ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], starts])[: len(flat)]
    values, ends = flat[starts], np.append(starts[1:], len(flat))
    masks = {}
    for number in np.unique(values[values != 0]):
        own = values == number
        masks[int(number)] = from_borders(np.stack([starts[own], ends[own]], axis=1).ravel(), size)
    return masks


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The mask as bool [H, W]."""
    dense: NDArray[np.uint8] = _mask().decode(_raw(rle))
    return np.ascontiguousarray(dense).view(np.bool_)


def decode_tight(rle: Rle) -> tuple[int, int, NDArray[np.bool_]]:
    """The mask within its `bbox`: x, y and bool [height, width], [0, 0] when nothing is inside.

    Takes time and memory for the mask's columns only, however large the photo.
    """
    x, y, width, height = rle.bbox
    if not width:
        return 0, 0, np.zeros((0, 0), dtype=np.bool_)
    rows, first = rle.size[0], x * rle.size[0]
    borders = np.cumsum(_runs(rle.counts)) - first
    parity = np.zeros(width * rows, dtype=np.uint8)
    within = borders[np.searchsorted(borders, 0) : np.searchsorted(borders, width * rows)]
    np.bitwise_xor.at(parity, within, np.uint8(1))  # a run of length 0 has two borders in one place
    parity[0] ^= np.uint8(np.count_nonzero(borders < 0) & 1)
    columns = np.bitwise_xor.accumulate(parity).reshape(width, rows)
    return x, y, np.ascontiguousarray(columns[:, y : y + height].T).view(np.bool_)


def inside_runs(rle: Rle) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of pixels inside starts, and where it ends (first pixel behind it), counted down the columns."""
    borders = np.cumsum(_runs(rle.counts))
    stops = borders[1::2]
    return borders[::2][: len(stops)], stops


def from_borders(borders: NDArray[np.int64], size: tuple[int, int]) -> Rle:
    """The mask of `size` (H, W) whose runs begin and end at these pixels in turn, counted down the columns."""
    total = size[0] * size[1]
    if borders.size and borders[-1] == total:  # COCO's last run is not empty
        borders = borders[:-1]
    runs = np.empty(len(borders) + 1, dtype=np.int64)
    runs[:-1], runs[-1] = borders, total
    runs[1:] -= borders
    return Rle(size, _compressed(runs))


def empty(size: tuple[int, int]) -> Rle:
    """A mask of that size (H, W) with nothing inside."""
    return Rle(size, _compressed(np.array([size[0] * size[1]])))


def merge(rles: Sequence[Rle], *, intersect: bool = False) -> Rle:
    """Union (or intersection) of masks of one size, without decoding them."""
    if not rles:
        raise ValueError("nothing to merge")
    raw = _mask().merge([_raw(r) for r in rles], intersect)
    return Rle(rles[0].size, bytes(raw["counts"]))


def complement(rle: Rle) -> Rle:
    """What is outside of a mask, without decoding it."""
    runs = _runs(rle.counts)
    inside_first = runs.size > 1 and runs[0] == 0
    return Rle(rle.size, _compressed(runs[1:] if inside_first else np.concatenate([[0], runs])))


def iou(a: Sequence[Rle], b: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of each of `a` with each of `b`: float64 [len(a), len(b)]. Two empty masks give 0."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    both: NDArray[np.float64] = _mask().iou([_raw(r) for r in a], [_raw(r) for r in b], [0] * len(b))
    return np.nan_to_num(both)


def from_coco(value: dict[str, Any]) -> Rle:
    """From a COCO dict, `counts` as compressed string or as the plain list of runs.

    Raises ValueError when the runs do not fill the size.
    """
    height, width = (int(v) for v in value["size"])
    if height < 1 or width < 1 or height * width >= 1 << 32:  # pycocotools counts in 32 bits without a check
        raise ValueError(f"an RLE of {width} x {height} pixels")
    counts = value["counts"]
    if isinstance(counts, list):
        if sum(counts) != height * width or any(not isinstance(c, int) or c < 0 for c in counts):
            raise ValueError(f"the runs of an RLE cover {sum(counts)} pixels, its size has {height * width}")
        raw = _mask().frPyObjects({"size": [height, width], "counts": counts}, height, width)
        return Rle((height, width), bytes(raw["counts"]))
    text = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    covered = int(_runs(text).sum())
    if covered != height * width:  # pycocotools would read or write out of bounds
        raise ValueError(f"the runs of an RLE cover {covered} pixels, its size has {height * width}")
    return Rle((height, width), text)


def _runs(counts: bytes) -> NDArray[np.int64]:
    """The plain runs behind COCO's compressed string (5 bits a character, from the third run on a difference)."""
    chunks = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if not chunks.size:
        return chunks
    if chunks.min() < 0 or chunks.max() > 63:
        raise ValueError("the counts of an RLE hold a character outside of COCO's alphabet")
    ends = np.flatnonzero(chunks & 0x20 == 0)
    if not ends.size or ends[-1] != len(chunks) - 1:
        raise ValueError("the counts of an RLE end in the middle of a run")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(chunks)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 7:
        raise ValueError("the counts of an RLE hold a run of more than 32 bits")
    runs = np.add.reduceat((chunks & 0x1F) << (5 * place), starts)
    runs -= (chunks[ends] >> 4 & 1) << (5 * (place[ends] + 1))
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("the counts of an RLE hold a negative run")
    return runs


def _compressed(runs: NDArray[np.int64]) -> bytes:
    """COCO's compressed string of plain runs; the inverse of `_runs`."""
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    characters = np.zeros((len(values), 7), dtype=np.uint8)  # 32 bits and a sign, 5 bits a character
    going = np.ones(len(values), dtype=np.bool_)
    for place in range(7):
        low = values & 0x1F
        values >>= 5
        more = going & (values != np.where(low & 0x10, -1, 0))
        characters[:, place] = np.where(going, low + 48 + (more << 5), 0)
        going = more
        if not going.any():
            break
    return characters[characters > 0].tobytes()


def _raw(rle: Rle) -> Any:
    return {"size": list(rle.size), "counts": rle.counts}


def _mask() -> Any:
    from pycocotools import mask

    return mask
