"""`seg point`: masks from clicks, boxes, scribbles, polygons and rough masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.groups import verb
from segcli.cli.options import Computing, Reading, Telling, Writing
from segcli.cli.prompts import Prompts, refuse_what_it_does_not_take
from segcli.core.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EXAMPLES = """\b
Examples:
  seg point photo.jpg --at 320,240                       one click, one mask: seg-out/photo.png
  seg point photo.jpg --at 50%,40% --not-at 10%,90% -f cutout --crop
  seg point photos/ -r --box 10%,10%,90%,90% -f mask,coco -o masks
  seg point photo.jpg --at 100,80 --at 300,200 --each -f palette
  seg point --prompts asks.jsonl -f overlay              many photos, many asks
  seg point photo.jpg --at 320,240 -f cutout -o - | display -
  seg point --prompts -                                  a live session, a JSON line each way"""


@app.command(epilog=EXAMPLES)
@verb
def point(
    reading: Reading,
    prompts: Prompts,
    asked: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="FILE|-", help="Asks as JSON lines (seg-stream(5)); - answers them as they come."
        ),
    ] = None,
    *,
    writing: Writing,
    computing: Computing,
    telling: Telling,
) -> None:
    """Mask what clicks, boxes, scribbles, polygons and rough masks point at.

    All prompts together describe one object, the same in every photo, unless --each or a --prompts file says
    otherwise. Coordinates are pixels of the upright photo, x to the right and y down, or fractions of it with %.
    """
    for group in (reading, writing, computing, telling):
        group.check()
    if asked is not None and (prompts.given or reading.images or reading.files_from or reading.recursive):
        raise UsageError("--prompts brings photos and prompts itself; take the others away, or --prompts")

    from segcli.registry.weights import find

    classes: tuple[str, ...] = ()
    if asked is None:
        parsed = prompts.parse()
        entry = find(computing.model)
        refuse_what_it_does_not_take(entry, parsed.kinds)

        from segcli.cli.running import photos, refuse_clashes, run_items

        found = photos(reading, writing, telling)

        from segcli.pipeline.plan import Item

        asks, classes = parsed.asks(), parsed.classes
        items = [Item(one.relative, one.source, asks, one.data) for one in found.inputs]
    elif asked == "-":
        from segcli.cli.live import answer_lines

        answer_lines(find(computing.model), reading, writing, computing, telling)
    else:
        entry = find(computing.model)
        if not Path(asked).exists():
            raise UsageError(f"--prompts {asked}: no such file; give a file of JSON lines, or - for a live session")

        from segcli.cli.promptfile import read_items
        from segcli.cli.running import refuse_clashes, run_items

        items = read_items(asked, entry)
    refuse_clashes(items, writing.place[1])
    run_items("point", items, entry, reading, writing, computing, telling, classes)
