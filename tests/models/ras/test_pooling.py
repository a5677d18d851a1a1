"""Masks on the grids of feature maps (P1 to P4 of the published properties), with their worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcli.core.rle import encode
from segcli.models.ras.pooling import area_means, geometry, grid_weights, pooled, square_offset

RAMP = torch.arange(16.0).reshape(1, 4, 4)


def example() -> np.ndarray:
    mask = np.zeros((8, 8), bool)
    mask[1:4, 2:7] = mask[5, 5] = True
    return mask


def pool(mask: np.ndarray, how: str) -> float:
    (weights,) = grid_weights(encode(mask), [4], how)
    return float(pooled(RAMP, torch.from_numpy(weights)[None])[0, 0])


def test_a_photo_is_centred_in_its_square_with_the_odd_pixel_behind() -> None:
    assert square_offset((4, 6)) == (1, 0)
    assert square_offset((8, 5)) == (0, 1)


def test_a_pixel_lands_in_its_cell_of_the_padded_square() -> None:
    mask = np.zeros((4, 6), bool)
    mask[3, 2] = True
    (weights,) = grid_weights(encode(mask), [3])
    assert np.argwhere(weights).tolist() == [[2, 1]]
    assert weights[2, 1] == 0.25


def test_the_whole_photo_covers_its_part_of_the_square_only() -> None:
    (weights,) = grid_weights(encode(np.ones((4, 6), bool)), [3])
    np.testing.assert_allclose(weights, [[0.5] * 3, [1] * 3, [0.5] * 3])


def test_weights_are_the_covered_share_of_each_cell() -> None:
    (weights,) = grid_weights(encode(example()), [4])
    np.testing.assert_allclose(weights, [[0, 0.5, 0.5, 0.25], [0, 1, 1, 0.5], [0, 0, 0.25, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(("how", "mean"), [("area", 4.8125), ("threshold", 4.2), ("nearest", 6.0)])
def test_each_way_of_downsampling_pools_to_its_worked_number(how: str, mean: float) -> None:
    assert pool(example(), how) == pytest.approx(mean)


def test_cells_that_are_no_whole_number_of_pixels_are_weighed_exactly() -> None:
    mask = np.zeros((6, 6), bool)
    mask[:, :2] = True
    (weights,) = grid_weights(encode(mask), [4])
    np.testing.assert_allclose(weights[0], [1, 1 / 3, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("how", ["area", "nearest", "threshold"])
def test_a_single_pixel_never_vanishes(how: str) -> None:
    mask = np.zeros((8, 8), bool)
    mask[5, 5] = True
    (weights,) = grid_weights(encode(mask), [4], how)
    assert np.argwhere(weights).tolist() == [[2, 2]]
    assert weights[2, 2] == 0.25
    assert pool(mask, how) == pytest.approx(10)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing inside"):
        grid_weights(encode(np.zeros((8, 8), bool)), [4])


def test_a_full_mask_pools_to_the_mean_and_a_cell_to_its_feature() -> None:
    assert pool(np.ones((8, 8), bool), "area") == pytest.approx(7.5)
    cell = np.zeros((8, 8), bool)
    cell[2:4, 6:8] = True
    assert pool(cell, "area") == 7.0


def test_pooling_is_linear_and_sees_nothing_outside() -> None:
    weights = torch.from_numpy(grid_weights(encode(example()), [4])[0])[None]
    maps = torch.randn(3, 4, 4)
    torch.testing.assert_close(pooled(2 * maps, weights), 2 * pooled(maps, weights))
    changed = maps.clone()
    changed[:, weights[0] == 0] += 5
    torch.testing.assert_close(pooled(changed, weights), pooled(maps, weights))


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.integers(1, 7))
def test_weights_add_up_to_the_masks_area(mask: np.ndarray, n: int) -> None:
    if not mask.any():
        return
    (weights,) = grid_weights(encode(mask), [n])
    cell = (max(mask.shape) / n) ** 2
    assert weights.sum() * cell == pytest.approx(mask.sum(), rel=1e-5)
    assert weights.min() >= 0
    assert weights.max() <= 1 + 1e-6


def test_geometry_says_where_a_mask_is_and_how_large() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:6, 5:15] = True
    x0, y0, x1, y1, cx, cy, w, h, share, log_area = geometry(encode(mask))[:10]
    np.testing.assert_allclose(
        [x0, y0, x1, y1, cx, cy, w, h, share], [0.25, 0.2, 0.75, 0.6, 0.5, 0.4, 0.5, 0.4, 0.2], rtol=1e-6
    )
    assert log_area == pytest.approx(1 + np.log10(0.2) / 5)


def test_area_means_keep_the_sum_where_cells_are_no_whole_number_of_pixels() -> None:
    picture = torch.rand(2, 7, 7, dtype=torch.float64)
    found = area_means(picture, 3)
    assert found.shape == (2, 3, 3)
    torch.testing.assert_close(found.mean((1, 2)), picture.mean((1, 2)))
    expected = picture[:, :2, :2].sum((1, 2))
    corner = expected + 1 / 3 * (picture[:, :2, 2].sum(1) + picture[:, 2, :2].sum(1)) + 1 / 9 * picture[:, 2, 2]
    torch.testing.assert_close(area_means(picture, 3)[:, 0, 0] * 49 / 9, corner)
    torch.testing.assert_close(area_means(torch.ones(1, 3, 3), 5), torch.ones(1, 5, 5))
