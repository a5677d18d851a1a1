"""Losses of following objects through a scene as a tracker does: its own soft answers are what it remembers.

The first frame's masks are given. Whatever is wrong in an answer stands in memory for the next frame, so that the head
learns to drop it again, and not to trust memory more than it deserves. No gradient runs through what is remembered,
and the keys learn from one frame of a step, since gradients of comparisons are half of its work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.efficientnet_lite import MEAN, SCALE, EfficientNetLite
from segcli.models.layers.propagation.evidence import Kept, evidence
from segcli.models.layers.propagation.looks import CELL, Look
from segcli.models.layers.propagation.network import PropagationNet
from segcli.train.loop import Losses
from segcli.train.propagation_scenes import Scene
from segcli.train.propagation_warps import SIDE, roughened

_LOOK = Look(0, 0, SIDE, SIDE, (SIDE, SIDE))
_HALF = 0.5


@dataclass(frozen=True)
class PropagationRecipe:
    """What a step holds. Fractions are probabilities; the other weights are those of losses beside the last mask's."""

    scenes: int = 3
    frames: int = 5  # of a scene, the given one among them
    objects: int = 2
    videos: float = 0.4  # scenes from videos; the others are composed
    adrift: float = 0.3  # the second frame's mask is not asked for but known, roughly
    closer: float = 0.5  # the earlier mask is a first answer for the same frame, otherwise the answer before
    nothing: float = 0.06  # the earlier mask is empty
    rough: float = 0.2  # the earlier mask is roughened
    early: float = 0.4  # losses at strides 8 and 4
    votes: float = 0.15  # loss of each vote by itself, for the keys


@dataclass
class _Track:
    """One object of a scene: its place in the step, and what is remembered of it."""

    scene: int
    truth: Tensor  # [T, SIDE, SIDE]
    given: list[Kept]
    earlier: Tensor  # [1, h, w] at stride 8
    recent: list[Kept] = field(default_factory=list)
    lost: bool = False

    def learn(self, share: Tensor, keys: Tensor) -> None:
        """Remember an answer [h, w] at stride 8 as a tracker does: one that is out of sight says nothing new."""
        self.earlier = share[None]
        self.lost = float(share.max()) < _HALF
        if not self.lost:
            self.recent.append(Kept(_LOOK, keys.detach(), share.flatten()))


