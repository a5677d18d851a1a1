"""Matching, losses and their gradients (kind `loss`)."""

from __future__ import annotations

import torch
from torch import Tensor

from segcli.train.seem_loss import ImageTargets, LossConfig, SeemLoss, StagePredictions
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded

FIELDS = {
    "logits": "pred_logits",
    "masks": "pred_masks",
    "text_masks": "pred_gmasks",
    "text_embeddings": "pred_gtexts",
    "spatial_masks": "pred_smasks",
    "spatial_embeddings": "pred_smaskembs",
    "marked": "pred_pspatials",
}


def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    meta = recorded.meta
    names = [*(f"aux.{i}" for i in range(meta["n_aux"])), "final"]
    inputs: dict[str, Tensor] = {}
    stages = []
    for name in names:
        values = {}
        for field, key in FIELDS.items():
            full = f"{name}.{key}"
            if f"in.{full}" in recorded.tensors:
                inputs[full] = values[field] = recorded.get(f"in.{full}").clone().requires_grad_(True)
        stages.append(StagePredictions(**values))
    targets = []
    for b in range(meta["B"]):
        prefix = f"in.target.{b}."
        targets.append(
            ImageTargets(
                recorded.get(prefix + "labels"),
                recorded.get(prefix + "masks"),
                recorded.get(prefix + "gt_spatial_masks"),
                recorded.get(prefix + "grounding_masks"),
                recorded.get(prefix + "grounding_class_embs"),
                recorded.get(prefix + "grounding_hash"),
                meta["grounding_task"][b],
            )
        )
    points = recorded.setting("MODEL.DECODER.TRAIN_NUM_POINTS", "points", 12544)
    loss = SeemLoss(LossConfig(points=points), recorded.draws())
    losses = loss(stages, targets, recorded.get("in.logit_scale"))
    total = loss.total(losses)
    total.backward()
    outputs: dict[str, Tensor] = {**losses, "total_weighted": total}
    for number, (kind, matches) in enumerate(loss.matches):
        outputs |= {f"match.{number:02}.{kind}.{b}": torch.stack(match) for b, match in enumerate(matches)}
    for name, value in inputs.items():
        outputs[f"gradnorm.{name}"] = torch.zeros(()) if value.grad is None else value.grad.norm()
    return recorded.compare(outputs)
