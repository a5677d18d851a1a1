"""What SegGPT hides while it trains: half of the canvas, or blocks that cover half of it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRIES = 10
"""Blocks that are drawn before giving up to place one more."""


@dataclass(frozen=True)
class BlockwiseMask:
    """Draws masks of rectangular blocks with an exact number of hidden tokens (Painter's training code, as BEiT).

    grid:           (rows, columns) of tokens.
    hidden:         tokens to hide, exactly.
    smallest, largest: tokens that one block may hide; `largest` None means as many as are left.
    flattest:       least ratio of a block's height to its width; the greatest is its inverse.
    """

    grid: tuple[int, int]
    hidden: int
    smallest: int = 16
    largest: int | None = None
    flattest: float = 0.3

    def draw(self, blocks: random.Random, cells: np.random.RandomState) -> NDArray[np.bool_]:
        """One mask, bool [rows, columns]. Two generators, because the published code draws from two."""
        mask = np.zeros(self.grid, dtype=bool)
        count = 0
        while count < self.hidden:
            left = self.hidden - count
            added = self._add_block(mask, left if self.largest is None else min(left, self.largest), blocks)
            if not added:
                break
            count += added
        if count != self.hidden:
            self._fix_count(mask, cells)
        return mask

    def _add_block(self, mask: NDArray[np.bool_], most: int, blocks: random.Random) -> int:
        """Hide one more block of at most `most` tokens; how many it added, 0 if none was found."""
        rows, columns = self.grid
        for _ in range(TRIES):
            area = blocks.uniform(self.smallest, most)
            aspect = math.exp(blocks.uniform(math.log(self.flattest), -math.log(self.flattest)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= rows or width >= columns:
                continue
            top, left = blocks.randint(0, rows - height), blocks.randint(0, columns - width)
            block = mask[top : top + height, left : left + width]
            added = int(block.size - block.sum())
            if 0 < added <= most:
                block[:] = True
                return added
        return 0

    def _fix_count(self, mask: NDArray[np.bool_], cells: np.random.RandomState) -> None:
        """Hide or show single tokens, chosen without replacement, until the number is right."""
        surplus = int(mask.sum()) - self.hidden
        row, column = np.nonzero(mask if surplus > 0 else ~mask)
        chosen = cells.choice(len(row), abs(surplus), replace=False)
        mask[row[chosen], column[chosen]] = surplus < 0
