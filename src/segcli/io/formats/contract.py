"""What a mask format is. Every other module of this package is one format, writer and reader side by side.

A format turns one answered ask into files (`render`), and may also leave a JSON fragment that becomes part of one
file for the whole run (`fragment`, then `assemble`): that is how `coco` writes a single instances.json although
its photos finish one by one, on several machines, and survive a `kill -9` in between (fragments live in the journal).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

from segcli.core.ask import Ask
from segcli.core.image import Image
from segcli.core.prediction import Prediction


@dataclass(frozen=True)
class Options:
    """How to render, the same object for all formats; each reads what concerns it."""

    union: bool = False  # mask, cutout: one file for all masks together
    crop: bool = False  # cutout: tight around the mask
    margin: int = 0  # cutout with crop: pixels added on every side
    soft: bool = False  # mask, cutout: probabilities instead of a hard edge
    invert: bool = False  # mask, cutout: what is outside
    background: tuple[int, int, int] | None = None  # cutout: flatten onto this colour
    image_type: Literal["png", "webp"] = "png"  # cutout
    coco_images: dict[str, int] = field(default_factory=dict)  # file name -> image id, from --coco-images
    categories: tuple[str, ...] = ()  # class list known in advance, fixes category ids


@dataclass(frozen=True)
class Answered:
    """One ask, answered. `relative` is the photo's path below the directory that was given (or its plain name)."""

    image: Image
    ask: Ask
    prediction: Prediction
    relative: PurePosixPath
    model: str


@dataclass(frozen=True)
class Rendered:
    """One file to write. `n` is the mask's number (1..N) where the format writes one file a mask."""

    data: bytes
    extension: str  # with the dot: ".png"
    kind: str  # name of the format, used when several formats would share a file name
    n: int | None = None
    label: str | None = None


class Format(Protocol):
    """A mask format. Modules offer one instance each, listed in `segcli.io.formats.FORMATS`."""

    name: str
    needs_photo: bool  # True when the photo's own pixels at full size go into the file
    run_file: str | None  # "instances.json" for formats that also write one file for the whole run

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """The files of one answer; no target is a legal answer and still leaves a (blank) file where that has a sense."""
        ...

    def fragment(self, answered: Answered, options: Options) -> Any:
        """This answer's part of the run file as plain JSON data, or None."""
        ...

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """The run file, streamed, from all fragments in plan order. Nothing is kept in memory twice."""
        ...
