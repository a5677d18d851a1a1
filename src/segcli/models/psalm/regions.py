"""The feature of a region: the photo's tokens read at points inside a mask (PSALM, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

POINTS = 256


class Points(Protocol):
    """Chooses the points of a mask."""

    def choose(self, inside: Tensor) -> Tensor:
        """Rows of `inside` [n, 2] (n > 0) to read at, repeats allowed."""
        ...


class AllPoints:
    """Every pixel of the mask: the same answer each time, without draws. The default."""

    def choose(self, inside: Tensor) -> Tensor:
        """All rows."""
        return inside


class RandomPoints:
    """256 pixels as published: all of them and random repeats when there are fewer, a random subset when more."""

    def __init__(self, seed: int | None, count: int = POINTS) -> None:
        self.count = count
        self.generator = torch.Generator().manual_seed(seed) if seed is not None else None

    def choose(self, inside: Tensor) -> Tensor:
        """`count` rows."""
        found = len(inside)
        if found < self.count:
            again = torch.randint(0, found, (self.count - found,), generator=self.generator)
            return torch.cat([inside, inside[again.to(inside.device)]])
        if found == self.count:
            return inside
        return inside[torch.randperm(found, generator=self.generator)[: self.count].to(inside.device)]


def chosen_pixels(mask: Tensor, points: Points) -> Tensor:
    """How often each pixel of a mask [H, W] is read, float32 [H, W]. Raises ValueError for an empty mask."""
    inside = mask.nonzero()
    if len(inside) == 0:
        raise ValueError("an empty mask marks no region")
    chosen = points.choose(inside)
    count = torch.zeros(mask.shape, device=mask.device)
    return count.index_put_((chosen[:, 0], chosen[:, 1]), torch.ones((), device=mask.device), accumulate=True)


def read_tokens(tokens: Tensor, count: Tensor) -> Tensor:
    """Mean bilinear reading of the photo's tokens [T, D] (a square, row by row) at pixels [H, W], each `count` times.

    Pixel (row, column) is read at (row / H, column / W) of the square, where 0 is the centre of the first token and 1
    that of the last one, as the weights were trained. Bilinear reading is linear in the tokens, so the mean is one
    weight for each token: no list of points, however large the mask. -> [D].
    """
    side = round(len(tokens) ** 0.5)
    count = count.to(tokens.device)
    rows, columns = (_hat(length, side, count) for length in count.shape)
    weight = rows.t() @ count @ columns / count.sum()  # [side, side]
    return (weight.flatten() @ tokens.float()).to(tokens.dtype)


def _hat(length: int, side: int, like: Tensor) -> Tensor:
    """Weight of each of `side` tokens for each of `length` pixels, along one axis."""
    at = torch.arange(length, device=like.device, dtype=like.dtype) / length * (side - 1)
    return (1 - (at[:, None] - torch.arange(side, device=like.device)).abs()).clamp(min=0)


def region_features(tokens: Tensor, masks: Sequence[Tensor], points: Points) -> Tensor:
    """One vector a mask: photo tokens [T, D], masks [H, W] each at the network's size -> [R, D].

    Raises ValueError for an empty mask.
    """
    return torch.stack([read_tokens(tokens, chosen_pixels(mask, points)) for mask in masks])
