"""A backbone that sees colours only, and a small head that nothing has trained: fast, and enough for bright shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.propagation.network import PropagationNet
from segcli.models.layers.propagation.propagator import Propagator

CHANNELS = {f"res{i}": 8 for i in range(1, 6)}


def colours(images: Tensor) -> dict[str, Tensor]:
    """[1, 3, H, W] in 0..255 -> every level the mean colour of its cells, put through fixed random weights."""
    mix = torch.randn(8, 3, generator=torch.Generator().manual_seed(3))
    centred = (images - 127) / 64
    maps = {"photo": F.avg_pool2d(centred, 2)}
    for level in range(1, 6):
        maps[f"res{level}"] = torch.einsum("oc,bchw->bohw", mix, F.avg_pool2d(centred, 2**level)).contiguous()
    return maps


@pytest.fixture(scope="session")
def net() -> PropagationNet:
    torch.manual_seed(0)
    return PropagationNet(CHANNELS, dim=16, widths=(24, 12, 8)).eval().requires_grad_(False)


@pytest.fixture
def fresh(net: PropagationNet) -> Callable[..., Propagator]:
    def start(**options: int) -> Propagator:
        return Propagator("tiny", colours, net, **options)

    return start
