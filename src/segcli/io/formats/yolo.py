"""`yolo`: YOLO-seg text files, a line a mask: class number, then one outline in fractions of the photo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError
from segcli.core.geometry import Ring, fill_rings
from segcli.core.outline import outlines, simplify
from segcli.core.rle import encode
from segcli.io.formats.base import UNLABELLED
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import read_bytes


class Yolo:
    """The format holds one outline a mask and nothing else: parts and holes are joined by bridges of no width."""

    name = "yolo"
    needs_photo: ClassVar[bool] = False
    run_file: ClassVar[str | None] = "classes.txt"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file; empty when there is no target. Raises ItemError when a label has no number."""
        prediction = answered.prediction
        numbers = {name: n for n, name in enumerate(_names(options))}
        lines = []
        for n, label in enumerate(prediction.labels):
            name = UNLABELLED if label is None else label
            if name not in numbers:
                raise ItemError(
                    f"{answered.image.name}: the class '{name}' has no number, and YOLO files hold numbers: "
                    f"name all classes with --classes"
                )
            if outline := _outline(prediction.dense(n)):
                lines.append(f"{numbers[name]} {outline}\n")
        return [Rendered("".join(lines).encode("ascii"), ".txt", self.name)]

    def fragment(self, answered: Answered, options: Options) -> Any:
        """Nothing: the class list is known in advance."""
        return None

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """The class names, a line each, in the order of their numbers."""
        for _ in fragments:
            pass
        yield "".join(" ".join(name.split()) + "\n" for name in _names(options)).encode("utf-8", "surrogateescape")

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """A mask a line. The photo's `size` must be given; names come from `categories` or a classes.txt nearby."""
        if size is None:
            raise ItemError(f"{path}: YOLO files don't say the photo's size: give the photos with --images DIR")
        names = tuple(categories) or _nearby(path)
        found = False
        text = read_bytes_or_nothing(path).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words:
                continue
            try:
                index, values = int(words[0]), [float(word) for word in words[1:]]
                if len(values) < 4 or len(values) % 2 or index < 0 or not all(map(math.isfinite, values)):
                    raise ValueError("a class number and x y pairs are expected")
            except ValueError as error:
                raise ItemError(f"{path}, line {number}: not YOLO: {error}") from None
            points = np.array(_corners(values)).reshape(-1, 2) * (size[1], size[0])
            label = names[index] if index < len(names) else str(index)
            found = True
            yield Annotation(
                PurePosixPath(path.stem),
                size,
                encode(fill_rings([points], size)),
                label=None if label == UNLABELLED else label,
                exact=False,
            )
        if not found:
            yield Annotation(PurePosixPath(path.stem), size, None)


def _outline(mask: NDArray[np.bool_]) -> str:
    """The numbers of one line, as few as keep the mask; "" for an empty one.

    Rounded to six decimals a line through a pixel's centre can end on its other side, so the text itself is checked;
    the corners of pixels, which are far from every centre, are the last resort.
    """
    rings = outlines(mask)
    if not rings:
        return ""
    scale = (mask.shape[1], mask.shape[0])
    text = ""
    for candidate in (simplify(rings, mask), rings):
        text = " ".join(f"{v:.6f}" for v in (bridged(candidate) / scale).ravel().tolist())
        written = np.array(text.split(), dtype=np.float64).reshape(-1, 2) * scale
        filled = fill_rings([written], (mask.shape[0], mask.shape[1]))
        if np.count_nonzero(filled & mask) >= 0.99 * np.count_nonzero(filled | mask):
            break
    return text


def bridged(rings: Sequence[Ring]) -> Ring:
    """One ring that fills like all of them (even-odd): each is entered and left over the same shortest bridge."""
    joined = rings[0]
    left = list(rings[1:])
    while left:
        centre = joined.mean(0)
        left.sort(key=lambda ring: float(((ring.mean(0) - centre) ** 2).sum()), reverse=True)
        ring = left.pop()
        here, there = _nearest(joined, ring)
        turned = np.concatenate([ring[there:], ring[: there + 1]])
        joined = np.concatenate([joined[: here + 1], turned, joined[here:]])
    return joined


def _nearest(a: Ring, b: Ring) -> tuple[int, int]:
    """Indices of the nearest points of two rings."""
    best, pair = math.inf, (0, 0)
    for start in range(0, len(a), 4096):  # bounded memory for outlines with many points
        distance = ((a[start : start + 4096, None] - b[None]) ** 2).sum(2)
        i, j = np.unravel_index(int(np.argmin(distance)), distance.shape)
        if distance[i, j] < best:
            best, pair = float(distance[i, j]), (start + int(i), int(j))
    return pair


def _names(options: Options) -> tuple[str, ...]:
    return options.categories or (UNLABELLED,)


def _corners(values: list[float]) -> list[float]:
    """Four values are a detection's box: centre, width and height."""
    if len(values) > 4:
        return values
    x, y, w, h = values
    return [x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2]


def _nearby(path: Path) -> tuple[str, ...]:
    for folder in (path.parent, path.parent.parent):
        if (folder / "classes.txt").is_file() and folder / "classes.txt" != path:
            return tuple((folder / "classes.txt").read_text("utf-8", "replace").splitlines())
    return ()


def read_bytes_or_nothing(path: Path) -> bytes:
    """The file's bytes; an empty file is a photo without targets here. Raises ItemError."""
    if path.is_file() and not path.stat().st_size:
        return b""
    return read_bytes(path, str(path))


FORMAT = Yolo()
