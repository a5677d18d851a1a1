"""A bar with rate and time left, on a terminal's stderr only. rich is imported when the bar is drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segcli.pipeline.events import Events, Record, Summary

if TYPE_CHECKING:
    from rich.progress import Progress


def with_bar(events: Events) -> Events:
    """The same listener, with a bar below what it writes to stderr; the listener alone when stderr is no terminal."""
    return _Bar(events) if sys.stderr.isatty() else events


class _Bar(Events):
    """Passes everything on to another listener and moves the bar."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._progress: Progress | None = None

    @property
    def wants_records(self) -> bool:  # type: ignore[override]
        """As the listener."""
        return self._events.wants_records

    def started(self, summary: Summary) -> None:
        """Draw the bar, unless there is a single item."""
        self._events.started(summary)
        if summary.total < 2:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
        )
        self._progress.add_task("", total=summary.total, rate="", failed="")
        self._progress.start()

    def progress(self, summary: Summary) -> None:
        """Move the bar."""
        self._events.progress(summary)
        if self._progress is not None:
            (task,) = self._progress.tasks
            settled = summary.done + summary.skipped + summary.failed
            rate = f"{task.speed:.1f}/s" if task.speed else ""
            failed = f"{summary.failed} failed" if summary.failed else ""
            self._progress.update(task.id, completed=settled, rate=rate, failed=failed)

    def finished(self, summary: Summary) -> None:
        """Take the bar away, so that the last words stand alone."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._events.finished(summary)

    def done(self, image: str, files: Sequence[str], records: Sequence[Record], masks: Sequence[int]) -> None:
        """Passed on."""
        self._events.done(image, files, records, masks)

    def skipped(self, image: str, files: Sequence[str], records: Sequence[Record], masks: Sequence[int]) -> None:
        """Passed on."""
        self._events.skipped(image, files, records, masks)

    def failed(self, record: Record, error: Exception) -> None:
        """Passed on."""
        self._events.failed(record, error)

    def planned(self, image: str) -> None:
        """Passed on."""
        self._events.planned(image)

    def notice(self, text: str) -> None:
        """Passed on."""
        self._events.notice(text)
