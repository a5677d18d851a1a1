"""`--prompts FILE`: the lines of `segcli.pipeline.prompts` as items, lines about one photo together."""

from __future__ import annotations

import io
import os
from pathlib import Path

from segcli.cli.prompts import refuse_what_it_does_not_take
from segcli.core.errors import ItemError, UsageError
from segcli.io.inputs import expand
from segcli.pipeline.plan import Item, Rounds
from segcli.pipeline.prompts import PromptLine, parse
from segcli.registry.weights import Entry


def read_items(source: str, entry: Entry) -> list[Item]:
    """One item a photo, in the order in which the photos are first named; every line is understood first.

    Raises UsageError that names the file and the line, StorageError when none of the photos is there.
    """
    asked: dict[str, list[Rounds]] = {}
    for number, text in enumerate(_bytes(source).splitlines(), 1):
        if text.strip():
            line = understand(text, f"{source}:{number}")
            check(line, entry, f"{source}:{number}")
            if line.refine:
                raise UsageError(f'{source}:{number}: "refine" is for a live session (--prompts -); give "rounds" here')
            asked.setdefault(str(Path(line.image)), []).append(line.rounds)
    if not asked:
        raise UsageError(f'--prompts {source}: is empty; a line is for example {{"image": "a.jpg", "at": [[120, 80]]}}')
    listed = io.BytesIO(b"\0".join(map(os.fsencode, asked)))
    found = expand([], files_from="-", null=True, stdin=listed)
    return [Item(one.relative, one.source, tuple(asked[one.name])) for one in found.inputs]


def understand(text: bytes, where: str) -> PromptLine:
    """One line. Raises UsageError that starts with `where`."""
    try:
        return parse(text, where)
    except ItemError as error:
        raise UsageError(str(error)) from None


def check(line: PromptLine, entry: Entry, where: str = "--prompts") -> None:
    """Raise UsageError when the line asks for something that the checkpoint does not take, or points at nothing."""
    for ask in line.rounds:
        refuse_what_it_does_not_take(entry, dict.fromkeys(sorted(map(str, ask.kinds)), where))
        if not ask.has_positive and not line.refine:
            raise UsageError(f'{where}: nothing is pointed at; give "at", "box" or another prompt on the object')


def _bytes(source: str) -> bytes:
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--prompts {source}: can't be read: {reason.lower()}") from None
