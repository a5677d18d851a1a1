"""`--prompts -`: a live session on a pipe, a JSON line in and one out."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from segcli.cli.options import DEFAULT_OUTPUT, Computing, Reading, Telling, Writing, number
from segcli.cli.promptfile import check
from segcli.cli.running import open_lazily
from segcli.core.errors import UsageError
from segcli.pipeline.session import session
from segcli.registry.weights import Entry


def answer_lines(entry: Entry, reading: Reading, writing: Writing, computing: Computing, telling: Telling) -> NoReturn:
    """Answer the lines of stdin on stdout until they end, then exit: 0, or 3 when a line could not be answered."""
    if writing.formats not in ([], ["jsonl"]) or writing.output not in (DEFAULT_OUTPUT, "-"):
        raise UsageError("--prompts - answers with JSON lines on stdout and writes no files; take -o and -f away")
    if writing.dry_run or telling.json:
        raise UsageError("--prompts - answers with JSON lines anyway; take --json and --dry-run away")
    if reading.on is not None:
        raise UsageError("--prompts - answers here, one line after the other; take --on away")
    if reading.shard is not None or writing.force or telling.failures is not None:
        raise UsageError("--prompts - has no use for --shard, --force, --fail-fast and --max-failures; take them away")
    model = open_lazily(entry, computing, telling)()
    cache = number("--cache-mb", computing.cache_mb, low=0)
    failed = session(
        sys.stdin.buffer, sys.stdout.buffer, model, cache_mb=cache, check=lambda line: check(line, entry, line.image)
    )
    raise typer.Exit(3 if failed else 0)
