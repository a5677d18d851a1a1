"""Self-training: a model's confident masks of photos that nobody has masked, as a folder to train on.

A pixel of a mask PNG is the id of an object that the model is sure of, 255 (ignored) where it is not, and 0 where it is
sure that none of these objects is there. What an object is called nobody knows, so objects.jsonl names no class and
calls no photo complete.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.colors import davis_palette
from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.core.image import Image
from segcli.io import atomic
from segcli.io.images import read_bytes, read_image
from segcli.io.inputs import Input
from segcli.io.png import write_png
from segcli.models.api import Promptable
from segcli.pipeline.everything import EncodedPhoto, Everything, Proposal, Search, proposals
from segcli.pipeline.lock import Lock

IGNORED = 255
_MOST = 254  # ids of one photo
_COPIED = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class Trust:
    """What is believed.

    search: how densely is asked, from which score and stability on a mask is confident.
    low, high: a pixel is an object's from the upper probability on, and surely not below the lower one.
    shown:  least share of what an object surely is that no better object has; with less it is left out.
    largest: share of the photo beyond which a mask is no object: nothing is left around it to tell it from.
    """

    search: Search = field(default_factory=lambda: Search(grid=12, score=0.9, stability=0.9, area=0.002))
    low: float = 0.2
    high: float = 0.8
    shown: float = 0.8
    largest: float = 0.9


@dataclass(frozen=True)
class Taught:
    """How a run ended: photos with masks now, those that were there before, and those that failed."""

    photos: int
    before: int
    failed: int


def labels(
    found: Sequence[Proposal], size: tuple[int, int], trust: Trust
) -> tuple[NDArray[np.uint8], dict[int, float]]:
    """Ids [H, W] of a photo from its confident masks, best first, and the score of each id.

    Where masks overlap the better one has the pixels. Ignored: where an object is neither surely there nor surely
    not, and all that a confident mask says which a better one contradicts.
    """
    ids = np.zeros(size, np.uint8)
    said = np.zeros(size, np.bool_)  # that one of the masks so far may be there
    scores: dict[int, float] = {}
    for one in found:
        if one.mask.area > trust.largest * one.mask.size[0] * one.mask.size[1]:
            continue
        sure, maybe = one.bounds(size)
        free = sure & ~said
        if len(scores) < _MOST and free.any() and free.sum() >= trust.shown * sure.sum():
            number = len(scores) + 1
            ids[free] = number
            scores[number] = one.score
        said |= maybe
    ids[said & (ids == 0)] = IGNORED
    return ids, scores


def teach(
    open_teacher: Callable[[], Promptable],
    about: dict[str, Any],
    photos: Sequence[Input],
    out: Path,
    trust: Trust,
    say: Callable[[str], None],
) -> Taught:
    """Write `out/images`, `out/masks` and `out/objects.jsonl` for photos; one that is there already is not done again.

    open_teacher: opens the model that answers clicks, once there is a photo to do. about: which model it is.
    A run that was stopped goes on with the same `out`. Photos that can't be read are said and counted.
    Raises UsageError when `out` is another run's or the model gives no probabilities, StorageError when it can't be
    written, and what the model raises.
    """
    atomic.make_directory(out)
    lock = Lock(out, None)
    try:
        return _Folder(out, trust, say).fill(open_teacher, about, photos)
    finally:
        lock.release()


@dataclass
class _Folder:
    """The folder that is written."""

    out: Path
    trust: Trust
    say: Callable[[str], None]

    @property
    def listing(self) -> Path:
        return self.out / "objects.jsonl"

    def fill(self, open_teacher: Callable[[], Promptable], about: dict[str, Any], photos: Sequence[Input]) -> Taught:
        atomic.sweep(self.out)
        self._claim(about)
        there = self._there()
        names = _names(photos)
        model: Everything | None = None
        done = before = failed = 0
        for photo, name in zip(photos, names, strict=True):
            if name in there:
                before += 1
                continue
            if model is None:
                model = Everything(open_teacher(), self.trust.search)
            try:
                line = self._photo(model, photo, name)
            except ItemError as error:
                self.say(str(error))
                failed += 1
                continue
            self._append(line)
            done += 1
        return Taught(done, before, failed)

    def _photo(self, model: Everything, photo: Input, name: str) -> dict[str, Any]:
        data = photo.data if photo.source is None else read_bytes(photo.source, photo.name)
        assert data is not None
        image = read_image(data, photo.name, model.reads)
        ids, scores = labels(self._found(model, image), image.size, self.trust)
        suffix = photo.relative.suffix.lower()
        if suffix in _COPIED and _is_upright(data):
            picture, content = f"images/{name}{photo.relative.suffix}", data
        else:
            picture, content = f"images/{name}.png", write_png(read_image(data, photo.name).pixels)
        mask = f"masks/{name}.png"
        for file, written in ((picture, content), (mask, write_png(ids, palette=davis_palette()))):
            path = self.out / file
            atomic.make_directory(path.parent)
            atomic.write(path, written)
        unsure = float((ids == IGNORED).mean())
        self.say(f"{photo.name}: {len(scores)} object(s), {unsure:.0%} of the photo ignored")
        objects = [{"id": number, "score": round(score, 4)} for number, score in scores.items()]
        return {"name": name, "image": picture, "mask": mask, "objects": objects, "complete": False}

    def _found(self, model: Everything, image: Image) -> list[Proposal]:
        (encoded,) = model.encode([image])
        assert isinstance(encoded, EncodedPhoto)
        found = proposals(
            model.model, encoded.whole, image, self.trust.search, bounds=(self.trust.low, self.trust.high)
        )
        if any(one.sure is None for one in found):
            raise UsageError(
                f"-m {model.name}: gives no probabilities to be sure by; choose another, such as seem-nano"
            )
        return found

    def _claim(self, about: dict[str, Any]) -> None:
        """Note in the folder what is made there. Raises UsageError when that is something else already."""
        text = json.dumps({**about, **asdict(self.trust)}, sort_keys=True, indent=1) + "\n"
        note = self.out / "teach.json"
        if (note.exists() and note.read_text() != text) or (self.listing.exists() and not note.exists()):
            raise UsageError(f"{self.out}: was made with another model or options; take it away, or change --out")
        if not note.exists():
            atomic.write(note, text.encode())

    def _there(self) -> set[str]:
        """Names of the photos that are done; half a line, of a run that was killed, is taken away."""
        if not self.listing.exists():
            return set()
        data = self.listing.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            atomic.write(self.listing, whole)
        try:
            return {json.loads(line)["name"] for line in whole.splitlines()}
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{self.listing}: is broken ({error}); take the folder away, or change --out") from None

    def _append(self, line: dict[str, Any]) -> None:
        try:
            with self.listing.open("ab") as file:
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self.listing}: can't be written: {atomic.describe(error)}") from None


def _names(photos: Sequence[Input]) -> list[str]:
    """A name for each photo's files without suffix; its own suffix stays in it where two would be called the same."""

    def stem(path: PurePosixPath) -> str:
        return str(path.with_suffix(""))

    shared = Counter(stem(photo.relative) for photo in photos)
    return [stem(photo.relative) if shared[stem(photo.relative)] == 1 else str(photo.relative) for photo in photos]


def _is_upright(data: bytes) -> bool:
    """Whether a photo's stored pixels are those that the model saw, as readers of training folders take them."""
    import PIL.Image

    with PIL.Image.open(BytesIO(data)) as picture:
        return picture.getexif().get(_ORIENTATION, 1) == 1 and picture.mode in ("RGB", "L", "P")
