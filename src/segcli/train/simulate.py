"""Simulated users: clicks at the deepest error, clumsy clicks, boxes, strokes and rough masks (SEEM, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SimulatedClick:
    """A click in cells of the mask it was drawn from."""

    x: int
    y: int
    positive: bool


def next_click(
    truth: Mask, answer: Mask, valid: Mask, rng: np.random.Generator, *, careful: float = 0.5
) -> SimulatedClick | None:
    """Where a user clicks next: inside the deeper of the missed and the wrongly taken region.

    With probability `careful` at its deepest cell (the benchmark's rule), otherwise anywhere in the connected region
    around that cell. None when nothing is wrong.
    """
    from scipy.ndimage import distance_transform_edt, label

    best: tuple[float, Mask, tuple[int, int], bool] | None = None
    for region, positive in ((truth & ~answer & valid, True), (~truth & answer & valid, False)):
        if not region.any():
            continue
        depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        deepest = int(depth.argmax())
        value = float(depth.flat[deepest])
        if best is None or value > best[0]:
            best = (value, region, divmod(deepest, depth.shape[1]), positive)
    if best is None:
        return None
    _, region, (y, x), positive = best
    if rng.random() >= careful:
        parts, _ = label(region)
        ys, xs = np.nonzero(parts == parts[y, x])
        pick = int(rng.integers(len(ys)))
        return SimulatedClick(int(xs[pick]), int(ys[pick]), positive)
    return SimulatedClick(x, y, positive)


def loose_box(truth: Mask, rng: np.random.Generator, looseness: float = 0.08) -> tuple[int, int, int, int] | None:
    """A hand-drawn box x0, y0, x1, y1 (inclusive): each side off by up to `looseness` of the object's side."""
    ys, xs = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    if not len(ys):
        return None
    h, w = truth.shape
    off = rng.uniform(-looseness, looseness, 4) * np.array([len(xs), len(ys), len(xs), len(ys)])
    x0, y0 = max(0, round(xs[0] + off[0])), max(0, round(ys[0] + off[1]))
    x1, y1 = min(w - 1, round(xs[-1] + off[2])), min(h - 1, round(ys[-1] + off[3]))
    return x0, y0, max(x0, x1), max(y0, y1)


def stroke(truth: Mask, rng: np.random.Generator, length: int = 8) -> list[SimulatedClick]:
    """A scribble inside the object: points of a straight walk between two of its cells, those that lie inside."""
    ys, xs = np.nonzero(truth)
    if not len(ys):
        return []
    a, b = rng.integers(len(ys), size=2)
    t = np.linspace(0, 1, length)
    line = {(round(xs[a] + (xs[b] - xs[a]) * s), round(ys[a] + (ys[b] - ys[a]) * s)) for s in t}
    return [SimulatedClick(int(x), int(y), True) for x, y in sorted(line) if truth[int(y), int(x)]]


def rough_mask(truth: Mask, rng: np.random.Generator) -> Mask:
    """A bad mask of the object: grown or shrunk, shifted, with pieces missing and pieces added."""
    from scipy.ndimage import binary_dilation, binary_erosion

    size = max(1, round(np.sqrt(truth.sum()) * rng.uniform(0.02, 0.12)))
    change = binary_dilation if rng.random() < 0.5 else binary_erosion
    rough: Mask = change(truth, iterations=size)
    rough = np.roll(rough, rng.integers(-size, size + 1, 2), (0, 1))
    ys, xs = np.nonzero(truth)
    for _ in range(int(rng.integers(0, 4))):
        if not len(ys):
            break
        pick = int(rng.integers(len(ys)))
        half = max(2, int(np.sqrt(len(ys)) * rng.uniform(0.1, 0.35)))
        window = (slice(max(0, ys[pick] - half), ys[pick] + half), slice(max(0, xs[pick] - half), xs[pick] + half))
        rough[window] = rng.random() < 0.4
    return rough
