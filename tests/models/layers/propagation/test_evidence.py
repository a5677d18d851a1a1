from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.layers.propagation.evidence import CHANNELS, FEATURES, RADIUS, Kept, compare, evidence, nearby
from segcli.models.layers.propagation.looks import Look

LOOK = Look(0, 0, 320, 256, (256, 320))
TAU = torch.tensor(0.05)


def keys(seed: int, cells: int = 32 * 40) -> Tensor:
    return F.normalize(torch.randn(12, cells, generator=torch.Generator().manual_seed(seed)), dim=0)


def half() -> Tensor:
    values = torch.zeros(32, 40)
    values[:, :20] = 1
    return values.flatten()


def kept(keys_: Tensor, values: Tensor, seed: int = 7) -> Kept:
    features = torch.randn(FEATURES, len(values), generator=torch.Generator().manual_seed(seed))
    return Kept(LOOK, keys_, values, features)


def test_a_frame_compared_with_itself_gets_its_mask_and_features_back():
    query = keys(0)
    remembered = kept(query, half())
    maps, votes = evidence(query, LOOK, [remembered], [], torch.tensor(0.01))
    assert maps.shape == (CHANNELS + 2 * FEATURES, 32, 40)
    torch.testing.assert_close(maps[CHANNELS:-FEATURES].flatten(1), remembered.features, atol=0.02, rtol=0.02)
    torch.testing.assert_close(maps[-FEATURES:].flatten(1), remembered.features, atol=0.02, rtol=0.02)
    assert torch.equal(votes[0].flatten() > 0, half() > 0.5)
    assert torch.equal(votes[1].flatten() > 0, half() > 0.5)


def test_votes_are_the_softmax_over_all_remembered_cells():
    query, held = keys(0), keys(1)
    values = torch.rand(1280, generator=torch.Generator().manual_seed(2)) * 0.9 + 0.05
    remembered = kept(held, values)
    inside, outside, features = compare(query, LOOK, [remembered], TAU, near=False)
    weights = ((query.T @ held) / TAU).softmax(1)
    torch.testing.assert_close((inside - outside).sigmoid(), weights @ values, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(features, remembered.features @ weights.T, atol=1e-4, rtol=1e-3)


def test_two_equal_memories_say_what_one_says():
    query, one = keys(0), kept(keys(1), half())
    once = evidence(query, LOOK, [one], [one], TAU)
    twice = evidence(query, LOOK, [one, one], [one, one], TAU)
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
    _, votes = evidence(query, LOOK, [kept(query, torch.zeros(1280))], [], TAU)
    assert votes.max() < -5
