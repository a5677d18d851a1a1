"""Which islands and holes go, and which stay."""

from __future__ import annotations

import torch

from segcli.models.seem.tidy import tidy


def logits() -> torch.Tensor:
    """A large square with a pinhole and a large hole, and a speck far from it."""
    plane = torch.full((60, 60), -3.0)
    plane[5:45, 5:45] = 3.0
    plane[10:12, 10:12] = -1.0
    plane[20:35, 20:35] = -1.0
    plane[52:55, 52:55] = 2.0
    return plane


def test_a_speck_goes_and_a_pinhole_closes_while_a_large_hole_stays() -> None:
    tidied = tidy(logits(), [])
    assert not (tidied[52:55, 52:55] > 0).any()
    assert (tidied[10:12, 10:12] > 0).all()
    assert not (tidied[20:35, 20:35] > 0).any()
    same = tidied == logits()
    assert int((~same).sum()) == 9 + 4


def test_what_was_clicked_stays() -> None:
    tidied = tidy(logits(), [(53.0, 53.0, 1.0), (10.4, 11.2, 0.0)])
    assert torch.equal(tidied, logits())


def test_a_click_of_the_other_sign_protects_nothing() -> None:
    tidied = tidy(logits(), [(53.0, 53.0, 0.0), (10.0, 11.0, 1.0)])
    assert int((tidied != logits()).sum()) == 9 + 4


def test_a_notch_at_the_border_is_no_hole() -> None:
    plane = torch.full((40, 40), 2.0)
    plane[0:2, 10:12] = -1.0
    assert torch.equal(tidy(plane, []), plane)


def test_nothing_stays_nothing_and_clicks_outside_are_harmless() -> None:
    plane = torch.full((8, 8), -1.0)
    assert torch.equal(tidy(plane, [(-5.0, 99.0, 1.0)]), plane)
