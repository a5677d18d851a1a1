"""What a candidate has in common with each reference, and how it stands among all, as vectors beside mask tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.ras.relations import PAIR, STANDING

_CHANNELS = 32
_ORDERS = 3  # the first reference, the second, any later one


@dataclass(frozen=True, eq=False)
class Related:
    """Numbers of `relations`: standing [N, S] of the candidates, beside [N, R, P] of each with each reference."""

    standing: Tensor
    beside: Tensor


@dataclass(frozen=True, eq=False)
class Said:
    """Mask tokens [N, D], chances of names [N, C] and own colours [N, K] of some masks."""

    tokens: Tensor
    chances: Tensor
    colours: Tensor


class Matches(nn.Module):
    """The sum over references of what is common, in `width` channels, and what a candidate is among the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = nn.Linear(width, _CHANNELS)
        self.pair = nn.Sequential(nn.Linear(PAIR + _CHANNELS + 2 + _ORDERS, width), nn.GELU(), nn.Linear(width, width))
        self.standing = nn.Sequential(nn.Linear(STANDING, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, candidates: Said, references: Said, related: Related) -> Tensor:
        """[N, D] for N candidates, which does not depend on their order but follows it."""
        found: Tensor = self.standing(related.standing.to(candidates.tokens))
        count, several = related.beside.shape[:2]
        if not several:
            return found
        mine, theirs = (F.normalize(self.look(said.tokens), dim=-1) for said in (candidates, references))
        alike = mine[:, None] * theirs[None] * _CHANNELS**0.5
        same = torch.stack(
            [candidates.chances.sqrt() @ references.chances.sqrt().T, candidates.colours @ references.colours.T], -1
        )
        order = F.one_hot(torch.arange(several, device=alike.device).clamp(max=_ORDERS - 1), _ORDERS)
        parts = [related.beside, alike, same, order.expand(count, -1, -1)]
        common: Tensor = self.pair(torch.cat([part.to(alike) for part in parts], -1)).sum(1)
        return found + common
