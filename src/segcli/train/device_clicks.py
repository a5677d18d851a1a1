"""Simulated users of N objects at once, on whatever device the masks are; the rules are those of simulate.py.

Distances are exact: the nearest cell outside is searched column by column and then along the rows (Felzenszwalb and
Huttenlocher, Distance Transforms of Sampled Functions, 2012, section 2.1, with the minimum over offsets taken in turn,
no further than the deepest column). They are whole numbers, so that ties fall as in simulate.next_click: the first cell
in reading order, the missed region before the wrongly taken one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.train.chance import Chance


@dataclass(frozen=True)
class Clicks:
    """One click an object. xy: int64 [N, 2] cells; positive, found: bool [N], not found where nothing is wrong."""

    xy: Tensor
    positive: Tensor
    found: Tensor


def next_clicks(truth: Tensor, answer: Tensor, valid: Tensor, chance: Chance, *, careful: float = 0.5) -> Clicks:
    """Where users click next: inside the deeper of the missed and the wrongly taken region, bool [N, H, W] all three.

    With probability `careful` at its deepest cell (the rule of RITM), otherwise anywhere in the connected region (by
    edges) around that cell.
    """
    count, _, width = truth.shape
    regions = torch.cat([truth & ~answer & valid, ~truth & answer & valid])
    value, at = squared_depth(regions).flatten(1).max(1)
    positive = value[:count] >= value[count:]
    found = torch.where(positive, value[:count], value[count:]) > 0
    at = torch.where(positive, at[:count], at[count:])
    anywhere = (~chance.hits(careful, count)).nonzero()[:, 0]
    draws = chance.uniform(count)[anywhere]
    if len(anywhere):
        some = anywhere.to(truth.device)
        chosen = torch.where(positive[some], some, some + count)
        around = connected(regions[chosen], at[some])
        at = at.index_copy(0, some, pick(around, draws[:, None])[:, 0])
    return Clicks(torch.stack([at % width, at // width], 1), positive, found)


def squared_depth(region: Tensor) -> Tensor:
    """Squared distance of each cell of bool [N, H, W] to the nearest cell outside, int32; the frame is outside."""
    height, width = region.shape[1:]
    rows = torch.arange(1, height + 1, dtype=torch.int32, device=region.device)[:, None]
    outside = torch.where(region, 0, rows)
    above = rows - outside.cummax(1).values
    mirrored = torch.where(region.flip(1), 0, rows)
    below = (rows - mirrored.cummax(1).values).flip(1)
    column = torch.minimum(above, below)
    reach = int(column.amax()) if column.numel() else 0
    depth = column.square()
    wide = F.pad(depth, (reach, reach))
    for offset in range(1, reach):  # further away nothing is nearer than in the own column
        for start in (reach - offset, reach + offset):
            torch.minimum(depth, wide[..., start : start + width] + offset * offset, out=depth)
    return depth


def connected(region: Tensor, at: Tensor) -> Tensor:
    """The cells of bool [N, H, W] that are connected by edges with cell `at` [N] (y * W + x).

    A whole run of a row or column is taken at once, so it ends after as many rounds as the region has bends.
    """
    rows, columns = _runs(region), _runs(region.transpose(1, 2)).transpose(1, 2)
    reached = torch.zeros_like(region).flatten(1)
    reached.scatter_(1, at[:, None], True)
    reached = reached.view_as(region) & region
    while True:
        grown = _spread(_spread(reached, region, rows), region, columns)
        if torch.equal(grown, reached):
            return reached
        reached = grown


def pick(cells: Tensor, draws: Tensor) -> Tensor:
    """For each of `draws` [N, K] in 0..1 a cell (y * W + x) of bool [N, H, W], all alike; 0 where there is none."""
    order = cells.flatten(1).cumsum(1)
    wanted = (draws.to(order.device) * order[:, -1:]).long() + 1
    return torch.searchsorted(order, wanted).clamp(max=order.shape[1] - 1) * (order[:, -1:] > 0)


def loose_boxes(truth: Tensor, chance: Chance, looseness: float = 0.08) -> Tensor:
    """Hand-drawn boxes x0, y0, x1, y1 (inclusive), int64 [N, 4].

    Each side is off by up to `looseness` of the object's side. Of an empty mask (truth is bool
    [N, H, W]) it is 0, 0, -1, -1.
    """
    count, height, width = truth.shape
    off = chance.uniform(count, 4, low=-looseness, high=looseness).to(truth.device)
    columns, rows = truth.any(1), truth.any(2)
    x0, x1 = _ends(columns)
    y0, y1 = _ends(rows)
    # simulate.py counts the columns and rows that show the object, not those between them.
    sides = torch.stack([columns.sum(1), rows.sum(1)], 1).repeat(1, 2)
    left, top, right, bottom = (torch.stack([x0, y0, x1, y1], 1) + off * sides).round().long().unbind(1)
    left, top = left.clamp(min=0), top.clamp(min=0)
    right = torch.maximum(left, right.clamp(max=width - 1))
    bottom = torch.maximum(top, bottom.clamp(max=height - 1))
    boxes = torch.stack([left, top, right, bottom], 1)
    return torch.where(columns.any(1)[:, None], boxes, boxes.new_tensor([0, 0, -1, -1]))


def strokes(truth: Tensor, chance: Chance, length: int = 8) -> tuple[Tensor, Tensor]:
    """Scribbles inside objects bool [N, H, W]: a straight walk between two of their cells.

    Returns int64 [N, length, 2] x, y, and bool [N, length], False for cells outside of the object or stepped on twice.
    """
    count, _, width = truth.shape
    ends = pick(truth, chance.uniform(count, 2))
    xy = torch.stack([ends % width, ends // width], 2).double()
    t = torch.linspace(0, 1, length, dtype=torch.float64, device=truth.device)[None, :, None]
    walk = (xy[:, :1] + (xy[:, 1:] - xy[:, :1]) * t).round().long()
    inside = truth.flatten(1).gather(1, walk[..., 1] * width + walk[..., 0])
    inside[:, 1:] &= (walk[:, 1:] != walk[:, :-1]).any(2)
    return walk, inside


def rough_masks(truth: Tensor, chance: Chance) -> Tensor:
    """Bad masks of objects bool [N, H, W]: grown or shrunk, shifted, with pieces missing and pieces added."""
    count, height, width = truth.shape
    device = truth.device
    length = truth.sum((1, 2)).double().sqrt()
    size = (length * chance.uniform(count, low=0.02, high=0.12).to(device)).round().long().clamp(min=1)
    grow = chance.hits(0.5, count).to(device)
    shift = chance.uniform(count, 2).to(device)
    rough = _resized(truth, size, grow)
    dx, dy = ((shift * (2 * size[:, None] + 1)).long() - size[:, None]).unbind(1)
    ys, xs = torch.arange(height, device=device), torch.arange(width, device=device)
    rows, columns = (ys - dy[:, None]) % height, (xs - dx[:, None]) % width
    rough = rough[torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    windows = (chance.uniform(count) * 4).long().to(device)
    centres = pick(truth, chance.uniform(count, 3))
    halves = (length[:, None] * chance.uniform(count, 3, low=0.1, high=0.35).to(device)).long().clamp(min=2)
    filled = chance.hits(0.4, count, 3).to(device)
    for number in range(3):
        x, y, half = centres[:, number] % width, centres[:, number] // width, halves[:, number, None]
        across = (xs >= x[:, None] - half) & (xs < x[:, None] + half)
        down = (ys >= y[:, None] - half) & (ys < y[:, None] + half)
        here = down[:, :, None] & across[:, None, :] & (number < windows)[:, None, None]
        rough = torch.where(here, filled[:, number, None, None], rough)
    return rough & (length > 0)[:, None, None]


def _resized(masks: Tensor, size: Tensor, grow: Tensor) -> Tensor:
    """Masks grown or shrunk by `size` [N] steps to the four neighbours; the frame counts as outside."""
    keep = grow[:, None, None]
    moving = torch.where(keep, masks, ~masks)  # what is shrunk is a background that grows, also from the frame
    edge = torch.zeros_like(masks)
    edge[:, [0, -1]] = True
    edge[:, :, [0, -1]] = True
    for step in range(int(size.amax()) if len(size) else 0):
        wide = F.pad(moving, (1, 1, 1, 1))
        grown = moving | wide[:, :-2, 1:-1] | wide[:, 2:, 1:-1] | wide[:, 1:-1, :-2] | wide[:, 1:-1, 2:]
        moving = torch.where((step < size)[:, None, None], grown | (edge & ~keep), moving)
    return torch.where(keep, moving, ~moving)


def _runs(region: Tensor) -> Tensor:
    """A number for each run of cells along the last axis of bool [N, H, W], from 1; 0 outside."""
    starts = region.clone()
    starts[..., 1:] &= ~region[..., :-1]
    return torch.where(region, starts.flatten().cumsum(0).view(region.shape), 0)


def _spread(reached: Tensor, region: Tensor, runs: Tensor) -> Tensor:
    """All cells of the runs that are reached somewhere."""
    hit = torch.zeros(region.numel() + 1, dtype=torch.int32, device=region.device)
    hit.index_add_(0, runs.reshape(-1), reached.reshape(-1).int())
    return (hit > 0)[runs] & region


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last true place of bool [N, L]."""
    whole = line.int()
    return whole.argmax(1), line.shape[1] - 1 - whole.flip(1).argmax(1)
