"""What seggpt-nano remembers of examples: the features of their cells, and how much of each cell is marked.

Every space (a level of the backbone, or the learned one) has keys of its own. A memory may hold any number of photos:
its cells are pooled, so several examples work as one larger example (SegGPT's feature ensemble, in this design).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EVIDENCE = 7
"""Maps of evidence that each space gives."""
_HALF, _QUARTER = 0.5, 0.25
_NOTHING = 1e-3


@dataclass(frozen=True, eq=False)
class Memory:
    """Cells of all remembered photos, one space after the other.

    keys:   for each space s [M_s, C_s], unit vectors. values: for each space [M_s, K], the share of the cell that
    target k covers, in [0, 1]; it may be soft, as a tracker's own answers are.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def of(self, target: int) -> tuple[Tensor, ...]:
        """Values of one target, for each space [M_s]."""
        return tuple(value[:, target] for value in self.values)


def remember(keys: Sequence[Tensor], targets: Tensor, valid: Tensor | None = None) -> Memory:
    """The memory of one photo.

    keys: for each space [C_s, h_s, w_s], unit vectors. targets: float [K, H, W] in [0, 1] at any size.
    valid: float [H, W], 0 where nobody knows what is marked; cells that are mostly so are not remembered.
    """
    rows, values = [], []
    for key in keys:
        grid = (key.shape[-2], key.shape[-1])
        cells = F.adaptive_avg_pool2d(targets[None], grid)[0].flatten(1).T
        row = key.flatten(1).T
        if valid is not None:
            known = F.adaptive_avg_pool2d(valid[None, None], grid).flatten() > _HALF
            row, cells = row[known], cells[known]
        rows.append(row)
        values.append(cells)
    return Memory(tuple(rows), tuple(values))


def joined(memories: Sequence[Memory]) -> Memory:
    """One memory of all photos, in their order; all must have the same targets."""
    keys = zip(*(memory.keys for memory in memories), strict=True)
    values = zip(*(memory.values for memory in memories), strict=True)
    return Memory(tuple(torch.cat(k) for k in keys), tuple(torch.cat(v) for v in values))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a memory says about one photo and one target.

    maps: [EVIDENCE * spaces, h, w] on the first space's grid. rule: [h, w], the untrained answer, above 0 inside.
    prototypes: [2, C], unit mean of marked and of other cells in the last space.
    """

    maps: Tensor
    rule: Tensor
    prototypes: Tensor
    readout: Tensor


def evidence(
    query: Sequence[Tensor],
    memory: Memory,
    target: int,
    sharpness: Tensor,
    *,
    nearest: int = 5,
    ruled_by: Sequence[int] = (0, 1),
) -> Evidence:
    """Compare every cell of a photo with every remembered cell.

    query: for each space [C_s, h_s, w_s], unit vectors. sharpness: [spaces], inverse temperature of the readout.
    Each space gives: mean of the `nearest` largest cosines to marked cells, the same for other cells, their difference
    and that difference standardised over the photo, the softmax readout of the marks, cosine to either prototype.
    The rule is the sum of the differences over the spaces `ruled_by`.
    """
    grid = query[0].shape[-2:]
    maps: list[Tensor] = []
    rule = torch.zeros(grid, device=query[0].device)
    prototypes = readout = rule
    for space, (cells, keys, marks) in enumerate(zip(query, memory.keys, memory.of(target), strict=True)):
        height, width = cells.shape[-2:]
        rows = cells.flatten(1).T
        cosines = rows @ keys.T
        inside = (marks > _QUARTER) | (marks >= marks.max())  # of a small object the cells that it covers most
        outside = ~inside | (marks <= marks.min())
        near = _nearest(cosines, inside, nearest)
        far = _nearest(cosines, outside, nearest)
        difference = near - far
        spread = (difference - difference.mean()) / (difference.std() + _NOTHING)
        readout = (cosines * sharpness[space]).softmax(1) @ marks
        prototypes = torch.stack([_mean_of(keys, marks), _mean_of(keys, 1 - marks)])
        of_space = [near, far, difference, spread, readout, *(rows @ prototypes.T).T]
        planes = torch.stack(of_space).view(1, EVIDENCE, height, width)
        if (height, width) != grid:
            planes = F.interpolate(planes, size=grid, mode="bilinear", align_corners=False)
        maps.append(planes[0])
        if space in ruled_by:
            rule = rule + planes[0, 2]
    return Evidence(torch.cat(maps), rule, prototypes, readout.view(height, width))


def _nearest(cosines: Tensor, among: Tensor, count: int) -> Tensor:
    """Mean of the `count` largest of each row, or of all, among the columns that are true in `among`."""
    count = min(count, int(among.sum()))
    # masked and not indexed: the gradient of an index by booleans takes ten times as long on a CPU
    largest: Tensor = cosines.masked_fill(~among, -2.0).topk(count, dim=1, sorted=False).values
    return largest.mean(1)


def _mean_of(keys: Tensor, weights: Tensor) -> Tensor:
    return F.normalize((weights[:, None] * keys).sum(0), dim=0)
