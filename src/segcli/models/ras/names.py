"""What a mask is called and which colours it has, said to the language model in its own words.

Ours, for the nano size: a few layers trained on some thousand objects do not find out by themselves which of a mask's
features the word "horse" asks for. A head that was trained to name masks gives chances of all known names, and a mask
token gets the embeddings of those names' words, weighed with them; colours likewise, by their shares of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcli.models.ras.colours import COLOURS

TOKENS = 8
"""The most tokens of one name; further ones are left out."""
_WIDTH = 256
_DROPOUT = 0.3
_STEEP, _HALF = 24.0, 0.5  # a colour is a mask's own when half of its pixels have it


class Names(nn.Module):
    """A classifier of masks over `count` names, and the words in which names and colours are said.

    ids: int64 [colours + count, `TOKENS`], the tokens of each colour's and each name's words, -1 behind their end.
    """

    ids: Tensor

    def __init__(self, features: int, count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, _WIDTH), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(_WIDTH, count)
        )
        self.loudness = nn.Parameter(torch.full((2,), 2.0))  # of names and of colours
        self.register_buffer("ids", torch.full((len(COLOURS) + count, TOKENS), -1, dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, F] -> logits [N, names]."""
        logits: Tensor = self.layers(features)
        return logits

    def words(self, table: Tensor) -> Tensor:
        """How colours and then names are said, [colours + names, D]; table: embeddings of tokens [vocabulary, D]."""
        used = (self.ids >= 0).to(table)
        return (table[self.ids.clamp(min=0)] * used[..., None]).sum(1) / used.sum(1, keepdim=True).clamp(min=1)

    def say(self, chances: Tensor, colours: Tensor, words: Tensor) -> Tensor:
        """What is added to mask tokens, [N, D]; chances: [N, names]; colours: [N, colours], see `owned`."""
        said = self.loudness[1] * colours.to(words) @ words[: len(COLOURS)]
        return said + self.loudness[0] * chances.to(words) @ words[len(COLOURS) :]


def owned(shares: Tensor) -> Tensor:
    """Shares of colours in masks [N, colours] -> near 1 for a colour that is the mask's own, near 0 for others."""
    return torch.sigmoid(_STEEP * (shares - _HALF))


def rows(names: Sequence[Sequence[int]]) -> Tensor:
    """Token ids of names as int64 [names, `TOKENS`]."""
    found = torch.full((len(names), TOKENS), -1, dtype=torch.long)
    for row, ids in zip(found, names, strict=True):
        kept = torch.tensor(list(ids)[:TOKENS], dtype=torch.long)
        row[: len(kept)] = kept
    return found
