"""Read ahead and write behind: what the model does not need happens beside it, in bounded memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
_WAIT = 0.1  # seconds between looks at whether the other side still lives

_MOST_WAITING = 8
_WAITING_BYTES = 96 << 20


def depth_for(size: tuple[int, int]) -> int:
    """How many frames of that size (H, W) may wait."""
    return max(2, min(_MOST_WAITING, _WAITING_BYTES // (size[0] * size[1] * 3)))


class Ahead(Generic[T]):
    """Iterates over what a thread takes from another iterator, at most `depth` items ahead; its error comes last."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._queue: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True, name="read ahead")
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            what, item = self._queue.get()
            if what == "item":
                yield item  # type: ignore[misc]
            elif what == "error":
                assert isinstance(item, BaseException)
                raise item
            else:
                return

    def close(self) -> None:
        """Stop the thread; what it read ahead is lost."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=_WAIT)
            except queue.Empty:
                continue

    def _run(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                if not self._put(("item", item)):
                    return
            self._put(("end", None))
        except BaseException as error:  # it is raised again where the items are used
            self._put(("error", error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _put(self, item: tuple[str, T | BaseException | None]) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_WAIT)
            except queue.Full:
                continue
            return True
        return False


class Sink(Protocol[T_contra]):
    """Something that takes items in order, in a thread of its own."""

    def write(self, item: T_contra) -> None:
        """Take one item."""
        ...

    def sync(self) -> None:
        """Put on disk what was taken so far."""
        ...

    def finish(self) -> None:
        """No more items come."""
        ...

    def abandon(self) -> None:
        """No more items come in this run."""
        ...


class _Mark:
    """Goes through all sinks behind the items before it; the last one to have synced runs the action."""

    def __init__(self, count: int, action: Callable[[], None]) -> None:
        self._left, self._action, self._mutex = count, action, threading.Lock()

    def arrive(self) -> None:
        with self._mutex:
            self._left -= 1
            last = self._left == 0
        if last:
            self._action()


class Behind(Generic[T]):
    """Gives each item to every sink. The first error of a sink is raised by the next call."""

    def __init__(self, sinks: Sequence[Sink[T]], depth: int) -> None:
        self._queues: list[queue.Queue[T | _Mark | None]] = [queue.Queue(depth) for _ in sinks]
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(sink, waiting), daemon=True, name="write behind")
            for sink, waiting in zip(sinks, self._queues, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, item: T) -> None:
        """Hand an item over; waits while a sink has too many. Raises what went wrong in a sink."""
        self._put_all(item)

    def mark(self, action: Callable[[], None]) -> None:
        """Call `action` (in some thread) once all sinks have synced everything put before."""
        self._put_all(_Mark(len(self._queues), action))

    def close(self) -> None:
        """Wait for the sinks and finish them. Raises what went wrong in one."""
        self._put_all(None)
        for thread in self._threads:
            thread.join()
        self._raise()

    def abort(self) -> None:
        """Stop the sinks where they are."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _put_all(self, item: T | _Mark | None) -> None:
        for waiting in self._queues:
            while True:
                self._raise()
                try:
                    waiting.put(item, timeout=_WAIT)
                except queue.Full:
                    continue
                break

    def _raise(self) -> None:
        if self._error is not None:
            error = self._error
            self.abort()
            raise error

    def _run(self, sink: Sink[T], waiting: queue.Queue[T | _Mark | None]) -> None:
        try:
            while True:
                try:
                    item = waiting.get(timeout=_WAIT)
                except queue.Empty:
                    if self._stopped.is_set():
                        break
                    continue
                if self._stopped.is_set():
                    break
                if item is None:
                    sink.finish()
                    return
                if isinstance(item, _Mark):
                    sink.sync()
                    item.arrive()
                else:
                    sink.write(item)
            sink.abandon()
        except BaseException as error:  # it is raised again in the main thread
            self._error = self._error or error
            self._stopped.set()
            sink.abandon()
