"""`seg incontext`: masks of what examples show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from segcli.cli.groups import verb
from segcli.cli.options import Computing, Reading, RequireMask, Telling, Writing, number
from segcli.cli.prompts import refuse_what_it_does_not_take
from segcli.cli.shown import Shown
from segcli.core.errors import UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DEFAULT_MODEL = "seggpt-nano"

EXAMPLES = """\b
Examples:
  seg incontext photos/ --example mug.jpg:mug.png                 one example for all photos
  seg incontext photos/ --example a.jpg:a.png --example b.jpg:b.png -f cutout --crop
  seg incontext photos/ --example parts.jpg:parts.png -f palette  several ids in, the same ids out
  seg incontext photos/ --bank mugs/ --k 8 -v                     for each photo the 8 likest pairs of a folder
  seg incontext photos/ --classes-dir classes/ --per-class 4 -f overlay
  seg incontext scan.tif --example cell.tif:cell.png --tiles 512
  seg point a.jpg --at 120,80 -f jsonl -o - | seg incontext photos/ --examples -
  seg incontext photos/ --prompt mug.safetensors                  what `seg train prompt` has learned"""


@dataclass(frozen=True)
class InContextComputing(Computing):
    """Which checkpoint, where, and how exactly; examples take the memory."""

    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME|FILE", help="A checkpoint that takes examples.")
    ] = DEFAULT_MODEL
    cache_mb: Annotated[
        str, typer.Option("--cache-mb", metavar="MB", help="Memory for learned examples that are not in use.")
    ] = "512"


@app.command(epilog=EXAMPLES)
@verb
def incontext(
    reading: Reading,
    shown: Shown,
    require_mask: RequireMask = False,
    *,
    writing: Writing,
    computing: InContextComputing,
    telling: Telling,
) -> None:
    """Mask what examples show: photos with masks say what is meant.

    Masks of answers carry the ids of the examples' masks. In a mask file of several colours each colour is a target;
    white on black is one. Pairs in a directory lie in images/ and masks/, or beside each other as a.jpg and a.png.
    """
    for group in (reading, shown, writing, computing, telling):
        group.check()

    from segcli.registry.weights import find

    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, {"examples": shown.source})

    from segcli.cli.running import photos, refuse_clashes, run_items

    if "-" in shown.examples and ("-" in reading.images or reading.files_from == "-"):
        raise UsageError("stdin is named twice: - can be given once, as a photo, as --files-from or as --examples")
    found = photos(reading, writing, telling)

    from segcli.cli.showing import shown_to
    from segcli.core.ask import Ask
    from segcli.pipeline.plan import Item

    items = [Item(one.relative, one.source, (Ask(),), one.data) for one in found.inputs]
    refuse_clashes(items, writing)
    lesson = shown_to(
        shown, number("--seed", computing.seed, low=0), memory=number("--cache-mb", computing.cache_mb, low=0) << 20
    )
    run_items(
        *("incontext", items, entry, reading, writing, computing, telling),
        classes=lesson.classes,
        needs_masks=require_mask,
        prepare=lesson.teach,
        settings=lesson.settings,
        chooses=shown.bank is not None,
    )
