"""Makes a pack of folders: photos and masks at a longest side, photos at the best quality that fits a limit."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segcli.core.errors import StorageError, UsageError
from segcli.datasets import folders
from segcli.datasets.folders import Photo
from segcli.train.pack import PackedPhoto, pack_bytes, packed_label, write_pack
from segcli.train.photos import shrunk, training_photo

QUALITIES = (95, 90, 85, 80, 75, 70, 60, 50)
"""JPEG qualities that are tried, the best first. Before them, photos that are small enough stay the files they are."""


@dataclass(frozen=True)
class Packed:
    """What was written. quality: None when no photo that was small enough was encoded anew."""

    path: Path
    photos: int
    left_out: int
    bytes: int
    quality: int | None


def pack(
    roots: Sequence[Path], out: Path, side: int, limit: int, say: Callable[[str], None] = lambda line: None
) -> Packed:
    """Write all photos below `roots` that show something to train on to `out`, at most `limit` bytes.

    side: the longest side of photos and masks. Photos that are JPEG files no larger keep their bytes if that fits, and
    at any quality that would make them longer. The same photos and Pillow give the same bytes.
    Raises UsageError when the lowest quality does not fit, StorageError or ItemError for photos that can't be read.
    """
    listed = [photo for root in roots for source in folders.sources(root) for photo in folders.photos(source)]
    size = 0
    for quality in (None, *QUALITIES):
        held = _encoded(listed, side, quality, limit if quality != QUALITIES[-1] else None)
        if not held:
            raise StorageError(f"none of {len(listed)} photos shows an object to train on; add masks, or objects")
        kept = "own" if quality is None else str(quality)
        size = pack_bytes(held)
        if size <= limit:
            write_pack(out, held, {"seg.side": str(side), "seg.quality": kept})
            return Packed(out, len(held), len(listed) - len(held), out.stat().st_size, quality)
        say(f"{'photos as they are' if quality is None else f'quality {quality}'}: more than the limit")
    need = -(-size // 2**20)
    raise UsageError(
        f"{len(listed)} photos at {side} px take {need} MiB at quality {QUALITIES[-1]}, the lowest; "
        f"type --limit {need}MiB, or a smaller --side"
    )


def _encoded(listed: Sequence[Photo], side: int, quality: int | None, limit: int | None) -> list[PackedPhoto]:
    """All photos; with a limit, no more of them than show that it is passed."""
    held: list[PackedPhoto] = []
    total = 0
    with ThreadPoolExecutor(4) as pool:
        for photo in _in_chunks(pool, partial(_pack_one, side=side, quality=quality), listed):
            if photo is None:
                continue
            held.append(photo)
            total += len(photo.photo) + len(photo.label)
            if limit is not None and total > limit:
                break
    return held


def _in_chunks(
    pool: ThreadPoolExecutor, work: Callable[[Photo], PackedPhoto | None], listed: Sequence[Photo], size: int = 64
) -> Iterator[PackedPhoto | None]:
    for start in range(0, len(listed), size):
        yield from pool.map(work, listed[start : start + size])


def _pack_one(photo: Photo, side: int, quality: int | None) -> PackedPhoto | None:
    """The photo compressed, or None when it shows nothing to train on."""
    full, full_ids = photo.pixels(), photo.ids()
    pixels, ids = shrunk(full, full_ids, side)
    if not training_photo(pixels, ids, photo.objects).weights:
        return None
    data = _own(photo.image) if pixels is full else None
    if data is None or quality is not None:
        jpeg = _jpeg(pixels, quality or QUALITIES[0])
        data = jpeg if data is None else min(data, jpeg, key=len)
    height, width = ids.shape
    return PackedPhoto(
        photo.name,
        photo.image.parent.parent.name,
        (height, width),
        data,
        packed_label(ids),
        photo.objects,
        photo.complete,
        photo.stuff_labelled,
        photo.origin,
        photo.licence,
        photo.url,
    )


def _own(path: Path) -> bytes | None:
    """The bytes of a JPEG file; None for another format, which may be many times as long."""
    data = path.read_bytes()
    return data if data.startswith(b"\xff\xd8\xff") else None


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    data = io.BytesIO()
    Pillow.fromarray(pixels).save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()
