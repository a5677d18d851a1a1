"""`seg panoptic`: the whole photo by classes, as segments, as a class a pixel, or as instances."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segcli.cli.groups import verb
from segcli.cli.options import FORMATS, Computing, Reading, RequireMask, Telling, Writing, complete_formats, share
from segcli.cli.prompts import refuse_what_it_does_not_take
from segcli.core.classes import parse
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.core.ask import Kind

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

FORMAT_OF = {"panoptic": "panoptic", "semantic": "semantic", "instance": "coco"}
"""Each kind with the format that is written when none is asked for."""

EXAMPLES = """\b
Examples:
  seg panoptic photo.jpg --classes person,dog,grass,sky  a PNG of segments and panoptic.json
  seg panoptic photos/ -r --classes coco -f panoptic,overlay -o out
  seg panoptic photos/ --classes ade20k --kind semantic  a class a pixel, and legend.json
  seg panoptic photos/ --classes mine.txt --kind instance --threshold 0.5 -f coco"""


@dataclass(frozen=True)
class WholeWriting(Writing):
    """Where results go and how they look; what is written by default depends on the kind."""

    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            metavar="NAME,…",
            help=f"Any of {', '.join(FORMATS)}. Repeatable.",
            show_default="panoptic, semantic or coco, as --kind says",
            autocompletion=complete_formats,
        ),
    ] = field(default_factory=list)


@app.command(epilog=EXAMPLES)
@verb
def panoptic(
    reading: Reading,
    classes: Annotated[
        str,
        typer.Option(
            "--classes",
            metavar="coco|ade20k|voc|FILE|A,B,C",
            help="What to look for. A file has a class a line, behind a tab thing or stuff, behind another its id.",
        ),
    ] = "coco",
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="panoptic|semantic|instance",
            help="Segments without overlap, one mask a class, or things only, each by itself.",
        ),
    ] = "panoptic",
    threshold: Annotated[
        str | None, typer.Option("--threshold", metavar="0…1", help="Leave out masks with a lower score.")
    ] = None,
    require_mask: RequireMask = False,
    *,
    writing: WholeWriting,
    computing: Computing,
    telling: Telling,
) -> None:
    """Mask everything in a photo that belongs to given classes.

    Things can be counted and get a mask each; stuff, such as sky, gets one for all of it. Lists of data sets know which
    are which, a FILE may say so. Overlays have a legend of the classes.

    Classes of coco, ade20k and voc that the checkpoint does not know are left out, with a line that says so; a word of
    your own that it does not know is refused.
    """
    if kind not in FORMAT_OF:
        raise UsageError(f"--kind {kind}: unknown; type {', '.join(FORMAT_OF)}")
    if not writing.formats:
        writing = replace(writing, formats=[FORMAT_OF[kind]])
    for group in (reading, writing, computing, telling):
        group.check()
    listed = parse(classes)
    score = None if threshold is None else share("--threshold", threshold)
    if kind == "instance" and listed.names and all(thing is False for thing in listed.things):
        raise UsageError(f"--classes {classes}: holds no things, and --kind instance masks nothing else")

    from segcli.registry.weights import find

    entry = find(computing.model)
    refuse_what_it_does_not_take(entry, {"classes": "--classes"})

    from segcli.cli.running import photos, refuse_clashes, run_items

    found = photos(reading, writing, telling)

    from segcli.core.ask import Ask
    from segcli.pipeline.plan import Item

    ask = Ask(classes=listed.names, things=listed.said, kind=cast("Kind", kind), threshold=score)
    items = [Item(one.relative, one.source, (ask,), one.data) for one in found.inputs]
    refuse_clashes(items, writing)
    run_items(
        *("panoptic", items, entry, reading, writing, computing, telling), classes=listed, needs_masks=require_mask
    )
