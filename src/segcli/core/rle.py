"""Run-length encoded masks: COCO's column-major runs in its compressed string form.

pycocotools does the work (imported on first use, so that `core` stays light to import).
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
    raw = _mask().encode(np.asfortranarray(mask != 0).view(np.uint8))
    return Rle((int(mask.shape[0]), int(mask.shape[1])), bytes(raw["counts"]))


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


def empty(size: tuple[int, int]) -> Rle:
    """A mask of that size (H, W) with nothing inside."""
    return encode(np.zeros(size, dtype=np.bool_))


def merge(rles: Sequence[Rle], *, intersect: bool = False) -> Rle:
    """Union (or intersection) of masks of one size, without decoding them."""
    if not rles:
        raise ValueError("nothing to merge")
    raw = _mask().merge([_raw(r) for r in rles], intersect)
    return Rle(rles[0].size, bytes(raw["counts"]))


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


def _raw(rle: Rle) -> Any:
    return {"size": list(rle.size), "counts": rle.counts}


def _mask() -> Any:
    from pycocotools import mask

    return mask
