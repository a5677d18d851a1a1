"""What seem-nano makes of words: where a word is in a look, and what a mask should be called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.models.seem.focus import Geometry
from segcli.models.seem.nano import NanoEncoded, SeemNano
from segcli.models.seem.vocabulary import Vocabulary

_CELL = 8  # input pixels for one place of the joint space


@dataclass(frozen=True)
class Words:
    """A member's word head with its vocabulary."""

    model: SeemNano
    vocabulary: Vocabulary

    def known(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """For each of `names`, in order, the indices of the words that it covers. Raises UsageError for an unknown."""
        return {name: self.vocabulary.covered(self.vocabulary.find(name)) for name in names}

    def offered(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """As `known`, without the unknown ones. Raises UsageError when there is no other."""
        found: dict[str, tuple[int, ...]] = {}
        for name in names:
            try:
                found |= self.known([name])
            except UsageError:
                continue
        return found or self.known(names)

    def where(self, encoded: NanoEncoded, place: Geometry) -> Tensor:
        """Probability of every word, and of none, at stride 8 of the look's used part: [V + 1, h, w]."""
        assert self.model.words is not None
        chances = self.model.words.where(self.model.read(encoded))[0].softmax(0)
        height, width = (-(-v // _CELL) for v in place.used)
        return chances[:, :height, :width].cpu()

    def what(self, encoded: NanoEncoded, place: Geometry, covered: Tensor, meant: Sequence[Sequence[int]]) -> Tensor:
        """Probability [G + 1] that a region is one of the groups, the last: none of them.

        covered: [H, W] of the padded input divided by any whole number of pixels, share of each cell in the mask.
        """
        assert self.model.words is not None
        image = self.model.read(encoded)
        height, width = image.hidden.shape[-2:]
        masks = F.adaptive_avg_pool2d(covered[None, None].to(image.hidden), (height, width))
        only = torch.zeros(1, dtype=torch.long, device=masks.device)
        return grouped(self.model.words.what(image, masks, only)[0].softmax(0).cpu(), meant)


def grouped(chances: Tensor, meant: Sequence[Sequence[int]]) -> Tensor:
    """[V + 1, …] -> [G + 1, …]: probability of each meant group of words, and of all else.

    A word of two groups ("pizza" of "food" and of "pizza") counts for the group with fewer words.
    """
    sums = torch.zeros(len(meant) + 1, *chances.shape[1:], dtype=chances.dtype)
    return sums.index_add_(0, _owners(meant, len(chances)), chances)


def _owners(meant: Sequence[Sequence[int]], count: int) -> Tensor:
    """For each word the group that it counts for; `len(meant)` for those of none."""
    owner = torch.full((count,), len(meant), dtype=torch.long)
    for index in sorted(range(len(meant)), key=lambda i: -len(meant[i])):
        owner[list(meant[index])] = index
    return owner
