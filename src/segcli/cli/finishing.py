"""Options that say how masks and cut-outs look: their border, what is kept of the photo, and what lies behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.core.colors import parse_color
from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.io.formats.contract import Backdrop

_BORDERED = ("mask", "cutout", "ora")
_LARGEST = 10_000
"""Pixels that a border may be moved or faded by; more than any photo has use for."""


@dataclass(frozen=True)
class Finishing:
    """How masks and cut-outs look."""

    union: Annotated[bool, typer.Option("--union", help="mask, cutout: one file for all masks together.")] = False
    crop: Annotated[bool, typer.Option("--crop", help="cutout: tight around the mask.")] = False
    margin: Annotated[
        str, typer.Option("--margin", metavar="PIXELS", help="cutout with --crop: pixels kept on every side.")
    ] = "0"
    matte: Annotated[
        bool,
        typer.Option("--matte", help="mask, cutout, ora: opacity and colours for hair and fur, from the photo."),
    ] = False
    matte_width: Annotated[
        str | None,
        typer.Option(
            "--matte-width",
            metavar="PIXELS",
            help="How far to either side of the border --matte looks; by the mask's size if left out.",
        ),
    ] = None
    grow: Annotated[
        str,
        typer.Option("--grow", metavar="PIXELS", help="mask, cutout, ora: move the border outwards, or inwards by -N."),
    ] = "0"
    feather: Annotated[
        str,
        typer.Option("--feather", metavar="PIXELS", help="mask, cutout, ora: fade the border over N to either side."),
    ] = "0"
    invert: Annotated[bool, typer.Option("--invert", help="mask, cutout: what is outside instead.")] = False
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            metavar="COLOUR|IMAGE",
            help="cutout: flatten onto #rrggbb, a colour's name, or a picture that is scaled to cover.",
        ),
    ] = None

    def check_finish(self, names: tuple[str, ...], *, soft: bool = False) -> None:
        """Refuse what means nothing, or nothing to these formats. Raises UsageError."""
        pixels("--margin", self.margin)
        pixels("--feather", self.feather)
        pixels("--grow", self.grow, signed=True)
        if self.background is not None:
            self._colour_or_file()
        if self.background is not None and "cutout" not in names:
            raise UsageError("--background is for cut-outs; add -f cutout")
        if (self.crop or self.margin != "0") and "cutout" not in names:
            raise UsageError("--crop and --margin are for cut-outs; add -f cutout")
        if self.margin != "0" and not self.crop:
            raise UsageError("--margin goes with --crop; add --crop")
        if not {"mask", "cutout"} & set(names):
            for option, typed in (("--union", self.union), ("--invert", self.invert)):
                if typed:
                    raise UsageError(f"{option} is for masks and cut-outs; add -f mask or -f cutout")
        if self.matte_width is not None:
            if not self.matte:
                raise UsageError("--matte-width goes with --matte; add --matte")
            if pixels("--matte-width", self.matte_width) == 0:
                raise UsageError("--matte-width 0: leaves nothing to look at; type at least 1, or leave it out")
        moved = self.grow.lstrip("+-").strip("0") != ""
        faded = self.feather.lstrip("+").strip("0") != ""
        if not set(_BORDERED) & set(names):
            for option, typed in (
                *(("--soft", soft), ("--matte", self.matte)),
                *(("--grow", moved), ("--feather", faded)),
            ):
                if typed:
                    raise UsageError(f"{option} is for masks and cut-outs; add -f mask, -f cutout or -f ora")
        if soft and self.matte:
            raise UsageError("--soft and --matte are two ways to a soft border; give one of them")
        if soft and moved:
            raise UsageError("--grow moves the border away from where --soft knows it; give one of them")

    def backdrop(self) -> tuple[int, int, int] | Backdrop | None:
        """The colour, or the picture with the hash of its bytes. Raises UsageError, also for one that can't be read."""
        if self.background is None:
            return None
        found = self._colour_or_file()
        if not isinstance(found, Path):
            return found
        import hashlib

        from segcli.core.errors import ItemError
        from segcli.io.formats.contract import Backdrop
        from segcli.io.images import read_bytes, read_image

        try:
            data = read_bytes(found, f"--background {found}")
            read_image(data, f"--background {found}")  # a broken one would fail every photo, each after its answer
        except ItemError as error:
            raise UsageError(f"{error}; name another picture, or a colour") from None
        return Backdrop(found, hashlib.sha256(data).hexdigest())

    @property
    def width(self) -> int | None:
        """The matte's width in pixels, None for the default. Raises UsageError."""
        return None if self.matte_width is None else pixels("--matte-width", self.matte_width)

    def _colour_or_file(self) -> tuple[int, int, int] | Path:
        text = self.background or ""
        try:
            return parse_color(text)
        except UsageError as error:
            if text and Path(text).is_file():
                return Path(text)
            raise UsageError(f"--background: {error}, or name a picture that exists") from None


def pixels(option: str, text: str, *, signed: bool = False) -> int:
    """A whole number of pixels, from 0 on unless `signed`. Raises UsageError."""
    low = -_LARGEST if signed else 0
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= _LARGEST:
        raise UsageError(
            f"{option} {text}: is not a whole number from {low} to {_LARGEST}; type for example {option} 3"
        )
    return int(text)
