"""What a mask format is. Every other module of this package is one format, writer and reader side by side.

A format turns one answered ask into files (`render`), and may also leave a JSON fragment that becomes part of one
file for the whole run (`fragment`, then `assemble`): that is how `coco` writes a single instances.json although
its photos finish one by one, on several machines, and survive a `kill -9` in between (fragments live in the journal).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, runtime_checkable

from segcli.core.ask import Ask
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import Rle


@dataclass(frozen=True)
class Backdrop:
    """A picture behind cut-outs. `sha256` is that of its bytes, so that a changed one is another background."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Options:
    """How to render, the same object for all formats; each reads what concerns it."""

    union: bool = False  # mask, cutout: one file for all masks together
    crop: bool = False  # cutout: tight around the mask
    margin: int = 0  # cutout with crop: pixels added on every side
    soft: bool = False  # mask, cutout, ora: probabilities instead of a hard edge
    matte: bool = False  # mask, cutout, ora: opacity from the photo's colours, and colours without the background's
    matte_width: int | None = None  # with matte: pixels to either side of the border; None: by the mask's size
    grow: int = 0  # mask, cutout, ora: pixels that the border moves outwards
    feather: int = 0  # mask, cutout, ora: pixels over which the border fades to either side
    invert: bool = False  # mask, cutout: what is outside
    background: tuple[int, int, int] | Backdrop | None = None  # cutout: flatten onto this
    image_type: Literal["png", "webp"] = "png"  # cutout
    coco_images: dict[str, int] = field(default_factory=dict)  # file name -> image id, from --coco-images
    coco_categories: dict[str, int] = field(default_factory=dict)  # class name -> category id, from there or --classes
    categories: tuple[str, ...] = ()  # class list known in advance, fixes category ids
    stuff: tuple[str, ...] = ()  # those classes that can't be counted

    def needs_photo(self, form: Format) -> bool:
        """Whether a format needs the photo's own pixels at full size: some always do, masks for a matte."""
        return form.needs_photo or (self.matte and form.name == "mask")


@dataclass(frozen=True)
class Answered:
    """One ask, answered.

    relative: the photo's path below the directory that was given (or its plain name).
    named:    how the first file that a format made of it is called, by the format's name: the path below the directory
              of that format. Empty until files have names, and on stdout.
    """

    image: Image
    ask: Ask
    prediction: Prediction
    relative: PurePosixPath
    model: str
    named: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rendered:
    """One file to write. `n` is the mask's number (1..N) where the format writes one file a mask."""

    data: bytes
    extension: str  # with the dot: ".png"
    kind: str  # name of the format, used when several formats would share a file name
    n: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Annotation:
    """One mask as a file holds it. A photo that a file lists without any mask is one Annotation with `rle` None.

    relative: the photo's name as the file has it, or the file's own name without its suffix.
    id, label, score: None where the format can't hold them or the file doesn't.
    exact: False where the file holds outlines, so that the mask is theirs only up to a border pixel.
    """

    relative: PurePosixPath
    size: tuple[int, int]
    rle: Rle | None
    id: int | None = None
    label: str | None = None
    score: float | None = None
    exact: bool = True


class Format(Protocol):
    """A mask format. Modules offer one instance each, listed in `segcli.io.formats.FORMATS`."""

    name: str
    needs_photo: bool  # True when the photo's own pixels at full size go into the file (see `Options.needs_photo`)
    joins: bool  # True when all asks of a photo go into one file; False for one object, or one ask, a file or a line
    run_file: str | None  # "instances.json" for formats that also write one file for the whole run

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """The files of one answer; no target is a legal one and still leaves a (blank) file where that makes sense."""
        ...

    def fragment(self, answered: Answered, options: Options) -> Any:
        """This answer's part of the run file as plain JSON data, or None."""
        ...

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """The run file, streamed, from all fragments in plan order. Nothing is kept in memory twice."""
        ...


@runtime_checkable
class Readable(Protocol):
    """A format whose files can be read as well."""

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """The masks of one file, one at a time. Raises ItemError when the file is not what it should be.

        `size` (H, W) and `categories` are for formats whose files don't say them (`yolo`).
        """
        ...
