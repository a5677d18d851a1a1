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
from segcli.core.rle import Rle, decode_tight, encode
from segcli.io.formats.base import UNLABELLED
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import read_bytes


class Yolo:
    """The format holds one outline a mask and nothing else: parts and holes are joined by bridges of no width."""

    name = "yolo"
    needs_photo: ClassVar[bool] = False
    joins: ClassVar[bool] = True
    run_file: ClassVar[str | None] = "classes.txt"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file; empty when there is no target. Raises ItemError when a label has no number."""
        prediction = answered.prediction
        numbers = {name: n for n, name in enumerate(_names(options))}
        lines = []
        for n, label in enumerate(prediction.names):
            name = UNLABELLED if label is None else label
            if name not in numbers:
                raise ItemError(
                    f"{answered.image.name}: the class '{name}' has no number, and YOLO files hold numbers: "
                    f"name all classes with --classes"
                )
            if outline := _outline(prediction.masks[n]):
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


def _outline(rle: Rle) -> str:
    """The numbers of one line, as few as keep the mask; "" for an empty one.

    Rounded to six decimals a line through a pixel's centre can end on its other side, so the text itself is checked;
    the corners of pixels, which are far from every centre, are the last resort.
    """
    x, y, mask = decode_tight(rle)
    rings = outlines(mask)
    if not rings:
        return ""
    scale = (rle.size[1], rle.size[0])
    text = ""
    for candidate in (simplify(rings, mask), rings):
        text = " ".join(f"{v:.6f}" for v in (np.add(bridged(candidate), (x, y)) / scale).ravel().tolist())
        written = np.array(text.split(), dtype=np.float64).reshape(-1, 2) * scale - (x, y)
        filled = fill_rings([written], (mask.shape[0], mask.shape[1]))
        if np.count_nonzero(filled & mask) >= 0.99 * np.count_nonzero(filled | mask):
            break
    return text


def bridged(rings: Sequence[Ring]) -> Ring:
    """One ring that fills like all of them (even-odd): each is entered and left over the same short bridge.

    Rings are joined from left to right, each where it is nearest to those before it.
    """
    order = sorted(rings, key=lambda ring: (float(ring[:, 0].min()), float(ring[:, 1].min())))
    nearby = _Nearest()
    nearby.add(order[0], 0)
    bridges: dict[int, dict[int, list[tuple[int, int]]]] = {}  # ring -> its point -> (ring over there, its point)
    for number, ring in enumerate(order[1:], 1):
        here, (other, there) = nearby.of(ring)
        bridges.setdefault(other, {}).setdefault(there, []).append((number, here))
        nearby.add(ring, number)
    path: list[tuple[int, int]] = []
    walks = [_walk(0, 0, len(order[0]), bridges)]
    while walks:  # a ring, in the middle of it the rings that hang on it, in the middle of these …
        step = next(walks[-1], None)
        if step is None:
            walks.pop()
            continue
        ring_number, point, enters = step
        if enters:
            walks.append(_walk(ring_number, point, len(order[ring_number]), bridges))
        else:
            path.append((ring_number, point))
    return np.array([order[ring_number][point] for ring_number, point in path])


def _walk(
    number: int, start: int, length: int, bridges: dict[int, dict[int, list[tuple[int, int]]]]
) -> Iterator[tuple[int, int, bool]]:
    """Once around a ring, back to where it was entered: (ring, point, enter another ring there)."""
    for step in range(length + 1):
        point = (start + step) % length
        yield number, point, False
        if step == length:
            return
        for ring, entry in bridges.get(number, {}).get(point, ()):
            yield ring, entry, True
            yield number, point, False


class _Nearest:
    """The nearest known point; points come ring by ring, and trees are joined as they reach each other's size."""

    def __init__(self) -> None:
        self._blocks: list[tuple[NDArray[np.float64], NDArray[np.int64], Any]] = []

    def add(self, ring: Ring, number: int) -> None:
        """Make a ring's points known."""
        from scipy.spatial import cKDTree

        points = ring
        names = np.stack([np.full(len(ring), number), np.arange(len(ring))], axis=1)
        while self._blocks and len(self._blocks[-1][0]) < 2 * len(points):
            before, named, _ = self._blocks.pop()
            points, names = np.concatenate([before, points]), np.concatenate([named, names])
        self._blocks.append((points, names, cKDTree(points)))

    def of(self, ring: Ring) -> tuple[int, tuple[int, int]]:
        """The ring's point that is nearest to a known one, and that one as (ring, point)."""
        best, found = math.inf, (0, (0, 0))
        for _, names, tree in self._blocks:
            distances, indices = tree.query(ring)
            here = int(np.argmin(distances))
            if distances[here] < best:
                other, there = names[indices[here]].tolist()
                best, found = float(distances[here]), (here, (other, there))
        return found


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
