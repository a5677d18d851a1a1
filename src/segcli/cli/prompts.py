"""From prompts as typed to asks. Coordinates are pixels, or fractions with %, of the upright photo.

Everything is checked here that can be without the photo and without numpy; what needs the photo's size (a click
outside, a mask of the wrong size) is checked when it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from segcli.core.classes import ClassList
from segcli.core.classes import parse as parse_classes
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.core.ask import Ask
    from segcli.core.rle import Rle
    from segcli.registry.weights import Entry

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?")
_OTHERS = 4  # checkpoints that a refusal names
_ONLY_COORDINATES = re.compile(r"[0-9.,;%+\s-]*")


class Coordinate(NamedTuple):
    """A number as typed: pixels, or a percentage of the photo's width or height."""

    value: float
    percent: bool


Pair = tuple[Coordinate, Coordinate]
"""x and y."""

Repeated = list[str]


def _many(*names: str, metavar: str, help: str) -> typer.models.OptionInfo:  # noqa: A002 - Typer's own word
    option: typer.models.OptionInfo = typer.Option(*names, metavar=metavar, help=help, show_default=False)
    return option


@dataclass(frozen=True)
class Places:
    """What is pointed at. All together describe one object."""

    at: Annotated[Repeated, _many("--at", metavar="X,Y", help="A click on the object: pixels, or 50%,40%.")] = field(
        default_factory=list
    )
    not_at: Annotated[Repeated, _many("--not-at", metavar="X,Y", help="A click beside the object.")] = field(
        default_factory=list
    )
    box: Annotated[Repeated, _many("--box", metavar="X0,Y0,X1,Y1", help="A box around the object.")] = field(
        default_factory=list
    )
    not_box: Annotated[Repeated, _many("--not-box", metavar="X0,Y0,X1,Y1", help="A box around what is not meant.")] = (
        field(default_factory=list)
    )
    scribble: Annotated[
        Repeated, _many("--scribble", metavar='"X,Y;X,Y…"|FILE', help="A stroke over the object, or a painted mask.")
    ] = field(default_factory=list)
    not_scribble: Annotated[
        Repeated, _many("--not-scribble", metavar='"X,Y;X,Y…"|FILE', help="A stroke over what is not meant.")
    ] = field(default_factory=list)
    polygon: Annotated[
        Repeated, _many("--polygon", metavar='"X,Y;X,Y;X,Y…"', help="A rough outline of the object.")
    ] = field(default_factory=list)
    mask: Annotated[
        str | None, typer.Option("--mask", metavar="FILE", help="A rough mask of the object, of the photo's size.")
    ] = None
    refine: Annotated[
        str | None,
        typer.Option("--refine", metavar="FILE", help="The last round's mask; give its clicks again and add some."),
    ] = None

    @property
    def given(self) -> bool:
        """True when any prompt was typed."""
        return any(getattr(self, one.name) for one in fields(self))

    def parse(self) -> Parsed:
        """Understand every prompt. Raises UsageError with a line that names it."""
        return Parsed(
            points=tuple((pair("--at", t), True) for t in self.at)
            + tuple((pair("--not-at", t), False) for t in self.not_at),
            boxes=tuple((box("--box", t), True) for t in self.box)
            + tuple((box("--not-box", t), False) for t in self.not_box),
            scribbles=tuple((stroke("--scribble", t), True) for t in self.scribble)
            + tuple((stroke("--not-scribble", t), False) for t in self.not_scribble),
            polygons=tuple(outline("--polygon", t) for t in self.polygon),
            mask=None if self.mask is None else file("--mask", self.mask),
            previous=None if self.refine is None else file("--refine", self.refine),
        )


