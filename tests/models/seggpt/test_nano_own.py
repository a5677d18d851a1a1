"""What a photo says about itself after a first answer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.seggpt.nano_own import OWN, own_evidence


def two_things() -> tuple[Tensor, Tensor]:
    """Keys [1, 6, 4, 4] of two kinds of cells, the upper half and the lower one, and an answer that found a quarter."""
    torch.manual_seed(0)
    kinds = F.normalize(torch.randn(2, 6), dim=1)
    cells = kinds[torch.arange(16) // 8].T.reshape(1, 6, 4, 4) + 0.05 * torch.randn(1, 6, 4, 4)
    inside = torch.zeros(1, 1, 4, 4)
    inside[0, 0, 0] = 1
    return F.normalize(cells, dim=1), inside


def test_cells_like_what_was_found_are_told_from_the_others() -> None:
    keys, inside = two_things()
    carried, like_inside, like_outside = own_evidence([keys], inside)[0]
    assert float(carried[1].min()) > float(carried[2:].max()) + 0.2  # not found, but of the same kind
    assert float(like_inside[1].min()) > float(like_inside[2:].max())
    assert float(like_outside[2:].min()) > float(like_outside[:2].max())


def test_spaces_of_other_grids_come_on_the_grid_of_the_answer() -> None:
    keys, inside = two_things()
    coarser = F.normalize(torch.randn(1, 3, 2, 2), dim=1)
    maps = own_evidence([keys, coarser], inside)
    assert maps.shape == (1, 2 * OWN, 4, 4)
    assert bool(torch.isfinite(maps).all())


def test_questions_about_one_photo_do_not_mix() -> None:
    keys, inside = two_things()
    both = own_evidence([keys.expand(2, -1, -1, -1)], torch.cat([inside, 1 - inside]))
    torch.testing.assert_close(both[:1], own_evidence([keys], inside))
    torch.testing.assert_close(both[1:], own_evidence([keys], 1 - inside))


def test_an_answer_that_found_nothing_or_everything_gives_finite_maps() -> None:
    keys, inside = two_things()
    for answer in (torch.zeros_like(inside), torch.ones_like(inside)):
        assert bool(torch.isfinite(own_evidence([keys], answer)).all())
