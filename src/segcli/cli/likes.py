"""`--like`: regions of other photos as prompts, `REF.jpg@x,y`, `REF.jpg@x0,y0,x1,y1` or `REF.jpg:MASK.png`.

Names of files may hold @ and : themselves. What follows the last @ counts as a place only when it is made of two or
four numbers, and a colon parts photo from mask only where both are files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segcli.cli.prompts import Pair, box, pair
from segcli.core.errors import ItemError, UsageError

if TYPE_CHECKING:
    from segcli.core.ask import Reference

_HOW = "type --like REF.jpg@120,80 for a click in it, or --like REF.jpg:MASK.png"


class Corners(NamedTuple):
    """A box."""

    left_top: Pair
    right_bottom: Pair


@dataclass(frozen=True)
class Like:
    """A region of another photo: a click, a box (left, top and right, bottom), or a mask file."""

    photo: str
    region: Pair | Corners | Path

    def reference(self) -> Reference:
        """The same for an ask, in pixels of that photo. Reads the photo's header, and the mask.

        Raises UsageError: a file that is none, a place outside of the photo, a mask of another size.
        """
        from segcli.cli.prompts import in_pixels
        from segcli.core.ask import Ask, Box, Point, Reference
        from segcli.io.images import read_mask
        from segcli.pipeline.briefing import resolved

        if isinstance(self.region, Path):
            try:
                reference = Reference(self.photo, read_mask(self.region, str(self.region)))
            except ItemError as error:
                raise UsageError(f"--like {error}") from None
        elif isinstance(self.region, Corners):
            (x0, y0), (x1, y1) = map(in_pixels, self.region)
            reference = Reference(self.photo, Box(x0, y0, x1, y1))
        else:
            reference = Reference(self.photo, Point(*in_pixels(self.region)))
        try:
            return resolved(Ask(references=(reference,))).references[0]
        except UsageError as error:
            raise UsageError(f"--like {error}") from None


def parse(text: str) -> Like:
    """Understand one --like; looks which files there are. Raises UsageError."""
    photo, at, place = text.rpartition("@")
    numbers = place.split(",")
    if at and photo and len(numbers) in (2, 4) and all(_may_be_number(number) for number in numbers):
        if not _is_file(photo):
            raise UsageError(f"--like {text}: no such photo: {photo}")
        try:
            return Like(photo, pair("--like", place) if len(numbers) == 2 else Corners(*box("--like", place)))
        except UsageError:
            raise UsageError(f"--like {text}: {place} is no place in a photo; {_HOW}") from None
    colons = [n for n, letter in enumerate(text) if letter == ":"]
    parts = [(text[:n], text[n + 1 :]) for n in colons]
    fitting = [(photo, mask) for photo, mask in parts if _is_file(photo) and _is_file(mask)]
    if len(fitting) == 1:
        return Like(fitting[0][0], Path(fitting[0][1]))
    if fitting:
        raise UsageError(f"--like {text}: can be read in {len(fitting)} ways; give the files names without colons")
    if not parts or not all(map(all, parts)):
        raise UsageError(f"--like {text}: says no place; {_HOW}")
    photo, mask = next(((p, m) for p, m in parts if _is_file(p)), parts[-1])
    missing = mask if _is_file(photo) else photo
    raise UsageError(f"--like {text}: no such file: {missing}; {_HOW}")


def _may_be_number(text: str) -> bool:
    return bool(text.strip()) and not text.strip(" 0123456789.+-eE%") and any(c.isdecimal() for c in text)


def _is_file(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_file()
    except (OSError, ValueError):
        return False
