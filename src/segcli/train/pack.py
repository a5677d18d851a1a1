"""A pack: many photos with their masks in one file, small enough to go where a folder of thousands can't.

A pack is a sealed safetensors file. `photos` and `labels` [bytes] are compressed photos (JPEG, or the photo's own file)
and label maps (zlib over the rows) one after another, `photo_ends` and `label_ends` [N] where each ends; `entries` is
zlib over one JSON line a photo: its name, source, size, objects as in `objects.jsonl`, origin and licence.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segcli.core.errors import CheckpointError, StorageError
from segcli.datasets.folders import FolderObject

_FORMAT = "1"
_TENSORS = ("photos", "photo_ends", "labels", "label_ends", "entries")
_HEADER = 4096  # bytes that names, places and metadata of the file take at most
_AGAIN = "make it again with `seg train pack`"


@dataclass(frozen=True)
class PackedPhoto:
    """One photo of a pack, still compressed. `size` is (height, width); what has no list has `objects` None."""

    name: str
    source: str
    size: tuple[int, int]
    photo: bytes
    label: bytes
    objects: tuple[FolderObject, ...] | None = None
    complete: bool = False
    stuff_labelled: bool = False
    origin: str | None = None
    licence: str | None = None
    url: str | None = None
    pack: str = ""  # the file that it was read from

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]. Raises StorageError."""
        try:
            with Pillow.open(io.BytesIO(self.photo)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise StorageError(f"{self.pack}: {self.source}/{self.name} can't be decoded ({error}); {_AGAIN}") from None
        if pixels.shape[:2] != self.size:
            raise StorageError(
                f"{self.pack}: {self.source}/{self.name} is {pixels.shape[:2]}, listed as {self.size}; {_AGAIN}"
            )
        return pixels

    def ids(self) -> NDArray[np.uint8]:
        """Object ids [H, W], 255 ignored. Raises StorageError."""
        try:
            return np.frombuffer(zlib.decompress(self.label), np.uint8).reshape(self.size)
        except (zlib.error, ValueError) as error:
            raise StorageError(
                f"{self.pack}: {self.source}/{self.name} has a broken mask ({error}); {_AGAIN}"
            ) from None


class Pack:
    """The photos of a pack in their order.

    Raises StorageError, one line, when the file is missing, no pack, of another version, or changed since.
    """

    def __init__(self, path: Path) -> None:
        from safetensors.numpy import load_file

        from segcli.registry.header import read_header
        from segcli.registry.writer import SEAL, check_seal

        try:
            header = read_header(path)
            version = header.metadata.get("seg.pack")
            if version is None or SEAL not in header.metadata:
                raise StorageError(f"{path}: is not a pack of photos; {_AGAIN}")
            if version != _FORMAT:
                raise StorageError(f"{path}: is a pack of version {version[:20]}, this seg reads {_FORMAT}; {_AGAIN}")
            check_seal(path)
        except CheckpointError as error:
            raise StorageError(f"{path}: is not a sound pack of photos ({_reason(path, error)}); {_AGAIN}") from None
        held = load_file(path)
        self.metadata = dict(header.metadata)
        try:
            self.photos = _photos(str(path), *(held[name] for name in _TENSORS))
        except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
            words = f"{type(error).__name__}: {error}"
            raise StorageError(f"{path}: is not a sound pack of photos ({words}); {_AGAIN}") from None

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[PackedPhoto]:
        return iter(self.photos)


def pack_bytes(photos: Sequence[PackedPhoto]) -> int:
    """How long a pack of these photos is at most."""
    return sum(array.nbytes for array in _arrays(photos).values()) + _HEADER


def write_pack(path: Path, photos: Sequence[PackedPhoto], metadata: Mapping[str, str]) -> None:
    """Write a pack, all or nothing; the same photos give the same bytes. Raises StorageError."""
    import torch

    from segcli.registry.writer import save

    tensors = {name: torch.from_numpy(array.copy()) for name, array in _arrays(photos).items()}
    save(path, tensors, {**metadata, "seg.pack": _FORMAT, "seg.photos": str(len(photos))})


def _arrays(photos: Sequence[PackedPhoto]) -> dict[str, NDArray[Any]]:
    lines = [_line(photo) for photo in photos]
    arrays: dict[str, NDArray[Any]] = {"entries": np.frombuffer(zlib.compress("\n".join(lines).encode(), 9), np.uint8)}
    for word, parts in (("photo", [p.photo for p in photos]), ("label", [p.label for p in photos])):
        arrays[f"{word}s"] = np.frombuffer(b"".join(parts), np.uint8)
        arrays[f"{word}_ends"] = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return arrays


def packed_label(ids: NDArray[np.uint8]) -> bytes:
    """Ids [H, W] as a pack holds them."""
    return zlib.compress(np.ascontiguousarray(ids).tobytes(), 9)


def _line(photo: PackedPhoto) -> str:
    entry = asdict(photo)
    del entry["photo"], entry["label"], entry["pack"]
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))


def _photos(
    pack: str,
    photos: NDArray[np.uint8],
    photo_ends: NDArray[np.int64],
    labels: NDArray[np.uint8],
    label_ends: NDArray[np.int64],
    entries: NDArray[np.uint8],
) -> list[PackedPhoto]:
    text = zlib.decompress(entries.tobytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    if not len(rows) == len(photo_ends) == len(label_ends):
        raise ValueError(f"{len(rows)} entries, {len(photo_ends)} photos, {len(label_ends)} masks")
    found = []
    for number, row in enumerate(rows):
        listed = row.pop("objects")
        objects = None if listed is None else tuple(FolderObject(**o) for o in listed)
        height, width = row.pop("size")
        found.append(
            PackedPhoto(
                size=(height, width),
                photo=_part(photos, photo_ends, number),
                label=_part(labels, label_ends, number),
                objects=objects,
                pack=pack,
                **row,
            )
        )
    return found


def _part(data: NDArray[np.uint8], ends: NDArray[np.int64], number: int) -> bytes:
    return data[int(ends[number - 1]) if number else 0 : int(ends[number])].tobytes()


def _reason(path: Path, error: CheckpointError) -> str:
    return str(error).removeprefix(f"{path}: ").partition(";")[0]
