"""The moving parts of a run: a bounded number of reads, one batch in the model, a bounded number of writes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from segcli.core.errors import DeviceError, SegError, StorageError
from segcli.io.formats.contract import Rendered
from segcli.models.api import Encoded, Promptable
from segcli.pipeline.events import Events
from segcli.pipeline.journal import Entry
from segcli.pipeline.plan import Item
from segcli.pipeline.resume import Existing, RefusedError
from segcli.pipeline.signals import Stop
from segcli.pipeline.work import Answers, Photo, Writer, answer, read

_UNSEEN = 1 << 20
"""Bytes that a photo is taken for until the first one was seen."""

_READ_AHEAD = 2
"""Batches that are read while one is encoded: one to have ready, one to make up for a slow photo."""


@dataclass(frozen=True)
class Finished:
    """The item was done now; `rendered` holds its files only when they are for stdout."""

    item: Item
    entry: Entry
    rendered: list[Rendered]


@dataclass(frozen=True)
class Skipped:
    """The item was done by an earlier run."""

    item: Item
    entry: Entry


@dataclass(frozen=True)
class Failed:
    """The item was not done. `refused`: for an output that exists, which leaves what the journal says of it alone."""

    item: Item
    error: Exception
    refused: bool = False


Outcome = Finished | Skipped | Failed


@dataclass(eq=False)
class _Slot:
    """An item on its way: first its reading, then its writing, at last its outcome."""

    item: Item
    reading: Future[Photo] | None = None
    writing: Future[tuple[Entry, list[Rendered]]] | None = None
    outcome: Outcome | None = None
    nbytes: int = 0


@dataclass(eq=False)
class Engine:
    """Runs items through a model. One `outcomes` at a time; `close` waits for what is being written."""

    model: Promptable | Callable[[], Promptable]
    writer: Writer
    existing: Existing | None
    batch: int
    threads: int
    memory: int  # bytes
    events: Events
    stop: Stop
    _slots: deque[_Slot] = field(default_factory=deque)  # in the order of the plan, those not yet passed on
    _typical: int = field(default_factory=lambda: _UNSEEN)  # bytes of a decoded photo, as far as seen

    def __post_init__(self) -> None:
        self._readers = ThreadPoolExecutor(self.threads, "seg-read")
        self._writers = ThreadPoolExecutor(self.threads, "seg-write")
        self._opened: Promptable | None = None

    def outcomes(self, items: Sequence[Item]) -> Iterator[Outcome]:
        """What became of each item, in order. Ends early when `stop` is set, after what is in the model is written.

        Raises what concerns all items: StorageError, and what opening the model raises.
        """
        upcoming = iter(items)
        more = True
        while not self.stop.now:
            while more and self._room():
                if (item := next(upcoming, None)) is None:
                    more = False
                else:
                    self._slots.append(self._begin(item))
            reading = [slot for slot in self._slots if slot.reading is not None]
            if reading:
                self._encode(reading[: self.batch])
            yield from self._settled(wait=not reading)
            if not (more or self._slots):
                return
        for slot in self._slots:
            if slot.reading is not None:
                slot.reading.cancel()
        self._slots = deque(slot for slot in self._slots if slot.reading is None)
        while self._slots:
            yield from self._settled(wait=True)

    def close(self) -> None:
        """Wait for what is being read and written; nothing new begins."""
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown()

    def _begin(self, item: Item) -> _Slot:
        """Skip, refuse or start to read an item."""
        if self.existing is not None:
            try:
                entry = self.existing.entry(item, self.writer.plan.item_fingerprint(item))
            except SegError as error:
                return _Slot(item, outcome=Failed(item, error, refused=True))
            if entry is not None:
                return _Slot(item, outcome=Skipped(item, entry))
        side = None if self._needs_photo() else self._model().reads
        return _Slot(item, reading=self._readers.submit(read, item, side))

    def _room(self) -> bool:
        """True when one more photo may be read: not too many ahead, and memory for it."""
        reading = sum(slot.reading is not None for slot in self._slots)
        if reading == 0 and len(self._slots) == 0:
            return True
        held = sum(self._bytes(slot) for slot in self._slots)
        waiting = len(self._slots) - reading
        return (
            reading < _READ_AHEAD * self.batch + self.threads
            and waiting < 8 * self.batch + 4 * self.threads
            and held + self._typical <= self.memory
        )

    def _bytes(self, slot: _Slot) -> int:
        if slot.reading is not None:
            return self._typical if not _succeeded(slot.reading) else slot.reading.result().nbytes
        return slot.nbytes

    def _needs_photo(self) -> bool:
        output = self.writer.plan.output
        return any(output.options.needs_photo(self.writer.formats[name]) for name in output.formats)

    def _model(self) -> Promptable:
        if self._opened is None:
            self._opened = self.model if isinstance(self.model, Promptable) else self.model()
        return self._opened

    def _encode(self, slots: Sequence[_Slot]) -> None:
        """Wait for the photos of a batch, put them through the model, and start to write the answers."""
        photos: list[tuple[_Slot, Photo]] = []
        for slot in slots:
            reading, slot.reading = slot.reading, None
            if reading is None:
                continue
            try:
                photo = reading.result()
            except Exception as error:  # a bug at one photo must not cost a night's batch; exit code 1
                slot.outcome = Failed(slot.item, error)
                continue
            slot.nbytes = photo.nbytes
            self._typical = max(self._typical, photo.nbytes)
            photos.append((slot, photo))
        self._answer(photos)

    def _answer(self, photos: Sequence[tuple[_Slot, Photo]]) -> None:
        if not photos:
            return
        start = time.perf_counter()
        try:
            encoded = self._model().encode([photo.image for _, photo in photos])
        except Exception as error:
            self._split(photos, error)
            return
        share = (time.perf_counter() - start) / len(photos)
        for (slot, photo), one in zip(photos, encoded, strict=True):
            try:
                self._submit(slot, photo, one, share)
            except Exception as error:
                slot.outcome = Failed(slot.item, _named(slot.item, error))

    def _split(self, photos: Sequence[tuple[_Slot, Photo]], error: Exception) -> None:
        """A batch failed: try smaller ones; at one photo it is that photo's failure."""
        if len(photos) == 1:
            slot = photos[0][0]
            slot.outcome = Failed(slot.item, _named(slot.item, error))
            return
        size = 1
        if isinstance(error, DeviceError | MemoryError):
            size = len(photos) // 2
            if size < self.batch:
                self.batch = size
                self.events.notice(f"out of memory with {len(photos)} photos at a time: going on with {size}")
        for first in range(0, len(photos), size):
            self._answer(photos[first : first + size])

    def _submit(self, slot: _Slot, photo: Photo, encoded: Encoded, seconds: float) -> None:
        start = time.perf_counter()
        asks, predictions = answer(self._model(), encoded, photo.rounds)
        answers = Answers(photo, asks, predictions, seconds + time.perf_counter() - start)
        height, width = photo.image.size
        slot.nbytes = photo.nbytes + 4 * height * width  # a dense mask, and at most an RGBA file of it
        slot.writing = self._writers.submit(self.writer.write, answers)

    def _settled(self, *, wait: bool) -> Iterator[Outcome]:
        """The outcomes that are there, in order; with `wait`, at least the next one."""
        while self._slots:
            slot = self._slots[0]
            if slot.outcome is None:
                if slot.writing is None or not (wait or slot.writing.done()):
                    return
                try:
                    slot.outcome = Finished(slot.item, *slot.writing.result())
                except StorageError:
                    raise
                except Exception as error:
                    slot.outcome = Failed(slot.item, error, refused=isinstance(error, RefusedError))
            self._slots.popleft()
            wait = False
            yield slot.outcome


def _succeeded(reading: Future[Photo]) -> bool:
    return reading.done() and not reading.cancelled() and reading.exception() is None


def _named(item: Item, error: Exception) -> Exception:
    """A model's error with the item's name before it."""
    if isinstance(error, MemoryError):
        error = DeviceError("out of memory: give a smaller photo, or fewer asks at a time")
    if isinstance(error, SegError) and item.name not in str(error):
        return type(error)(f"{item.name}: {error}")
    return error
