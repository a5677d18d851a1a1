"""The moving parts of a run: a bounded number of reads, batches that are answered, a bounded number of writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from segcli.core.errors import SegError, StorageError
from segcli.io.formats.contract import Rendered
from segcli.pipeline.answering import Answering
from segcli.pipeline.journal import Entry
from segcli.pipeline.plan import Item
from segcli.pipeline.resume import Existing, RefusedError
from segcli.pipeline.signals import Stop
from segcli.pipeline.work import Answers, Photo, Question, Writer, read

_UNSEEN = 1 << 20
"""Bytes that a photo is taken for until the first one was seen."""

_READ_AHEAD = 2
"""Batches that are read while one is answered: one to have ready, one to make up for a slow photo."""


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
    """An item on its way: first its reading, then the photo that is being asked about, its writing, its outcome."""

    item: Item
    reading: Future[Photo] | None = None
    photo: Photo | None = None
    writing: Future[tuple[Entry, list[Rendered]]] | None = None
    outcome: Outcome | None = None
    nbytes: int = 0


@dataclass(eq=False)
class Engine:
    """Runs items: reads, answers, writes. One `outcomes` at a time; `close` waits for what is being written."""

    answering: Answering[_Slot]
    writer: Writer
    existing: Existing | None
    threads: int
    memory: int  # bytes of photos and files that wait, for each place where photos are answered
    stop: Stop
    _slots: deque[_Slot] = field(default_factory=deque)  # in the order of the plan, those not yet passed on
    _typical: int = field(default_factory=lambda: _UNSEEN)  # bytes of a decoded photo, as far as seen

    def __post_init__(self) -> None:
        self._readers = ThreadPoolExecutor(self.threads, "seg-read")
        self._writers = ThreadPoolExecutor(self.threads, "seg-write")

    def outcomes(self, items: Sequence[Item]) -> Iterator[Outcome]:
        """What became of each item, in order. Ends early when `stop` is set, after what is in the model is written.

        Raises what concerns all items: StorageError, and what `Answering` raises.
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
            giving = bool(reading) and self.answering.free
            if giving:
                self._give(reading[: self.answering.batch])
            waiting = not giving and self.answering.busy
            self._take(wait=waiting)
            yield from self._settled(wait=not (reading or waiting))
            if not (more or self._slots):
                return
        for slot in self._slots:
            if slot.reading is not None:
                slot.reading.cancel()
        self._slots = deque(slot for slot in self._slots if slot.reading is None and slot.photo is None)
        while self._slots:
            yield from self._settled(wait=True)

    def close(self) -> None:
        """Wait for what is being read and written; nothing new begins, and what is not answered yet is dropped."""
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown()
        self.answering.close()

    def _begin(self, item: Item) -> _Slot:
        """Skip, refuse or start to read an item."""
        if self.existing is not None:
            try:
                entry = self.existing.entry(item, self.writer.plan.item_fingerprint(item))
            except SegError as error:
                return _Slot(item, outcome=Failed(item, error, refused=True))
            if entry is not None:
                return _Slot(item, outcome=Skipped(item, entry))
        self.answering.start()
        side = None if self._needs_photo() else self.answering.reads
        return _Slot(item, reading=self._readers.submit(read, item, side))

    def _room(self) -> bool:
        """True when one more photo may be read: not too many ahead, and memory for it."""
        reading = sum(slot.reading is not None for slot in self._slots)
        if reading == 0 and len(self._slots) == 0:
            return True
        held = sum(self._bytes(slot) for slot in self._slots)
        waiting = len(self._slots) - reading
        batch, places = self.answering.batch, self.answering.places
        return (
            reading < _READ_AHEAD * batch + batch * (places - 1) + self.threads
            and waiting < 8 * batch * places + 4 * self.threads
            and held + self._typical <= self.memory * places
        )

    def _bytes(self, slot: _Slot) -> int:
        if slot.reading is not None:
            return self._typical if not _succeeded(slot.reading) else slot.reading.result().nbytes
        return slot.nbytes

    def _needs_photo(self) -> bool:
        output = self.writer.plan.output
        return any(output.options.needs_photo(self.writer.formats[name]) for name in output.formats)

    def _give(self, slots: Sequence[_Slot]) -> None:
        """Wait for the photos of a batch and have them answered."""
        batch: list[tuple[_Slot, Question]] = []
        for slot in slots:
            reading, slot.reading = slot.reading, None
            if reading is None:
                continue
            try:
                photo = reading.result()
            except Exception as error:  # a bug at one photo must not cost a night's batch; exit code 1
                slot.outcome = Failed(slot.item, error)
                continue
            slot.photo, slot.nbytes = photo, photo.nbytes
            self._typical = max(self._typical, photo.nbytes)
            batch.append((slot, photo.question))
        if batch:
            self.answering.give(batch)

    def _take(self, *, wait: bool) -> None:
        """Start to write the answers that are there."""
        for slot, answer in self.answering.take(wait=wait):
            photo, slot.photo = slot.photo, None
            if isinstance(answer, Exception):
                slot.outcome = Failed(slot.item, answer)
            elif photo is not None:
                height, width = photo.image.size
                slot.nbytes = photo.nbytes + 4 * height * width  # a dense mask, and at most an RGBA file of it
                answers = Answers(photo, answer.asks, answer.predictions, answer.seconds)
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
