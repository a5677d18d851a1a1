"""One prompt of each kind for an object: drawn from its mask and a seed, or as a data set records it.

The published random strokes and polygons come from generators without a seed; these are ours, described below, so that
two runs agree. Point and box have nothing random.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask, Box, Point, Polygon, Scribble
from segcli.core.errors import UsageError
from segcli.core.rle import Rle, decode, encode
from segcli.datasets.coco_interactive import KINDS as RECORDED
from segcli.metrics.deepest import bounding_box, deepest
from segcli.metrics.seem_clicks import first_click

KINDS = ("point", "stroke", "scribble", "polygon", "box", "mask")
_BLOCK = 16


def kinds_of(layout: str) -> tuple[str, ...]:
    """The kinds of prompt that can be asked: those that the layout records, or all that can be drawn."""
    return RECORDED if layout == "coco-interactive" else KINDS


def prompt(kind: str, target: NDArray[np.bool_], seed: int, name: str) -> Ask:
    """An ask for the object `target` bool [H, W], which must not be empty; `name` makes the draws its own.

    point: the deepest pixel. stroke: a straight line from there to a random pixel of the object, as far as it stays
    inside. scribble: a line through 3 to 6 random pixels of the object, in the order of their angle around the deepest
    one. polygon: 8 to 14 points of the outline seen from there, in order, each moved by up to 5 % of its distance.
    box: the tight box. seem-box: a click at the deepest pixel of the filled box, all that SEEM's evaluation gives.
    mask: the object in blocks of 16 pixels, those that it covers at least half.
    Raises UsageError for another kind.
    """
    depth = deepest(target)
    if depth is None:
        raise ValueError("an empty object can't be asked for")
    centre = np.array([depth.y, depth.x])
    random = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(kind.encode())])
    if kind == "point":
        return Ask(points=(Point(float(depth.x), float(depth.y)),))
    if kind == "stroke":
        return Ask(scribbles=(Scribble(_line(target, centre, random)),))
    if kind == "scribble":
        chosen = _inside(target, int(random.integers(3, 7)), random)
        order = np.argsort(np.arctan2(*(chosen - centre).T), kind="stable")
        return Ask(scribbles=(Scribble(_points(chosen[order])),))
    if kind == "polygon":
        return Ask(polygons=(Polygon(_outline(target, centre, random)),))
    if kind == "box":
        found = bounding_box(target)
        assert found is not None
        y0, y1, x0, x1 = found
        return Ask(boxes=(Box(float(x0), float(y0), float(x1 - 1), float(y1 - 1)),))
    if kind == "seem-box":
        found = bounding_box(target)
        assert found is not None
        filled = np.zeros_like(target)
        filled[found[0] : found[1], found[2] : found[3]] = True
        middle = first_click(filled)
        return Ask(points=(Point(float(middle.x), float(middle.y)),))
    if kind == "mask":
        return Ask(mask=encode(_coarse(target)))
    raise UsageError(f"--prompts {kind}: there are {', '.join(KINDS)}")


def recorded(kind: str, drawn: Rle) -> Ask:
    """An ask for what a data set recorded as a mask, which must not be empty.

    point: the deepest pixel of each connected piece. box: the tight box of each piece. scribble and mask: as drawn.
    Raises UsageError for another kind.
    """
    if kind == "scribble":
        return Ask(scribbles=(Scribble(drawn=drawn),))
    if kind == "mask":
        return Ask(mask=drawn)
    if kind in ("point", "box"):
        return _joined([prompt(kind, piece, 0, "") for piece in _pieces(decode(drawn))])
    raise UsageError(f"--prompts {kind}: is not recorded in this data set; there are {', '.join(RECORDED)}")


def _joined(asks: list[Ask]) -> Ask:
    points = tuple(point for ask in asks for point in ask.points)
    return Ask(points=points, boxes=tuple(box for ask in asks for box in ask.boxes))


def _pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected pieces, corners joining."""
    from scipy.ndimage import label

    labels, count = label(mask, np.ones((3, 3)))
    return [np.asarray(labels == number) for number in range(1, count + 1)]


def _inside(target: NDArray[np.bool_], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    pixels = np.argwhere(target)
    return np.asarray(pixels[random.integers(0, len(pixels), count)])


def _line(
    target: NDArray[np.bool_], start: NDArray[np.int64], random: np.random.Generator
) -> tuple[tuple[float, float], ...]:
    end = _inside(target, 1, random)[0]
    steps = max(1, int(np.abs(end - start).max()))
    path = np.round(start + (end - start) * np.arange(steps + 1)[:, None] / steps).astype(np.int64)
    left = np.flatnonzero(~target[path[:, 0], path[:, 1]])
    last = int(left[0]) - 1 if len(left) else len(path) - 1
    return _points(path[[0, last]])


def _outline(
    target: NDArray[np.bool_], centre: NDArray[np.int64], random: np.random.Generator
) -> tuple[tuple[float, float], ...]:
    height, width = target.shape
    corners = []
    for angle in np.sort(random.random(int(random.integers(8, 15)))) * 2 * np.pi:
        direction = np.array([np.sin(angle), np.cos(angle)])
        ray = np.round(centre + direction * np.arange(height + width)[:, None]).astype(np.int64)
        within = (ray >= 0).all(axis=1) & (ray[:, 0] < height) & (ray[:, 1] < width)
        ray = ray[within]
        reach = int(np.flatnonzero(target[ray[:, 0], ray[:, 1]])[-1])
        moved = centre + direction * reach * (1 + random.uniform(-0.05, 0.05))
        corners.append(np.clip(moved, 0, [height - 1, width - 1]))
    return _points(np.array(corners))


def _coarse(target: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = target.shape
    blocks = np.zeros((-(-height // _BLOCK) * _BLOCK, -(-width // _BLOCK) * _BLOCK), np.float64)
    blocks[:height, :width] = target
    share = blocks.reshape(blocks.shape[0] // _BLOCK, _BLOCK, -1, _BLOCK).mean(axis=(1, 3))
    half = min(0.5, float(share.max()))  # an object smaller than a block keeps its best one
    return np.repeat(np.repeat(share >= half, _BLOCK, axis=0), _BLOCK, axis=1)[:height, :width]


def _points(pixels: NDArray[np.generic]) -> tuple[tuple[float, float], ...]:
    """(x, y) of rows (y, x)."""
    return tuple((float(x), float(y)) for y, x in np.asarray(pixels).tolist())
