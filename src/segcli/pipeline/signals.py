"""SIGINT and SIGTERM: the first asks a run to stop at the next safe point, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """`signal` is the number of the first signal that came, or None; `enough` is set when items failed too often."""

    signal: int | None = None
    enough: bool = False

    @property
    def now(self) -> bool:
        """True when nothing new should begin."""
        return self.enough or self.signal is not None


@contextmanager
def stopping(notice: Callable[[str], None]) -> Iterator[Stop]:
    """While this lasts, the first signal is noted in the Stop that it gives. In a thread other than the main one,
    where Python takes no signals, it notes none."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.signal = number
        with suppress(RuntimeError):  # the signal came in the middle of another line to the same stream
            notice("stopping after what is being written; a second Ctrl-C stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
