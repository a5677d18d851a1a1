"""Masks that somebody has, from any format that holds them, photo by photo."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from segcli.core.errors import ItemError, SegError, StorageError, UsageError
from segcli.core.prediction import Prediction, counted_through
from segcli.core.prediction import joined as put_together
from segcli.core.rle import Rle
from segcli.io import stream
from segcli.io.formats import FORMATS, get_reader
from segcli.io.formats.contract import Annotation
from segcli.io.formats.jsonl import masks_of_line
from segcli.io.images import read_size
from segcli.io.inputs import natural_key
from segcli.io.jsonscan import open_json, scan
from segcli.io.remote import download, is_url, local

_BY_SUFFIX = {
    ".jsonl": ("jsonl",),
    ".json": ("coco", "panoptic", "labelme"),
    ".png": ("palette", "mask"),
    ".txt": ("yolo",),
    ".svg": ("svg",),
    ".npz": ("npz",),
}
_NUMBERED = re.compile(r"(?P<photo>.+)-(?P<number>[1-9][0-9]*)")
_PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_CLASSES = "classes.txt"  # beside YOLO's files, and none of them

SizeOf = Callable[[PurePosixPath], "tuple[int, int] | None"]


@dataclass(frozen=True)
class Masks:
    """The masks of one photo. `relative` is the photo's name without a folder before it, as the file says it.

    scored: False where the file holds no scores. exact: False where its masks are outlines.
    """

    relative: PurePosixPath
    prediction: Prediction
    scored: bool = True
    exact: bool = True

    @property
    def key(self) -> str:
        """By what photos of two sources are the same: the name without its suffix."""
        return str(self.relative.with_suffix("")) if self.relative.suffix.lower() in _PHOTOS else str(self.relative)


def read(
    sources: Sequence[str],
    kind: str | None = None,
    *,
    size_of: SizeOf | None = None,
    categories: Sequence[str] = (),
    numbered: bool = False,
    stdin: BinaryIO | None = None,
) -> Iterator[Masks]:
    """The masks of files, of folders of files, of what lies behind a URL, or of a stream (`-`), in order.

    kind:       the format's name; None tells it from each file.
    size_of:    a photo's (H, W) by its name, for files that do not say it.
    categories: class names by number, for the same.
    numbered:   NAME-1.png, NAME-2.png of a folder are masks of one photo NAME, as `-f mask` writes them.

    Raises UsageError (nothing there, a format that can't be read), StorageError, ItemError (a broken file).
    """
    for source in sources:
        if source == "-":
            yield from _of_stream(stdin or sys.stdin.buffer)
        elif is_url(source := local(source)):
            yield from _of_store(source, kind, size_of, categories, numbered)
        else:
            yield from _of_path(Path(source), kind, size_of, categories, numbered)


def guess(path: Path) -> str:
    """The format of a file by its suffix, of a JSON file by what it holds. Raises UsageError."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _guess_json(path)
    if suffix == ".png" and not _is_indexed(path):
        for place in (path.parent, path.parent.parent):
            of_another = place != path.parent and path.parent.name in FORMATS and path.parent.name != "panoptic"
            if (place / "panoptic.json").is_file() and not of_another:
                raise UsageError(
                    f"{path}: its colours mean what {place / 'panoptic.json'} says; give that file instead"
                )
        return "mask"
    if suffix not in _BY_SUFFIX:
        raise UsageError(f"{path}: not known by its name which format it has; say it with --from")
    return _BY_SUFFIX[suffix][0]


def photo_sizes(folder: Path) -> SizeOf:
    """Sizes of the photos in a folder, by name with or without suffix. Raises StorageError when there is no folder."""
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder; --images is the one that the photos are in")

    def size(relative: PurePosixPath) -> tuple[int, int] | None:
        found = find_photo(folder, relative)
        return None if found is None else read_size(found, str(found))

    return size


def find_photo(folder: Path, relative: PurePosixPath) -> Path | None:
    """The photo of that name below a folder: as it stands, or with the suffix of a picture."""
    exact = folder / relative
    if exact.is_file() and exact.suffix.lower() in _PHOTOS:
        return exact
    stem = folder / relative.with_suffix("") if relative.suffix.lower() in (*_PHOTOS, ".json") else folder / relative
    for suffix in _PHOTOS:
        for spelt in (suffix, suffix.upper()):
            if (found := stem.with_name(stem.name + spelt)).is_file():
                return found
    return None


def _of_path(
    path: Path, kind: str | None, size_of: SizeOf | None, categories: Sequence[str], numbered: bool
) -> Iterator[Masks]:
    if path.is_dir():
        yield from _of_folder(path, kind, size_of, categories, numbered)
    elif path.is_file():
        yield from _of_file(path, kind or guess(path), PurePosixPath(path.name), size_of, categories)
    else:
        raise StorageError(f"{path}: no such file or folder; give files of masks, a folder of them, or -")


def _of_store(
    url: str, kind: str | None, size_of: SizeOf | None, categories: Sequence[str], numbered: bool
) -> Iterator[Masks]:
    """Of what a URL names a copy is read on this machine, for files of masks are read here and there; messages name
    what was typed."""
    with tempfile.TemporaryDirectory(prefix="seg-masks-") as folder:
        path = download(url, Path(folder), {*_BY_SUFFIX})
        try:
            yield from _of_path(path, kind, size_of, categories, numbered)
        except SegError as error:
            raise type(error)(str(error).replace(str(path), url.rstrip("/"))) from None


def _of_folder(
    folder: Path, kind: str | None, size_of: SizeOf | None, categories: Sequence[str], numbered: bool
) -> Iterator[Masks]:
    paths = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: natural_key(str(p.relative_to(folder))))
    paths = [p for p in paths if not p.name.startswith(".") and p.name != _CLASSES]
    # A run's COCO or panoptic JSON says all that the PNG files beside it hold, and more.
    whole = [p for p in paths if p.suffix.lower() in (".json", ".jsonl") and p.parent == folder and kind is None]
    listed = [p for p in whole if guess(p) in ("coco", "panoptic", "jsonl")]
    known = [p for p in paths if (kind in _BY_SUFFIX.get(p.suffix.lower(), ()) if kind else p.suffix in _BY_SUFFIX)]
    if kind is None and listed:
        known = listed
    if not known:
        raise StorageError(f"{folder}: holds no file of masks; formats are told by suffix, or with --from")

    def photo(path: Path) -> PurePosixPath:
        relative = PurePosixPath(path.relative_to(folder).as_posix()).with_suffix("")
        match = _NUMBERED.fullmatch(relative.name) if numbered else None
        return relative.with_name(match["photo"]) if match else relative

    if numbered:
        for relative, files in groupby(known, key=photo):
            parts = [m for f in files for m in _of_file(f, kind or guess(f), relative, size_of, categories)]
            yield joined(parts)
        return
    for path in known:
        yield from _of_file(path, kind or guess(path), photo(path), size_of, categories)


