"""Writes masks that somebody has in another format, photo by photo: what `seg masks convert` and its like end in.

Nothing here takes long enough to be taken up again after a stop: a run that is typed again writes the same bytes. A
file that is there already and holds something else is refused, unless it may be replaced.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from segcli.core.ask import Ask
from segcli.core.errors import ItemError, StorageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import merge
from segcli.io import images, outputs
from segcli.io.formats import FORMATS
from segcli.io.formats.contract import Answered
from segcli.io.maskfiles import Masks, find_photo
from segcli.io.remote import Source
from segcli.pipeline.names import Names
from segcli.pipeline.plan import Item, Output

MODEL = "masks"
"""What records say for a model where none was asked."""

_PALETTE = 255
"""Masks that a palette has colours for."""

HOLDS = {
    # format: (ids, labels, scores, exact masks)
    "mask": (False, False, False, True),
    "palette": (True, False, False, True),
    "coco": (False, True, True, True),
    "panoptic": (True, True, True, True),
    "semantic": (False, True, False, True),
    "jsonl": (True, True, True, True),
    "labelme": (True, True, False, False),
    "yolo": (False, True, False, False),
    "svg": (True, True, True, False),
    "npz": (True, True, True, True),
}
"""What of a mask a format keeps."""


@dataclass
class Written:
    """What a run did: photos and masks written, files, items that failed, and what the formats could not hold."""

    photos: int = 0
    masks: int = 0
    files: int = 0
    failed: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)


def write(
    found: Iterable[Masks],
    output: Output,
    *,
    photos: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Written:
    """Write every photo's masks in all of the output's formats; to stdout where it has no directory.

    photos: the folder of the photos, for formats that need them. `say` hears of each item that failed.
    Raises StorageError for an output that can't be written, ItemError from reading that ends the run.
    """
    names = Names((), output)
    done = Written()
    with _Spools(output) as spools:
        for one in found:
            try:
                given, one = one, _fitting(one, output)
                answered = Answered(_image(one, output, photos), Ask(), one.prediction, _named(one, photos), MODEL)
                rendered = [file for kind in output.formats for file in FORMATS[kind].render(answered, output.options)]
                (paths,) = names.of(Item(one.relative, Path(str(one.relative)), (Ask(),)), [Ask()], [rendered])
                spools.add(replace(answered, named=names.within(rendered, paths)))
                for path, file in zip(paths, rendered, strict=True):
                    _deliver(output.directory, path, [file.data], force)
            except ItemError as error:
                done.failed.append(str(error))
                say(str(error))
                continue
            done.photos += 1
            done.masks += len(one.prediction)
            done.files += len(rendered)
            done.lost |= _lost(one, output) | ({"ids"} if one is not given else set())
        for path, chunks in spools.assembled():
            _deliver(output.directory, path, chunks, force)
            done.files += 1
    return done


def _fitting(one: Masks, output: Output) -> Masks:
    """The masks under ids that a palette can hold: numbered anew where a file's are larger, as COCO's mostly are."""
    if (
        "palette" not in output.formats
        or len(one.prediction) > _PALETTE
        or max(one.prediction.ids, default=0) <= _PALETTE
    ):
        return one
    return replace(one, prediction=replace(one.prediction, ids=tuple(range(1, len(one.prediction) + 1))))


def _named(one: Masks, photos: Path | None) -> PurePosixPath:
    """The photo's name, with its suffix where the photo is at hand."""
    found = None if photos is None else find_photo(photos, one.relative)
    return one.relative if found is None else one.relative.with_name(found.name)


def _image(one: Masks, output: Output, photos: Path | None) -> Image:
    """The photo where a format needs its pixels, otherwise only its name and size."""
    if not any(output.options.needs_photo(FORMATS[kind]) for kind in output.formats):
        return Image(np.zeros((1, 1, 3), np.uint8), one.prediction.size, str(one.relative))
    found = None if photos is None else find_photo(photos, one.relative)
    if found is None:
        needing = next(kind for kind in output.formats if output.options.needs_photo(FORMATS[kind]))
        place = "give the folder of photos with --images" if photos is None else f"it is not in {photos}"
        raise ItemError(f"{one.relative}: {needing} needs the photo; {place}")
    image = images.read_image(found, str(found))
    if image.size != one.prediction.size:
        sizes = [f"{s[1]}x{s[0]}" for s in (one.prediction.size, image.size)]
        raise ItemError(f"{one.relative}: its masks are {sizes[0]}, the photo {found} is {sizes[1]}")
    return image


def _deliver(directory: Source | None, path: str, chunks: Iterable[bytes], force: bool) -> None:
    """A file of the output directory, or stdout. Raises ItemError for a file that holds something else."""
    if directory is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        return
    target = directory / path
    if not force and outputs.is_there(target):
        data = b"".join(chunks)
        if _same(target, data):
            return
        raise ItemError(f"{target}: exists and holds something else: --force replaces it, another -o keeps it")
    outputs.write(target, chunks, sync=False)


def _same(path: Source, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _lost(one: Masks, output: Output) -> set[str]:
    """What the formats together do not keep of these masks."""
    kept = [HOLDS[kind] for kind in output.formats if kind in HOLDS]
    if not kept or not len(one.prediction):
        return set()
    ids, labels, scores, exact = (any(column) for column in zip(*kept, strict=True))
    prediction = one.prediction
    lost = set()
    if not ids and prediction.ids != tuple(range(1, len(prediction) + 1)):
        lost.add("ids")
    if not labels and any(name is not None for name in prediction.names):
        lost.add("labels")
    if not scores and one.scored:
        lost.add("scores")
    if not exact:
        lost.add("exact borders")
    if set(output.formats) <= {"palette", "panoptic", "semantic"} and _overlap(prediction):
        lost.add("what lies under another mask")
    return lost


def _overlap(prediction: Prediction) -> bool:
    return sum(rle.area for rle in prediction.masks) > merge(prediction.masks).area


class _Spools:
    """Fragments of files for the whole run, on disk until all have passed."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._files: dict[str, IO[bytes]] = {}
        self._formats = {path: kind for kind in output.formats if (path := output.run_file(FORMATS[kind])) is not None}

    def __enter__(self) -> _Spools:
        for path in self._formats:
            self._files[path] = tempfile.TemporaryFile()
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, answered: Answered) -> None:
        """Keep this photo's part. Raises StorageError when there is no room for it."""
        for path, kind in self._formats.items():
            fragment = FORMATS[kind].fragment(answered, self._output.options)
            try:
                self._files[path].write(json.dumps(fragment, separators=(",", ":")).encode() + b"\n")
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise StorageError(f"temporary files can't be written: {reason}") from None

    def assembled(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each file of the run with its bytes."""
        for path, kind in self._formats.items():
            spool = self._files[path]
            spool.seek(0)
            fragments: Iterator[Any] = (json.loads(line) for line in spool)
            yield path, FORMATS[kind].assemble(fragments, self._output.options)
