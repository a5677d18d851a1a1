"""Do a plan: read ahead, encode in batches, decode asks, write behind; skip what is done; lose nothing.

The main thread alone decides what is started and when, in the order of the plan, and talks to the model; reading and
writing are jobs of two small pools of threads. So the order of results, and the bytes of files, do not depend on how
many threads there are or how large a batch is.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from segcli.core.errors import SegError, UsageError
from segcli.io import outputs, stream
from segcli.io.formats import get_format
from segcli.io.formats.contract import Format
from segcli.models.api import Promptable
from segcli.pipeline.answering import Answering, Here
from segcli.pipeline.engine import Engine, Failed, Finished, Outcome, Skipped
from segcli.pipeline.events import Events, Record, Summary, count_empty
from segcli.pipeline.journal import Entry, Journal
from segcli.pipeline.names import Names
from segcli.pipeline.plan import Item, Plan
from segcli.pipeline.resume import Existing
from segcli.pipeline.shard import Shard
from segcli.pipeline.signals import Stop, stopping
from segcli.pipeline.work import Writer

if TYPE_CHECKING:
    from segcli.pipeline.on_ray import Wish


@dataclass(frozen=True)
class How:
    """How a plan is done; nothing of it changes the bytes of a result.

    batch:        photos encoded together, at most.
    workers:      threads that read, and as many that write; None: one a core, at most four.
    max_failures: stop after that many failed items; None: never.
    force:        replace existing outputs, and do done items again.
    shard:        the part of the plan that is this process's own; None: all of it.
    dry_run:      say what would be done, touch nothing.
    needs_masks:  an empty answer is a requirement that is not met: exit code 7, after everything is done.
    memory_mb:    what decoded photos and rendered files may take while they wait; for each worker where there are some.
    on:           have photos answered by workers on Ray; None: here.
    """

    batch: int = 4
    workers: int | None = None
    max_failures: int | None = None
    force: bool = False
    shard: Shard | None = None
    dry_run: bool = False
    needs_masks: bool = False
    memory_mb: int = 512
    on: Wish | None = None

    @property
    def threads(self) -> int:
        """The number of threads of each pool."""
        return self.workers or min(4, os.cpu_count() or 1)


def run(
    plan: Plan,
    model: Promptable | Callable[[], Promptable],
    how: How = How(),
    events: Events | None = None,
    *,
    formats: Mapping[str, Format] | None = None,
    stdout: BinaryIO | None = None,
) -> Summary:
    """Do the plan and say what became of it.

    model:   the model, or a function that opens it; the function is not called when nothing is left to do.
    formats: by name; the ones of `segcli.io.formats` when not given.
    stdout:  where the bytes go when the plan has no directory; the process's own when not given.

    Items that fail are told to `events`, recorded, and tried again by the next run. Raises SegError for what concerns
    the run as a whole: UsageError (two items of one name, a template), StorageError (the directory is in use, can't be
    written or is full), and what opening the model raises. Everything that was done until then is kept.
    """
    events = events or Events()
    keys = _check_keys(plan)
    formats = formats or {name: get_format(name) for name in plan.output.formats}
    names = Names(plan.items, plan.output)
    summary = Summary(needs_masks=how.needs_masks)
    start = time.monotonic()
    with ExitStack() as stack:
        stack.callback(lambda: events.finished(summary))
        stop = stack.enter_context(stopping(events.notice))
        existing = None
        if plan.output.directory is not None:
            journal = Journal(plan.output.directory, how.shard, readonly=how.dry_run)
            stack.callback(journal.close)
            if journal.damaged:
                events.notice(f"{journal.damaged} damaged lines in the journal: what they say is done again")
            run_files = [
                path for name in plan.output.formats if (path := plan.output.run_file(formats[name])) is not None
            ]
            existing = Existing(journal, plan, run_files, force=how.force)
            existing.check_run_files(keys)
        items = [item for item in plan.items if how.shard is None or how.shard.owns(item.key)]
        summary.total = len(items)
        events.started(summary)
        if how.dry_run:
            _dry_run(plan, items, existing, events, summary)
            return summary
        writer = Writer(plan, formats, names, existing, events.wants_records)
        engine = Engine(_answering(model, how, events, stop), writer, existing, how.threads, how.memory_mb << 20, stop)
        try:
            outcomes = _told(engine.outcomes(items), how, existing, events, summary, stop, plan)
            if existing is None:
                _to_stdout(plan, formats, outcomes, stdout or sys.stdout.buffer)
            else:
                for _ in outcomes:
                    pass
        finally:
            engine.close()
            summary.seconds = time.monotonic() - start
            summary.signal = stop.signal
        if existing is not None and summary.signal is None and summary.stopped is None:
            _write_run_files(plan, formats, existing, how, events, summary)
            existing.journal.rewrite({pair: number for number, pair in enumerate(keys.items())})
    return summary


def _answering(model: Promptable | Callable[[], Promptable], how: How, events: Events, stop: Stop) -> Answering[Any]:
    """Where the run's photos are answered."""
    wish = how.on
    if wish is None:
        return Here(model, how.batch, events.notice)
    from segcli.pipeline.crew import Crew
    from segcli.pipeline.on_ray import engage

    def opener() -> Promptable:
        return model if isinstance(model, Promptable) else model()

    return Crew(lambda: engage(wish, opener, how.batch, events.notice), how.batch, events.notice, stop)


def _check_keys(plan: Plan) -> dict[str, str]:
    """The fingerprint of each item by its key, in the plan's order. Raises UsageError when a key comes twice."""
    found: dict[str, Item] = {}
    for item in plan.items:
        if (first := found.setdefault(item.key, item)) is not item:
            raise UsageError(f"{first.name} and {item.name} would have the same output: mask them in two runs")
    return {item.key: plan.item_fingerprint(item) for item in plan.items}


