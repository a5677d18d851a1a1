"""Post-processing to semantic, panoptic and instance output (kind `post`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segcli.models.seem.postprocess import instances, panoptic, resize_masks, semantic
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded


def outputs_of(logits: Tensor, masks: Tensor, meta: dict[str, Any]) -> dict[str, Tensor]:
    """All three outputs under the recorded names, from class logits and resized mask logits."""
    things = set(meta["thing_ids"])
    map_, segments = panoptic(logits, masks, things, meta["object_mask_threshold"], meta["overlap_threshold"])
    found = instances(logits, masks, things, meta["topk"])
    order = found.scores.argsort(descending=True)
    rows = [[s.id, s.category, int(s.isthing)] for s in segments]
    return {
        "sem_seg": semantic(logits, masks),
        "panoptic_seg": map_,
        "segments_info": torch.tensor(rows, dtype=torch.int64).reshape(-1, 3),
        "inst_scores_sorted": found.scores[order],
        "inst_classes_sorted": found.categories[order],
        "inst_masks_sorted": found.masks[order],
    }


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    meta = recorded.meta
    sizes = [(meta[key][0], meta[key][1]) for key in ("padded_size", "image_size", "output_size")]
    masks = resize_masks(recorded.get("in.pred_masks"), *sizes)
    return recorded.compare({"masks_resized": masks, **outputs_of(recorded.get("in.pred_logits"), masks, meta)})
