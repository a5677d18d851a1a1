"""`seg bench`: measure a checkpoint, or results that somebody already has."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli.groups import verb
from segcli.cli.options import number
from segcli.core.errors import RequirementError, UsageError

if TYPE_CHECKING:
    from segcli.bench.records import Measure
    from segcli.models.api import Promptable

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

PROMPTS = "point,stroke,scribble,polygon,box,mask"


@app.callback()
def bench() -> None:
    """Measure a checkpoint, or a folder of results, on a data set.

    Numbers equal those of the official tools. Exit 7 when a --require or the --baseline is missed.
    """


@dataclass(frozen=True)
class Items:
    """What is measured."""

    layout: Annotated[
        str, typer.Option("--layout", metavar="NAME", help="How the data lies on disk; auto looks at the names there.")
    ] = "auto"
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Part of the data; the usual one if left out.")
    ] = None
    subset: Annotated[str | None, typer.Option("--subset", metavar="N", help="Only N items, drawn with --seed.")] = None
    seed: Annotated[str, typer.Option("--seed", metavar="N", help="For --subset and drawn prompts.")] = "0"
    workers: Annotated[str, typer.Option("--workers", metavar="N", help="Processes that score results.")] = "1"
    journal: Annotated[
        str | None, typer.Option("--journal", metavar="FILE", help="Finished items; the same command goes on from it.")
    ] = None


@dataclass(frozen=True)
class Computing:
    """Which checkpoint, and where it runs."""

    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FILE", help="A checkpoint of `seg models list`.")
    ] = None
    device: Annotated[str, typer.Option("--device", metavar="auto|cuda[:N]|mps|cpu", help="Where it runs.")] = "auto"
    dtype: Annotated[str, typer.Option("--dtype", metavar="auto|fp32|bf16|fp16", help="In which precision.")] = "auto"
    threads: Annotated[str | None, typer.Option("--threads", metavar="N", help="CPU threads.")] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False

    def open(self, seed: str) -> Promptable:
        """The model. Raises UsageError when none was named."""
        if self.model is None:
            raise UsageError("no model: type for example -m seem-nano")
        threads = None if self.threads is None else number("--threads", self.threads, low=1)
        from segcli.registry.load import open_model

        return open_model(
            self.model,
            device=self.device,
            dtype=self.dtype,
            seed=number("--seed", seed, low=0),
            threads=threads,
            offline=self.offline,
        )


@dataclass(frozen=True)
class Output:
    """What becomes of the numbers."""

    json: Annotated[bool, typer.Option("--json", help="The whole result as JSON on stdout, not the table.")] = False
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="A row an item.")] = None
    junit: Annotated[str | None, typer.Option("--junit", metavar="FILE", help="A test case a requirement.")] = None
    report: Annotated[
        str | None, typer.Option("--report", metavar="FILE", help="One HTML page with curves and cases.")
    ] = None
    require: Annotated[
        list[str], typer.Option("--require", metavar="TEXT", help="Like 'NoC@90<=3.5'; exit 7 if missed. Repeatable.")
    ] = field(default_factory=list)
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="FILE", help="An earlier --json; exit 7 if it was better.")
    ] = None
    tolerance: Annotated[
        str,
        typer.Option("--tolerance", metavar="X", help="How much better the baseline may be, in units of a metric."),
    ] = "0"
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False


Data = Annotated[str, typer.Option("--data", metavar="DIR", help="The folder of the data set.")]
Truth = Annotated[str, typer.Option("--data", metavar="FILE", help="The ground truth.")]
ResultsDir = Annotated[str, typer.Option("--results", metavar="DIR", help="PNG label maps to score.")]
ResultsLines = Annotated[
    str | None, typer.Option("--results", metavar="FILE", help="JSON lines to score, instead of -m.")
]
Pred = Annotated[str, typer.Option("--pred", metavar="FILE", help="Results in COCO's JSON format.")]


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
    stop = None if stop_at is None else _share("--stop-at", stop_at)
    thresholds = () if at is None else tuple(_share("--at", word) for word in at.split(","))
    layout = photo_layout(_folder(data), items.layout)
    photos = open_photos(Path(data), layout, items.split or "", _share("--min-area", min_area))
    model = computing.open(items.seed)
    measure = NocMeasure(tuple(photos), model, limit, stop, rule, thresholds)
    _finish(measure, data, layout, items.split or "", items, output, model=model)


@app.command()
@verb
def iou1(
    data: Data,
    items: Items,
    computing: Computing,
    output: Output,
    prompts: Annotated[
        str, typer.Option("--prompts", metavar="KIND,…", help="Kinds of prompt, each asked once.")
    ] = PROMPTS,
    seem_box: Annotated[
        bool, typer.Option("--seem-box", help="box: only a click in its middle, as SEEM's evaluation really gives.")
    ] = False,
    min_area: Annotated[
        str, typer.Option("--min-area", metavar="SHARE", help="Plain folders: smaller objects are left out.")
    ] = "0.01",
) -> None:
    """Measure IoU after one point, stroke, scribble, polygon, box or rough mask.

    Example: seg bench iou1 --data photos -m seem-nano --prompts point,box
    """
    from segcli.bench.layouts import photo_layout
    from segcli.bench.noc_measure import Iou1Measure
    from segcli.bench.photos import open_photos
    from segcli.bench.prompts import KINDS

    kinds = tuple(k.strip() for k in prompts.split(","))
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--prompts {kind}: there are {', '.join(KINDS)}")
    layout = photo_layout(_folder(data), items.layout)
    photos = open_photos(Path(data), layout, items.split or "", _share("--min-area", min_area))
    model = computing.open(items.seed)
    refused = [k for k in kinds if {"stroke": "scribble"}.get(k, k) not in model.accepts]
    if refused:
        raise UsageError(f"{model.name} takes no {refused[0]}; leave it out of --prompts")
    measure = Iou1Measure(tuple(photos), model, kinds, number("--seed", items.seed, low=0), seem_box)
    _finish(measure, data, layout, items.split or "", items, output, model=model)


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
) -> None:
    """Score video results: J, F and J&F, recall and decay.

    With -m the model follows the objects: each answer is the next frame's rough mask.

    Example: seg bench vos --data DAVIS --results out --require 'J&F-Mean>=0.75' --junit vos.xml
    """
    from segcli.bench.layouts import open_videos, seen_categories
    from segcli.bench.vos_measure import VosMeasure

    if (results is None) == (computing.model is None):
        raise UsageError("give either -m NAME or --results DIR")
    folder = None if results is None else _folder(results)
    videos, layout, split, used = open_videos(_folder(data), items.layout, items.split, rule, folder)
    model = computing.open(items.seed) if results is None else None
    if model is not None and "mask" not in model.accepts:
        raise UsageError(f"{model.name} takes no rough masks, by which it could follow an object")
    categories = seen_categories(Path(data)) if seen is None else tuple(_lines(seen))
    measure = VosMeasure(tuple(videos), used, decay_wrap, all_frames, categories, model)
    _finish(measure, data, layout, split, items, output, results=results, model=model)


@app.command()
@verb
def panoptic(
    data: Truth,
    pred: Pred,
    items: Items,
    output: Output,
    data_png: Annotated[
        str | None, typer.Option("--data-png", metavar="DIR", help="PNG files of the truth; beside it if left out.")
    ] = None,
    pred_png: Annotated[
        str | None, typer.Option("--pred-png", metavar="DIR", help="PNG files of the results; likewise.")
    ] = None,
) -> None:
    """Score panoptic results in COCO's format: PQ, SQ and RQ.

    Example: seg bench panoptic --data panoptic_val2017.json --pred pred.json
    """
    from segcli.bench.openers import open_panoptic

    folders = [None if p is None else Path(p) for p in (data_png, pred_png)]
    measure = open_panoptic(Path(data), Path(pred), *folders)
    _finish(measure, data, _named(items, "coco-panoptic"), "", items, output, results=pred)


@app.command()
@verb
def semantic(
    data: Data,
    results: ResultsDir,
    items: Items,
    output: Output,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="N", help="Number of classes; known for all layouts but folder.")
    ] = None,
) -> None:
    """Score class maps: mIoU and mAcc. Results hold classes from 0, as `NAME.png`.

    Example: seg bench semantic --data ADEChallengeData2016 --layout ade20k --split validation --results out
    """
    from segcli.bench.openers import open_semantic

    layout = _named(items, "folder")
    split = items.split or {"ade20k": "validation"}.get(layout, "val")
    count = None if classes is None else number("--classes", classes, low=1)
    measure = open_semantic(_folder(data), layout, split, _folder(results), count)
    _finish(measure, data, layout, "" if layout == "folder" else split, items, output, results=results)


@app.command()
@verb
def instance(
    data: Truth,
    pred: Pred,
    items: Items,
    output: Output,
    boxes: Annotated[bool, typer.Option("--boxes", help="Score boxes, not masks.")] = False,
) -> None:
    """Score detections in COCO's format: AP and AR, by pycocotools.

    Example: seg bench instance --data instances_val2017.json --pred detections.json
    """
    from segcli.bench.maps import InstanceMeasure

    measure = InstanceMeasure(Path(data), Path(pred), "bbox" if boxes else "segm")
    _finish(measure, data, _named(items, "coco"), "", items, output, results=pred)


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
    sentences = open_sentences(_folder(data), split, splits_by, generalised=False)
    answers, model = _answers(results, computing, items, sentences, images)
    measure = ReferMeasure(sentences, answers, rule)
    _finish(measure, data, _named(items, Path(data).name), split, items, output, results=results, model=model)


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
    sentences = open_sentences(_folder(data), split, None, generalised=True)
    answers, model = _answers(results, computing, items, sentences, images)
    measure = GreferMeasure(sentences, answers, side or None, pixels)
    _finish(measure, data, _named(items, "grefcoco"), split, items, output, results=results, model=model)


@app.command()
@verb
def group(
    data: Truth,
    items: Items,
    output: Output,
    results: ResultsLines = None,
    best: Annotated[
        bool, typer.Option("--best-candidates", help="What the best choice among the candidates would score.")
    ] = False,
) -> None:
    """Score groups of masks (ORES): gIoU and cIoU, with and without reference masks.

    Example: seg bench group --data groups.jsonl --results answers.jsonl
    """
    from segcli.bench.openers import open_groups

    if best == (results is not None):
        raise UsageError("give either --results FILE or --best-candidates")
    measure = open_groups(Path(data), items.split, None if results is None else Path(results))
    who = results if results is not None else "best candidates"
    _finish(measure, data, _named(items, "maskgroups"), items.split or "", items, output, results=who)


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
        _folder(data),
        _named(items, "pascal-5i"),
        number("--fold", fold, low=0),
        wanted,
        number("--episodes", episodes, low=1),
        split=split,
    )
    if show:
        _print_episodes(found)
        return
    if (results is None) == (computing.model is None):
        raise UsageError("give either -m NAME or --results FILE")
    model = computing.open(items.seed) if results is None else None
    answers = None if results is None else read_answers(Path(results))
    layout = _named(items, "pascal-5i")
    measure = FewShotMeasure(tuple(found), classes, layout, wanted, model, answers)
    _finish(measure, data, layout, split, items, output, results=results, model=model)


def _finish(
    measure: Measure,
    data: str,
    layout: str,
    split: str,
    items: Items,
    output: Output,
    *,
    results: str | None = None,
    model: Promptable | None = None,
) -> None:
    """Measure, print, write, and raise RequirementError for what is missed."""
    from segcli.bench.checks import parse
    from segcli.bench.deliver import Wanted, as_json, deliver
    from segcli.bench.records import Origin
    from segcli.bench.run import run

    csv, junit, report, baseline = (
        None if p is None else Path(p) for p in (output.csv, output.junit, output.report, output.baseline)
    )
    requirements = tuple(parse(text) for text in output.require)
    wanted = Wanted(csv, junit, report, requirements, baseline, _decimal("--tolerance", output.tolerance))
    workers = number("--workers", items.workers, low=1)
    if model is not None and workers > 1:
        raise UsageError("--workers is for scoring results; a model runs in one process (see --threads)")
    seed = number("--seed", items.seed, low=0)
    subset = None if items.subset is None else number("--subset", items.subset, low=1)
    records = run(
        measure,
        workers=workers,
        journal=None if items.journal is None else Path(items.journal),
        identity=f"{data} {layout} {split} {results} {model and model.revision}",
        subset=subset,
        seed=seed,
        tell=None if output.quiet or not sys.stderr.isatty() else _progress,
    )
    name, revision = (None, None) if model is None else (model.name, model.revision)
    origin = Origin(data, layout, split, name, revision, results, seed, subset)
    done = deliver(measure, origin, records, wanted)
    sys.stdout.write(as_json(done.document) if output.json else done.text)
    sys.stdout.flush()
    if done.missed:
        words = "; ".join(f"{c.name} ({c.detail})" for c in done.missed)
        raise RequirementError(f"{len(done.missed)} of {len(done.checks)} requirements missed: {words}")


def _answers(
    results: str | None, computing: Computing, items: Items, sentences: Any, images: str | None
) -> tuple[Any, Promptable | None]:
    """Answers from a file or from a model, and the model."""
    if (results is None) == (computing.model is None):
        raise UsageError("give either -m NAME or --results FILE")
    if results is not None:
        from segcli.bench.sentences import read_answers

        return read_answers(Path(results)), None
    if images is None:
        raise UsageError("a model needs the photos: add --images DIR (COCO's train2014)")
    from segcli.bench.asking import TextAnswers

    model = computing.open(items.seed)
    if "text" not in model.accepts:
        raise UsageError(f"{model.name} takes no words; choose a model that does (see `seg models list`)")
    return TextAnswers(model, sentences, Path(images)), model


def _print_episodes(episodes: Any) -> None:
    import json

    for e in episodes:
        supports = [{"image": str(s.image), "mask": str(s.mask)} for s in e.supports]
        print(json.dumps({"id": e.name, "class": e.cls, "query": str(e.query.image), "supports": supports}))


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total}", end=end, file=sys.stderr, flush=True)


def _named(items: Items, default: str) -> str:
    return default if items.layout == "auto" else items.layout


def _folder(text: str) -> Path:
    from segcli.core.errors import StorageError

    path = Path(text)
    if not path.is_dir():
        raise StorageError(f"{path}: no such folder")
    return path


def _lines(text: str) -> list[str]:
    from segcli.core.errors import StorageError

    try:
        return [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise StorageError(f"{text}: can't be read ({error.strerror})") from None


def _share(option: str, text: str) -> float:
    value = _decimal(option, text)
    if value > 1:
        raise UsageError(f"{option} {text}: must be from 0 to 1; type for example {option} 0.9")
    return value


def _decimal(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{option} {text}: is not a number from 0 on; type for example {option} 0.5")
    return value