def _told(
    outcomes: Iterable[Outcome],
    how: How,
    existing: Existing | None,
    events: Events,
    summary: Summary,
    stop: Stop,
    plan: Plan,
) -> Iterator[Outcome]:
    """Pass outcomes on while they are counted, told and recorded; too many failures stop the run."""
    for outcome in outcomes:
        match outcome:
            case Finished():
                summary.done += 1
                count_empty(summary, outcome.item.name, outcome.entry.masks, "asks")
                events.done(outcome.item.name, *_told_of(outcome.entry, plan))
            case Skipped():
                summary.skipped += 1
                count_empty(summary, outcome.item.name, outcome.entry.masks, "asks")
                events.skipped(outcome.item.name, *_told_of(outcome.entry, plan))
            case Failed():
                summary.failed += 1
                summary.refused += outcome.refused
                _fail(outcome, existing, events, summary, plan)
        events.progress(summary)
        yield outcome
        if how.max_failures is not None and summary.failed >= how.max_failures:
            summary.stopped = f"stopped: {summary.failed} failed"
            stop.enough = True


def _told_of(entry: Entry, plan: Plan) -> tuple[list[str], list[Record], tuple[int, ...]]:
    """An entry's files and records, paths with the plan's directory before them, and its numbers of masks."""
    if plan.output.directory is None:
        return [], list(entry.records or ()), entry.masks
    directory = plan.output.directory
    records = [{**line, "files": [str(directory / file) for file in line["files"]]} for line in entry.records or ()]
    return [str(directory / path) for path, _, _ in entry.files], records, entry.masks


def _fail(outcome: Failed, existing: Existing | None, events: Events, summary: Summary, plan: Plan) -> None:
    """Tell and record a failure; a bug of ours wins over any other exit code."""
    error = outcome.error
    code = error.exit_code if isinstance(error, SegError) else 1
    if code == 1 or (summary.total == 1 and summary.failure_code != 1):
        summary.failure_code = code
    if existing is not None and not outcome.refused:
        fingerprint = plan.item_fingerprint(outcome.item)
        existing.journal.write_failed(outcome.item.key, fingerprint, str(error), code)
    events.failed(stream.failure(outcome.item.name, str(error), code), error)


def _dry_run(plan: Plan, items: list[Item], existing: Existing | None, events: Events, summary: Summary) -> None:
    for item in items:
        try:
            entry = existing.entry(item, plan.item_fingerprint(item)) if existing else None
        except SegError as error:
            summary.failed += 1
            events.failed(stream.failure(item.name, str(error), error.exit_code), error)
            continue
        if entry is None:
            summary.planned += 1
            events.planned(item.name)
        else:
            summary.skipped += 1
            events.skipped(item.name, *_told_of(entry, plan))


def _to_stdout(plan: Plan, formats: Mapping[str, Format], outcomes: Iterable[Outcome], stdout: BinaryIO) -> None:
    """One file's bytes, or a run file streamed as its parts come. Raises UsageError when it would be several files."""
    if len(plan.output.formats) != 1:
        raise UsageError("-o - takes one format: give -o DIR for several")
    name = plan.output.formats[0]
    finished = (outcome for outcome in outcomes if isinstance(outcome, Finished))
    if (run_file := plan.output.run_file(formats[name])) is not None:
        fragments = (fragment for outcome in finished for fragment in outcome.entry.fragments[run_file])
        for chunk in formats[name].assemble(fragments, plan.output.options):
            stdout.write(chunk)
            stdout.flush()
        return
    written = 0
    for outcome in finished:
        written += len(outcome.rendered)
        if written > 1:  # before the first one is written: half an answer is none
            raise UsageError(f"-o - takes one file, these are more ({name} of {outcome.entry.key}): give -o DIR")
        for file in outcome.rendered:
            stdout.write(file.data)
            stdout.flush()


def _run_files(plan: Plan, formats: Mapping[str, Format]) -> dict[str, str]:
    """The paths of files for the whole run, by their formats."""
    output = plan.output
    return {name: path for name in output.formats if (path := output.run_file(formats[name])) is not None}


def _write_run_files(
    plan: Plan, formats: Mapping[str, Format], existing: Existing, how: How, events: Events, summary: Summary
) -> None:
    """Put together the files for the whole run once every shard is through; the last one does it."""
    paths = _run_files(plan, formats)
    journal = existing.journal
    if not paths:
        return
    if summary.refused:  # an item that was refused has its part in the file as it is
        events.notice(f"{' and '.join(paths.values())}: not written, see above")
        return
    if how.shard is not None:
        journal.refresh()
        waiting = sum(not journal.settled(item.key, plan.item_fingerprint(item)) for item in plan.items)
        if waiting:
            files = " and ".join(paths.values())
            events.notice(f"{files}: left to the last shard, {waiting} photos are not done yet")
            return
    for name, path in paths.items():
        digest, size = hashlib.sha256(), 0

        def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                digest.update(chunk)  # noqa: B023 (used up within the loop)
                size += len(chunk)
                yield chunk

        fragments = (fragment for entry in _entries(plan, journal) for fragment in entry.fragments.get(path, ()))
        journal.write_begin(path, plan.run_fingerprint, [path])
        outputs.write(existing.directory / path, counted(formats[name].assemble(fragments, plan.output.options)))
        journal.write_run((path, size, digest.hexdigest()), plan.run_fingerprint)
        summary.run_files.append(path)


def _entries(plan: Plan, journal: Journal) -> Iterator[Entry]:
    """The entries of the plan's done items, in its order."""
    for item in plan.items:
        if (entry := journal.find(item.key, plan.item_fingerprint(item))) is not None:
            yield entry
