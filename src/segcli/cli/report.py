"""What a run says: lines for people on stderr, JSON lines for programs on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from segcli.cli.errors import one_line, warn
from segcli.core.errors import SegError
from segcli.io import stream
from segcli.pipeline.events import Events, Record, Summary


class Report(Events):
    """Listens to a run.

    quiet, verbose, debug: as the options say.
    json:     an item's line on stdout as it is done, and the summary as the last line.
    failures: tell failed items on stdout too, for a stream of records that is written there.
    wants_records: tell which examples an item was answered from.
    """

    def __init__(
        self, *, quiet: bool, verbose: bool, json: bool, failures: bool, debug: bool, wants_records: bool = False
    ) -> None:
        self.wants_records = wants_records
        self.quiet, self.verbose, self.json, self.failures, self.debug = quiet, verbose, json, failures, debug

    def done(self, image: str, files: Sequence[str], records: Sequence[Record], masks: Sequence[int]) -> None:
        """An item's line."""
        self._item(image, files, masks, _examples(records))

    def skipped(self, image: str, files: Sequence[str], records: Sequence[Record], masks: Sequence[int]) -> None:
        """The line of an item that an earlier run did."""
        self._item(image, files, masks, {"skipped": True, **_examples(records)})

    def failed(self, record: Record, error: Exception) -> None:
        """One line on stderr, whatever is asked; one of JSON where JSON is written."""
        if self.debug:
            import traceback

            traceback.print_exception(error)
        bug = not isinstance(error, SegError)
        warn(f"{record['image']}: this is a bug of seg, please report it: {error!r}" if bug else str(error))
        if self.json or self.failures:
            self._write(record)

    def planned(self, image: str) -> None:
        """What a dry run would do, on stdout."""
        if self.json:
            self._write({"seg": stream.SCHEMA, "image": image, "planned": True})
        else:
            print(one_line(image))

    def notice(self, text: str) -> None:
        """Unless -q."""
        if not self.quiet:
            warn(text)

    def finished(self, summary: Summary) -> None:
        """The summary: as JSON, or in words when more than one item was asked for; and which answers are empty."""
        if self.json:
            self._write(summary.line())
        if summary.empty and (summary.needs_masks or not self.quiet):
            required = "--require-mask: " if summary.needs_masks else ""
            warn(f"{required}{_nothing_found(summary)}")
        if not self.quiet and (summary.total > 1 or summary.skipped):
            warn(_words(summary))

    def _item(self, image: str, files: Sequence[str], masks: Sequence[int], more: dict[str, Any]) -> None:
        if self.json:
            counted = {"files": list(files), "masks": list(masks)}
            self._write({"seg": stream.SCHEMA, "image": image, **counted, **more})
        if self.verbose:
            said = ", ".join(files) or "nothing to write"
            said += "; nothing found" if 0 in masks else ""
            said += f"; from {', '.join(more['examples'])}" if "examples" in more else ""
            warn(f"{image}: {'done before: ' if 'skipped' in more else ''}{said}")

    def _write(self, line: dict[str, Any]) -> None:
        sys.stdout.buffer.write(stream.dumps(line))
        sys.stdout.buffer.flush()


def _nothing_found(summary: Summary) -> str:
    names = ", ".join(summary.empty_names)
    more = f" and {summary.empty - len(summary.empty_names)} more" if summary.empty > len(summary.empty_names) else ""
    counted = f"{summary.empty} of {summary.total} photos: " if summary.total > 1 else ""
    return f"nothing found in {counted}{names}{more}"


def _examples(records: Sequence[Record]) -> dict[str, Any]:
    """The examples that an item was answered from, where they were chosen for it."""
    return {"examples": records[0]["examples"]} if records and "examples" in records[0] else {}


def _words(summary: Summary) -> str:
    counts = {
        "to do": summary.planned,
        "done": summary.done,
        "done before": summary.skipped,
        "failed": summary.failed,
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing done"
    files = f"; {', '.join(summary.run_files)} written" if summary.run_files else ""
    why = f"; {summary.stopped}" if summary.stopped else ""
    return f"{said} of {summary.total} in {summary.seconds:.1f} s{files}{why}"
