"""How masks stand to references and to each other, in numbers that decide "left of {1}" or "the largest".

Ours, for the nano size: the published model reads such things from mask tokens alone, which a network of a few layers
does to a few percent of the photo and no finer. Boxes, areas and overlaps are those of the masks at the photo's own
resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segcli.core.rle import Rle, inside_runs

REACH = 0.012
"""Of the photo's longer side: how near touching objects come."""
STANDING = 10
"""Numbers of each candidate among the others and in the photo."""
PAIR = 24
"""Numbers of a candidate beside one reference."""
_SLOPES = (4.0, 25.0, 150.0)  # how steeply a difference of one photo's side turns from no to yes

Numbers = NDArray[np.float32]


def steps_of(size: tuple[int, int]) -> set[int]:
    """How many pixels apart, along rows or columns, touching masks are looked for in a photo of `size` (H, W)."""
    reach = max(1, round(max(size) * REACH))
    return {1, max(1, reach // 2), reach}


def extents(masks: Sequence[Rle]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes x0, y0, x1, y1 as [N, 4] and areas [N] of masks, in pixels."""
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (m.bbox for m in masks)]
    return np.array(boxes, np.float64).reshape(-1, 4), np.array([max(m.area, 1) for m in masks], np.float64)


def standing(boxes: NDArray[np.float64], areas: NDArray[np.float64], size: tuple[int, int]) -> Numbers:
    """float32 [N, `STANDING`]: the sides of the photo that each mask's box is in, and its rank by area among all."""
    if not len(areas):
        return np.zeros((0, STANDING), np.float32)
    height, width = size
    middle = np.stack(
        [(boxes[:, 0] + boxes[:, 2]) / 2 / width - 0.5, (boxes[:, 1] + boxes[:, 3]) / 2 / height - 0.5], 1
    )
    logs = np.log(areas)
    below, above = logs.max() - logs, logs - logs.min()
    rank = (areas[None] < areas[:, None]).mean(1)
    ranks = [np.exp(-8 * below), np.exp(-8 * above), np.exp(-80 * below), np.exp(-80 * above), rank, below / 5]
    steep = [np.tanh(slope * middle) for slope in _SLOPES[1:]]
    return np.concatenate([*steep, np.stack(ranks, 1)], 1).astype(np.float32)


def beside(candidates: Sequence[Rle], references: Sequence[Rle]) -> Numbers:
    """float32 [N, R, `PAIR`]: offsets of box centres and edges, ratio of areas, overlap and contact."""
    found = np.zeros((len(candidates), len(references), PAIR), np.float32)
    if not candidates or not references:
        return found
    height, width = candidates[0].size
    (boxes, areas), (others, sizes) = extents(candidates), extents(references)
    runs = [inside_runs(mask) for mask in candidates]
    for n, reference in enumerate(references):
        box, size = others[n], sizes[n]
        inside, near = _neighbourhood(reference)
        shared, contact = _counts(inside, runs), _counts(near, runs)
        across = ((boxes[:, 0] + boxes[:, 2]) - (box[0] + box[2])) / 2 / width
        down = ((boxes[:, 1] + boxes[:, 3]) - (box[1] + box[3])) / 2 / height
        into, out = (boxes[:, 3] - box[1]) / height, (box[3] - boxes[:, 3]) / height  # where "on" ends
        ratio = np.log(areas / size)
        columns = [np.tanh(slope * v) for v in (across, down) for slope in _SLOPES]
        columns += [np.tanh(slope * v) for v in (into, out) for slope in (_SLOPES[0], _SLOPES[2])]
        columns += [np.sign(into + 1e-9), np.sign(out + 1e-9)]
        columns += [np.clip(ratio / 5, -1, 1), np.tanh(3 * ratio), np.tanh(30 * ratio), np.sign(areas - size)]
        columns += [shared / (areas + size - shared), shared / areas, shared / size]
        columns += [contact > 0, np.log1p(contact) / 8, np.minimum(1, contact / np.minimum(areas, size))]
        columns += [(shared / (areas + size - shared)) > 0.9, np.hypot(across, down)]
        found[:, n] = np.stack(columns, 1)
    return found


def _neighbourhood(mask: Rle) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Running counts [H W + 1], down the columns, of the mask's pixels and of those next to it but outside."""
    height, width = mask.size
    flat = np.zeros(height * width, np.bool_)
    for start, stop in zip(*inside_runs(mask), strict=True):
        flat[start:stop] = True
    own = flat.reshape(width, height)
    near = np.zeros_like(own)
    for step in steps_of(mask.size):
        near[step:] |= own[:-step]
        near[:-step] |= own[step:]
        near[:, step:] |= own[:, :-step]
        near[:, :-step] |= own[:, step:]
    near &= ~own
    return _running(own), _running(near)


def _running(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(inside.ravel(), dtype=np.int64)])


def _counts(
    running: NDArray[np.int64], runs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.float64]:
    return np.array([(running[stops] - running[starts]).sum() for starts, stops in runs], np.float64)