@dataclass(frozen=True)
class Prompts(Places):
    """What is pointed at. All together describe one object, unless --each."""

    each: Annotated[bool, typer.Option("--each", help="Every --at and --box is an object of its own.")] = False
    multimask: Annotated[
        bool, typer.Option("--multimask", help="All answers of an ambiguous click, with scores, best first.")
    ] = False
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="coco|ade20k|voc|FILE|A,B,C",
            help="Label each mask with one of these classes. A file has a class a line.",
        ),
    ] = None

    def parse(self, alike: bool = False) -> Parsed:
        """Understand every prompt. `alike`: --like says what is meant already. Raises UsageError that names it."""
        classes = ClassList() if self.classes is None else parse_classes(self.classes)
        parsed = replace(super().parse(), classes=classes, multimask=self.multimask, each=self.each)
        if not alike or self.each:
            parsed.check()
        return parsed


@dataclass(frozen=True)
class Parsed:
    """The prompts, understood. Each of points, boxes and scribbles says whether it is on the object."""

    points: tuple[tuple[Pair, bool], ...] = ()
    boxes: tuple[tuple[tuple[Pair, Pair], bool], ...] = ()
    scribbles: tuple[tuple[tuple[Pair, ...] | Path, bool], ...] = ()
    polygons: tuple[tuple[Pair, ...], ...] = ()
    mask: Path | None = None
    previous: Path | None = None
    classes: ClassList = ClassList()  # noqa: RUF009 - frozen
    multimask: bool = False
    each: bool = False

    def check(self) -> None:
        """Refuse prompts that together mean nothing. Raises UsageError."""
        on_object = [on for _, on in (*self.points, *self.boxes, *self.scribbles)]
        if not (any(on_object) or self.polygons or self.mask or self.previous):
            what = "only what is not the object" if on_object else "nothing"
            raise UsageError(f"{what} is pointed at; type --at x,y, --box x0,y0,x1,y1 or another prompt")
        if self.each and (self.scribbles or self.polygons or self.mask or self.previous):
            raise UsageError("--each is for --at and --box; give other prompts in a --prompts file, a line an object")
        if self.each and not any(on for _, on in (*self.points, *self.boxes)):
            raise UsageError("--each needs at least one --at or --box")

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds of prompt used, each with the option that brought it."""
        used = {
            "point": ("--at", self.points),
            "box": ("--box", self.boxes),
            "scribble": ("--scribble", self.scribbles),
            "polygon": ("--polygon", self.polygons),
            "mask": ("--mask", self.mask),
            "previous": ("--refine", self.previous),
            "classes": ("--classes", self.classes),
        }
        return {kind: option for kind, (option, value) in used.items() if value}

    def asks(self) -> tuple[Ask, ...]:
        """The asks: one, or one an object with `each`. Reads mask files. Raises UsageError."""
        from segcli.core.ask import Ask, Box, Point, Polygon, Scribble

        points = tuple(Point(*in_pixels(xy), positive=on) for xy, on in self.points)
        boxes = tuple(Box(*in_pixels(a), *in_pixels(b), positive=on) for (a, b), on in self.boxes)
        whole = Ask(
            points=points,
            boxes=boxes,
            scribbles=tuple(
                Scribble(drawn=_mask(given, "--scribble" if on else "--not-scribble"), positive=on)
                if isinstance(given, Path)
                else Scribble(tuple(map(in_pixels, given)), positive=on)
                for given, on in self.scribbles
            ),
            polygons=tuple(Polygon(tuple(map(in_pixels, ring))) for ring in self.polygons),
            mask=None if self.mask is None else _mask(self.mask, "--mask"),
            previous=None if self.previous is None else _mask(self.previous, "--refine"),
            classes=self.classes.names,
            things=self.classes.said,
            multimask=self.multimask,
        )
        if not self.each:
            return (whole,)
        off_points = tuple(p for p in points if not p.positive)
        off_boxes = tuple(b for b in boxes if not b.positive)
        return tuple(replace(whole, points=(p, *off_points), boxes=off_boxes) for p in points if p.positive) + tuple(
            replace(whole, points=off_points, boxes=(b, *off_boxes)) for b in boxes if b.positive
        )


def refuse_what_it_does_not_take(entry: Entry, kinds: dict[str, str]) -> None:
    """Raise UsageError when a kind of prompt (with the option that brought it) is not one of the checkpoint's."""
    for kind, option in kinds.items():
        if kind not in entry.accepts:
            from segcli.registry.weights import catalogue

            takes = ", ".join(sorted(entry.accepts)) or "nothing"
            others = [name for name, other in catalogue().items() if set(kinds) <= other.accepts]
            named = f"-m {', '.join(others[:_OTHERS])}{' …' if len(others) > _OTHERS else ''}" if others else "-m"
            raise UsageError(
                f"{option}: {entry.name} does not take prompts of the kind {kind}, only {takes}; "
                f"choose another with {named} (`seg models list` shows what each takes)"
            )


