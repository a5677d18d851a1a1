"""SEEM's training loss: classes and masks, words, and marks, each with its own matching (section 3.3, equation 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.seem.similarity import text_similarity
from segcli.train.losses import mask_bce, mask_dice, query_cross_entropy, shared_text_targets
from segcli.train.matching import Match, assign, bce_cost, dice_cost, forbid, iou_cost
from segcli.train.points import Uniform, read_at, uncertain_points


@dataclass(frozen=True)
class StagePredictions:
    """One stage of the decoder. What is None was not predicted.

    logits: [B, Q, K + 1]; masks: [B, Q, h, w].
    text_masks: [B, Q, h, w]; text_embeddings: [B, Q, C].
    spatial_masks: [B, q * n, h, w], the queries of object 0 first; spatial_embeddings: [B, q * n, M];
    marked: [B, n, M], the mean mask feature under each object's marks.
    """

    logits: Tensor | None = None
    masks: Tensor | None = None
    text_masks: Tensor | None = None
    text_embeddings: Tensor | None = None
    spatial_masks: Tensor | None = None
    spatial_embeddings: Tensor | None = None
    marked: Tensor | None = None


@dataclass(frozen=True)
class ImageTargets:
    """Truth of one image: masks are [*, H, W] of the padded image (any size: they are read at points).

    text_hashes: equal for texts that mean the same; text_mode: "text" (sentences) or "class" (class names).
    """

    labels: Tensor
    masks: Tensor
    spatial_masks: Tensor
    text_masks: Tensor
    text_embeddings: Tensor
    text_hashes: Tensor
    text_mode: str = "text"


@dataclass(frozen=True)
class Weights:
    """Weights of cross-entropy, mask BCE and Dice."""

    ce: float
    bce: float
    dice: float


def paper_weights() -> dict[str, Weights]:
    """Weights as the paper prints them."""
    return {"mask": Weights(2, 5, 5), "spatial": Weights(0.2, 2, 2), "grounding": Weights(0.2, 2, 2)}


def released_weights() -> dict[str, Weights]:
    """Weights of the released configurations."""
    return {"mask": Weights(2, 5, 5), "spatial": Weights(0.4, 1, 1), "grounding": Weights(0.4, 1, 1)}


@dataclass(frozen=True)
class LossConfig:
    """weights: of each loss in `total`; cost: of class, BCE and Dice in the matching (one for all, as released).

    matching: "points" compares masks by BCE and Dice as released; "iou" by IoU for words and marks, as the paper's
    equations 5 and 6 have it.
    """

    points: int = 12544
    weights: Mapping[str, Weights] = field(default_factory=released_weights)
    cost: Weights = field(default_factory=lambda: Weights(2, 5, 5))
    matching: str = "points"
    no_object: float = 0.1
    text_mode: Mapping[str, float] = field(default_factory=lambda: {"text": 2.0, "class": 0.5})


class SeemLoss:
    """Unweighted losses of every stage under their published names, and their weighted sum.

    `matches` keeps the assignments of the last call in order: (kind, one match an image).
    """

    def __init__(self, config: LossConfig, draws: Uniform) -> None:
        self.config = config
        self.draws = draws
        self.matches: list[tuple[str, list[Match]]] = []

    def __call__(
        self, stages: Sequence[StagePredictions], targets: Sequence[ImageTargets], logit_scale: Tensor
    ) -> dict[str, Tensor]:
        """Losses of stages in the decoder's order (the last is final): `loss_mask_ce_0` ... counted from the end."""
        self.matches = []
        losses: dict[str, Tensor] = {}
        for back, stage in enumerate(reversed(stages)):
            found = {**self._masks(stage, targets), **self._spatial(stage, targets)}
            found |= self._grounding(stage, targets, logit_scale)
            losses |= {f"loss_{name}_{back}": value for name, value in found.items()}
        return losses

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum."""
        terms = []
        for name, value in losses.items():
            _, kind, term, _ = name.split("_")
            terms.append(getattr(self.config.weights[kind], term) * value)
        return torch.stack(terms).sum()

    def _match(self, kind: str, class_costs: Sequence[Tensor], masks: Tensor, truths: Sequence[Tensor]) -> list[Match]:
        cost = self.config.cost
        matches = []
        for b, (class_cost, truth) in enumerate(zip(class_costs, truths, strict=True)):
            points = self.draws.uniform((1, self.config.points, 2)).to(masks.device)
            with torch.no_grad():
                ours, theirs = read_at(masks[b].float(), points), read_at(truth.float(), points)
                if self.config.matching == "iou" and kind != "default":
                    total = class_cost + iou_cost(ours, theirs)
                else:
                    total = (
                        cost.ce * class_cost + cost.bce * bce_cost(ours, theirs) + cost.dice * dice_cost(ours, theirs)
                    )
            matches.append(assign(total))
        self.matches.append((kind, matches))
        return matches

    def _mask_losses(
        self, name: str, masks: Tensor, truths: Sequence[Tensor], matches: Sequence[Match], count: float
    ) -> dict[str, Tensor]:
        ours = torch.cat([masks[b, queries] for b, (queries, _) in enumerate(matches)])
        theirs = torch.cat([truth[found] for truth, (_, found) in zip(truths, matches, strict=True)]).float()
        points = uncertain_points(ours, self.config.points, self.draws)
        ours, theirs = read_at(ours, points), read_at(theirs, points)
        return {f"{name}_bce": mask_bce(ours, theirs, count), f"{name}_dice": mask_dice(ours, theirs, count)}

    def _masks(self, stage: StagePredictions, targets: Sequence[ImageTargets]) -> dict[str, Tensor]:
        if stage.logits is None or stage.masks is None:
            return {}
        logits, truths = stage.logits, [target.masks for target in targets]
        costs = [-logits[b].softmax(-1)[:, target.labels] for b, target in enumerate(targets)]
        matches = self._match("default", costs, stage.masks, truths)
        background = logits.shape[-1] - 1
        wanted = torch.full(logits.shape[:2], background, dtype=torch.long, device=logits.device)
        for b, (queries, found) in enumerate(matches):
            wanted[b, queries] = targets[b].labels[found]
        weight = torch.ones(background + 1, device=logits.device)
        weight[background] = self.config.no_object
        losses = {"mask_ce": F.cross_entropy(logits.transpose(1, 2), wanted, weight)}
        count = max(sum(target.labels.numel() for target in targets), 1)
        return losses | self._mask_losses("mask", stage.masks, truths, matches, count)

    def _spatial(self, stage: StagePredictions, targets: Sequence[ImageTargets]) -> dict[str, Tensor]:
        if stage.spatial_masks is None or stage.spatial_embeddings is None or stage.marked is None:
            return {}
        objects = stage.marked.shape[1]
        logits = stage.spatial_embeddings @ stage.marked.transpose(1, 2)  # [B, q * n, n]
        truths = [target.spatial_masks for target in targets]
        if not any(truth.any() for truth in truths):  # not even matched, as released
            nothing = logits.sum() * 0 + stage.spatial_masks.sum() * 0
            return {"spatial_ce": nothing, "spatial_bce": nothing, "spatial_dice": nothing}
        owner = torch.arange(logits.shape[1], device=logits.device) // (logits.shape[1] // objects)
        costs = []
        for b, truth in enumerate(truths):
            own = owner[:, None] == torch.arange(truth.shape[0], device=owner.device)
            similarity = logits[b, :, : truth.shape[0]].masked_fill(~own, -torch.inf).softmax(0)
            costs.append(forbid(-similarity, own))
        matches = self._match("spatial", costs, stage.spatial_masks, truths)
        # Of objects whose mask is empty nothing is learned, as released: they take part in the matching only.
        kept = [_not_empty(match, truth) for match, truth in zip(matches, truths, strict=True)]
        # The cross-entropy itself runs over the queries of all objects, as released.
        rows = [logits[b].t()[found] for b, (_, found) in enumerate(kept)]
        wanted = torch.cat([queries for queries, _ in kept]).to(logits.device)
        losses = {"spatial_ce": F.cross_entropy(torch.cat(rows), wanted)}
        return losses | self._mask_losses("spatial", stage.spatial_masks, truths, kept, wanted.numel())

    def _grounding(
        self, stage: StagePredictions, targets: Sequence[ImageTargets], logit_scale: Tensor
    ) -> dict[str, Tensor]:
        if stage.text_masks is None or stage.text_embeddings is None:
            return {}
        logits = [
            text_similarity(stage.text_embeddings[b], target.text_embeddings, logit_scale)
            for b, target in enumerate(targets)
        ]
        truths = [target.text_masks for target in targets]
        matches = self._match("grounding", [-one.softmax(0) for one in logits], stage.text_masks, truths)
        terms = []
        for one, target, (queries, found) in zip(logits, targets, matches, strict=True):
            wanted = shared_text_targets(queries, found, target.text_hashes.cpu(), one.shape[0]).to(one)
            terms.append(self.config.text_mode[target.text_mode] * query_cross_entropy(one, wanted))
        count = max(sum(queries.numel() for queries, _ in matches), 1)
        losses = {"grounding_ce": torch.stack(terms).mean()}
        return losses | self._mask_losses("grounding", stage.text_masks, truths, matches, count)


def _not_empty(match: Match, truth: Tensor) -> Match:
    """The pairs whose target has a pixel; truth: [T, H, W]."""
    queries, found = match
    shown = truth.flatten(1).any(1).cpu()[found]
    return queries[shown], found[shown]