def _of_file(
    path: Path, kind: str, name: PurePosixPath, size_of: SizeOf | None, categories: Sequence[str]
) -> Iterator[Masks]:
    """The photos of one file; a file of one photo may be called otherwise (`name`) than the file says."""
    alone = name.with_suffix("") if name.suffix.lower() in _BY_SUFFIX else name
    size = size_of(alone) if size_of is not None and kind == "yolo" else None
    found = get_reader(kind).read(path, size=size, categories=categories)
    many = kind in ("coco", "panoptic", "jsonl")
    for relative, rows in groupby(found, key=lambda a: a.relative):
        place = relative if many else (alone if not relative.suffix else alone.with_name(alone.name + relative.suffix))
        yield of_annotations(place, list(rows))


def _of_stream(lines: BinaryIO) -> Iterator[Masks]:
    """Photo by photo as lines come, so that a verb before this one in a pipe is waited for by one photo only.

    Lines that follow each other and are about one photo, as several asks leave them, are joined.
    """
    waiting: list[Masks] = []
    for number, text in enumerate(lines, 1):
        if text.strip():
            line = stream.parse(text, f"-, line {number}")
            if line.prediction is not None:
                annotations = list(masks_of_line(line))
                one = replace(of_annotations(PurePosixPath(line.image), annotations), prediction=line.prediction)
                if waiting and not _are_one_photo(waiting[0], one):
                    yield _lines_joined(waiting)
                    waiting = []
                waiting.append(one)
    if waiting:
        yield _lines_joined(waiting)


