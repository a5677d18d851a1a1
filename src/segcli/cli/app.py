"""`seg`: the entry point. Nothing but Typer is imported before a verb is typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from segcli import __version__
from segcli.cli.errors import exit_codes
from segcli.cli.tree import Verbs

EPILOG = """Results go to files (seg-out/ unless -o says otherwise), words for people to stderr.

Exit status: 0 done, 1 a bug of seg, 2 the command line or a prompt is wrong, 3 some items failed and the rest is
done, 4 an input or output can't be used, 5 a checkpoint, 6 device or memory, 7 a --require is not met, 130 and 143
interrupted."""

app = typer.Typer(
    cls=Verbs,
    rich_markup_mode=None,  # rich costs more than all else at start
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB …",
    epilog=EPILOG,
)


def _show_version(value: bool) -> None:
    if value:
        print(f"seg {__version__}")
        raise typer.Exit


@app.callback()
def seg(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Make masks from the command line: clicks, boxes, scribbles and more on photos, in bulk and in pipes."""


def command() -> Any:
    """The whole command tree; verbs are imported as they are asked for."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line (default: the process's own) and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if "_SEG_COMPLETE" in os.environ:  # the shell asks for completions; Typer answers
        command().main(arguments, prog_name="seg")
    with exit_codes(arguments), command().make_context("seg", list(arguments)) as ctx:
        ctx.command.invoke(ctx)
