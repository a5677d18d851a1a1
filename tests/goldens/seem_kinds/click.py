"""The next-click rule of training and evaluation (kind `click`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.seem.next_click import next_clicks
from tests.goldens.contract import Golden, Outcome
from tests.goldens.seem_kinds.recorded import Recorded


@torch.no_grad()
def run(golden: Golden) -> Outcome:
    recorded = Recorded.read(golden)
    previous = recorded.get("in.prev_mask")
    objects = previous.shape[1]
    stacked: dict[str, list[Tensor]] = {"region": [], "distance": [], "argmax": [], "false_positive": []}
    outputs: dict[str, Tensor] = {}
    for b, (truth, positive, negative) in enumerate(
        zip(recorded.many("in.gt"), recorded.many("in.pos"), recorded.many("in.neg"), strict=True)
    ):
        count = truth.shape[0]
        height, width = positive.shape[-2:]
        missing = objects - count

        def fill(masks: Tensor, missing: int = missing, size: tuple[int, int] = (height, width)) -> Tensor:
            return F.pad(masks, (0, size[1] - masks.shape[2], 0, size[0] - masks.shape[1], 0, missing))

        clicks = next_clicks(previous[b], fill(truth), fill(positive), fill(negative))
        outputs[f"pos.{b}"], outputs[f"neg.{b}"] = clicks.positive[:count], clicks.negative[:count]
        stacked["region"].append(clicks.region)
        stacked["distance"].append(clicks.depth)
        stacked["argmax"].append(clicks.place)
        stacked["false_positive"].append(clicks.wrong)
    return recorded.compare(outputs | {key: torch.stack(values) for key, values in stacked.items()})
