from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.propagation.evidence import CHANNELS, RADIUS, Kept, compare, evidence, nearby
from segcli.models.layers.propagation.looks import Look

LOOK = Look(0, 0, 320, 256, (256, 320))
TAU = torch.tensor(0.05)


def keys(seed: int, cells: int = 32 * 40) -> Tensor:
    return F.normalize(torch.randn(12, cells, generator=torch.Generator().manual_seed(seed)), dim=0)


def half() -> Tensor:
    values = torch.zeros(32, 40)
    values[:, :20] = 1
    return values.flatten()


def test_a_frame_compared_with_itself_gets_its_mask_back():
    query = keys(0)
    maps, votes = evidence(query, LOOK, [Kept(LOOK, query, half())], [], TAU)
    assert maps.shape == (CHANNELS, 32, 40)
    assert torch.equal(votes[0].flatten() > 0, half() > 0.5)
    assert torch.equal(votes[1].flatten() > 0, half() > 0.5)


def test_votes_are_the_softmax_over_all_remembered_cells():
    query, held = keys(0), keys(1)
    values = torch.rand(1280, generator=torch.Generator().manual_seed(2)) * 0.9 + 0.05
    inside, outside = compare(query, LOOK, [Kept(LOOK, held, values)], TAU, near=False)
    plain = ((query.T @ held) / TAU).softmax(1) @ values
    torch.testing.assert_close((inside - outside).sigmoid(), plain, atol=1e-4, rtol=1e-3)


def test_two_equal_memories_say_what_one_says():
    query, kept = keys(0), Kept(LOOK, keys(1), half())
    once = evidence(query, LOOK, [kept], [kept], TAU)
    twice = evidence(query, LOOK, [kept, kept], [kept, kept], TAU)
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_recent_frames_are_compared_only_with_what_is_near():
    near = nearby(LOOK, LOOK).view(32, 40, 32, 40)
    assert near[0, 0, RADIUS, RADIUS] == 1
    assert near[0, 0, RADIUS + 1, 0] == 0
    assert near[0, 0, 0, RADIUS + 1] == 0


def test_near_is_measured_in_the_frame_whatever_the_windows():
    right = Look(160, 0, 320, 256, (256, 160))
    near = nearby(LOOK, right).view(32, 40, 32, 20)
    assert near[0, 0, 0].max() == 0  # the window begins 20 cells to the right
    assert near[0, 20, 0, 0] == 1


def test_an_object_unlike_anything_remembered_is_background():
    query = keys(0)
    _, votes = evidence(query, LOOK, [Kept(LOOK, query, torch.zeros(1280))], [], TAU)
    assert votes.max() < -5
