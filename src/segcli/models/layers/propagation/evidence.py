"""What remembered frames say about the cells of a new one.

Every cell of the new frame is compared with every remembered cell (space-time memory, Oh et al. 2019; with frozen
features it is label propagation, as in Jabri et al. 2020). There is a soft nearest neighbour in the object and one in
the rest, so that a small object is not outvoted by the many cells around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from segcli.models.layers.propagation.looks import Look

CHANNELS = 6
FEATURES = 24  # learned, of each remembered cell
RADIUS = 12  # cells: recent frames are only compared with what is near
_NEIGHBOURS = 12.0  # so many equally near cells count as a similarity of their cosine
_LEAST = 1e-6
_LARGEST = 12.0


@dataclass(frozen=True, eq=False)
class Kept:
    """A remembered look: where it was, keys [C, M] of unit length, values [M] in 0..1 and features of one object."""

    look: Look
    keys: Tensor
    values: Tensor
    features: Tensor  # [FEATURES, M]


def evidence(
    query: Tensor, look: Look, given: Sequence[Kept], recent: Sequence[Kept], tau: Tensor, *, lost: bool = False
) -> tuple[Tensor, Tensor]:
    """Maps [CHANNELS + 2 * FEATURES, h, w] and votes [2, h, w] (logits) for one object.

    `given` may be anywhere, `recent` near; of both there is a vote, and what was remembered of the cells alike.
    query: [C, N] keys of `look`. tau: temperature of the cosines. With nothing recent, `given` stands in for it. An
    object that was `lost` may come back anywhere, so nothing is held to be near then.
    """
    maps, votes, features = [], [], []
    for kept, near in ((given, False), (recent or given[-1:], not lost)):
        inside, outside, read = compare(query, look, kept, tau, near=near)
        logits = (inside - outside).clamp(-_LARGEST, _LARGEST)
        usual = torch.log(torch.tensor(_NEIGHBOURS))
        votes.append(logits)
        features.append(read)
        maps.append(logits / (_LARGEST / 2))
        maps += [(((side - usual) * tau).clamp(-1, 1) * 2 - 1) for side in (inside, outside)]
    rows, columns = look.grid
    return torch.cat([torch.stack(maps), *features]).view(-1, rows, columns), torch.stack(votes).view(2, rows, columns)


def compare(
    query: Tensor, look: Look, kept: Sequence[Kept], tau: Tensor, *, near: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Log of the summed exp(cosine / tau) to object cells and to other cells, a mean over the looks: [N] each; and the
    features [FEATURES, N] of the cells alike, weighted so.

    near: only cells within RADIUS cells of `look`, along either axis.
    """
    sums = torch.zeros(query.shape[1], 2 + FEATURES, device=query.device)
    for k in kept:  # one look after the other: all of them at once would be hundreds of megabytes
        weights = ((query.T @ k.keys.to(query) - 1) / tau).exp()
        if near:
            weights = weights * nearby(look, k.look).to(weights)
        values = k.values.to(query)
        sides = torch.stack([values, 1 - values]).clamp(_LEAST, 1)
        sums = sums + weights @ torch.cat([sides, k.features.to(query)]).T
    inside, outside = ((sums[:, :2] / len(kept)).clamp(min=1e-37).log() + 1 / tau).T
    return inside, outside, (sums[:, 2:] / sums[:, :2].sum(1, keepdim=True).clamp(min=1e-37)).T


@lru_cache(maxsize=4)  # looks at whole frames are always the same
@torch.inference_mode(False)  # what is kept must serve training as well
def nearby(look: Look, other: Look) -> Tensor:
    """1.0 where a cell of `other` lies within RADIUS cells of a cell of `look`: [N, M]."""
    (xa, ya), (xb, yb) = look.centres(), other.centres()
    height, width = look.size
    rows, columns = look.grid
    along_x = (xa[:, None] - xb[None]).abs() <= (RADIUS + 0.01) * width / columns
    along_y = (ya[:, None] - yb[None]).abs() <= (RADIUS + 0.01) * height / rows
    both = along_y[:, None, :, None] & along_x[None, :, None, :]
    return both.float().view(len(ya) * len(xa), len(yb) * len(xb))
