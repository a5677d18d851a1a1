"""What is done to one item: read it, have it answered, write its files. Reading and writing run in threads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segcli.core import geometry
from segcli.core.ask import Ask
from segcli.core.errors import DeviceError, UsageError
from segcli.core.image import Image
from segcli.core.prediction import Prediction, counted_through, joined
from segcli.io import images, outputs, stream
from segcli.io.formats.contract import Answered, Format, Rendered
from segcli.io.remote import Source
from segcli.models.api import Encoded, Promptable
from segcli.pipeline import identity
from segcli.pipeline.journal import Entry, Wrote
from segcli.pipeline.names import Names
from segcli.pipeline.plan import Item, Plan, Rounds
from segcli.pipeline.resume import Existing


@dataclass(frozen=True)
class Photo:
    """An item that was read: its pixels, its asks in pixels of it, and what it was read from."""

    item: Item
    image: Image
    rounds: list[Rounds]
    identity: identity.Identity
    seconds: float

    @property
    def question(self) -> Question:
        """What a model is asked."""
        return Question(self.item.name, self.image, self.rounds)

    @property
    def nbytes(self) -> int:
        """Bytes of decoded pixels held."""
        alpha = 0 if self.image.alpha is None else self.image.alpha.nbytes
        return self.image.pixels.nbytes + alpha


@dataclass(frozen=True)
class Question:
    """What a model needs of a photo. Plain data, so that the model may be on another machine."""

    name: str
    image: Image
    rounds: list[Rounds]


@dataclass(frozen=True)
class Answer:
    """A model's answer: one (last round's) ask and its prediction for each object asked for, and what it took."""

    asks: list[Ask]
    predictions: list[Prediction]
    seconds: float


@dataclass(frozen=True)
class Answers:
    """A photo with one (last round's) ask and its prediction for each object asked for."""

    photo: Photo
    asks: list[Ask]
    predictions: list[Prediction]
    seconds: float


def read(item: Item, max_side: int | None) -> Photo:
    """Read and decode an item. Raises ItemError (the file), UsageError (a prompt that does not fit it)."""
    start = time.perf_counter()
    if item.source is None:
        data = item.data or b""
        source = identity.of_bytes(data)
    else:
        data, source = identity.read(item.source, item.name)
    image = images.read_image(data, item.name, max_side)
    rounds = [
        tuple(geometry.resolve(ask, image.size, item.name, UsageError) for ask in asks)
        for asks in item.rounds(image.size)
    ]
    if not rounds:
        raise UsageError(f"{item.name}: nothing is asked about it")
    return Photo(item, image, rounds, source, time.perf_counter() - start)


def answer(model: Promptable, encoded: Encoded, rounds: Sequence[Rounds]) -> tuple[list[Ask], list[Prediction]]:
    """Answer all asks of one photo, round by round; the last round's asks and predictions are the result.

    When memory runs out the asks are put in smaller groups, down to one at a time. Raises what `decode` raises.
    """
    asks = [objects[0] for objects in rounds]
    predictions = decode(model, encoded, asks)
    for number in range(1, max(len(objects) for objects in rounds)):
        later = [index for index, objects in enumerate(rounds) if len(objects) > number]
        for index in later:
            asks[index] = remember(rounds[index][number], predictions[index])
        for index, prediction in zip(later, decode(model, encoded, [asks[i] for i in later]), strict=True):
            predictions[index] = prediction
    return asks, predictions


def remember(ask: Ask, before: Prediction) -> Ask:
    """The ask with the best mask of the round before as its memory, unless it brings its own."""
    if ask.previous is not None or not len(before):
        return ask
    best = max(range(len(before)), key=lambda index: before.scores[index])
    return replace(ask, previous=before.masks[best])


def decode(model: Promptable, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
    """`model.decode`, in halves where the device has no memory for all asks at once; what is asked is noted in it."""
    try:
        return [noted(ask, prediction) for ask, prediction in zip(asks, model.decode(encoded, asks), strict=True)]
    except DeviceError:
        if len(asks) < 2:
            raise
    half = len(asks) // 2
    return decode(model, encoded, asks[:half]) + decode(model, encoded, asks[half:])


def noted(ask: Ask, prediction: Prediction) -> Prediction:
    """The prediction without masks below the ask's threshold, and with what the ask itself says of the others.

    That is the phrase that asked for them, and whether their classes are things, each where the model said nothing.
    """
    if ask.threshold is not None and not ask.at_least_one and any(score < ask.threshold for score in prediction.scores):
        prediction = prediction.take([n for n, score in enumerate(prediction.scores) if score >= ask.threshold])
    if ask.text is not None and set(prediction.phrases) == {None}:
        prediction = replace(prediction, phrases=(ask.text,) * len(prediction))
    if ask.things and None in prediction.things:
        thing = dict(zip(ask.classes, ask.things, strict=True))
        said = zip(prediction.things, prediction.labels, strict=True)
        prediction = replace(prediction, things=tuple(thing.get(name or "") if t is None else t for t, name in said))
    return prediction


@dataclass(frozen=True)
class _Part:
    """What some files of a photo are about: one ask, or (None) all of them; and the formats that write them."""

    ask: Ask | None
    answered: Answered
    formats: tuple[str, ...]

    def named(self, names: Mapping[str, str]) -> _Part:
        """The part whose files have names."""
        return replace(self, answered=replace(self.answered, named=names))


@dataclass(frozen=True)
class Writer:
    """Turns answers into files, or into bytes for stdout when the plan has no directory."""

    plan: Plan
    formats: Mapping[str, Format]
    names: Names
    existing: Existing | None
    wants_records: bool

    def write(self, answers: Answers) -> tuple[Entry, list[Rendered]]:
        """Render and write one item's files; returns its entry, and what is for stdout.

        Raises ItemError (a name is taken), StorageError (no space, no permission).
        """
        start = time.perf_counter()
        photo, output = answers.photo, self.plan.output
        parts = self._parts(answers)
        rendered = [
            [file for kind in part.formats for file in self.formats[kind].render(part.answered, output.options)]
            for part in parts
        ]
        paths: list[list[str]] = [[] for _ in parts]
        if self.existing is not None:
            paths = self.names.of(photo.item, [part.ask for part in parts], rendered)
            parts = [
                part.named(self.names.within(files, row))
                for part, files, row in zip(parts, rendered, paths, strict=True)
            ]
        fragments = {
            path: [self.formats[kind].fragment(part.answered, output.options) for part in parts if kind in part.formats]
            for kind in output.formats
            if (path := output.run_file(self.formats[kind])) is not None
        }
        fingerprint, name = self.plan.item_fingerprint(photo.item), photo.item.name
        wrote: list[list[Wrote]] = [[] for _ in parts]
        if self.existing is not None:
            self.existing.begin(photo.item, photo.identity, fingerprint, [path for row in paths for path in row])
            wrote = [
                [put(self.existing.directory, path, file.data) for path, file in zip(row, files, strict=True)]
                for row, files in zip(paths, rendered, strict=True)
            ]
        seconds = round(photo.seconds + answers.seconds + time.perf_counter() - start, 6)
        entry = Entry(
            key=photo.item.key,
            fingerprint=fingerprint,
            input=photo.identity,
            files=tuple(file for files in wrote for file in files),
            seconds=seconds,
            formats=output.formats,
            fragments=fragments,
            masks=tuple(map(len, answers.predictions)),
            records=self._records(name, parts, wrote, seconds) if self.wants_records else None,
        )
        if self.existing is not None:
            self.existing.journal.write_done(entry)
            return entry, []
        return entry, [file for files in rendered for file in files]

    def _parts(self, answers: Answers) -> list[_Part]:
        """What files are about: each ask, and all of a photo's asks together for formats that hold several objects."""
        item, output = answers.photo.item, self.plan.output
        predictions = answers.predictions
        shared: tuple[str, ...] = ()
        if output.joins(answers.asks):
            shared = tuple(kind for kind in output.formats if self.formats[kind].joins)
            predictions = counted_through(predictions)
        apart = tuple(kind for kind in output.formats if kind not in shared)
        parts = [
            _Part(ask, Answered(answers.photo.image, ask, prediction, item.relative, self.plan.model), apart)
            for ask, prediction in zip(answers.asks, predictions, strict=True)
        ]
        if shared:
            parts.append(_Part(None, replace(parts[0].answered, prediction=joined(predictions)), shared))
        return parts

    def _records(
        self, name: str, parts: Sequence[_Part], wrote: Sequence[Sequence[Wrote]], seconds: float
    ) -> list[dict[str, Any]]:
        """A record an ask, with its own files and those that it shares."""
        common = [path for part, row in zip(parts, wrote, strict=True) if part.ask is None for path, *_ in row]
        return [
            stream.record(
                name,
                part.ask,
                part.answered.prediction,
                part.answered.model,
                files=[*(path for path, *_ in row), *common],
                seconds=seconds,
            )
            for part, row in zip(parts, wrote, strict=True)
            if part.ask is not None
        ]


def put(directory: Source, path: str, data: bytes) -> Wrote:
    """Write one file at once or not at all. Raises StorageError or ItemError."""
    outputs.write(directory / path, data)
    return path, len(data), hashlib.sha256(data).hexdigest()
