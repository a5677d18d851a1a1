"""The released simulated user."""

from __future__ import annotations

import torch

from segcli.models.seem.next_click import next_clicks, soft_distance


def box(x0: int, y0: int, x1: int, y1: int) -> torch.Tensor:
    mask = torch.zeros(1, 24, 32, dtype=torch.bool)
    mask[0, y0:y1, x0:x1] = True
    return mask


NOTHING = torch.zeros(1, 24, 32, dtype=torch.bool)


def logits(mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, 5.0, -5.0)


def test_the_first_click_is_positive_and_in_the_middle_of_the_object():
    clicks = next_clicks(None, box(4, 4, 13, 13), NOTHING, NOTHING)
    assert clicks.is_positive.tolist() == [True]
    assert (clicks.positive.nonzero()[:, 1:].float().mean(0) == torch.tensor([8.0, 8.0])).all()
    assert clicks.positive.sum() == 9
    assert not clicks.negative.any()


def test_a_mask_that_spills_over_gets_a_negative_click_outside_the_object():
    truth = box(4, 4, 12, 12)
    clicks = next_clicks(logits(box(4, 4, 28, 12)), truth, NOTHING, NOTHING)
    assert not clicks.is_positive.any()
    assert not (clicks.negative & truth).any()
    assert clicks.negative.any()


def test_a_good_mask_gets_no_click():
    truth = box(4, 4, 20, 20)
    clicks = next_clicks(logits(truth), truth, NOTHING, NOTHING)
    assert not clicks.positive.any()
    assert not clicks.negative.any()


def test_earlier_clicks_are_kept_and_their_places_not_looked_at_again():
    truth = box(4, 4, 13, 13)
    first = next_clicks(None, truth, NOTHING, NOTHING)
    second = next_clicks(logits(NOTHING), truth, first.positive, first.negative)
    assert not (second.region & first.positive).any()
    assert (first.positive & ~second.positive).sum() == 0
    assert second.positive.sum() > first.positive.sum()


def test_errors_only_under_old_clicks_put_a_negative_click_into_the_corner_as_released():
    truth = box(10, 10, 13, 13)
    clicks = next_clicks(logits(NOTHING), truth, truth, NOTHING)
    assert clicks.place.tolist() == [0]
    assert clicks.negative.nonzero().tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]


def test_rings_of_the_soft_distance_count_three_halves_not_one():
    line = torch.ones(1, 1, 13)
    line[..., 1:12] = 0
    depth = soft_distance(line.expand(1, 13, 13).contiguous())[0, 6]
    steps = depth[1:7].diff()
    # (3 * i) // 2 for i = 0..5 is 0, 1, 3, 4, 6, 7; the soft minimum inside a ring adds the same to each.
    assert [round(float(step)) for step in steps] == [1, 2, 1, 2, 1]
