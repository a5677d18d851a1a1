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

FORMS, TOKENS = 2, 6
"""Forms of one name (the singular and the plural), and the most tokens of one; further ones are left out."""
_HEARD = 6
_WIDTH = 256
_DROPOUT = 0.3
_STEEP, _HALF = 24.0, 0.5  # a colour is a mask's own when half of its pixels have it


Forms = dict[tuple[int, ...], list[int]]
"""Which rows of names are said by some tokens."""


class Names(nn.Module):
    """A classifier of masks over `count` names, and the words in which names and colours are said.

    Besides, a sentence is looked through for the names: what it says by name, each candidate is told whether it is.

    ids: int64 [colours + count, `FORMS`, `TOKENS`], tokens of each colour and then each name, -1 behind their end.
    """

    ids: Tensor

    def __init__(self, features: int, count: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, _WIDTH), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(_WIDTH, count)
        )
        self.loudness = nn.Parameter(torch.full((2,), 2.0))  # of names and of colours
        self.heard = nn.Sequential(nn.Linear(_HEARD, width), nn.GELU(), nn.Linear(width, width))
        self.register_buffer("ids", torch.full((len(COLOURS) + count, FORMS, TOKENS), -1, dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, F] -> logits [N, names]."""
        logits: Tensor = self.layers(features)
        return logits

    def words(self, table: Tensor) -> Tensor:
        """How colours and then names are said, [colours + names, D]; table: embeddings of tokens [vocabulary, D]."""
        ids = self.ids.flatten(1)
        used = (ids >= 0).to(table)
        return (table[ids.clamp(min=0)] * used[..., None]).sum(1) / used.sum(1, keepdim=True).clamp(min=1)

    def say(self, chances: Tensor, colours: Tensor, words: Tensor) -> Tensor:
        """What is added to mask tokens, [N, D]; chances: [N, names]; colours: [N, colours], see `owned`."""
        said = self.loudness[1] * colours.to(words) @ words[: len(COLOURS)]
        return said + self.loudness[0] * chances.to(words) @ words[len(COLOURS) :]

    def forms(self) -> Forms:
        """The rows of `ids` by the tokens of each form."""
        found: Forms = {}
        for row, several in enumerate(self.ids.tolist()):
            for form in several:
                if tokens := tuple(token for token in form if token >= 0):
                    found.setdefault(tokens, []).append(row)
        return found

    def hear(self, sentence: Sequence[int], forms: Forms, chances: Tensor, colours: Tensor) -> Tensor:
        """What a sentence's tokens say of candidates by name, [N, D]: whether they have the colours and names in it.

        forms: of `forms`. chances: [N, names]. colours: [N, colours], see `owned`.
        """
        said = mentioned(sentence, forms)
        names = [row - len(COLOURS) for row in said if row >= len(COLOURS)]
        hues = [row for row in said if row < len(COLOURS)]
        chance = chances[:, names].sum(1)
        own = colours[:, hues].amax(1) if hues else torch.zeros_like(chance)
        leading = chance / chances.amax(1).clamp(min=1e-6)
        flags = [torch.full_like(chance, float(bool(some))) for some in (names, hues)]
        told = torch.stack([chance, chance.sqrt(), leading.clamp(max=1), own.to(chance), *flags], 1)
        heard: Tensor = self.heard(told.to(self.loudness.dtype))
        return heard


def mentioned(sentence: Sequence[int], forms: Forms) -> list[int]:
    """The rows of names that stand in a sentence's tokens: the longest form at each place, then on behind it."""
    found: list[int] = []
    at = 0
    while at < len(sentence):
        for length in range(TOKENS, 0, -1):
            rows_here = forms.get(tuple(sentence[at : at + length]))
            if rows_here and at + length <= len(sentence):
                found += rows_here
                at += length - 1
                break
        at += 1
    return sorted(set(found))


def owned(shares: Tensor) -> Tensor:
    """Shares of colours in masks [N, colours] -> near 1 for a colour that is the mask's own, near 0 for others."""
    return torch.sigmoid(_STEEP * (shares - _HALF))


def rows(names: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Token ids of the forms of names as int64 [names, `FORMS`, `TOKENS`]."""
    found = torch.full((len(names), FORMS, TOKENS), -1, dtype=torch.long)
    for row, forms in zip(found, names, strict=True):
        for place, ids in zip(row, forms, strict=False):
            kept = torch.tensor(list(ids)[:TOKENS], dtype=torch.long)
            place[: len(kept)] = kept
    return found
