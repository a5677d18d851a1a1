"""A model and formats without weights: a click takes everything about as bright as its pixel."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL.Image

from segcli.core.ask import Ask, Point, PromptKind
from segcli.core.errors import DeviceError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.io.formats.contract import Answered, Options, Rendered
from segcli.io.remote import Source
from segcli.pipeline.events import Events, Summary
from segcli.pipeline.plan import Item, Output, Plan
from segcli.pipeline.run import How, run


@dataclass
class Grey:
    """An encoded photo."""

    values: np.ndarray
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        return self.values.nbytes


@dataclass
class Bright:
    """A Promptable. `room` photos fit into its memory at a time; `pause` seconds pass in every encode."""

    name: str = "bright"
    revision: str = "1"
    accepts: frozenset[PromptKind] = frozenset({PromptKind.POINT, PromptKind.PREVIOUS})
    reads: int | None = None
    room: int = 1000
    asks_room: int = 1000
    pause: float = 0.0
    batches: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def encode(self, images: Sequence[Image]) -> list[Grey]:
        if len(images) > self.room:
            raise DeviceError("out of memory: give --device cpu, or smaller photos")
        self.batches.append(len(images))
        time.sleep(self.pause)
        return [Grey(image.pixels.mean(axis=2), image.size) for image in images]

    def decode(self, encoded: Grey, asks: Sequence[Ask]) -> list[Prediction]:
        if len(asks) > self.asks_room:
            raise DeviceError("out of memory: give --device cpu, or smaller photos")
        self.asked.append(len(asks))
        return [self._one(encoded, ask) for ask in asks]

    def _one(self, encoded: Grey, ask: Ask) -> Prediction:
        height, width = encoded.size
        rows = np.minimum(np.arange(height) * encoded.values.shape[0] // height, encoded.values.shape[0] - 1)
        columns = np.minimum(np.arange(width) * encoded.values.shape[1] // width, encoded.values.shape[1] - 1)
        values = encoded.values[rows][:, columns]
        mask = np.zeros(encoded.size, dtype=bool)
        for point in ask.points:
            near = np.abs(values - values[round(point.y), round(point.x)]) < 40
            mask = mask | near if point.positive else mask & ~near
        rle = encode(mask)
        if ask.previous is not None:
            rle = encode(mask | np.roll(mask, 1, axis=0))
        return Prediction(encoded.size, (rle,), scores=(0.5,))


class Masks:
    """One PNG a mask."""

    name = "mask"
    needs_photo = False
    joins = False
    run_file: str | None = None

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        files = []
        for n in range(len(answered.prediction)):
            data = BytesIO()
            PIL.Image.fromarray(answered.prediction.dense(n)).save(data, "PNG")
            files.append(Rendered(data.getvalue(), ".png", self.name, n + 1))
        return files

    def fragment(self, answered: Answered, options: Options) -> Any:
        return None

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        yield from ()


class Copies(Masks):
    """The photo itself, so that its pixels are needed."""

    name = "copy"
    needs_photo = True
    joins = True

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        return [Rendered(answered.image.pixels.tobytes(), ".raw", self.name)]


class Areas(Masks):
    """No files a photo, one list of areas for the run."""

    name = "areas"
    run_file = "areas.json"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        return []

    def fragment(self, answered: Answered, options: Options) -> Any:
        return {"image": str(answered.relative), "areas": [rle.area for rle in answered.prediction.masks]}

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        for fragment in fragments:
            yield json.dumps(fragment).encode() + b"\n"


FORMATS = {"mask": Masks(), "copy": Copies(), "areas": Areas()}


def photo(path: Path, seed: int, size: tuple[int, int] = (24, 32)) -> Path:
    """A small PNG with a few flat regions."""
    rng = np.random.default_rng(seed)
    values = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((size[0] // 4, size[1] // 4, 1))).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(values).save(path)
    return path


def photos(directory: Path, count: int, size: tuple[int, int] = (24, 32)) -> list[Path]:
    """`count` photos, every third one in a directory below."""
    return [photo(directory / ("deep" if n % 3 == 2 else "") / f"{n:03}.png", n, size) for n in range(count)]


ASK = Ask(points=(Point(5, 5),))


def plan(inputs: Path, directory: Source | None, *, asks: Any = (ASK,), print_: str = "x", **output: Any) -> Plan:
    """Everything below `inputs`, asked the same."""
    items = [
        Item(PurePosixPath(path.relative_to(inputs)), path, asks)
        for path in sorted(inputs.rglob("*"))
        if not path.is_dir()
    ]
    formats = output.pop("formats", ("mask", "areas"))
    return Plan(items, Output(directory, formats=formats, **output), print_, "bright")


def ask_as(plan_: Plan, asks: Any) -> Plan:
    """The same photos, asked something else."""
    return replace(plan_, items=[replace(item, asks=asks) for item in plan_.items])


def tree(directory: Path, *, hidden: bool = False) -> dict[str, str]:
    """Every file's content hash by its path; without the journal and the lock unless `hidden`."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and (hidden or not _is_kept(path.relative_to(directory)))
    }


def _is_kept(path: Path) -> bool:
    return any(part.startswith((".seg-journal", ".seg-lock")) for part in path.parts)


class Heard(Events):
    """Remembers what a run tells."""

    def __init__(self, *, records: bool = False) -> None:
        self.wants_records = records
        self.lines: list[Any] = []
        self.notices: list[str] = []
        self.errors: list[Exception] = []
        self.order: list[tuple[str, str]] = []
        self.summary: Summary | None = None

    def done(self, image, files, records, masks):
        self.order.append(("done", image))
        self.lines += records

    def skipped(self, image, files, records, masks):
        self.order.append(("skipped", image))
        self.lines += records

    def failed(self, record, error):
        self.order.append(("failed", record["image"]))
        self.lines.append(record)
        self.errors.append(error)

    def planned(self, image):
        self.order.append(("planned", image))

    def notice(self, text):
        self.notices.append(text)

    def finished(self, summary):
        self.summary = summary


def do(plan_: Plan, model: Any = None, events: Events | None = None, **how: Any) -> Summary:
    """Run a plan with the fake formats."""
    return run(plan_, model or Bright(), How(**how), events, formats=FORMATS)


def never() -> Any:
    raise AssertionError("the model was opened although nothing was left to do")
