"""Objects through a video with seem-nano: what propagation finds is the visual prompt of a second look.

SEEM follows an object by prompting each frame with an earlier mask (section 4.3 of the paper). At a nano size the
features of a mask alone don't find an object again, so the shared propagation (`layers/propagation`) finds it, and its
soft mask prompts the click path, which knows borders better.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segcli.models.layers.propagation.network import PropagationNet
from segcli.models.layers.propagation.propagator import Maps, Propagator
from segcli.models.seem.click_path import PromptMaps
from segcli.models.seem.nano import SeemNano

_OWN = "click."  # before the names of the maps that only the click path reads
_WEIGHT = 0.5  # of the click path's logits beside propagation's


def nano_tracker(
    model: SeemNano, net: PropagationNet, name: str, *, memory: int = 8, every: int = 1, soft: bool = True
) -> Propagator:
    """A fresh tracker over the member's own backbone, see `Propagator`."""
    return Propagator(
        name,
        lambda pixels: _both(model, pixels),
        net,
        lambda maps, rough: prompted(model, maps, rough),
        weight=_WEIGHT,
        capacity=memory,
        every=every,
        soft=soft,
    )


def prompted(model: SeemNano, maps: Maps, rough: Tensor) -> Tensor:
    """The click path's answer to a rough mask [1, 1, H/4, W/4] in 0..1: logits [1, 1, H/2, W/2].

    maps: of the look, as `_both` gives them.
    """
    own = {name.removeprefix(_OWN): map_ for name, map_ in maps.items() if name.startswith(_OWN)} or maps
    no_points = rough.new_tensor([[[0.0, 0.0, -1.0]]])
    prompts = PromptMaps(no_points, torch.full_like(rough, 0.5), rough)
    only = torch.zeros(1, dtype=torch.long, device=rough.device)
    return model.answer(model.encode_features(own), prompts, only).final


def _both(model: SeemNano, pixels: Tensor) -> Maps:
    """Maps for propagation, and those that the click path reads beside them if it has a backbone of its own."""
    maps = model.encode_shared(pixels)
    if model.click_backbone is None:
        return maps
    return maps | {_OWN + name: map_ for name, map_ in model.encode_backbone(pixels).items()}
