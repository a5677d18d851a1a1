"""The position map (P5)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.core.rle import encode
from segcli.models.ras.pooling import grid_weights, pooled
from segcli.models.ras.positions import position_map


def test_a_cell_has_the_worked_vector() -> None:
    expected = [0.909297, 0.019999, -0.416147, 0.999800, 0.841471, 0.010000, 0.540302, 0.999950]
    np.testing.assert_allclose(position_map(4, 8)[:, 1, 2], expected, atol=1e-6)


def test_a_mask_pools_to_the_mean_of_its_cells_vectors() -> None:
    mask = np.zeros((32, 32), bool)
    mask[4:8, 12:20] = True  # symmetric about the centre line
    grid = position_map(32, 16)
    weights = torch.from_numpy(grid_weights(encode(mask), [32])[0])[None]
    torch.testing.assert_close(pooled(grid, weights)[0], grid[:, 4:8, 12:20].flatten(1).mean(1), atol=1e-6, rtol=0)


def test_channels_must_be_a_multiple_of_four() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        position_map(4, 6)