class Objective:
    """Losses of a network on scenes, over a frozen backbone."""

    def __init__(self, backbone: EfficientNetLite, recipe: PropagationRecipe, seed: int) -> None:
        self.backbone = backbone.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.rng = recipe, np.random.default_rng(seed)

    def __call__(self, net: nn.Module, step: list[Scene]) -> Losses:
        """`mask`, `early` and `votes`, means over the frames that were answered."""
        assert isinstance(net, PropagationNet)
        device = net.log_tau.device
        frames = torch.cat([scene.frames for scene in step]).to(device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            maps = {name: level.float() for name, level in self.backbone(frames).items()}
        maps["photo"] = (F.avg_pool2d(frames, 2) - MEAN) / SCALE
        # In bf16 the gradient of a dilated convolution with few channels is NaN on some CPUs.
        with torch.autocast(device.type, enabled=False):
            keys, tau = net.keys(maps), net.log_tau.exp()
            length = len(step[0].frames)
            tracks = self._begun(step, keys, length)
            begin = 1
            if self.rng.random() < self.recipe.adrift:
                for track in tracks:
                    rough = roughened(track.truth[1].cpu(), self.rng, 0.5).to(device)
                    track.learn(_cells(rough), keys[track.scene * length + 1])
                begin = 2
            compared = int(self.rng.integers(begin, length))
            answered = [
                self._answered(net, maps, keys, tau, tracks, t, length, compared=t == compared)
                for t in range(begin, length)
            ]
            names = {name for losses in answered for name in losses}
            return {n: torch.stack([losses[n] for losses in answered if n in losses]).mean() for n in sorted(names)}

    def _begun(self, step: Sequence[Scene], keys: Tensor, length: int) -> list[_Track]:
        tracks = []
        for number, scene in enumerate(step):
            for truth in scene.masks.transpose(0, 1).to(keys.device):
                cells = _cells(truth[0])
                given = [Kept(_LOOK, keys[number * length], cells.flatten())]
                tracks.append(_Track(number, truth, given, cells[None]))
        return tracks

    def _answered(
        self,
        net: PropagationNet,
        maps: dict[str, Tensor],
        keys: Tensor,
        tau: Tensor,
        tracks: list[_Track],
        t: int,
        length: int,
        *,
        compared: bool,
    ) -> Losses:
        """Losses in frame t of every scene, `votes` when the keys learn from it; the tracks remember the answers."""
        source = [track.scene * length + t for track in tracks]
        with torch.set_grad_enabled(compared and torch.is_grad_enabled()):
            seen = [
                evidence(keys[place], _LOOK, track.given, track.recent, tau, lost=track.lost)
                for place, track in zip(source, tracks, strict=True)
            ]
        own = {name: level[source] for name, level in maps.items()}
        found, said = torch.stack([maps_ for maps_, _ in seen]), torch.stack([votes for _, votes in seen])
        earlier = torch.stack([track.earlier for track in tracks])
        if self.rng.random() < self.recipe.closer:
            with torch.no_grad():
                earlier = F.avg_pool2d(_shares(net.found(own, found, said, earlier)[1], tracks), CELL // 4)
        earlier = torch.stack([self._disturbed(mask) for mask in earlier])
        logits8, logits4, logits2 = net(own, found, said, earlier)
        wanted = torch.stack([track.truth[t] for track in tracks])[:, None]
        shares = F.avg_pool2d(_shares(logits2.detach(), tracks), CELL // 2)
        for place, track, share in zip(source, tracks, shares, strict=True):
            track.learn(share[0], keys[place])
        at8 = F.avg_pool2d(wanted, CELL)
        early = mask_loss(logits8, at8) + mask_loss(logits4, F.avg_pool2d(wanted, 4))
        losses = {"mask": mask_loss(logits2, F.avg_pool2d(wanted, 2)), "early": self.recipe.early * early}
        if compared:
            alone = mask_loss(said[:, :1], at8) + mask_loss(said[:, 1:], at8)
            losses["votes"] = self.recipe.votes * alone
        return losses

    def _disturbed(self, mask: Tensor) -> Tensor:
        draw = self.rng.random()
        if draw < self.recipe.nothing:
            return torch.zeros_like(mask)
        if draw < self.recipe.nothing + self.recipe.rough:
            grown = F.interpolate(mask[None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0]
            return _cells(roughened(grown.cpu(), self.rng, 0.7).to(mask))[None]
        return mask


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Twice the binary cross-entropy and once the dice (with +1 smoothing), a mean over N masks [N, 1, h, w]."""
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
    share = logits.sigmoid()
    dice = 1 - (2 * (share * truth).sum((1, 2, 3)) + 1) / (share.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return (2 * bce + dice).mean()


def _shares(logits: Tensor, tracks: Sequence[_Track]) -> Tensor:
    """Logits [N, 1, h, w] -> shares of the same shape, at most 1 together for the objects of one scene."""
    shares = torch.empty_like(logits)
    for scene in {track.scene for track in tracks}:
        rows = [row for row, track in enumerate(tracks) if track.scene == scene]
        shares[rows] = F.pad(logits[rows], (0, 0, 0, 0, 0, 0, 1, 0)).softmax(0)[1:]
    return shares


def _cells(mask: Tensor) -> Tensor:
    """A mask [H, W] -> what part of each cell is covered, [h, w]."""
    return F.avg_pool2d(mask[None], CELL)[0]
