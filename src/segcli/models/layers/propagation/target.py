"""A discriminative model of one object: a 3x3 filter over keys whose output is 1 in the object and -1 around it.

Nearest neighbours weigh all of a key alike; a filter that is fitted to the object learns what tells it from what is
around it. The form is the target model of FRTM (Robinson et al. 2020, section 3.1: few channels, then one 3x3 filter,
the two classes weighed alike); it is linear in the frozen keys here, so that ridge regression has the exact answer
where FRTM takes Gauss-Newton steps. Given masks count for half of it, a running mean over answers for the other half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.propagation.evidence import Kept

WEIGHT = 3.0  # logits for an output of 1
_RIDGE = 0.01
_NEWEST = 0.3  # of the latest answer in the running mean
_ANSWERS = 0.5  # of answers beside given masks
_LARGEST = 2.0  # an output beyond it says no more


@dataclass(frozen=True, eq=False)
class Equations:
    """Normal equations of a weighted least-squares fit: gram [D, D] and moment [D], a constant as the last input."""

    gram: Tensor
    moment: Tensor

    def mixed(self, other: Equations, share: float) -> Equations:
        """Moved to `other` by `share`."""
        return Equations(self.gram.lerp(other.gram, share), self.moment.lerp(other.moment, share))


def equations(kept: Kept) -> Equations:
    """Of one look with its values; the object's cells and the others weigh alike, whatever their numbers."""
    inputs, inside = _inputs(kept.keys, kept.look.grid), kept.values.float()
    weights = inside / inside.sum().clamp(min=1) + (1 - inside) / (1 - inside).sum().clamp(min=1)
    weighted = inputs * (weights / 2)
    return Equations(weighted @ inputs.T, weighted @ (2 * inside - 1))


def mean_equations(looks: Sequence[Kept]) -> Equations:
    """The mean over at least one look."""
    total = equations(looks[0])
    for kept in looks[1:]:
        one = equations(kept)
        total = Equations(total.gram + one.gram, total.moment + one.moment)
    return Equations(total.gram / len(looks), total.moment / len(looks))


def after(answers: Equations | None, kept: Kept) -> Equations:
    """The running mean over answers, with one more."""
    latest = equations(kept)
    return latest if answers is None else answers.mixed(latest, _NEWEST)


def fitted(given: Equations, answers: Equations | None) -> Tensor:
    """The filter's weights [D]; the last one is its constant, which is not held small."""
    both = given if answers is None else given.mixed(answers, _ANSWERS)
    ridge = torch.full_like(both.moment, _RIDGE)
    ridge[-1] = 0
    solved = torch.cholesky_solve(both.moment[:, None], torch.linalg.cholesky(both.gram + ridge.diag()))
    return solved[:, 0]


def target_logits(weights: Tensor, keys: Tensor, grid: tuple[int, int]) -> Tensor:
    """What the filter says of a look's keys [C, N], as logits [N]."""
    return WEIGHT * (weights @ _inputs(keys, grid)).clamp(-_LARGEST, _LARGEST)


def _inputs(keys: Tensor, grid: tuple[int, int]) -> Tensor:
    """Keys [C, N] of each cell and its eight neighbours (zeros beyond the look), and a constant: [9 * C + 1, N]."""
    around = F.unfold(keys.float().reshape(1, -1, *grid), 3, padding=1)[0]
    return F.pad(around, (0, 0, 0, 1), value=1.0)
