"""`--prompts FILE`: the lines of `segcli.pipeline.prompts` as items, lines about one photo together."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from segcli.cli.options import Computing, Reading, Telling, Writing
from segcli.cli.prompts import refuse_what_it_does_not_take
from segcli.core.errors import ItemError, UsageError

if TYPE_CHECKING:
    from segcli.pipeline.plan import Item, Rounds
    from segcli.pipeline.prompts import PromptLine
    from segcli.registry.weights import Entry


def answer_prompts(
    verb: str,
    source: str,
    reading: Reading,
    writing: Writing,
    computing: Computing,
    telling: Telling,
    *,
    needs_masks: bool,
) -> NoReturn:
    """Do what a file of prompt lines asks, or answer those of stdin as they come ("-"), and exit."""
    from segcli.registry.weights import find

    entry = find(computing.model)
    if source == "-":
        from segcli.cli.live import answer_lines

        if needs_masks:
            raise UsageError('--prompts - has no use for --require-mask; look at "masks" of the answers')
        answer_lines(entry, reading, writing, computing, telling)
    if not Path(source).exists():
        raise UsageError(f"--prompts {source}: no such file; give a file of JSON lines, or - for a live session")

    from segcli.cli.running import refuse_clashes, run_items

    items = read_items(source, entry)
    refuse_clashes(items, writing)
    run_items(verb, items, entry, reading, writing, computing, telling, needs_masks=needs_masks)


def read_items(source: str, entry: Entry) -> list[Item]:
    """One item a photo, in the order in which the photos are first named; every line is understood first.

    Raises UsageError that names the file and the line, StorageError when none of the photos is there.
    """
    from segcli.io.inputs import expand
    from segcli.pipeline.briefing import resolved
    from segcli.pipeline.plan import Item

    asked: dict[str, list[Rounds]] = {}
    for number, text in enumerate(_bytes(source).splitlines(), 1):
        if text.strip():
            line = understand(text, f"{source}:{number}")
            check(line, entry, f"{source}:{number}")
            if line.refine:
                raise UsageError(f'{source}:{number}: "refine" is for a live session (--prompts -); give "rounds" here')
            asked.setdefault(str(Path(line.image)), []).append(tuple(map(resolved, line.rounds)))
    if not asked:
        raise UsageError(f'--prompts {source}: is empty; a line is for example {{"image": "a.jpg", "at": [[120, 80]]}}')
    listed = io.BytesIO(b"\0".join(map(os.fsencode, asked)))
    found = expand([], files_from="-", null=True, stdin=listed)
    return [Item(one.relative, one.source, tuple(asked[one.name])) for one in found.inputs]


def understand(text: bytes, where: str) -> PromptLine:
    """One line. Raises UsageError that starts with `where`."""
    from segcli.pipeline.prompts import parse

    try:
        return parse(text, where)
    except ItemError as error:
        raise UsageError(str(error)) from None


def check(line: PromptLine, entry: Entry, where: str = "--prompts") -> None:
    """Raise UsageError when the line asks for something that the checkpoint does not take, or points at nothing."""
    for ask in line.rounds:
        refuse_what_it_does_not_take(entry, dict.fromkeys(sorted(map(str, ask.kinds)), where))
        if not ask.has_positive and not line.refine and ask.kind is None:
            raise UsageError(
                f'{where}: nothing is pointed at; give "at", "box", "text" or another prompt on the object, '
                'or "kind" with "classes" for the whole photo'
            )


def _bytes(source: str) -> bytes:
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--prompts {source}: can't be read: {reason.lower()}") from None
