from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.propagation.evidence import CHANNELS, FEATURES
from segcli.models.layers.propagation.network import PropagationNet

SIZES = {"res1": 64, "res2": 32, "res3": 16, "res4": 8, "res5": 4}
LEVELS = dict.fromkeys(SIZES, 8)


@pytest.fixture(scope="module")
def maps() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    maps = {name: torch.randn(1, 8, side, side, generator=draw) for name, side in SIZES.items()}
    return maps | {"photo": torch.randn(1, 3, 64, 64, generator=draw)}


def fresh() -> PropagationNet:
    torch.manual_seed(0)
    return PropagationNet(LEVELS, dim=16, widths=(24, 12, 8)).eval().requires_grad_(False)


def test_an_untrained_head_answers_the_mean_of_its_votes(maps: dict[str, Tensor]):
    net, votes = fresh(), torch.randn(3, 2, 16, 16)
    found = torch.randn(3, CHANNELS + 2 * FEATURES, 16, 16)
    for out in (net.out8, net.out4, net.out2):
        torch.nn.init.zeros_(out.bias)
    coarse, middle, fine = net(maps, found, votes, torch.rand(3, 1, 16, 16))
    torch.testing.assert_close(coarse, votes.mean(1, keepdim=True))
    torch.testing.assert_close(middle, F.interpolate(coarse, size=(32, 32), mode="bilinear"))
    assert fine.shape == (3, 1, 64, 64)


def test_the_learned_surroundings_of_keys_begin_with_no_say(maps: dict[str, Tensor]):
    net = fresh()
    before = net.keys(maps)
    torch.nn.init.normal_(net.key_in.weight)
    torch.testing.assert_close(net.keys(maps), before)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(1, 256))


def test_what_is_remembered_of_a_cell_tells_its_sides_apart(maps: dict[str, Tensor]):
    net = fresh()
    left, right = torch.zeros(64, 64), torch.zeros(64, 64)
    left.view(16, 4, 16, 4)[..., :2], right.view(16, 4, 16, 4)[..., 2:] = 1, 1  # each cell half covered
    features = net.memory(maps, torch.stack([left, right])[:, None])
    assert features.shape == (2, FEATURES, 256)
    assert float((features[0] - features[1]).abs().max()) > 0.05