def _are_one_photo(first: Masks, second: Masks) -> bool:
    return first.relative == second.relative and first.prediction.size == second.prediction.size


def _lines_joined(parts: Sequence[Masks]) -> Masks:
    """The masks of several lines about one photo, with all that is said of them; ids that come twice are given anew."""
    if len(parts) == 1:
        return parts[0]
    predictions = [part.prediction for part in parts]
    ids = [number for prediction in predictions for number in prediction.ids]
    if len(set(ids)) < len(ids):
        predictions = counted_through(predictions)
    whole = put_together(predictions)
    return Masks(parts[0].relative, whole, any(p.scored for p in parts), all(p.exact for p in parts))


def of_annotations(relative: PurePosixPath, annotations: Sequence[Annotation]) -> Masks:
    """The masks of one photo, as the annotations of a file say them. Ids that are missing or twice are given anew."""
    held = [(a, a.rle) for a in annotations if a.rle is not None]
    ids = [a.id for a, _ in held]
    usable = all(i is not None and i > 0 for i in ids) and len(set(ids)) == len(ids)
    prediction = Prediction(
        annotations[0].size,
        masks=tuple(rle for _, rle in held),
        scores=tuple(1.0 if a.score is None else a.score for a, _ in held),
        labels=tuple(a.label for a, _ in held),
        ids=tuple(i for i in ids if i is not None) if usable else (),
    )
    scored = any(a.score is not None for a, _ in held)
    return Masks(relative, prediction, scored, all(a.exact for a in annotations))


def joined(parts: Sequence[Masks]) -> Masks:
    """All masks of several files of one photo. Raises ItemError when their sizes differ."""
    first = parts[0]
    masks: list[Rle] = []
    for part in parts:
        if part.prediction.size != first.prediction.size:
            raise ItemError(
                f"{first.relative}: its masks are {_size(first.prediction.size)} and {_size(part.prediction.size)}"
            )
        masks += part.prediction.masks
    prediction = Prediction(
        first.prediction.size,
        tuple(masks),
        tuple(s for p in parts for s in p.prediction.scores),
        tuple(label for p in parts for label in p.prediction.labels),
    )
    return Masks(first.relative, prediction, any(p.scored for p in parts), all(p.exact for p in parts))


def by_key(masks: Iterable[Masks]) -> dict[str, Masks]:
    """Masks by their photo's name without suffix; several of one photo are joined."""
    found: dict[str, list[Masks]] = {}
    for one in masks:
        found.setdefault(one.key, []).append(one)
    return {key: parts[0] if len(parts) == 1 else joined(parts) for key, parts in found.items()}


def _guess_json(path: Path) -> str:
    with open_json(path) as file:
        try:
            for place, value in scan(file, ("annotations",)):
                if place.key == "shapes":
                    return "labelme"
                if place.key == "annotations" and (place.listed or value == []):
                    return "panoptic" if "segments_info" in (value or ()) else "coco"
        except ValueError as error:
            raise ItemError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    raise UsageError(f"{path}: neither COCO, COCO panoptic nor LabelMe; say the format with --from")


def _is_indexed(path: Path) -> bool:
    """Whether a PNG has a palette: byte 25 of the file is its colour type, 3."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError as error:
        raise StorageError(f"{path}: can't be read: {(error.strerror or str(error)).lower()}") from None
    return len(head) == 26 and head[25] == 3


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
