"""`seg masks`: masks that somebody has, converted, chosen, cleaned, merged, measured and shown. No model, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segcli.cli.errors import warn
from segcli.cli.groups import verb
from segcli.cli.maskoptions import From, To, area, corners, deliver, in_pairs, whole
from segcli.cli.options import share
from segcli.core.errors import ItemError, UsageError

if TYPE_CHECKING:
    from segcli.io.maskfiles import Masks

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="JSON lines, not a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")]


@app.callback()
def masks() -> None:
    """Convert, choose, clean, merge, measure and show masks.

    Masks come from files of any format that holds them (coco, panoptic, palette, mask, labelme, yolo, svg, jsonl, npz),
    from folders of such files, or as JSON lines from another verb on stdin. Run-length codes stay so where they can.
    """


@app.command()
@verb
def convert(source: From, to: To) -> None:
    """Write masks in another format.

    What a format can't hold is said on stderr. Ids, labels and scores survive where the format has a place for them.

    Example: seg masks convert instances.json -f palette -o masks
    """
    deliver(source, to, source.read())


@app.command("filter")
@verb
def filter_(
    source: From,
    to: To,
    min_area: Annotated[
        str | None, typer.Option("--min-area", metavar="PIXELS|SHARE%", help="Leave out smaller masks.")
    ] = None,
    max_area: Annotated[
        str | None, typer.Option("--max-area", metavar="PIXELS|SHARE%", help="Leave out larger masks.")
    ] = None,
    min_score: Annotated[
        str | None, typer.Option("--min-score", metavar="0…1", help="Leave out masks with a lower score.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME", help="Only masks of this label. Repeatable.")
    ] = None,
    not_label: Annotated[
        list[str] | None, typer.Option("--not-label", metavar="NAME", help="No masks of this label. Repeatable.")
    ] = None,
    within: Annotated[
        str | None, typer.Option("--within", metavar="X0,Y0,X1,Y1", help="The middle of the mask's box lies in there.")
    ] = None,
    largest: Annotated[
        str | None, typer.Option("--largest", metavar="N", help="Only the N largest masks of each photo.")
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option("--no-repeats", metavar="IOU", help="Of masks that overlap so much only the best by score."),
    ] = None,
) -> None:
    """Keep the masks that meet all conditions.

    Example: seg point --everything photo.jpg -f jsonl -o - | seg masks filter - --min-area 1% -o -
    """
    from segcli.core.algebra import Wanted, chosen, without_repeats

    (least, least_share), (most, most_share) = area("--min-area", min_area), area("--max-area", max_area)
    wanted = Wanted(
        least=least,
        most=most,
        shares=(least_share, most_share),
        score=None if min_score is None else share("--min-score", min_score),
        labels=frozenset(label or ()),
        not_labels=frozenset(not_label or ()),
        within=corners("--within", within),
        largest=None if largest is None else whole("--largest", largest),
    )
    bar = None if overlap is None else share("--no-repeats", overlap)

    def kept() -> Iterator[Masks]:
        for one in source.read():
            prediction = one.prediction if bar is None else without_repeats(one.prediction, bar)
            yield replace(one, prediction=chosen(prediction, wanted))

    deliver(source, to, kept())


@app.command()
@verb
def clean(
    source: From,
    to: To,
    holes: Annotated[str, typer.Option("--holes", metavar="PIXELS", help="Fill holes smaller than this.")] = "0",
    islands: Annotated[str, typer.Option("--islands", metavar="PIXELS", help="Drop parts smaller than this.")] = "0",
    smooth: Annotated[
        str, typer.Option("--smooth", metavar="RADIUS", help="Take off spikes and close cracks up to twice so wide.")
    ] = "0",
) -> None:
    """Fill holes, drop islands, smooth borders. A mask of which nothing stays is left out.

    Example: seg masks clean masks/ --holes 64 --islands 64 --smooth 2 -f palette -o clean
    """
    from segcli.core.algebra import cleaned

    sizes = {
        "holes": whole("--holes", holes),
        "islands": whole("--islands", islands),
        "smooth": whole("--smooth", smooth),
    }
    if not any(sizes.values()):
        raise UsageError("nothing to clean; give --holes, --islands or --smooth")
    made = (replace(one, prediction=cleaned(one.prediction, **sizes), exact=True) for one in source.read())
    deliver(source, to, made)


@app.command()
@verb
def merge(
    source: From,
    to: To,
    how: Annotated[
        str, typer.Option("--how", metavar="union|intersection|difference", help="difference: the first minus others.")
    ] = "union",
    by: Annotated[
        str, typer.Option("--by", metavar="all|label|id", help="Masks that count as one: all, or those with the same.")
    ] = "all",
) -> None:
    """Put masks of one photo together, within one source or over several.

    Photos of several sources are the same when their names are, without suffix; every source counts once.

    Example: seg masks merge anna/ bert.json --how intersection --by label -f coco -o agreed
    """
    from segcli.core import algebra

    if how not in ("union", "intersection", "difference"):
        raise UsageError(f"--how {how}: unknown; type union, intersection or difference")
    if by not in ("all", "label", "id"):
        raise UsageError(f"--by {by}: unknown; type all, label or id")
    if how != "union" and len(source.sources) < 2:
        raise UsageError(f"--how {how} is for two sources or more; give another one")

    def merged() -> Iterator[Masks]:
        from segcli.core.prediction import Prediction
        from segcli.io.maskfiles import by_key

        if len(source.sources) == 1:
            for one in source.read():
                yield replace(one, prediction=algebra.merged([one.prediction], "union", cast("algebra.By", by)))
            return
        parts = [by_key(source.read([name])) for name in source.sources]
        for key in dict.fromkeys(key for part in parts for key in part):
            held = [part[key] for part in parts if key in part]
            sizes = {one.prediction.size for one in held}
            if len(sizes) > 1:
                words = " and ".join(f"{s[1]}x{s[0]}" for s in sorted(sizes))
                raise ItemError(f"{key}: its masks are {words} in different sources")
            blank = Prediction(held[0].prediction.size)
            predictions = [part[key].prediction if key in part else blank for part in parts]
            made = algebra.merged(predictions, cast("algebra.How", how), cast("algebra.By", by))
            yield replace(held[0], prediction=made, exact=all(one.exact for one in held))

    deliver(source, to, merged())


@app.command()
@verb
def overlay(source: From, to: To) -> None:
    """Draw masks over their photos, which --images names.

    Example: seg masks overlay instances.json --images photos -o shown
    """
    if source.images is None:
        raise UsageError("overlays need the photos; add --images DIR")
    deliver(source, replace(to, formats=["overlay"]), source.read())


@app.command()
@verb
def stats(
    source: From,
    csv: Annotated[bool, typer.Option("--csv", help="A line a mask with commas, for spreadsheets.")] = False,
    as_json: Json = False,
    each: Annotated[bool, typer.Option("--each", help="A line a mask, not only the summary by label.")] = False,
    debug: Debug = False,
) -> None:
    """Count masks: areas, boxes and coverage. Nothing is decoded.

    Example: seg masks stats instances.json --csv > masks.csv
    """
    from segcli.cli.masktables import Counting

    if csv and as_json:
        raise UsageError("--csv and --json are two ways to print the same; give one")
    counting = Counting("csv" if csv else "json" if as_json else "table", each)
    for one in source.read():
        counting.add(one)
    counting.finish()


@app.command()
def iou(
    first: Annotated[str, typer.Argument(metavar="A", help="Masks: a file, a folder, or - for JSON lines.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The others, of the same photos.")],
    by: Annotated[
        str, typer.Option("--by", metavar="overlap|label|id", help="Which masks are compared with each other.")
    ] = "overlap",
    kind: Annotated[str | None, typer.Option("--from", metavar="FORMAT", help="The files' format.")] = None,
    numbered: Annotated[
        bool, typer.Option("--numbered", help="NAME-1.png, NAME-2.png, … are masks of one photo NAME.")
    ] = False,
    as_json: Json = False,
    each: Annotated[bool, typer.Option("--each", help="A line a pair of masks, not only one a photo.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare two sources: IoU of the masks that belong together, photo by photo. Nothing is decoded.

    A mask without a partner counts as 0. Photos are the same when their names are, without suffix.

    Example: seg masks iou anna/ bert/ --by label
    """
    from segcli.core.algebra import matched

    if by not in ("overlap", "label", "id"):
        raise UsageError(f"--by {by}: unknown; type overlap, label or id")
    if first == second == "-":
        raise UsageError("both are -; only one of them can come from stdin")
    source = From(kind=kind, numbered=numbered)
    total: list[float] = []
    photos = 0
    for a, b in in_pairs(source.read([first]), source.read([second]), warn if not quiet else lambda line: None):
        try:
            pairs = matched(a.prediction, b.prediction, by)  # type: ignore[arg-type]
        except ValueError as error:
            raise ItemError(f"{a.key}: its masks are {error}; only masks of one size can be compared") from None
        values = [pair.iou for pair in pairs]
        total += values
        photos += 1
        mean = sum(values) / len(values) if values else 1.0
        if as_json:
            line = {"image": a.key, "iou": mean, "masks": [len(a.prediction), len(b.prediction)]}
            rows = [{"a": p.first, "b": p.second, "iou": p.iou} for p in pairs]
            print(json.dumps(line | ({"pairs": rows} if each else {})))
            continue
        print(f"{mean:.4f}  {a.key}  ({len(a.prediction)} and {len(b.prediction)} masks)")
        for p in pairs if each else ():
            shown = ["-" if n is None else str(m.prediction.ids[n]) for m, n in ((a, p.first), (b, p.second))]
            print(f"  {p.iou:.4f}  {shown[0]} and {shown[1]}")
    mean = sum(total) / len(total) if total else float("nan")
    if as_json:
        print(json.dumps({"photos": photos, "pairs": len(total), "iou": None if mean != mean else mean}))
    else:
        print(f"{mean:.4f}  mean of {len(total)} pairs in {photos} photos")