def pair(option: str, text: str) -> Pair:
    """x,y. Raises UsageError."""
    numbers = [_coordinate(part) for part in text.split(",")]
    if len(numbers) != 2 or None in numbers:
        raise UsageError(f"{option} {text}: is not x,y; type for example {option} 120,80 or {option} 50%,40%")
    x, y = numbers
    assert x is not None
    assert y is not None
    return x, y


def box(option: str, text: str) -> tuple[Pair, Pair]:
    """x0,y0,x1,y1. Raises UsageError."""
    numbers = [_coordinate(part) for part in text.split(",")]
    if len(numbers) != 4 or None in numbers:
        raise UsageError(
            f"{option} {text}: is not x0,y0,x1,y1; type the left, top, right and bottom, for example "
            f"{option} 10,20,200,180"
        )
    x0, y0, x1, y1 = (number for number in numbers if number is not None)
    for low, high in ((x0, x1), (y0, y1)):
        if low.percent == high.percent and low.value > high.value:
            raise UsageError(f"{option} {text}: has no inside; type left,top,right,bottom")
    return (x0, y0), (x1, y1)


def stroke(option: str, text: str) -> tuple[Pair, ...] | Path:
    """ "x,y;x,y…", or the name of a painted mask. Raises UsageError."""
    if not text.strip(" ;"):
        raise UsageError(f'{option}: the scribble is empty; type for example {option} "10,20;40,35" or a FILE.png')
    if not _ONLY_COORDINATES.fullmatch(text):
        return file(option, text)
    return _pairs(option, text)


def outline(option: str, text: str) -> tuple[Pair, ...]:
    """ "x,y;x,y;x,y…", three points or more. Raises UsageError."""
    pairs = _pairs(option, text)
    if len(pairs) < 3:
        raise UsageError(f'{option} {text}: needs three points or more; type for example {option} "0,0;90,0;90,60"')
    return pairs


def file(option: str, text: str) -> Path:
    """The name of a file that is there, which may be a pipe. Raises UsageError."""
    path = Path(text)
    if path.is_dir() or not path.exists():
        raise UsageError(f"{option} {text}: no such file; give a mask of the photo's size")
    return path


def _pairs(option: str, text: str) -> tuple[Pair, ...]:
    return tuple(pair(option, part) for part in text.split(";") if part.strip())


def _coordinate(text: str) -> Coordinate | None:
    """One number, or None when it is none."""
    text = text.strip()
    percent = text.endswith("%")
    text = text.removesuffix("%").strip()
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if percent and not 0 <= value <= 100:
        return None
    return Coordinate(value, percent) if abs(value) < 1e9 else None


def in_pixels(given: Pair) -> tuple[float, float]:
    """The pair as core's numbers: pixels, or `Percent` until the photo is known."""
    from segcli.core.geometry import Percent

    x, y = (Percent(c.value) if c.percent else c.value for c in given)
    return x, y


def _mask(path: Path, option: str) -> Rle:
    """A mask file. Raises UsageError, for a prompt that can't be read is wrong."""
    from segcli.core.errors import ItemError
    from segcli.io.images import read_mask

    try:
        return read_mask(path, str(path))
    except ItemError as error:
        raise UsageError(f"{option} {error}") from error
