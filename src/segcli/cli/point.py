"""`seg point`: masks from clicks, boxes, scribbles, polygons and rough masks."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from segcli.cli.groups import verb
from segcli.cli.options import Computing, Reading, RequireMask, Telling, Writing, number
from segcli.cli.prompts import Prompts, refuse_what_it_does_not_take
from segcli.core.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EXAMPLES = """\b
Examples:
  seg point photo.jpg --at 320,240                       one click, one mask: seg-out/photo.png
  seg point photo.jpg --at 50%,40% --not-at 10%,90% -f cutout --crop
  seg point photos/ -r --box 10%,10%,90%,90% -f mask,coco -o masks
  seg point photo.jpg --at 100,80 --at 300,200 --each -f palette   two objects in one file
  seg point photo.jpg --everything -f palette            all that is there
  seg point --prompts asks.jsonl -f overlay              many photos, many asks
  seg point photo.jpg --at 320,240 --classes cat,dog,bird -f overlay   and what it is
  seg point left.jpg --like right.jpg:mask.png -m psalm-nano   the same object from another side
  seg point photo.jpg --at 320,240 -f cutout -o - | display -
  seg point s3://shop/photos -r --at 50%,50% -o s3://shop/masks   from and to an object store
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
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="REF@X,Y|REF:MASK",
            help="The same object in another photo, for models that compare views. Repeatable.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="No prompt: all that a grid of clicks finds, best first.")
    ] = False,
    grid: Annotated[
        str | None,
        typer.Option("--grid", metavar="N", help="--everything: clicks on the photo's longer side.", show_default="16"),
    ] = None,
    crops: Annotated[
        str | None,
        typer.Option(
            "--crops",
            metavar="N",
            help="--everything: look at 4 (1), or 4 and 16 (2) parts of the photo too.",
            show_default="0",
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

    With --everything the answer is the many masks of all that is there, as `seg group` takes them for candidates.

    With --classes each mask is labelled with the class that fits it best, and how well it does.
    """
    for group in (reading, writing, computing, telling):
        group.check()
    if like and (asked is not None or everything):
        raise UsageError("--like goes with photos and prompts of the command line; take --prompts or --everything away")
    if asked is not None and (prompts.given or reading.images or reading.files_from or reading.recursive):
        raise UsageError("--prompts brings photos and prompts itself; take the others away, or --prompts")
    if everything:
        _everything(reading, prompts, grid, crops, writing, computing, telling, needs_masks=require_mask, asked=asked)
    if grid is not None or crops is not None:
        raise UsageError("--grid and --crops are for --everything; add it, or take them away")
    if asked is not None:
        from segcli.cli.promptfile import answer_prompts

        answer_prompts("point", asked, reading, writing, computing, telling, needs_masks=require_mask)

    from segcli.cli import likes
    from segcli.registry.weights import find

    regions = [likes.parse(one) for one in like or ()]
    parsed = prompts.parse(alike=bool(regions))
    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, {**({"reference": "--like"} if regions else {}), **parsed.kinds})

    from segcli.cli.running import photos, refuse_clashes, run_items

    found = photos(reading, writing, telling)

    from dataclasses import replace

    from segcli.pipeline.plan import Item

    references = tuple(region.reference() for region in regions)
    asks = tuple(replace(ask, references=references) for ask in parsed.asks())
    items = [Item(one.relative, one.source, asks, one.data) for one in found.inputs]
    refuse_clashes(items, writing)
    run_items(
        *("point", items, entry, reading, writing, computing, telling), classes=parsed.classes, needs_masks=require_mask
    )


def _everything(
    reading: Reading,
    prompts: Prompts,
    grid: str | None,
    crops: str | None,
    writing: Writing,
    computing: Computing,
    telling: Telling,
    *,
    needs_masks: bool,
    asked: str | None,
) -> NoReturn:
    """All masks of each photo. Raises UsageError for prompts beside --everything."""
    from dataclasses import asdict

    if prompts.given or asked is not None:
        raise UsageError("--everything takes no prompts; take them away, or --everything")
    asks_on_a_side = 16 if grid is None else number("--grid", grid, low=1)
    layers = 0 if crops is None else number("--crops", crops, low=0)
    if layers > 2:
        raise UsageError(f"--crops {crops}: parts get too small; type 1 or 2")

    from segcli.registry.weights import find

    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, {"point": "--everything"})

    from segcli.cli.running import photos, refuse_clashes, run_items

    found = photos(reading, writing, telling)

    from segcli.core.ask import Ask
    from segcli.pipeline.everything import Everything, Search
    from segcli.pipeline.plan import Item

    search = Search(grid=asks_on_a_side, crops=layers)
    items = [Item(one.relative, one.source, (Ask(),), one.data) for one in found.inputs]
    refuse_clashes(items, writing)
    run_items(
        *("point", items, entry, reading, writing, computing, telling),
        needs_masks=needs_masks,
        prepare=lambda model: Everything(model, search),
        settings={"everything": asdict(search)},
    )
