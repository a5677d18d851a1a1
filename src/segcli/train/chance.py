"""Random numbers that are the same on every device: drawn on the CPU by a torch.Generator, a few bytes each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Chance:
    """Draws in their order; the same `seed` numbers give the same draws, neighbouring ones unrelated draws."""

    def __init__(self, *seed: int) -> None:
        mixed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        self.generator = torch.Generator().manual_seed(mixed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float64 [*shape] on the CPU, low <= x < high."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def hits(self, probability: float, *shape: int) -> Tensor:
        """bool [*shape] on the CPU, each true with `probability`."""
        return self.uniform(*shape) < probability

    def random(self) -> float:
        """One number, 0 <= x < 1, by numpy's name for it."""
        return float(self.uniform())

    def integers(self, low: int, high: int) -> int:
        """One of low … high - 1, by numpy's name for it."""
        return int(torch.randint(low, high, (), generator=self.generator))

    def permutation(self, count: int) -> Tensor:
        """int64 [count] on the CPU."""
        return torch.randperm(count, generator=self.generator)
