"""Groups of masks that a sentence with reference masks means (MaskGroups-HQ), as JSON lines of our own layout.

    {"image", "height", "width", "prompt", "refs": [RLE], "candidates": [RLE], "targets": [RLE], "split"}

`prompt` holds `<mask-ref>` once for each of `refs`, in order; `targets` [] means that nothing is meant; `candidates`
may be left out. RLE is COCO's, compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import StorageError
from segcli.core.rle import Rle, decode, from_coco
from segcli.datasets.coco import read_lines

MARKER = "<mask-ref>"


@dataclass(frozen=True)
class Group:
    """One sentence about one photo. `line` counts from 1 and names the sample."""

    line: int
    image: str
    size: tuple[int, int]
    prompt: str
    refs: tuple[Rle, ...]
    targets: tuple[Rle, ...]
    candidates: tuple[Rle, ...]
    split: str

    def masks(self, which: str) -> list[NDArray[np.bool_]]:
        """Decoded "refs", "targets" or "candidates"."""
        return [decode(r) for r in getattr(self, which)]


def read_groups(path: Path, split: str | None = None) -> list[Group]:
    """Samples of a file, of one split or of all. Raises StorageError that names the line."""
    found = []
    for number, entry in enumerate(read_lines(path), 1):
        where = f"{path}:{number}"
        try:
            group = Group(
                number,
                str(entry["image"]),
                (int(entry["height"]), int(entry["width"])),
                str(entry["prompt"]),
                _masks(entry.get("refs", [])),
                _masks(entry["targets"]),
                _masks(entry.get("candidates", [])),
                str(entry.get("split", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{where}: not a group of masks ({type(error).__name__}: {error})") from None
        if group.prompt.count(MARKER) != len(group.refs):
            raise StorageError(f"{where}: {group.prompt.count(MARKER)} times {MARKER} but {len(group.refs)} refs")
        if any(r.size != group.size for r in (*group.refs, *group.targets, *group.candidates)):
            raise StorageError(f"{where}: a mask has another size than the photo's {group.size}")
        if split is None or group.split == split:
            found.append(group)
    if not found:
        raise StorageError(f"{path}: no sample{f' in split {split}' if split else ''}")
    return found


def _masks(entries: list[dict[str, Any]]) -> tuple[Rle, ...]:
    return tuple(from_coco(e) for e in entries)
