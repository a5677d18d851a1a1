"""Where tokens stand and what they see (P6, P10d)."""

from __future__ import annotations

import pytest
import torch

from segcli.models.ras.layout import layout


def test_outputs_are_read_at_the_mask_tokens_of_the_second_copies() -> None:
    # V = 5, N = 4, T = 6 of which one is a reference: context 5 + 8 + 7, all 28
    placed = layout(5, 4, 7, 2, "causal")
    assert len(placed.positions) == 28
    assert placed.reads.tolist() == [21, 23, 25, 27]
    assert placed.allowed is None
    assert placed.positions.tolist() == list(range(28))


def test_a_set_shares_positions_and_the_text_follows_the_shared_pair() -> None:
    positions = layout(5, 4, 6, 2, "set").positions.tolist()
    assert positions[:5] == [0, 1, 2, 3, 4]
    assert positions[5:13] == [5, 6] * 4
    assert positions[13:19] == [7, 8, 9, 10, 11, 12]
    assert positions[19:] == [13, 14] * 4


def test_independent_copies_share_the_positions_after_the_context() -> None:
    placed = layout(5, 4, 6, 2, "independent")
    assert placed.positions.tolist() == [*range(19), *[19, 20] * 4]


@pytest.mark.parametrize("mode", ["independent", "set"])
def test_a_second_copy_sees_the_context_and_its_own_pair(mode: str) -> None:
    allowed = layout(5, 4, 6, 2, mode).allowed
    assert allowed is not None
    row = allowed[placed_read(2)]
    assert row[:19].all()
    assert row[19:].nonzero().flatten().tolist() == [4, 5]
    assert not allowed[placed_read(2) - 1][placed_read(2)], "the pre token does not see the mask behind it"


def placed_read(number: int) -> int:
    return int(layout(5, 4, 6, 2, "set").reads[number])


def test_only_a_set_lets_the_pool_look_forward() -> None:
    for mode, forward in (("set", True), ("independent", False)):
        allowed = layout(2, 3, 1, 2, mode).allowed
        assert allowed is not None
        assert bool(allowed[2, 7]) is forward
        assert not allowed[8, 9:].any(), "the text does not see the second copies"


def test_without_pre_tokens_a_mask_is_one_token() -> None:
    placed = layout(2, 3, 4, 1, "set")
    assert placed.positions.tolist() == [0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 7, 7]
    assert placed.reads.tolist() == [9, 10, 11]


def test_no_candidates_leave_the_text_where_it_is() -> None:
    assert torch.equal(layout(2, 0, 3, 2, "set").positions, torch.arange(5))
