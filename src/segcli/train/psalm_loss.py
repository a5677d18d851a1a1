"""PSALM's losses: masks at points, and one term for what a batch was asked with (PSALM, section 3.4, supplement).

Every one of the decoder's predictions is matched anew with the targets and contributes the same terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.psalm.decoder import StagePrediction
from segcli.train.losses import mask_bce, mask_dice
from segcli.train.matching import Match, assign, bce_cost, dice_cost
from segcli.train.points import Uniform, read_at, uncertain_points

_NO_OBJECT = 0.1  # weight of the background in the classes' cross-entropy


@dataclass(frozen=True)
class PsalmLossConfig:
    """Weights of the terms, in the cost of matching too, and how masks are read."""

    classes: float = 2.0
    mask: float = 5.0
    dice: float = 5.0
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75


@dataclass(frozen=True)
class Targets:
    """What one photo holds: masks [T, H, W] in 0..1 at any size; labels [T], places in the list of classes."""

    masks: Tensor
    labels: Tensor


class PsalmLoss:
    """Losses of a batch. A segmentation batch is asked with one kind of condition: classes, sentences or regions."""

    def __init__(self, config: PsalmLossConfig, draws: Uniform) -> None:
        self.config, self.draws = config, draws

    def __call__(self, stages: Sequence[StagePrediction], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Unweighted terms of all stages (the answer's without a suffix, earlier ones `_0`, `_1`, …)."""
        losses, _ = self.with_matches(stages, targets)
        return losses

    def with_matches(
        self, stages: Sequence[StagePrediction], targets: Sequence[Targets]
    ) -> tuple[dict[str, Tensor], list[list[Match]]]:
        """The terms, and per stage (the answer first) which query got which target of each photo."""
        losses: dict[str, Tensor] = {}
        matches = []
        for number, stage in enumerate([stages[-1], *stages[:-1]]):
            matched = [self._match(stage, index, target) for index, target in enumerate(targets)]
            terms = self._masks(stage, targets, matched) | _scores(stage, targets, matched)
            losses |= {name if number == 0 else f"{name}_{number - 1}": value for name, value in terms.items()}
            matches.append(matched)
        return losses, matches

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of `losses`."""
        return torch.stack(list(self.weighted(losses).values())).sum()

    def weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each term times its weight."""
        return {name: value * self._weight(name) for name, value in losses.items()}

    def _weight(self, name: str) -> float:
        if name.startswith("loss_mask"):
            return self.config.mask
        return self.config.dice if name.startswith("loss_dice") else self.config.classes

    @torch.no_grad()
    def _match(self, stage: StagePrediction, index: int, target: Targets) -> Match:
        points = self.draws.uniform((1, self.config.points, 2)).to(stage.masks.device)
        logits = read_at(stage.masks[index].float(), points)
        truth = read_at(target.masks.float(), points)
        cost = self.config.mask * bce_cost(logits, truth) + self.config.dice * dice_cost(logits, truth)
        if stage.classes is not None:
            cost = cost - self.config.classes * stage.classes[index].float().softmax(-1)[:, target.labels.long()]
        return assign(cost)

    def _masks(self, stage: StagePrediction, targets: Sequence[Targets], matched: Sequence[Match]) -> dict[str, Tensor]:
        logits = torch.cat([stage.masks[b][queries] for b, (queries, _) in enumerate(matched)]).float()
        truth = torch.cat([t.masks[chosen] for t, (_, chosen) in zip(targets, matched, strict=True)]).float()
        count = max(1, sum(len(t.masks) for t in targets))
        points = uncertain_points(
            logits, self.config.points, self.draws, self.config.oversample, self.config.importance
        )
        read, inside = read_at(logits, points), read_at(truth, points)
        return {"loss_mask": mask_bce(read, inside, count), "loss_dice": mask_dice(read, inside, count)}


def _scores(stage: StagePrediction, targets: Sequence[Targets], matched: Sequence[Match]) -> dict[str, Tensor]:
    """The term of whatever the batch was asked with."""
    losses: dict[str, Tensor] = {}
    masks = sum(len(t.masks) for t in targets)
    if stage.classes is not None:
        logits = stage.classes.float()
        last = logits.shape[-1] - 1
        labels = torch.full(logits.shape[:2], last, device=logits.device)
        for b, (queries, chosen) in enumerate(matched):
            labels[b, queries] = targets[b].labels.to(labels)[chosen]
        weight = torch.ones(last + 1, device=logits.device)
        weight[last] = _NO_OBJECT
        losses["loss_class_name_class"] = F.cross_entropy(logits.transpose(1, 2), labels, weight)
    if stage.sentence is not None:
        flat = stage.sentence.float()[..., 0]
        meant = torch.zeros_like(flat)
        for b, (queries, _) in enumerate(matched):
            meant[b, queries] = 1
        losses["loss_SEG_class"] = _rare(flat.flatten(), meant.flatten(), masks)
    if stage.regions is not None:
        each = []
        for logits, (queries, chosen) in zip(stage.regions, matched, strict=True):
            right = torch.zeros_like(logits, dtype=torch.float32)
            right[chosen, queries] = 1
            each.append((logits.float().flatten(), right.flatten()))
        losses["loss_region_class"] = _rare(torch.cat([e[0] for e in each]), torch.cat([e[1] for e in each]), masks)
    return losses


def _rare(logits: Tensor, right: Tensor, positives: int) -> Tensor:
    """Binary cross-entropy in which the few right answers weigh as much as all the others."""
    weight = torch.tensor((logits.numel() - positives) / max(1, positives), device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, right, pos_weight=weight)
