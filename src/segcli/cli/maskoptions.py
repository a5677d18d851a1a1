"""Options that the verbs of `seg masks` share, and the way from them to masks and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli.errors import warn
from segcli.cli.finishing import Finishing
from segcli.cli.masktables import counted
from segcli.cli.options import FORMATS, Placing, complete_formats, number
from segcli.core.classes import ClassList, parse
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.io.maskfiles import Masks
    from segcli.pipeline.maskwriter import Written


@dataclass(frozen=True)
class From:
    """Whose masks."""

    sources: Annotated[
        list[str],
        typer.Argument(metavar="MASKS", help="Files of masks, folders of them, URLs, or - for JSON lines on stdin."),
    ] = field(default_factory=list)
    kind: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FORMAT", help="The files' format, where their names and contents don't say it."
        ),
    ] = None
    images: Annotated[
        str | None,
        typer.Option("--images", metavar="DIR", help="The photos: for overlays and cut-outs, and for YOLO's sizes."),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="coco|ade20k|voc|FILE|A,B,C", help="Class names, in the order of numbers."),
    ] = None
    numbered: Annotated[
        bool, typer.Option("--numbered", help="NAME-1.png, NAME-2.png, … are masks of one photo NAME.")
    ] = False

    @property
    def listed(self) -> ClassList:
        """The classes. Raises UsageError."""
        return ClassList() if self.classes is None else parse(self.classes)

    def read(self, sources: Iterable[str] | None = None) -> Iterator[Masks]:
        """The masks, photo by photo. Raises UsageError and StorageError, ItemError while it goes."""
        from segcli.io.maskfiles import photo_sizes, read

        wanted = list(self.sources if sources is None else sources)
        if not wanted:
            raise UsageError("no masks; give files, folders, or - for JSON lines on stdin")
        sizes = None if self.images is None else photo_sizes(Path(self.images))
        return read(wanted, self.kind, size_of=sizes, categories=self.listed.names, numbered=self.numbered)


@dataclass(frozen=True)
class To(Finishing, Placing):
    """Where they go and how they look."""

    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="DIR|URL|TEMPLATE|-", help="As of `seg point`; - for stdout."),
    ] = "seg-out"
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            metavar="NAME,…",
            help=f"Any of {', '.join(FORMATS)}. Repeatable.",
            show_default="jsonl",
            autocompletion=complete_formats,
        ),
    ] = field(default_factory=list)
    force: Annotated[bool, typer.Option("--force", help="Replace files that hold something else.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of whatever goes wrong.")] = False

    @property
    def names(self) -> tuple[str, ...]:
        """The formats, each once. Raises UsageError."""
        typed = [name.strip() for text in self.formats for name in text.split(",")]
        for name in typed:
            if name not in FORMATS:
                raise UsageError(f"-f {name}: unknown format; choose from {', '.join(FORMATS)}")
        return tuple(dict.fromkeys(typed)) or ("jsonl",)


def deliver(source: From, to: To, found: Iterable[Masks]) -> None:
    """Write masks and say what was done; exit 3 when some photos failed."""
    from segcli.cli.options import Writing
    from segcli.io.formats import FORMATS as WRITERS
    from segcli.pipeline.maskwriter import write
    from segcli.pipeline.plan import Output

    looks = {one.name: getattr(to, one.name) for one in fields(Finishing)}
    writing = Writing(output=to.output, formats=list(to.names), **looks)
    writing.check()
    if writing.to_stdout and WRITERS[to.names[0]].run_file is None:
        raise UsageError(f"-o - takes a format of one file for all photos, such as jsonl or coco, not {to.names[0]}")
    listed = source.listed
    if "yolo" in to.names and not listed.names:
        listed = ClassList(_labels(source))
    directory, template = writing.place
    output = Output(directory, template, to.names, writing.options(listed))
    photos = None if source.images is None else Path(source.images)
    done = write(found, output, photos=photos, force=to.force, say=warn)
    _report(done, to)
    if done.failed:
        raise typer.Exit(3)


def area(option: str, text: str | None) -> tuple[float | None, bool]:
    """An area as typed, in pixels or as a share of the photo (`1%`). Raises UsageError."""
    if text is None:
        return None, False
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(%?)", text.strip())
    if match is None:
        raise UsageError(f"{option} {text}: is no area; type pixels such as 500, or a share of the photo such as 1%")
    return float(match[1]) / (100 if match[2] else 1), bool(match[2])


def corners(option: str, text: str | None) -> tuple[float, float, float, float] | None:
    """A box in pixels. Raises UsageError."""
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text}: is no box; type its corners as x0,y0,x1,y1 in pixels") from None
    if x0 > x1 or y0 > y1:
        raise UsageError(f"{option} {text}: its corners are the wrong way round; type the upper left one first")
    return x0, y0, x1, y1


def whole(option: str, text: str) -> int:
    """A number from 0 on. Raises UsageError."""
    return number(option, text, low=0)


def in_pairs(
    first: Iterable[Masks], second: Iterable[Masks], tell: Callable[[str], None]
) -> Iterator[tuple[Masks, Masks]]:
    """The photos of two sources, matched by name; one that a source lacks has no masks there, which is said."""
    from dataclasses import replace

    from segcli.core.prediction import Prediction
    from segcli.io.maskfiles import by_key

    one, other = by_key(first), by_key(second)
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if a is None or b is None:
            tell(f"{key}: is only in the {'first' if b is None else 'second'} source")
        present = a or b
        assert present is not None
        blank = replace(present, prediction=Prediction(present.prediction.size))
        yield a or blank, b or blank


def _labels(source: From) -> tuple[str, ...]:
    """All labels of the sources, which YOLO's files number. Raises UsageError for a stream: it can't be read twice."""
    if "-" in source.sources:
        raise UsageError("-f yolo numbers classes, and a stream can't be read twice: name them with --classes")
    names = dict.fromkeys(name for one in source.read() for name in one.prediction.names)
    return tuple(name for name in names if name is not None) + (("object",) if None in names or not names else ())


def _report(done: Written, to: To) -> None:
    if to.quiet:
        return
    if done.lost:
        warn(f"{', '.join(to.names)} can't hold {' and '.join(sorted(done.lost))}: lost")
    failed = f", {len(done.failed)} failed" if done.failed else ""
    made = f"{counted(done.masks, 'mask')} of {counted(done.photos, 'photo')}"
    warn(f"{made}, {counted(done.files, 'file')} written{failed}")
