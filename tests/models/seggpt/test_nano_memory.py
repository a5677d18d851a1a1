"""What seggpt-nano remembers, and what a memory says about a photo."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segcli.models.seggpt.nano_memory import EVIDENCE, Evidence, Memory, evidence, joined, remember

SPACES = ((6, 4), (8, 2), (5, 4))  # channels and side of each space's grid
SHARP = torch.full((3,), 10.0)


def keys_of(seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(F.normalize(torch.randn(c, s, s, generator=generator), dim=0) for c, s in SPACES)


def mask_of(seed: int, side: int = 16) -> Tensor:
    return (torch.rand(1, side, side, generator=torch.Generator().manual_seed(seed)) > 0.5).float()


def equal(one: Evidence, other: Evidence) -> bool:
    pairs = ((one.maps, other.maps), (one.rule, other.rule), (one.prototypes, other.prototypes))
    return all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


@given(st.permutations(range(4)))
def test_the_order_of_examples_changes_nothing(order: list[int]) -> None:
    memories = [remember(keys_of(n), mask_of(n)) for n in range(4)]
    query = keys_of(99)
    first = evidence(query, joined(memories), 0, SHARP)
    assert equal(first, evidence(query, joined([memories[n] for n in order]), 0, SHARP))


def test_evidence_has_seven_maps_a_space_on_the_first_grid() -> None:
    found = evidence(keys_of(1), remember(keys_of(2), mask_of(2)), 0, SHARP)
    assert found.maps.shape == (EVIDENCE * 3, 4, 4)
    assert found.rule.shape == (4, 4)
    assert found.prototypes.shape == (2, 5)


def test_a_photo_asked_about_itself_is_marked_where_it_was_marked() -> None:
    keys = keys_of(3)
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :2] = 1
    found = evidence(keys, remember(keys, mask), 0, SHARP * 10, nearest=1)
    assert torch.equal(found.rule > 0, mask[0] > 0)
    assert torch.equal(found.readout > 0.5, mask[0] > 0)


def test_the_rule_is_the_difference_of_the_nearest_cosines_of_the_two_raw_levels() -> None:
    query, keys, mask = keys_of(4), keys_of(5), mask_of(6, 4)
    total = torch.zeros(4, 4)
    for space in (0, 1):
        side = SPACES[space][1]
        inside = F.adaptive_avg_pool2d(mask[None], side).flatten() > 0.25
        cosines = query[space].flatten(1).T @ keys[space].flatten(1)
        parts = [cosines[:, chosen].topk(min(2, int(chosen.sum()))).values.mean(1) for chosen in (inside, ~inside)]
        plane = (parts[0] - parts[1]).view(1, 1, side, side)
        total += F.interpolate(plane, size=(4, 4), mode="bilinear", align_corners=False)[0, 0]
    found = evidence(query, remember(keys, mask), 0, SHARP, nearest=2)
    torch.testing.assert_close(found.rule, total)


def test_an_object_smaller_than_any_cell_is_remembered_by_the_cell_that_it_covers_most() -> None:
    keys = keys_of(7)
    mask = torch.zeros(1, 32, 32)
    mask[0, 9, 9] = 1  # 1/64 of a cell
    found = evidence(keys, remember(keys, mask), 0, SHARP, nearest=1)
    assert int(found.maps[2].argmax()) == 1 * 4 + 1


def test_a_mask_of_the_whole_photo_gives_finite_evidence() -> None:
    found = evidence(keys_of(1), remember(keys_of(2), torch.ones(1, 8, 8)), 0, SHARP)
    assert bool(torch.isfinite(found.maps).all())


def test_cells_that_nobody_knows_are_not_remembered() -> None:
    valid = torch.ones(16, 16)
    valid[:8] = 0
    memory = remember(keys_of(1), mask_of(1), valid)
    assert [len(k) for k in memory.keys] == [8, 2, 8]
    assert [len(v) for v in memory.values] == [8, 2, 8]


def test_a_memory_counts_its_bytes() -> None:
    memory = remember(keys_of(1), mask_of(1))
    cells = [s * s for _, s in SPACES]
    assert memory.nbytes == 4 * sum(n * (c + 1) for n, (c, _) in zip(cells, SPACES, strict=True))


def test_memories_of_other_spaces_do_not_join() -> None:
    memory = remember(keys_of(1), mask_of(1))
    with pytest.raises(ValueError, match="shorter"):
        joined([memory, Memory(memory.keys[:2], memory.values[:2])])
