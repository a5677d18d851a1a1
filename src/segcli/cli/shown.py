"""The options that say what is meant by showing it: examples, banks of them, classes of them, tuned prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from segcli.cli.options import number, share
from segcli.core.errors import UsageError

ENSEMBLES = ("feature", "spatial", "vote")
KINDS = ("semantic", "instance")
NEAREST = "8"
MOST_PER_CLASS = 32
_SMALLEST_TILE = 64


def _many(*names: str, metavar: str, help: str) -> Any:  # noqa: A002 - Typer's own word
    return typer.Option(*names, metavar=metavar, help=help, show_default=False)


@dataclass(frozen=True)
class Shown:
    """What examples there are, and how they are used."""

    example: Annotated[
        list[str],
        _many("--example", metavar="IMAGE:MASK|DIR", help="A photo and its mask, or a directory of pairs. Repeatable."),
    ] = field(default_factory=list)
    examples: Annotated[
        list[str],
        _many("--examples", metavar="FILE|-", help="Pairs as JSON lines, or answers of seg (seg-stream(5))."),
    ] = field(default_factory=list)
    bank: Annotated[
        str | None, typer.Option("--bank", metavar="DIR", help="Pairs, of which each photo gets the likest ones.")
    ] = None
    k: Annotated[
        str | None, typer.Option("--k", metavar="N", help="--bank: how many pairs a photo gets.", show_default=NEAREST)
    ] = None
    classes_dir: Annotated[
        str | None,
        typer.Option("--classes-dir", metavar="DIR", help="A folder of pairs for each class; each pixel gets a label."),
    ] = None
    per_class: Annotated[
        str | None,
        typer.Option(
            "--per-class", metavar="1…32", help="--classes-dir: pairs of a class, drawn by --seed.", show_default="all"
        ),
    ] = None
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="FILE", help="A prompt that `seg train prompt` made.")
    ] = None
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            metavar="feature|spatial|vote",
            help="Several examples: joined in every layer, tiled into one, or asked one by one.",
            show_default="feature",
        ),
    ] = None
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="semantic|instance",
            help="Whether masks mean a class or single objects.",
            show_default="instance; semantic with --classes-dir",
        ),
    ] = None
    threshold: Annotated[
        str | None,
        typer.Option("--threshold", metavar="0…1", help="From which probability on a pixel belongs to a mask."),
    ] = None
    tiles: Annotated[
        str | None,
        typer.Option("--tiles", metavar="PIXELS", help="Look at larger photos through overlapping windows this wide."),
    ] = None

    @property
    def source(self) -> str:
        """The option that brings the examples. Raises UsageError for none, or several that exclude each other."""
        given = {
            "--example": self.example or self.examples,
            "--bank": self.bank,
            "--classes-dir": self.classes_dir,
            "--prompt": self.prompt,
        }
        typed = [option for option, value in given.items() if value]
        if not typed:
            raise UsageError("no examples; type --example photo.jpg:mask.png, --bank, --classes-dir or --prompt")
        if len(typed) > 1:
            raise UsageError(f"{typed[0]} and {typed[1]} both say what is meant; give one of them")
        return typed[0]

    @property
    def sure(self) -> float | None:
        """The threshold as a number. Raises UsageError."""
        return None if self.threshold is None else share("--threshold", self.threshold)

    @property
    def window(self) -> int | None:
        """The side of windows in pixels. Raises UsageError."""
        return None if self.tiles is None else number("--tiles", self.tiles, low=_SMALLEST_TILE)

    def check(self) -> None:
        """Refuse words that mean nothing, and options without those that they belong to. Raises UsageError."""
        source = self.source
        for option, owner, value in (("--k", "--bank", self.k), ("--per-class", "--classes-dir", self.per_class)):
            if value is not None and source != owner:
                raise UsageError(f"{option} is for {owner}; add that, or take {option} away")
            if value is not None:
                number(option, value, low=1)
        if self.per_class is not None and int(self.per_class) > MOST_PER_CLASS:
            raise UsageError(f"--per-class {self.per_class}: {MOST_PER_CLASS} pairs are the most")
        if source == "--prompt" and (self.ensemble or self.kind):
            raise UsageError("--prompt says itself what it is for; take --ensemble and --kind away")
        if self.ensemble not in (None, *ENSEMBLES):
            raise UsageError(f"--ensemble {self.ensemble}: unknown; type {', '.join(ENSEMBLES)}")
        if self.kind not in (None, *KINDS):
            raise UsageError(f"--kind {self.kind}: unknown; type {' or '.join(KINDS)}")
        _ = self.sure, self.window
