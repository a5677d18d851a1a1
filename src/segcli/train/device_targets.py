"""Which objects of a batch of views are asked for, and as what: an object, a union of some, or a piece of one.

A photo with twenty labelled regions says more than twenty masks: a person and the horse they touch, all sheep, the half
of a car left of the post are things that people click at too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segcli.train.chance import Chance
from segcli.train.views import IGNORE

PASTED = 256  # the id of what was pasted into a view
COUNT = 257


@dataclass(frozen=True)
class Granularity:
    """How often a target is not one object. The rest are objects; so are those that have no neighbour, twin or piece.

    touching: with one or more of the objects that touch it and are of its kind (things, stuff or unnamed regions).
    alike:    with all of its class in the view. piece: a connected piece of an object that is in several.
    """

    touching: float = 0.0
    alike: float = 0.0
    piece: float = 0.0


@dataclass(frozen=True)
class ViewLabels:
    """B views of side S. labels, pieces: int64 [B, S, S] (ids to 256, piece numbers to 255); weights: float
    [B, 257]; classes: int64 [B, 257]; owners: int64 [B, 256]."""

    labels: Tensor
    pieces: Tensor
    weights: Tensor
    classes: Tensor
    owners: Tensor


def pick_targets(view: ViewLabels, focus: Tensor, most: int, least: int, chance: Chance) -> tuple[Tensor, Tensor]:
    """Up to `most` different ids of at least `least` pixels a view, int64 [B, most], and which of them count, bool.

    `focus` [B] comes first where it is visible (-1: none), others by their weight (Gumbel's trick: the largest of
    log-weights with noise are a draw without replacement).
    """
    area = counts(view.labels, COUNT)
    usable = (area >= least) & (view.weights > 0)
    noise = -torch.log(-torch.log(chance.uniform(len(area), COUNT).clamp(1e-12, 1 - 1e-12)))
    score = torch.log(view.weights.clamp(min=1e-9)) + noise.to(view.weights)
    focused = torch.arange(COUNT, device=score.device) == focus[:, None]
    score = torch.where(focused, 1e6, score).masked_fill(~usable, -torch.inf)
    best = score.topk(most, 1)
    return best.indices, best.values.isfinite()


def target_masks(view: ViewLabels, ids: Tensor, least: int, config: Granularity, chance: Chance) -> Tensor:
    """The mask of each id [B, T], or of a union or piece of it: bool [B, T, S, S]. Pieces have `least` pixels too."""
    batch, most = ids.shape
    device = ids.device
    kind = chance.uniform(batch, most).to(device)
    member = torch.zeros(batch, most, COUNT, dtype=torch.bool, device=device).scatter_(2, ids[..., None], True)
    joined = chance.uniform(batch, most, COUNT).to(device)
    if config.touching:
        wanted = kind < config.touching
        member = member | (_touching(view, ids, joined) & wanted[..., None])
    if config.alike:
        wanted = (kind >= config.touching) & (kind < config.touching + config.alike)
        own = view.classes.gather(1, ids)[..., None]
        member = member | ((view.classes[:, None] == own) & (own > 0) & wanted[..., None])
    flat = view.labels.flatten(1)
    masks = member.gather(2, flat[:, None].expand(-1, most, -1))
    if config.piece:
        wanted = (kind >= config.touching + config.alike) & (kind < config.touching + config.alike + config.piece)
        usable = (view.owners[:, None] == ids[..., None]) & (counts(view.pieces, COUNT - 1) >= least)[:, None]
        chosen = joined[..., :-1].masked_fill(~usable, -1).argmax(2)
        piece = view.pieces.flatten(1)[:, None] == chosen[..., None]
        masks = torch.where((wanted & usable.any(2))[..., None], piece, masks)
    return masks.view(batch, most, *view.labels.shape[1:])


def counts(labels: Tensor, size: int) -> Tensor:
    """How often each value 0 … size - 1 occurs in each of int64 [B, S, S]: int64 [B, size]."""
    flat = labels.flatten(1)
    return torch.zeros(len(flat), size, dtype=torch.long, device=flat.device).scatter_add_(
        1, flat, torch.ones_like(flat)
    )


def _touching(view: ViewLabels, ids: Tensor, joined: Tensor) -> Tensor:
    """Neighbours of each id [B, T] that are joined: bool [B, T, 257], one for sure and the others one in two."""
    labels = view.labels
    batch = len(labels)
    pairs = torch.cat(
        [
            (labels[:, :, 1:] * COUNT + labels[:, :, :-1]).flatten(1),
            (labels[:, 1:] * COUNT + labels[:, :-1]).flatten(1),
        ],
        1,
    )
    touch = torch.zeros(batch, COUNT * COUNT, dtype=torch.bool, device=labels.device).scatter_(1, pairs, True)
    touch = touch.view(batch, COUNT, COUNT)
    touch = touch | touch.transpose(1, 2)
    rows = torch.arange(batch, device=labels.device)[:, None]
    of_kind = view.weights[:, None] == view.weights.gather(1, ids)[..., None]
    others = torch.arange(COUNT, device=labels.device) != ids[..., None]
    near = touch[rows, ids] & of_kind & others & (view.weights > 0)[:, None]
    near[..., IGNORE] = False
    drawn = joined.masked_fill(~near, -1)
    return near & ((drawn > 0.5) | (drawn == drawn.amax(2, keepdim=True)))
