"""What seem-nano makes of words: where a word is in a look, and what a mask should be called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

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

    def where(self, encoded: NanoEncoded, place: Geometry, meant: Sequence[Sequence[int]]) -> Tensor:
        """Probability of each meant group of words, and of all else, [G + 1, h, w] at stride 8 of the look's used part.

        Words of two groups ("food" beside "pizza") count for the group with fewer words.
        """
        assert self.model.words is not None
        chances = self.model.words.where(self.model.read(encoded))[0].softmax(0)
        height, width = (-(-v // _CELL) for v in place.used)
        chances = chances[:, :height, :width]
        owner = _owners(meant, chances.shape[0])
        sums = torch.zeros(len(meant) + 1, *chances.shape[1:], dtype=chances.dtype, device=chances.device)
        return sums.index_add_(0, owner.to(chances.device), chances).cpu()

    def what(self, encoded: NanoEncoded, place: Geometry, covered: Tensor, meant: Sequence[Sequence[int]]) -> Tensor:
        """Probability [G + 1] that a region is one of the groups, the last: none of them.

        covered: [H, W] of the padded input divided by any whole number of pixels, share of each cell in the mask.
        """
        assert self.model.words is not None
        image = self.model.read(encoded)
        height, width = image.hidden.shape[-2:]
        masks = F.adaptive_avg_pool2d(covered[None, None].to(image.hidden), (height, width))
        only = torch.zeros(1, dtype=torch.long, device=masks.device)
        chances = self.model.words.what(image, masks, only)[0].softmax(0)
        sums = torch.zeros(len(meant) + 1, dtype=chances.dtype, device=chances.device)
        return sums.index_add_(0, _owners(meant, len(chances)).to(chances.device), chances).cpu()


def _owners(meant: Sequence[Sequence[int]], count: int) -> Tensor:
    """For each word the group that it counts for; `len(meant)` for those of none."""
    owner = torch.full((count,), len(meant), dtype=torch.long)
    for index in sorted(range(len(meant)), key=lambda i: -len(meant[i])):
        owner[list(meant[index])] = index
    return owner
