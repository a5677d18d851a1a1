"""Manual pages from the command tree, so that they can't drift from the options: `python -m segcli.cli.man man/`.

Uses what Typer's commands offer to everybody (`get_help_record`, `help`, `epilog`), for Typer's commands are no Click
objects any more and the usual generators fail on them. seg-stream.5, which describes data and not options, is written
by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from segcli import __version__
from segcli.cli.app import command
from segcli.cli.tree import VERBS

EXIT_STATUS = (
    ("0", "Everything asked for is done."),
    ("1", "A bug of seg. Please report it with what --debug prints."),
    ("2", "The command line or a prompt is wrong."),
    ("3", "Some items failed, the rest is done."),
    ("4", "An input or output as a whole can't be used: missing, unwritable, no space."),
    ("5", "A checkpoint is missing, broken or can't be had."),
    ("6", "The device is absent or out of memory."),
    ("7", "A --require or --require-mask is not met."),
    ("130, 143", "Interrupted (SIGINT, SIGTERM); the same command goes on where it was."),
    ("141", "Nobody reads stdout any more."),
)
ENVIRONMENT = (
    ("SEG_CACHE", "Where converted checkpoints lie, instead of ~/.cache/seg."),
    ("SEG_STATE", "Where hashes of first pulls are noted, instead of ~/.local/state/seg."),
    ("SEG_MAX_PIXELS", "The largest photo that is decoded, in pixels (default 256 million)."),
    ("HF_HOME, HF_HUB_CACHE", "Where pulled checkpoints lie."),
    ("HF_HUB_OFFLINE", "When set to 1, as --offline."),
    ("HF_TOKEN", "For checkpoints whose publisher asks for a log-in."),
    ("NO_COLOR", "When set, no colours in the progress bar."),
)
FILES = (
    ("seg-out/", "Where results go unless -o says otherwise."),
    (".seg-journal.jsonl", "In the output directory: what is done, so that the same command goes on where it was."),
    ("~/.config/seg/weights.toml", "Checkpoints of your own, in the manner of the weights.toml that comes with seg."),
)
WITH_RESULTS = ("point", "refer", "panoptic", "incontext")
"""Verbs that write results, to which the files of an output directory belong."""


def pages() -> dict[str, str]:
    """Every page by its file name."""
    root = command()
    ctx = root.make_context("seg", [], resilient_parsing=True)
    found = {"seg.1": _main_page(root, ctx)}
    for name in VERBS:
        verb = root.get_command(ctx, name)
        found[f"seg-{name}.1"] = _verb_page(name, verb, verb.make_context(name, [], parent=ctx, resilient_parsing=True))
    return found


def _main_page(root: Any, ctx: Any) -> str:
    verbs = [(f"seg-{name}(1)", line) for name, line in VERBS.items()]
    return _page(
        "seg",
        root.help.partition(":")[0].lower(),
        "seg [OPTIONS] VERB …",
        _prose(root.help) + _section("VERBS") + _list(verbs) + _options(root, ctx),
        [*(f"seg-{name}" for name in VERBS), "seg-stream"],
        FILES,
    )


def _verb_page(name: str, verb: Any, ctx: Any) -> str:
    subcommands = getattr(verb, "commands", {})
    below = ""
    if subcommands:
        below = _section("COMMANDS")
        for sub in subcommands.values():
            inner = sub.make_context(sub.name, [], parent=ctx, resilient_parsing=True)
            pieces = " ".join(sub.collect_usage_pieces(inner))
            below += f".SS {_quoted(f'seg {name} {sub.name} {pieces}')}\n" + _prose(sub.help) + _records(sub, inner)
            below += _examples(sub.epilog)
    synopsis = f"seg {name} " + ("COMMAND …" if subcommands else " ".join(verb.collect_usage_pieces(ctx)))
    examples = _section("EXAMPLES") + _examples(verb.epilog) if verb.epilog else ""
    return _page(
        f"seg-{name}",
        VERBS[name],
        synopsis,
        _prose(verb.help) + (below or _options(verb, ctx)) + examples,
        ["seg", "seg-stream"],
        FILES if name in WITH_RESULTS else FILES[2:],
    )


def _page(name: str, line: str, synopsis: str, body: str, see: list[str], files: tuple[tuple[str, str], ...]) -> str:
    also = ", ".join(f"{page}({5 if page == 'seg-stream' else 1})" for page in see if page != name)
    return (
        f'.TH {name.upper()} 1 "" "seg {__version__}" "Manual of seg"\n'
        + _section("NAME")
        + f"{_text(name)} \\- {_text(line[:1].lower() + line[1:].rstrip('.'))}\n"
        + _section("SYNOPSIS")
        + f"{_text(synopsis)}\n"
        + _section("DESCRIPTION")
        + body
        + _section("EXIT STATUS")
        + _list(EXIT_STATUS)
        + _section("ENVIRONMENT")
        + _list(ENVIRONMENT)
        + _section("FILES")
        + _list(files)
        + _section("SEE ALSO")
        + f"{_text(also)}\n"
    )


def _options(command: Any, ctx: Any) -> str:
    return _section("OPTIONS") + _records(command, ctx)


def _records(command: Any, ctx: Any) -> str:
    records = [param.get_help_record(ctx) for param in command.get_params(ctx)]
    plain = [(re.sub(r" <[^>]*>$", "", term), what) for term, what in filter(None, records)]  # no Python types
    return _list(plain)


def _list(rows: Any) -> str:
    return "".join(f".TP\n.B {_text(term)}\n{_text(what)}\n" for term, what in rows)


def _prose(text: str | None) -> str:
    """Paragraphs; one that begins with "Example:" is a line to type."""
    shown = ""
    for part in (" ".join(part.split()) for part in (text or "").split("\n\n")):
        if part.startswith("Example: "):
            shown += ".PP\nExample:\n" + _examples(part.removeprefix("Example: "))
        elif part:
            shown += f".PP\n{_text(part)}\n"
    return shown


def _examples(epilog: str | None) -> str:
    if not epilog:
        return ""
    lines = [line for line in epilog.replace("\b", "").strip("\n").splitlines() if line.strip() != "Examples:"]
    return ".PP\n.nf\n" + "".join(f"{_text(line.strip()) or '.sp'}\n" for line in lines) + ".fi\n"


def _section(name: str) -> str:
    return f".SH {name}\n"


def _quoted(text: str) -> str:
    return f'"{_text(text)}"'


def _text(text: str) -> str:
    """Text that roff shows as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main(directory: str) -> None:
    """Write the pages into a directory."""
    for name, page in pages().items():
        Path(directory, name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
