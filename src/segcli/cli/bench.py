"""`seg bench`: measure a checkpoint, or results that somebody already has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli.bench_maps import instance, panoptic, semantic
from segcli.cli.benching import (
    Computing,
    Data,
    Images,
    Items,
    Output,
    ResultsLines,
    Truth,
    answers_of,
    finish,
    folder,
    lines_of,
    memory_of,
    named,
    photos_of,
    print_episodes,
    share,
)
from segcli.cli.groups import verb
from segcli.cli.options import number
from segcli.core.errors import UsageError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def bench() -> None:
    """Measure a checkpoint, or a folder of results, on a data set.

    Numbers equal those of the official tools. Exit 7 when a --require or the --baseline is missed.
    """


@app.command()
@verb
def noc(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    clicks: Annotated[str, typer.Option("--clicks", metavar="K", help="At most so many clicks an object.")] = "20",
    stop_at: Annotated[
        str | None, typer.Option("--stop-at", metavar="IOU", help="Stop an object there (papers: 0.9).")
    ] = None,
    rule: Annotated[str, typer.Option("--rule", metavar="ritm|seem", help="Where the next click goes.")] = "ritm",
    at: Annotated[
        str | None, typer.Option("--at", metavar="IOU,…", help="Thresholds; 0.8,0.85,0.9 (seem: 0.5 too).")
    ] = None,
    min_area: Annotated[
        str, typer.Option("--min-area", metavar="SHARE", help="Plain folders: smaller objects are left out.")
    ] = "0.01",
) -> None:
    """Count the clicks until an object is right, and IoU after each click.

    Example: seg bench noc --data GrabCut -m seem-nano --require 'NoC@90<=3.5' --report report.html
    """
    from segcli.bench.layouts import photo_layout
    from segcli.bench.noc_measure import NocMeasure
    from segcli.bench.photos import open_photos
    from segcli.bench.rules import RULES

    if rule not in RULES:
        raise UsageError(f"--rule {rule}: there are {', '.join(RULES)}")
    limit = number("--clicks", clicks, low=1)
    stop = None if stop_at is None else share("--stop-at", stop_at)
    thresholds = () if at is None else tuple(share("--at", word) for word in at.split(","))
    layout = photo_layout(folder(data), items.layout)
    photos = open_photos(Path(data), layout, items.split or "", share("--min-area", min_area))
    model = computing.open(items.seed)
    measure = NocMeasure(tuple(photos), model, limit, stop, rule, thresholds)
    finish(measure, data, layout, items.split or "", items, output, model=model)


@app.command()
@verb
def iou1(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", metavar="KIND,…", help="Kinds of prompt, each asked once.", show_default="all"),
    ] = None,
    seem_box: Annotated[
        bool, typer.Option("--seem-box", help="box: only a click in its middle, as SEEM's evaluation really gives.")
    ] = False,
    min_area: Annotated[
        str, typer.Option("--min-area", metavar="SHARE", help="Plain folders: smaller objects are left out.")
    ] = "0.01",
) -> None:
    """Measure IoU after one point, stroke, scribble, polygon, box or rough mask.

    Prompts are drawn from the objects by --seed; COCO-Interactive's recorded ones are asked as they are.

    Example: seg bench iou1 --data photos -m seem-nano --prompts point,box
    """
    from segcli.bench.layouts import photo_layout
    from segcli.bench.noc_measure import Iou1Measure
    from segcli.bench.photos import open_photos
    from segcli.bench.prompts import KINDS, kinds_of

    layout = photo_layout(folder(data), items.layout)
    known = kinds_of(layout)
    kinds = known if prompts is None else tuple(k.strip() for k in prompts.split(","))
    for kind in kinds:
        if kind not in known:
            raise UsageError(f"--prompts {kind}: there are {', '.join(known)}")
    if seem_box and known != KINDS:
        raise UsageError("--seem-box: this data set records its boxes; take --seem-box away")
    photos = open_photos(Path(data), layout, items.split or "", share("--min-area", min_area))
    model = computing.open(items.seed)
    refused = [k for k in kinds if {"stroke": "scribble"}.get(k, k) not in model.accepts]
    if refused:
        raise UsageError(f"{model.name} takes no {refused[0]}; leave it out of --prompts")
    measure = Iou1Measure(tuple(photos), model, kinds, number("--seed", items.seed, low=0), seem_box)
    finish(measure, data, layout, items.split or "", items, output, model=model)


@app.command()
@verb
def vos(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    results: Annotated[
        str | None, typer.Option("--results", metavar="DIR", help="PNG label maps to score, instead of -m.")
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule", metavar="NAME", help="davis, davis-unsupervised, vos-benchmark or youtube-vos; by layout."
        ),
    ] = None,
    decay_wrap: Annotated[
        bool, typer.Option("--decay-wrap/--no-decay-wrap", help="Decay with the published 8-bit frame numbers.")
    ] = True,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="vos-benchmark: the first and the last frame too.")
    ] = False,
    seen: Annotated[
        str | None,
        typer.Option("--seen", metavar="FILE", help="youtube-vos: training categories; train/meta.json."),
    ] = None,
    memory: Annotated[str, typer.Option("--memory", metavar="K", help="Frames that the model's tracker keeps.")] = "8",
    carry: Annotated[
        bool, typer.Option("--carry", help="No tracker: each answer is the next frame's rough mask.")
    ] = False,
) -> None:
    """Score video results: J, F and J&F, recall and decay.

    With -m the model follows the objects, by its tracker or by its rough masks.

    Example: seg bench vos --data DAVIS --results out --require 'J&F-Mean>=0.75' --junit vos.xml
    """
    from segcli.bench.layouts import open_videos, seen_categories
    from segcli.bench.vos_measure import VosMeasure

    if (results is None) == (computing.model is None):
        raise UsageError("give either -m NAME or --results DIR")
    made = None if results is None else folder(results)
    videos, layout, split, used = open_videos(folder(data), items.layout, items.split, rule, made)
    model = computing.open(items.seed) if results is None else None
    kept = None if model is None else memory_of(model, number("--memory", memory, low=1), carry)
    categories = seen_categories(Path(data)) if seen is None else tuple(lines_of(seen))
    measure = VosMeasure(tuple(videos), used, decay_wrap, all_frames, categories, model, kept)
    finish(measure, data, layout, split, items, output, results=results, model=model)


for whole in (panoptic, semantic, instance):
    app.command()(whole)


@app.command()
@verb
def refer(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    results: ResultsLines = None,
    images: Annotated[
        str | None, typer.Option("--images", metavar="DIR", help="With -m: COCO's train2014 photos.")
    ] = None,
    splits_by: Annotated[
        str | None, typer.Option("--splits-by", metavar="NAME", help="RefCOCOg: umd or google.")
    ] = None,
    rule: Annotated[
        str, typer.Option("--rule", metavar="seem|psalm", help="Whose cIoU and mIoU, where empty masks matter.")
    ] = "seem",
) -> None:
    """Measure referring segmentation: cIoU, mIoU and Pr@t, one sample a sentence.

    Example: seg bench refer --data refcocog --splits-by umd --results answers.jsonl
    """
    from segcli.bench.openers import open_sentences
    from segcli.bench.sentences import ReferMeasure, check_rule

    check_rule(rule)
    split = items.split or "val"
    sentences = open_sentences(folder(data), split, splits_by, generalised=False)
    answers, model = answers_of(results, computing, items, sentences, images)
    measure = ReferMeasure(sentences, answers, rule)
    finish(measure, data, named(items, Path(data).name), split, items, output, results=results, model=model)


@app.command()
@verb
def grefer(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    results: ResultsLines = None,
    images: Annotated[
        str | None, typer.Option("--images", metavar="DIR", help="With -m: COCO's train2014 photos.")
    ] = None,
    gres_size: Annotated[
        str, typer.Option("--gres-size", metavar="N", help="Side of the square it is measured in; 0: the photo's own.")
    ] = "480",
    nt_pixels: Annotated[
        str | None,
        typer.Option("--nt-pixels", metavar="N", help="Fewer pixels say that nothing is meant (the paper: 50)."),
    ] = None,
) -> None:
    """Measure referring segmentation where a sentence may mean nothing: gIoU, cIoU, N_acc and T_acc.

    Example: seg bench grefer --data grefcoco --split testA --results answers.jsonl --nt-pixels 50
    """
    from segcli.bench.openers import open_sentences
    from segcli.bench.sentences import GreferMeasure

    side = number("--gres-size", gres_size, low=0)
    pixels = None if nt_pixels is None else number("--nt-pixels", nt_pixels, low=0)
    split = items.split or "val"
    sentences = open_sentences(folder(data), split, None, generalised=True)
    answers, model = answers_of(results, computing, items, sentences, images)
    measure = GreferMeasure(sentences, answers, side or None, pixels)
    finish(measure, data, named(items, "grefcoco"), split, items, output, results=results, model=model)


@app.command()
@verb
def group(
    data: Truth,
    items: Items,
    computing: Computing,
    output: Output,
    results: ResultsLines = None,
    images: Images = None,
    best: Annotated[
        bool, typer.Option("--best-candidates", help="What the best choice among the candidates would score.")
    ] = False,
) -> None:
    """Score groups of masks (ORES), or a model: gIoU and cIoU, with and without reference masks.

    Example: seg bench group --data groups.jsonl --results answers.jsonl
    """
    from segcli.bench.openers import ask_groups, open_groups

    if best + (results is not None) + (computing.model is not None) != 1:
        raise UsageError("give one of -m NAME, --results FILE and --best-candidates")
    model = None
    if computing.model is not None:
        photos = photos_of(images)
        model = computing.open(items.seed)
        if not {"text", "reference"} <= model.accepts:
            raise UsageError(f"{model.name} does not choose groups; take a member of RAS (see `seg models list`)")
        measure = ask_groups(Path(data), items.split, photos, model)
    else:
        measure = open_groups(Path(data), items.split, None if results is None else Path(results))
    who = "best candidates" if best else results
    finish(measure, data, named(items, "maskgroups"), items.split or "", items, output, results=who, model=model)


@app.command()
@verb
def correspond(
    data: Truth,
    results: Annotated[str, typer.Option("--results", metavar="FILE", help="Masks and confidences to score.")],
    items: Items,
    output: Output,
    direction: Annotated[
        str, typer.Option("--direction", metavar="ego-exo|exo-ego", help="From which camera to which.")
    ] = "ego-exo",
) -> None:
    """Score objects found in another camera (Ego-Exo4D): existence, IoU, contour and location.

    Example: seg bench correspond --data relations_val.json --results found.json --direction exo-ego
    """
    from segcli.bench.openers import open_correspondence

    measure = open_correspondence(Path(data), Path(results), direction)
    finish(measure, data, named(items, direction), items.split or "", items, output, results=results)


@app.command()
@verb
def fewshot(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    results: ResultsLines = None,
    fold: Annotated[str, typer.Option("--fold", metavar="0..3", help="PASCAL-5i and COCO-20i.")] = "0",
    shots: Annotated[str, typer.Option("--shots", metavar="N", help="Examples an episode.")] = "1",
    episodes: Annotated[str, typer.Option("--episodes", metavar="N", help="PASCAL-5i and COCO-20i.")] = "1000",
    show: Annotated[bool, typer.Option("--list", help="Print the episodes as JSON lines and stop.")] = False,
) -> None:
    """Measure few-shot segmentation over the official episodes: mIoU and FB-IoU.

    Example: seg bench fewshot --data PASCAL-5i --layout pascal-5i --fold 0 --results answers.jsonl
    """
    from segcli.bench.fewshot import FewShotMeasure, open_episodes
    from segcli.bench.sentences import read_answers

    wanted = number("--shots", shots, low=1)
    split = items.split or "test"
    found, classes = open_episodes(
        folder(data),
        named(items, "pascal-5i"),
        number("--fold", fold, low=0),
        wanted,
        number("--episodes", episodes, low=1),
        split=split,
    )
    if show:
        print_episodes(found)
        return
    if (results is None) == (computing.model is None):
        raise UsageError("give either -m NAME or --results FILE")
    model = computing.open(items.seed) if results is None else None
    answers = None if results is None else read_answers(Path(results))
    layout = named(items, "pascal-5i")
    measure = FewShotMeasure(tuple(found), classes, layout, wanted, model, answers)
    finish(measure, data, layout, split, items, output, results=results, model=model)
