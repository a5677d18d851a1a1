"""Progress of downloads on a terminal's stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from segcli.registry.download import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID


class Bars:
    """One bar a download, while the context lasts; nothing where stderr is no terminal. Lines that are printed to
    stderr meanwhile appear above the bars. `stopped` ends the downloads at their next bytes."""

    def __init__(self, *, show: bool) -> None:
        self.stopped = False
        self._rich = None
        if show and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._rich = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Bars:
        if self._rich:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich:
            self._rich.stop()

    def bar(self, name: str) -> Progress:
        """A progress function whose bar appears with the first bytes."""
        task: list[TaskID] = []

        def update(done: int, total: int) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            if self._rich:
                if not task:
                    task.append(self._rich.add_task(name, total=total or None))
                self._rich.update(task[0], completed=done)

        return update
