"""Masks resized a few rows at a time are the masks resized at once."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcli.models.seem.postprocess import resize_masks
from segcli.models.seem.strips import strips


@settings(max_examples=60)
@given(
    cells=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    crop=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    output=st.tuples(st.integers(1, 90), st.integers(2, 60)),
    rows=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_strips_are_the_rows_of_the_whole(cells, crop, output, rows, seed):
    masks = torch.randn(3, *cells, generator=torch.Generator().manual_seed(seed)) * 5
    padded = (cells[0] * 4, cells[1] * 4)
    image = (padded[0] - crop[0], padded[1] - crop[1])
    whole = resize_masks(masks, padded, image, output)
    seen = 0
    for where, logits in strips(masks, padded, image, output, budget=rows * 3 * 4 * output[1]):
        assert where.start == seen
        assert logits.shape == (3, where.stop - where.start, output[1])
        assert logits.shape[1] <= max(rows, 1)
        torch.testing.assert_close(logits, whole[:, where], atol=1e-4, rtol=1e-4)
        seen = where.stop
    assert seen == output[0]


def test_what_fits_the_budget_is_resized_at_once_bit_for_bit():
    masks = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    ((where, logits),) = strips(masks, (20, 28), (18, 28), (50, 77))
    assert where == slice(0, 50)
    assert torch.equal(logits, resize_masks(masks, (20, 28), (18, 28), (50, 77)))
