"""`svg`: one even-odd path a mask, holes included, in the photo's own pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from segcli.core.colors import overlay_color
from segcli.core.errors import ItemError
from segcli.core.geometry import Ring, fill_rings
from segcli.core.outline import simplified
from segcli.core.rle import encode
from segcli.io.formats.base import PerPhoto, score_of
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import pixel_limit, read_bytes

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PART = re.compile(r"([A-Za-z])([^A-Za-z]*(?:[eE][-+]?\d[^A-Za-z]*)*)")
# What XML can't hold, not even as an escape.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Svg(PerPhoto):
    """Outlines for vector editors and the web."""

    name = "svg"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file; without paths when there is no target."""
        prediction = answered.prediction
        height, width = prediction.size
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        ]
        for n, label in enumerate(prediction.names):
            path = " ".join(_path(ring) for ring in simplified(prediction.masks[n]))
            number = prediction.ids[n]
            red, green, blue = overlay_color(n)
            score = score_of(prediction.scores[n])
            attributes = f'id="mask-{number}" fill="#{red:02x}{green:02x}{blue:02x}" fill-opacity="0.5"'
            attributes += f' fill-rule="evenodd" data-id="{number}"'
            attributes += "" if score is None else f' data-score="{score!r}"'
            sure = score_of(prediction.label_scores[n])
            attributes += "" if sure is None else f' data-label-score="{sure!r}"'
            title = ""
            if label is not None:
                clean = xml_text(label)
                attributes += f" data-label={quoteattr(clean)}"
                title = f"<title>{escape(clean)}</title>"
            lines.append(f'<path {attributes} d="{path}">{title}</path>')
        lines.append("</svg>\n")
        return [Rendered("\n".join(lines).encode(), ".svg", self.name)]

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """A mask for each path made of straight lines; `size` overrides the file's own."""
        try:
            root = ElementTree.fromstring(read_bytes(path, str(path)))
        except (ElementTree.ParseError, ValueError, RecursionError) as error:
            raise ItemError(f"{path}: not SVG: {error}") from None
        relative, found = PurePosixPath(path.stem), False
        try:
            if root.tag.rpartition("}")[2] != "svg":
                raise ValueError(f"the root of an SVG file is <svg>, not <{root.tag}>")
            size = size or _size(root)
            for element in root.iter():
                if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == "path":
                    found = True
                    yield _annotation(element, size, relative)
        except (ValueError, OverflowError, TypeError) as error:
            raise ItemError(f"{path}: {error}") from None
        if not found:
            yield Annotation(relative, size, None)


def xml_text(text: str) -> str:
    """Text that XML can hold: other characters become the replacement character."""
    return _FORBIDDEN.sub("\ufffd", text)


def _annotation(element: ElementTree.Element, size: tuple[int, int], relative: PurePosixPath) -> Annotation:
    rings = _rings(element.get("d", ""))
    number, score = element.get("data-id"), element.get("data-score")
    return Annotation(
        relative,
        size,
        encode(fill_rings(rings, size)),
        id=None if number is None else int(number),
        label=element.get("data-label"),
        score=None if score is None else float(score),
        exact=False,
    )


def _path(ring: Ring) -> str:
    points = [f"{x:g} {y:g}" if x % 1 or y % 1 else f"{int(x)} {int(y)}" for x, y in ring.tolist()]
    return "M" + "L".join(points) + "Z"


def _size(root: ElementTree.Element) -> tuple[int, int]:
    box = [float(v) for v in _NUMBER.findall(root.get("viewBox", ""))]
    if len(box) != 4:
        box = [0, 0, *(float(root.get(key, "").removesuffix("px") or "nan") for key in ("width", "height"))]
    if box[0] or box[1] or not all(math.isfinite(v) for v in box):
        raise ValueError("the viewBox of the SVG must be 0 0 WIDTH HEIGHT")
    height, width = round(box[3]), round(box[2])
    if height < 1 or width < 1 or height * width > pixel_limit():
        raise ValueError(f"the SVG says it has {width} x {height} pixels")
    return height, width


def _rings(d: str) -> list[Ring]:
    """The rings of a path of straight lines (M L H V Z, absolute and relative). Raises ValueError on curves."""
    rings: list[Ring] = []
    points: list[tuple[float, float]] = []
    x = y = 0.0
    for letter, text in _PART.findall(d):
        values = [float(v) for v in _NUMBER.findall(text)]
        kind, relative = letter.upper(), letter.islower()
        if kind not in "MLHVZ":
            raise ValueError(f"a path with curves ({letter}) can't be read: flatten it to straight lines")
        if kind == "Z" and values:
            raise ValueError("a path closes (Z) with numbers behind it")
        if kind in "MZ" and points:
            rings.append(np.array(points))
            if kind == "Z":
                x, y = points[0]
            points = []
        step = 2 if kind in "ML" else 1
        for n in range(0, len(values) - step + 1, step):
            if kind == "H":
                x = values[n] + (x if relative else 0)
            elif kind == "V":
                y = values[n] + (y if relative else 0)
            else:
                x, y = (values[n] + (x if relative else 0), values[n + 1] + (y if relative else 0))
            points.append((x, y))
    if points:
        rings.append(np.array(points))
    return rings


FORMAT = Svg()
