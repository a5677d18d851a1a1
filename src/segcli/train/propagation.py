"""What propagation's keys and head learn: scenes, losses and rates; vos.py runs it (`seg train vos`).

The frozen backbone sees short scenes (propagation_scenes.py); of each the first frame's masks are given, the recent
frame's are known roughly or as the network answers them, and the new frame's are wanted. As in use, the first frame may
be remembered in several views, and the new frame's rough mask may be the network's own. A step has a few scenes with up
to two objects each.
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
from segcli.models.layers.propagation.network import SUBCELL, PropagationNet, joined_levels
from segcli.train.loop import Losses
from segcli.train.propagation_scenes import SIDE, Clip, Scene, composed, filmed, roughened, viewed
from segcli.train.views import TrainingPhoto

Maps = dict[str, Tensor]
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
    coarse: float = 0.3  # the earlier mask is a rough one of the new frame, otherwise the recent one
    views: int = 2  # at most so many views of the first frame beside the plain one
    answered: float = 0.3  # steps in which the recent mask is the network's own answer
    second: float = 0.4  # steps in which the earlier mask is the network's own answer at stride 4
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
                scene: Scene | None = filmed(clips[int(rng.integers(len(clips)))], rng, photos)
            else:
                scene = composed(photos, rng, clips)
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
        backbone = backbone.eval().requires_grad_(False)
        self.backbone: EfficientNetLite = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.rng = recipe, np.random.default_rng(seed)

    def __call__(self, net: nn.Module, step: list[Scene]) -> Losses:
        """`mask`, `early` and `votes`."""
        assert isinstance(net, PropagationNet)
        device = net.log_tau.device
        views = int(self.rng.integers(0, self.recipe.views + 1))
        looks = [seen for scene in step for seen in self._looks(scene, views)]
        frames = torch.stack([frame for frame, _ in looks]).to(device, memory_format=torch.channels_last)
        with torch.no_grad():
            # In bf16 and channels last the gradient of a dilated convolution is NaN on some CPUs.
            maps = {name: level.float().contiguous() for name, level in self.backbone(frames).items()}
        maps["photo"] = ((F.avg_pool2d(frames, 2) - MEAN) / SCALE).contiguous()
        return self._losses(net, step, [masks.to(device) for _, masks in looks], maps, views)

    def _looks(self, scene: Scene, views: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The new frame and its masks, the recent one, the first one, and views of the first one."""
        yield from ((scene.frames[i], scene.masks[i]) for i in (2, 1, 0))
        for _ in range(views):
            yield viewed(scene.frames[0], scene.masks[0], self.rng)

    def _losses(self, net: PropagationNet, step: list[Scene], masks: list[Tensor], maps: Maps, views: int) -> Losses:
        keys, each = net.keys(maps), 3 + views
        owners = [(each * n, k) for n, scene in enumerate(step) for k in range(scene.masks.shape[1])]
        given = [
            self._kept(net, maps, keys, [at + i for at, _ in owners], [masks[at + i][k] for at, k in owners])
            for i in reversed(range(2, each))  # the plain look is the last one
        ]
        first = [list(looks) for looks in zip(*given, strict=True)]
        new, recent = [at for at, _ in owners], [at + 1 for at, _ in owners]
        known = [self._recent(masks[at + 1][k]) for at, k in owners]
        if self.rng.random() < self.recipe.answered:
            before = [self._earlier(masks[at + 2][k], masks[at + 1][k]) for at, k in owners]
            known = self._answered(net, maps, keys, recent, first, _cells(torch.stack(before)))
        kept = self._kept(net, maps, keys, recent, known)
        evidence_, said = self._evidence(net, keys, new, first, [[k] for k in kept])
        wanted = torch.stack([masks[at][k] for at, k in owners])[:, None]
        earlier = _cells(torch.stack([self._earlier(a, b) for a, b in zip(known, wanted[:, 0], strict=True)]))
        own = _of(maps, new)
        if self.rng.random() < self.recipe.second:
            with torch.no_grad():
                earlier = F.avg_pool2d(net.found(own, evidence_, said, earlier)[1].float().sigmoid(), 2)
        coarse, middle, fine = (logits.float() for logits in net(own, evidence_, said, earlier))
        at8 = F.avg_pool2d(wanted, CELL)
        early = mask_loss(coarse, at8) + mask_loss(middle, F.avg_pool2d(wanted, 4))
        alone = mask_loss(said[:, :1], at8) + mask_loss(said[:, 1:], at8)
        return {
            "mask": mask_loss(fine, F.avg_pool2d(wanted, 2)),
            "early": self.recipe.early * early,
            "votes": self.recipe.votes * alone,
        }

    def _kept(
        self, net: PropagationNet, maps: Maps, keys: Tensor, at: list[int], masks: Sequence[Tensor]
    ) -> list[Kept]:
        """Looks `at` remembered with masks [SIDE, SIDE], one each."""
        stacked = torch.stack(list(masks))[:, None]
        features = net.memory(_of(maps, at), F.avg_pool2d(stacked, SUBCELL))
        values = F.avg_pool2d(stacked, CELL).flatten(1)
        return [Kept(_LOOK, keys[i], v, f) for i, v, f in zip(at, values, features, strict=True)]

    @torch.no_grad()
    def _answered(
        self, net: PropagationNet, maps: Maps, keys: Tensor, at: list[int], given: list[list[Kept]], earlier: Tensor
    ) -> list[Tensor]:
        """The network's own soft masks [SIDE, SIDE] of looks `at`."""
        found, votes = self._evidence(net, keys, at, given, [[] for _ in at])
        fine = net(_of(maps, at), found, votes, earlier)[2].float().sigmoid()
        return list(F.interpolate(fine, size=(SIDE, SIDE), mode="bilinear")[:, 0])

    def _evidence(
        self, net: PropagationNet, keys: Tensor, at: list[int], given: list[list[Kept]], recent: list[list[Kept]]
    ) -> tuple[Tensor, Tensor]:
        tau = net.log_tau.exp()
        with torch.autocast(keys.device.type, enabled=False):
            pairs = [evidence(keys[i], _LOOK, g, r, tau) for i, g, r in zip(at, given, recent, strict=True)]
        return torch.stack([maps for maps, _ in pairs]), torch.stack([votes for _, votes in pairs])

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


def _cells(masks: Tensor) -> Tensor:
    return F.avg_pool2d(masks[:, None], CELL)


def _of(maps: Maps, at: list[int]) -> Maps:
    return {name: level[at] for name, level in maps.items()}
