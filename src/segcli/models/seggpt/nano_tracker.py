"""Objects through a video with seggpt-nano: the frames so far are the examples of the next one.

SegGPT's own loop (`tracker.py`) paints each frame from the first one and a queue of the latest answers. This one keeps
that contract and compares cells in place of painting: a memory of (features, mask values), the first frame always in
it, read by the shared propagation (`layers/propagation`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.backbones.efficientnet_lite import MEAN, SCALE
from segcli.models.layers.propagation.network import PropagationNet
from segcli.models.layers.propagation.propagator import Propagator
from segcli.models.seggpt.nano import SegGPTNano


def nano_tracker(
    network: SegGPTNano, net: PropagationNet, name: str, *, memory: int = 8, every: int = 1, soft: bool = True
) -> Propagator:
    """A fresh tracker over the member's own backbone, see `Propagator`."""

    def seen(pixels: Tensor) -> dict[str, Tensor]:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        maps: dict[str, Tensor] = dict(network.backbone(pixels))
        maps["photo"] = (F.avg_pool2d(pixels, 2) - MEAN) / SCALE
        return maps

    return Propagator(name, seen, net, capacity=memory, every=every, soft=soft)
