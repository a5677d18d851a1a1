"""What the protocols of `seg bench` share: their options, and the way from a measurement to files and an exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli.options import number
from segcli.core.errors import RequirementError, StorageError, UsageError

if TYPE_CHECKING:
    from segcli.bench.records import Measure
    from segcli.models.api import Promptable


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
ResultsDir = Annotated[
    str | None, typer.Option("--results", metavar="DIR", help="PNG label maps to score, instead of -m.")
]
ResultsLines = Annotated[
    str | None, typer.Option("--results", metavar="FILE", help="JSON lines to score, instead of -m.")
]
Pred = Annotated[
    str | None, typer.Option("--pred", metavar="FILE", help="Results in COCO's JSON format, instead of -m.")
]
Images = Annotated[
    str | None, typer.Option("--images", metavar="DIR", help="With -m: the photos that it is asked about.")
]


def finish(
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
    wanted = Wanted(csv, junit, report, requirements, baseline, decimal("--tolerance", output.tolerance))
    workers = number("--workers", items.workers, low=1)
    if model is not None and workers > 1:
        raise UsageError("--workers is for scoring results; a model runs in one process (see --threads)")
    seed = number("--seed", items.seed, low=0)
    subset = None if items.subset is None else number("--subset", items.subset, low=1)
    # What a run with a journal goes on with; walking through results is for nothing without one.
    state = _state(results) if items.journal is not None else ""
    records = run(
        measure,
        workers=workers,
        journal=None if items.journal is None else Path(items.journal),
        identity=f"{data} {layout} {split} {results} {state} {model and model.revision}",
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


def _state(results: str | None) -> str:
    """Names, sizes and times of results: scores of others that lie there since are not those of these."""
    import hashlib

    digest = hashlib.sha256()
    root = Path(results) if results is not None else None
    files = sorted(root.rglob("*")) if root is not None and root.is_dir() else [root] if root is not None else []
    for file in files:
        if file is not None and file.is_file():
            status = file.stat()
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def one_of(results: str | None, option: str, computing: Computing) -> None:
    """Raise UsageError unless there are either results or a model."""
    if (results is None) == (computing.model is None):
        raise UsageError(f"give either -m NAME or {option}")


def photos_of(images: str | None) -> Path:
    """The folder of the photos that a model is asked about. Raises UsageError and StorageError."""
    if images is None:
        raise UsageError("a model needs the photos: add --images DIR")
    return folder(images)


def class_names(text: str | None, layout: str) -> tuple[str, ...]:
    """Names of a layout's classes, from class 0 on. Raises UsageError."""
    from segcli.core.classes import KNOWN, parse

    if text is None and layout not in KNOWN:
        raise UsageError("a model is asked by names: add --names FILE with a class a line, from class 0 on")
    return parse(layout if text is None else text, "--names").names


def memory_of(model: Promptable, memory: int, carry: bool) -> int | None:
    """How many frames the model's tracker keeps; None where rough masks are carried. Raises UsageError for neither."""
    if "video" in model.accepts and not carry:
        return memory
    if "mask" not in model.accepts:
        raise UsageError(f"{model.name} takes no rough masks, by which it could follow an object")
    return None


def answers_of(
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


def print_episodes(episodes: Any) -> None:
    """Episodes as JSON lines, for whoever answers them elsewhere."""
    import json

    for e in episodes:
        supports = [{"image": str(s.image), "mask": str(s.mask)} for s in e.supports]
        print(json.dumps({"id": e.name, "class": e.cls, "query": str(e.query.image), "supports": supports}))


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total}", end=end, file=sys.stderr, flush=True)


def named(items: Items, default: str) -> str:
    """The layout asked for, or the usual one of the protocol."""
    return default if items.layout == "auto" else items.layout


def folder(text: str) -> Path:
    """A folder that is there. Raises StorageError."""
    path = Path(text)
    if not path.is_dir():
        raise StorageError(f"{path}: no such folder")
    return path


def lines_of(text: str) -> list[str]:
    """Lines of a text file that are not empty. Raises StorageError."""
    try:
        return [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise StorageError(f"{text}: can't be read ({error.strerror})") from None


def share(option: str, text: str) -> float:
    """A number from 0 to 1. Raises UsageError."""
    value = decimal(option, text)
    if value > 1:
        raise UsageError(f"{option} {text}: must be from 0 to 1; type for example {option} 0.9")
    return value


def decimal(option: str, text: str) -> float:
    """A number from 0 on. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{option} {text}: is not a number from 0 on; type for example {option} 0.5")
    return value
