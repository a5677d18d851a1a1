"""The decoder's choices among points, queries and memory slots.

The published code draws them at random on every call, so that the same click gives another mask each time. Here the
default is fixed; `RandomDraws` draws as published (for training), and a test may feed recorded draws.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Draws(Protocol):
    """All choices of one decoder call, in the order in which the published code makes them."""

    def points(self, objects: Tensor, budget: int) -> Tensor:
        """Indices of at most `budget` of P points; objects: [P], which object each point belongs to."""
        ...

    def points_of_one(self, count: int, budget: int) -> Tensor:
        """Indices of at most `budget` of `count` points of one object (v0 and demo)."""
        ...

    def queries(self, objects: int, each: int, total: int) -> Tensor:
        """Indices [objects * each] into `total` object queries: `each` for the first object, and so on."""
        ...

    def memories(self, slots: int, objects: int) -> Tensor:
        """Object of each memory slot [slots], ascending."""
        ...


class FixedDraws:
    """The same choice every time: points spread evenly, the first queries for every object, slots shared out evenly.

    Every object starts from the same queries, so that its first answer doesn't depend on what else was asked.
    """

    def points(self, objects: Tensor, budget: int) -> Tensor:
        """All points, or an even subset of each object's; small objects keep all of theirs."""
        if objects.numel() <= budget:
            return torch.arange(objects.numel())
        objects = objects.cpu()
        counts = torch.bincount(objects)
        smallest_first = [k for k in counts.argsort(stable=True).tolist() if counts[k]]
        left, kept = budget, []
        for place, k in enumerate(smallest_first):
            share = min(int(counts[k]), left // (len(smallest_first) - place))
            left -= share
            own = (objects == k).nonzero()[:, 0]
            kept.append(own[evenly(own.numel(), share)])
        return torch.cat(kept).sort().values

    def points_of_one(self, count: int, budget: int) -> Tensor:
        """All points, or an even subset."""
        return evenly(count, min(count, budget))

    def queries(self, objects: int, each: int, total: int) -> Tensor:
        """The first `each` queries for every object."""
        return (torch.arange(each) % total).repeat(objects)

    def memories(self, slots: int, objects: int) -> Tensor:
        """Slots in equal runs."""
        return torch.arange(slots) * objects // slots


class RandomDraws:
    """As published: everything drawn anew on every call, from a seeded generator (on the CPU)."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def points(self, objects: Tensor, budget: int) -> Tensor:
        """Without replacement, every object with the same total weight, whatever its size."""
        objects = objects.cpu()
        weights = 1.0 / torch.bincount(objects)[objects].double()
        chosen = torch.multinomial(weights, min(budget, objects.numel()), generator=self.generator)
        return chosen.sort().values

    def points_of_one(self, count: int, budget: int) -> Tensor:
        """The beginning of a random permutation where there are too many."""
        if count <= budget:
            return torch.arange(count)
        return torch.randperm(count, generator=self.generator)[:budget]

    def queries(self, objects: int, each: int, total: int) -> Tensor:
        """Any queries, with replacement."""
        return torch.randint(0, total, (objects * each,), generator=self.generator)

    def memories(self, slots: int, objects: int) -> Tensor:
        """Any object for a slot, sorted; drawn again for every layer."""
        chosen = torch.multinomial(torch.ones(objects), slots, replacement=True, generator=self.generator)
        return chosen.sort().values


def evenly(count: int, wanted: int) -> Tensor:
    """`wanted` indices spread evenly over `count`, none twice (wanted <= count)."""
    return (torch.arange(wanted) * 2 + 1) * count // (2 * max(wanted, 1))
