"""`seg point`: masks from clicks, boxes, scribbles, polygons and rough masks."""

from __future__ import annotations

from typing import Annotated

import typer

from segcli.cli.groups import verb
from segcli.cli.options import Computing, Reading, RequireMask, Telling, Writing
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
  seg point photo.jpg --at 320,240 --classes cat,dog,bird -f overlay   and what it is
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
    require_mask: RequireMask = False,
    *,
    writing: Writing,
    computing: Computing,
    telling: Telling,
) -> None:
    """Mask what clicks, boxes, scribbles, polygons and rough masks point at.

    All prompts together describe one object, the same in every photo, unless --each or a --prompts file says
    otherwise. Coordinates are pixels of the upright photo, x to the right and y down, or fractions of it with %.

    With --classes each mask is labelled with the class that fits it best, and how well it does.
    """
    for group in (reading, writing, computing, telling):
        group.check()
    if asked is not None and (prompts.given or reading.images or reading.files_from or reading.recursive):
        raise UsageError("--prompts brings photos and prompts itself; take the others away, or --prompts")
    if asked is not None:
        from segcli.cli.promptfile import answer_prompts

        answer_prompts("point", asked, reading, writing, computing, telling, needs_masks=require_mask)

    from segcli.registry.weights import find

    parsed = prompts.parse()
    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, parsed.kinds)

    from segcli.cli.running import photos, refuse_clashes, run_items

    found = photos(reading, writing, telling)

    from segcli.pipeline.plan import Item

    asks = parsed.asks()
    items = [Item(one.relative, one.source, asks, one.data) for one in found.inputs]
    refuse_clashes(items, writing.place[1])
    run_items(
        *("point", items, entry, reading, writing, computing, telling), classes=parsed.classes, needs_masks=require_mask
    )
