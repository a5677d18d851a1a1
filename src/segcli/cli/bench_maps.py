"""`seg bench panoptic`, `semantic` and `instance`: whole photos, by classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli.bench_taught import Taught
from segcli.cli.benching import (
    Computing,
    Data,
    Images,
    Items,
    Output,
    Pred,
    ResultsDir,
    Truth,
    class_names,
    finish,
    folder,
    named,
    one_of,
    photos_of,
)
from segcli.cli.groups import verb
from segcli.cli.options import number
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.bench.records import Measure


@verb
def panoptic(
    data: Truth,
    items: Items,
    computing: Computing,
    output: Output,
    pred: Pred = None,
    images: Images = None,
    data_png: Annotated[
        str | None, typer.Option("--data-png", metavar="DIR", help="PNG files of the truth; beside it if left out.")
    ] = None,
    pred_png: Annotated[
        str | None, typer.Option("--pred-png", metavar="DIR", help="PNG files of the results; likewise.")
    ] = None,
) -> None:
    """Score panoptic results in COCO's format, or a model: PQ, SQ and RQ.

    Example: seg bench panoptic --data panoptic_val2017.json --pred pred.json
    """
    from segcli.bench.openers import ask_panoptic, open_panoptic

    folders = [None if p is None else Path(p) for p in (data_png, pred_png)]
    one_of(pred, "--pred FILE", computing)
    model = None
    if pred is None:
        photos = photos_of(images)
        model = computing.open(items.seed)
        measure = ask_panoptic(Path(data), photos, folders[0], model)
    else:
        measure = open_panoptic(Path(data), Path(pred), *folders)
    finish(measure, data, named(items, "coco-panoptic"), "", items, output, results=pred, model=model)


@verb
def semantic(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    results: ResultsDir = None,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="N", help="Number of classes; known for all layouts but folder.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option("--names", metavar="ade20k|FILE|a,b,…", help="With -m: the classes' names, from class 0 on."),
    ] = None,
    *,
    taught: Taught,
) -> None:
    """Score class maps, or a model: mIoU and mAcc. Results hold classes from 0, as `NAME.png`.

    A model is asked by the classes' names, or learns them: from --classes-dir with a folder of pairs for each class,
    called by its name or its number from 0, or from a tuned --prompt.

    Example: seg bench semantic --data ADEChallengeData2016 --layout ade20k --split validation --results out
    """
    from segcli.bench.openers import ask_semantic, open_semantic, show_semantic

    layout = named(items, "folder")
    split = items.split or {"ade20k": "validation"}.get(layout, "val")
    count = None if classes is None else number("--classes", classes, low=1)
    one_of(results, "--results DIR", computing)
    taught.check()
    model = None
    root = folder(data)
    if results is not None and taught.given:
        raise UsageError("--classes-dir and --prompt teach a model; take --results away and add -m")
    if results is not None:
        measure = open_semantic(root, layout, split, folder(results), count)
    elif taught.given:
        lesson = taught.lesson(number("--seed", items.seed, low=0))
        ids = taught.classes_of(names, layout, lesson.classes)
        model = lesson.teach(computing.open(items.seed))
        measure = show_semantic(root, layout, split, ids, count, model, taught.settings(lesson))
    else:
        listed = class_names(names, layout)
        model = computing.open(items.seed)
        measure = ask_semantic(root, layout, split, listed, model)
    place = "" if layout == "folder" else split
    finish(measure, data, layout, place, items, output, results=results, model=model)


@verb
def instance(
    data: Truth,
    items: Items,
    computing: Computing,
    output: Output,
    pred: Pred = None,
    images: Images = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Score boxes, not masks.")] = False,
) -> None:
    """Score detections in COCO's format, or a model: AP and AR, by pycocotools.

    Example: seg bench instance --data instances_val2017.json --pred detections.json
    """
    from segcli.bench.instances import InstanceMeasure
    from segcli.bench.openers import ask_instance

    one_of(pred, "--pred FILE", computing)
    model = None
    measure: Measure
    if pred is None:
        photos = photos_of(images)
        model = computing.open(items.seed)
        measure = ask_instance(Path(data), photos, boxes, model)
    else:
        measure = InstanceMeasure(Path(data), Path(pred), "bbox" if boxes else "segm")
    finish(measure, data, named(items, "coco"), "", items, output, results=pred, model=model)
