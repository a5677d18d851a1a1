"""What propagation's keys and head learn: scenes, losses and rates; vos.py runs it (`seg train vos`).

The frozen backbone sees short scenes (propagation_scenes.py); of each the first frame's masks are given, the recent
frame's are known roughly, and the new frame's are wanted. A step has a few scenes with up to two objects each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.efficientnet_lite import MEAN, SCALE, EfficientNetLite
from segcli.models.layers.propagation.evidence import Kept, evidence
from segcli.models.layers.propagation.looks import CELL, Look
from segcli.models.layers.propagation.network import PropagationNet, joined_levels
from segcli.train.loop import Losses
from segcli.train.propagation_scenes import SIDE, Clip, Scene, composed, filmed, roughened
from segcli.train.views import TrainingPhoto

_LOOK = Look(0, 0, SIDE, SIDE, (SIDE, SIDE))
_VISIBLE = 0.002  # of the first frame, below it an object is not followed


@dataclass(frozen=True)
class PropagationRecipe:
    """What a step holds. Fractions are probabilities; the other weights are those of losses beside the last mask's."""

    scenes: int = 4
    objects: int = 2
    videos: float = 0.4  # scenes from videos; the others are composed
    exact: float = 0.4  # the recent mask as it is, otherwise roughened
    lost: float = 0.04  # nothing is known of the recent mask
    nothing: float = 0.1  # the earlier mask is empty
    coarse: float = 0.4  # the earlier mask is a rough one of the new frame, otherwise the recent one
    early: float = 0.4  # losses at strides 8 and 4
    votes: float = 0.15  # loss of each vote by itself, for the keys


def scenes(
    photos: Sequence[TrainingPhoto], clips: Sequence[Clip], recipe: PropagationRecipe, seed: int
) -> Iterator[list[Scene]]:
    """Endless steps' scenes. Same seed, same scenes."""
    rng = np.random.default_rng(seed)
    while True:
        step: list[Scene] = []
        while len(step) < recipe.scenes:
            if clips and rng.random() < recipe.videos:
                scene: Scene | None = filmed(clips[int(rng.integers(len(clips)))], rng)
            else:
                scene = composed(photos, rng)
            if scene is None:
                continue
            visible = np.flatnonzero(scene.masks[0].mean((1, 2)).numpy() > _VISIBLE)
            picked = rng.permutation(visible)[: recipe.objects].tolist()
            if picked:
                step.append(Scene(scene.frames, scene.masks[:, picked]))
        yield step


class Objective:
    """Losses of a network on scenes, over a frozen backbone."""

    def __init__(self, backbone: EfficientNetLite, recipe: PropagationRecipe, seed: int) -> None:
        self.backbone, self.recipe, self.rng = (
            backbone.eval().requires_grad_(False),
            recipe,
            np.random.default_rng(seed),
        )

    def __call__(self, net: nn.Module, step: list[Scene]) -> Losses:
        """`mask`, `early` and `votes`."""
        assert isinstance(net, PropagationNet)
        device = net.log_tau.device
        frames = torch.cat([scene.frames for scene in step]).to(device)
        with torch.no_grad():
            maps = {name: level.float() for name, level in self.backbone(frames).items()}
        maps["photo"] = (F.avg_pool2d(frames, 2) - MEAN) / SCALE
        # In bf16 the gradient of a dilated convolution with few channels is NaN on some CPUs.
        with torch.autocast(device.type, enabled=False):
            return self._losses(net, step, maps)

    def _losses(self, net: PropagationNet, step: list[Scene], maps: dict[str, Tensor]) -> Losses:
        keys = net.keys(maps)
        tau = net.log_tau.exp()
        found, votes, earlier, source, truth = [], [], [], [], []
        for number, scene in enumerate(step):
            first, recent, new = keys[3 * number : 3 * number + 3]
            for given, before, wanted in scene.masks.transpose(0, 1):
                known = self._recent(before)
                in_first = [Kept(_LOOK, first, _cells(given).flatten().to(first))]
                in_recent = [Kept(_LOOK, recent, _cells(known).flatten().to(recent))]
                maps_, votes_ = evidence(new, _LOOK, in_first, in_recent, tau)
                found.append(maps_)
                votes.append(votes_)
                earlier.append(_cells(self._earlier(known, wanted)).to(new))
                source.append(3 * number + 2)
                truth.append(wanted)
        wanted = torch.stack(truth)[:, None].to(keys)
        own = {name: level[source] for name, level in maps.items()}
        said = torch.stack(votes)
        coarse, middle, fine = net(own, torch.stack(found), said, torch.stack(earlier)[:, None])
        at8 = F.avg_pool2d(wanted, CELL)
        early = mask_loss(coarse, at8) + mask_loss(middle, F.avg_pool2d(wanted, 4))
        alone = mask_loss(said[:, :1], at8) + mask_loss(said[:, 1:], at8)
        return {
            "mask": mask_loss(fine, F.avg_pool2d(wanted, 2)),
            "early": self.recipe.early * early,
            "votes": self.recipe.votes * alone,
        }

    def _recent(self, mask: Tensor) -> Tensor:
        draw = self.rng.random()
        if draw < self.recipe.exact:
            return mask
        return torch.zeros_like(mask) if draw > 1 - self.recipe.lost else roughened(mask, self.rng, 0.5)

    def _earlier(self, recent: Tensor, wanted: Tensor) -> Tensor:
        draw = self.rng.random()
        if draw < self.recipe.nothing:
            return torch.zeros_like(wanted)
        return roughened(wanted, self.rng, 0.9) if draw < self.recipe.nothing + self.recipe.coarse else recent


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Twice the binary cross-entropy and once the dice (with +1 smoothing), a mean over N masks [N, 1, h, w]."""
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
    share = logits.sigmoid()
    dice = 1 - (2 * (share * truth).sum((1, 2, 3)) + 1) / (share.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return (2 * bce + dice).mean()


@torch.no_grad()
def start_keys(net: PropagationNet, backbone: EfficientNetLite, frames: Tensor) -> None:
    """The keys begin as the principal directions of the backbone's levels, so that they compare as those do.

    frames: float [N, 3, H, W] in 0..255.
    """
    cells = torch.cat([joined_levels(backbone(frame[None]))[0].flatten(1).T for frame in frames])
    _, directions = torch.linalg.eigh((cells.T @ cells / len(cells)).double())
    dim = net.key.weight.shape[0]
    net.key.weight.copy_(directions[:, -dim:].T[:, :, None, None])


def groups(named: list[tuple[str, nn.Parameter]], decay: float) -> list[dict[str, Any]]:
    """Keys, temperature and gains learn at 0.3 of the rate: they start well."""
    slow = {"key.weight", "log_tau", "gain"}
    return [
        {"params": [p for n, p in named if n not in slow], "weight_decay": decay},
        {"params": [p for n, p in named if n in slow], "weight_decay": decay, "scale": 0.3},
    ]


def _cells(mask: Tensor) -> Tensor:
    return F.avg_pool2d(mask[None], CELL)[0]
