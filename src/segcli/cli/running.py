"""From checked options to a run: what every verb that masks photos does after it has understood its prompts."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

import typer

from segcli.cli.errors import warn
from segcli.cli.options import Computing, Reading, Telling, Writing, number
from segcli.core.classes import ClassList
from segcli.core.errors import CheckpointError, StorageError, UsageError

_LEFT_OUT = 8  # classes that a line names

if TYPE_CHECKING:
    from segcli.core.ask import Ask
    from segcli.io.inputs import Found
    from segcli.io.remote import Source
    from segcli.models.api import Promptable
    from segcli.pipeline.events import Summary
    from segcli.pipeline.plan import Item
    from segcli.registry.weights import Entry


def photos(reading: Reading, writing: Writing, telling: Telling) -> Found:
    """The photos that were named; results of earlier runs are none. Raises UsageError and StorageError."""
    from segcli.io.inputs import expand

    directory, _ = writing.place
    among = directory is not None and any(_is_in(typed, directory) for typed in reading.images)
    found = expand(
        reading.images,
        recursive=reading.recursive,
        files_from=reading.files_from,
        null=reading.null,
        exclude=None if among else directory,  # to leave out all that is among the photos would leave nothing
    )
    if among and directory is not None:
        found = _without_results(found, directory, frozenset(reading.images))
    if found.skipped and telling.verbose:
        warn(f"{found.skipped} other files passed over")
    return found


def _without_results(found: Found, directory: Source, named: frozenset[str]) -> Found:
    """The photos without what earlier runs wrote among them, so that the same command goes on.

    One that was named itself is meant. Raises StorageError when nothing else is there.
    """
    from segcli.io.inputs import Found
    from segcli.pipeline.journal import Journal

    journal = Journal(directory, readonly=True)
    try:
        sizes = {_real(directory / path): size for path, size in journal.made().items()}
    finally:
        journal.close()

    def is_result(source: Source | None) -> bool:
        if source is None or not sizes or str(source) in named or (real := _real(source)) not in sizes:
            return False
        try:
            return sizes[real] in (None, source.stat().st_size)  # else somebody put another file there
        except OSError:
            return False

    kept = tuple(one for one in found.inputs if not is_result(one.source))
    if not kept:
        raise StorageError(
            f"{directory}: no photos in it, only results of earlier runs; name one of them to have it masked"
        )
    return Found(kept, found.skipped + len(found.inputs) - len(kept))


def _real(source: Source) -> str:
    """A name by which the same file is known, however it was typed."""
    return str(source.resolve()) if isinstance(source, Path) else source.url


def _is_in(typed: str, directory: Source) -> bool:
    """Whether typed photos lie in a directory, or below it."""
    from segcli.io.remote import Remote, is_url, local

    if is_url(typed := local(typed)):
        return isinstance(directory, Remote) and Remote(typed).is_below(directory)
    return isinstance(directory, Path) and _base(typed).is_relative_to(directory.resolve())


def _base(typed: str) -> Path:
    """The directory in which a photo, a directory's photos, or a glob's matches are."""
    fixed = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(typed).parts))
    return (fixed if fixed.is_dir() else fixed.parent).resolve()


def open_lazily(
    entry: Entry,
    computing: Computing,
    telling: Telling,
    prepare: Callable[[Promptable], Promptable] = lambda model: model,
) -> Callable[[], Promptable]:
    """A function that opens the checkpoint when the run turns out to need it, and makes it ready with `prepare`."""

    def opened() -> Promptable:
        from segcli.registry.load import open_model

        model = open_model(
            computing.model,
            device=computing.device,
            dtype=computing.dtype,
            seed=number("--seed", computing.seed, low=0),
            threads=None if computing.threads is None else number("--threads", computing.threads, low=1),
            offline=computing.offline,
            say=_say(telling),
        )
        return prepare(model)

    return opened


def run_items(
    verb: str,
    items: Sequence[Item],
    entry: Entry,
    reading: Reading,
    writing: Writing,
    computing: Computing,
    telling: Telling,
    classes: ClassList | tuple[str, ...] = (),
    *,
    needs_masks: bool = False,
    prepare: Callable[[Promptable], Promptable] = lambda model: model,
    settings: Mapping[str, object] = MappingProxyType({}),
    chooses: bool = False,
) -> NoReturn:
    """Do the items and exit with the run's code. Raises SegError for what concerns the run as a whole.

    classes:  that are known in advance; those of the asks if left out.
    needs_masks: an empty answer is exit code 7, after everything is done.
    prepare:  makes the opened model ready. settings: what else decides the results, for the fingerprint.
    chooses:  answers name the examples that were chosen, and people want to hear of it.
    """
    from segcli.cli.report import Report
    from segcli.io.formats import FORMATS
    from segcli.pipeline.briefing import Narrowed, contents, named, spoken, teach, unknown
    from segcli.pipeline.plan import Output, Plan, fingerprint
    from segcli.pipeline.progress import with_bar
    from segcli.pipeline.run import How, run
    from segcli.pipeline.shard import Shard

    if telling.json and writing.to_stdout and not writing.dry_run:
        raise UsageError("--json and -o - both write to stdout; give -o DIR, or take --json away")
    if writing.to_stdout and len(items) > 1 and FORMATS[writing.names[0]].run_file is None:
        raise UsageError(f"-o - takes one photo with -f {writing.names[0]}, these are {len(items)}; give -o DIR")
    threads = None if computing.threads is None else number("--threads", computing.threads, low=1)
    wish = reading.wish(computing.device, threads)
    asks = asked(items)
    given = classes if isinstance(classes, ClassList) else ClassList(classes)
    references, words = named(asks), spoken(asks)
    if references:
        settings = {**settings, "references": contents(references)}

    def ready(model: Promptable) -> Promptable:
        if left_out := unknown(model, asks):
            listed = f"{', '.join(left_out[:_LEFT_OUT])}{', …' if len(left_out) > _LEFT_OUT else ''}"
            _say(telling)(f"{entry.name} does not know {len(left_out)} of the classes and leaves them out: {listed}")
        teach(model, references)
        prepared = prepare(model)
        return Narrowed(prepared, left_out) if left_out else prepared

    directory, template = writing.place
    plan = Plan(
        items=items,
        output=Output(directory, template, writing.names, writing.options(given or ClassList(words))),
        fingerprint=fingerprint(
            verb=verb,
            model=entry.name,
            revision=_revision(entry, computing, writing, telling),
            seed=computing.seed,
            dtype=computing.dtype,
            **settings,
        ),
        model=entry.name,
    )
    report = Report(
        quiet=telling.quiet,
        verbose=telling.verbose,
        json=telling.json,
        failures=writing.to_stdout and writing.names == ("jsonl",),
        debug=telling.debug,
        wants_records=chooses and (telling.json or telling.verbose),
    )
    how = How(
        batch=number("--batch", computing.batch, low=1),
        max_failures=telling.failures,
        force=writing.force,
        shard=None if reading.shard is None else Shard.parse(reading.shard),
        dry_run=writing.dry_run,
        needs_masks=needs_masks,
        on=wish,
    )
    summary: Summary = run(
        plan, open_lazily(entry, computing, telling, ready), how, report if telling.quiet else with_bar(report)
    )
    raise typer.Exit(summary.exit_code)


def asked(items: Sequence[Item]) -> tuple[Ask, ...]:
    """Every ask of the items, each once."""
    from segcli.core.ask import Ask

    found: dict[Ask, None] = {}
    known: set[int] = set()  # all items of most runs share one tuple of asks
    for item in items:
        if not callable(item.asks) and id(item.asks) not in known:
            known.add(id(item.asks))
            for rounds in item.asks:
                found.update(dict.fromkeys((rounds,) if isinstance(rounds, Ask) else rounds))
    return tuple(found)


def refuse_clashes(items: Sequence[Item], writing: Writing) -> None:
    """Raise UsageError when a template would call the files of two photos the same."""
    directory, template = writing.place
    if template is None or len(items) < 2:
        return
    from segcli.io.inputs import refuse_collisions
    from segcli.pipeline.plan import Output

    if Output(directory, template, writing.names).one_file is not None:
        return

    def named(photo: Item) -> str:
        path = photo.relative
        return template.format(stem=path.stem, name=path.name, parent=path.parent, ask="", n="", label="", format="")

    try:
        outputs = [(photo.name, named(photo)) for photo in items]
    except (KeyError, IndexError, ValueError, AttributeError):
        return  # an unknown field: the pipeline names it and those there are
    if len({output for _, output in outputs}) == 1:
        raise UsageError(f"-o {template}: all {len(items)} photos would be written to it; add {{stem}} to the template")
    refuse_collisions(outputs)


def _revision(entry: Entry, computing: Computing, writing: Writing, telling: Telling) -> str:
    """Which weights, as the journal compares them. A dry run fetches nothing, so weights may not be here yet."""
    from segcli.registry.load import files_of, revision_of

    try:
        return revision_of(files_of(entry, offline=computing.offline or writing.dry_run, say=_say(telling)))
    except CheckpointError:
        if writing.dry_run:
            return "not here"
        raise


def _say(telling: Telling) -> Callable[[str], None]:
    """What tells people about downloads and devices."""
    if telling.quiet:
        return lambda line: None
    return lambda line: warn(line.removeprefix("seg: "))
