"""`mask`: a grey PNG, 255 inside and 0 outside; one a mask, or one for all with --union."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from segcli.io.formats.alpha import opacities
from segcli.io.formats.base import PerPhoto
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import read_mask
from segcli.io.png import write_png


class Mask(PerPhoto):
    """The plainest format; every editor and library reads it."""

    name = "mask"
    joins = False

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One PNG a mask; a blank one when there is no target. Raises ItemError (no soft edges to be had)."""
        return [
            Rendered(write_png(one.alpha), ".png", self.name, one.n, one.label) for one in opacities(answered, options)
        ]

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """One mask a file (see `read_mask` for what counts as inside); a blank file holds no mask."""
        rle = read_mask(path, str(path), size)
        yield Annotation(PurePosixPath(path.stem), rle.size, rle if rle.area else None)


FORMAT = Mask()
