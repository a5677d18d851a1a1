"""What a run tells while it lasts, always in the order of the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from segcli.core.errors import RequirementError

Record = dict[str, Any]
"""One JSON line: what became of one ask of one photo."""

_EMPTY_NAMES = 3
"""Items with an empty answer that the summary names; a run may have a million."""


@dataclass
class Summary:
    """What became of a run. `exit_code` is what the process returns."""

    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    empty: int = 0  # items, done now or before, with an ask (in a video: an object) that has no mask
    empty_names: list[str] = field(default_factory=list)  # the first of these
    needs_masks: bool = False  # an empty answer is a requirement that is not met
    refused: int = 0  # those of the failed whose output exists and is not this run's to replace
    planned: int = 0  # a dry run's items that a real one would do
    seconds: float = 0.0
    run_files: list[str] = field(default_factory=list)
    stopped: str | None = None  # why the rest was not tried (failures), or None
    signal: int | None = None  # SIGINT or SIGTERM, when one ended the run
    failure_code: int = 3  # 3, the code of the error when there was only one item, or 1 for a bug of ours

    @property
    def exit_code(self) -> int:
        """0 done, 3 some items failed, 7 an empty answer where masks are needed, 130 or 143 interrupted.

        A single item's failure gives its own code.
        """
        if self.signal is not None:
            return 128 + self.signal
        if self.failed:
            return self.failure_code
        return RequirementError.exit_code if self.needs_masks and self.empty else 0

    def line(self) -> Record:
        """The summary as plain JSON data."""
        return {
            "seg": 1,
            "summary": {
                "total": self.total,
                "done": self.done,
                "skipped": self.skipped,
                "failed": self.failed,
                "empty": self.empty,
                "planned": self.planned,
                "run_files": self.run_files,
                "stopped": self.stopped,
                "seconds": round(self.seconds, 3),
                "exit_code": self.exit_code,
            },
        }


def count_empty(summary: Summary, name: str, masks: Sequence[int], what: str) -> None:
    """Count an item one of whose `what` ("asks", "objects") has no mask."""
    if 0 in masks:
        summary.empty += 1
        if len(summary.empty_names) < _EMPTY_NAMES:
            part = f" ({masks.count(0)} of {len(masks)} {what})" if any(masks) else ""
            summary.empty_names.append(name + part)


class Events:
    """Base of what listens to a run; every method may be left as it is (it does nothing).

    `wants_records`: when True the records of finished items hold their masks, and are kept in the journal, so that a
    resumed run tells them again.
    """

    wants_records = False

    def started(self, summary: Summary) -> None:
        """The plan is read; `summary.total` says how many items there are for this process."""

    def done(self, image: str, files: Sequence[str], records: Sequence[Record], masks: Sequence[int]) -> None:
        """An item was answered, its files are written; `masks` says how many masks the answer to each ask has.

        Of a video it says in how many frames each object has one. With `wants_records` there is one record an ask.
        """

    def skipped(self, image: str, files: Sequence[str], records: Sequence[Record], masks: Sequence[int]) -> None:
        """An item was done by an earlier run. It has no records when that run kept none."""

    def failed(self, record: Record, error: Exception) -> None:
        """An item failed. `error` is a SegError whose text is the line to show, or a bug of ours."""

    def planned(self, image: str) -> None:
        """A dry run came to an item that a real run would do."""

    def progress(self, summary: Summary) -> None:
        """The counts have changed."""

    def notice(self, text: str) -> None:
        """Something a person should know, in one line."""

    def finished(self, summary: Summary) -> None:
        """Nothing more comes, whatever ended the run."""
