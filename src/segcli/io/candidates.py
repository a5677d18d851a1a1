"""Masks that somebody has, by photo: what `seg group` may choose from."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from segcli.core.errors import ItemError, UsageError
from segcli.core.rle import Rle
from segcli.io import stream
from segcli.io.formats import get_reader
from segcli.io.formats.contract import Annotation, Readable
from segcli.io.formats.jsonl import masks_of_line
from segcli.io.remote import Source

_READERS = {".json": "coco", ".jsonl": "jsonl"}


class Candidates:
    """Masks by the photo's path, its path below a directory, or its name, best first.

    source: a directory of mask files (`a.png`, `a-1.png`, `a/1.png` for the photo a.jpg; indexed ones hold several), a
    COCO instances file, a stream of JSON lines, or "-" for such a stream on stdin.
    Raises UsageError when it can't be read.
    """

    def __init__(self, source: str, stdin: BinaryIO | None = None) -> None:
        self.source = source
        self._by_name: dict[str, list[Annotation]] = defaultdict(list)
        self._folder = Path(source) if source != "-" and Path(source).is_dir() else None
        if self._folder is not None:
            return
        try:
            for annotation in self._read(stdin or sys.stdin.buffer):
                held = self._by_name[str(annotation.relative)]
                if annotation.rle is not None:
                    held.append(annotation)
        except ItemError as error:
            raise UsageError(f"--candidates {error}") from None

    def of(self, relative: PurePosixPath, source: Source | None, *, only: bool) -> tuple[Rle, ...]:
        """The masks for a photo; `only`: it is the only photo of the run, so a directory's files are all its own.

        Raises UsageError when there is no word of the photo.
        """
        names = dict.fromkeys([str(source), str(relative), relative.name])
        if self._folder is not None:
            return self._in_folder(relative, only=only)
        for name in names:
            if name in self._by_name:
                return _best_first(self._by_name[name])
        if only and len(self._by_name) == 1:
            return _best_first(next(iter(self._by_name.values())))
        raise UsageError(f"--candidates {self.source}: has no masks for {relative}; those it has are for other photos")

    def _read(self, stdin: BinaryIO) -> Iterator[Annotation]:
        if self.source == "-":
            for number, text in enumerate(stdin, 1):
                if text.strip():
                    yield from masks_of_line(stream.parse(text, f"-, line {number}"))
            return
        path = Path(self.source)
        if path.suffix.lower() not in _READERS:
            raise UsageError(
                f"--candidates {self.source}: give a directory of masks, a COCO .json, a .jsonl, or - for JSON lines"
            )
        reader: Readable = get_reader(_READERS[path.suffix.lower()])
        yield from reader.read(path)

    def _in_folder(self, relative: PurePosixPath, *, only: bool) -> tuple[Rle, ...]:
        assert self._folder is not None
        stem = relative.stem
        places = (self._folder, self._folder / relative.parent)
        found: list[Path] = []
        for place in dict.fromkeys(places):
            found += [
                p for p in sorted(place.glob("*.png")) if p.stem == stem or p.stem.startswith((f"{stem}-", f"{stem}_"))
            ]
            found += sorted((place / stem).glob("*.png"))
        if not found and only:
            found = sorted(self._folder.glob("*.png"))
        if not found:
            raise UsageError(
                f"--candidates {self.source}: has no masks for {relative}; name them {stem}-1.png and so on"
            )
        try:
            return tuple(mask for path in dict.fromkeys(found) for mask in read_masks(path))
        except ItemError as error:
            raise UsageError(f"--candidates {error}") from None


def read_masks(path: Path, number: int | None = None) -> Iterable[Rle]:
    """The masks of a mask file: one, or of an indexed file each id (of `number` that one). Raises ItemError."""
    from segcli.io.images import read_mask

    data = path.read_bytes() if path.is_file() else b""
    indexed = data[:8] == b"\x89PNG\r\n\x1a\n" and data[25:26] == b"\x03"  # the colour type of its header
    if number is None and not indexed:
        return [read_mask(path, str(path))]
    masks = {a.id: a.rle for a in get_reader("palette").read(path) if a.rle is not None}
    if number is None:
        return list(masks.values())
    if number not in masks:
        known = ", ".join(str(n) for n in sorted(n for n in masks if n is not None)[:12]) or "none"
        raise ItemError(f"{path}: has no object {number}; those it has: {known}")
    return [masks[number]]


def _best_first(annotations: Sequence[Annotation]) -> tuple[Rle, ...]:
    """By falling score where every mask has one, else by falling area."""
    masks = [(a.score, a.rle) for a in annotations if a.rle is not None]
    scored = all(score is not None for score, _ in masks)
    return tuple(mask for _, mask in sorted(masks, key=lambda m: -(m[0] or 0.0) if scored else -m[1].area))
