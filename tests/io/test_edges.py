from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcli.io import edges
from segcli.io.edges import feather, grow


def masks():
    return st.builds(
        lambda seed, height, width, share: np.random.default_rng(seed).random((height, width)) < share,
        st.integers(0, 2**31),
        st.integers(1, 30),
        st.integers(1, 30),
        st.sampled_from([0.02, 0.5, 0.98]),
    )


@settings(deadline=None, max_examples=60)
@given(masks(), st.integers(-5, 5))
def test_growing_takes_what_is_within_a_round_reach_and_shrinking_what_is_outside_of_it(mask, pixels):
    seed = mask if pixels >= 0 else ~mask
    y, x = np.indices(mask.shape)
    near = np.zeros_like(mask)
    for row, column in zip(*np.nonzero(seed), strict=True):
        near |= (y - row) ** 2 + (x - column) ** 2 <= pixels**2
    assert (grow(mask, pixels) == (near if pixels >= 0 else ~near)).all()


def test_a_mask_that_the_photos_edge_cuts_off_is_not_shrunk_there():
    mask = np.zeros((20, 20), dtype=bool)
    mask[:, :10] = True
    assert (grow(mask, -3) == (np.arange(20) < 7)[None]).all()


@settings(deadline=None, max_examples=60)
@given(masks(), st.integers(1, 6))
def test_feathering_reaches_as_far_as_it_was_told(mask, pixels):
    faded = feather(mask.astype(np.uint8) * 255, pixels)
    around = [np.roll(np.pad(mask, pixels, mode="edge"), (dy, dx), (0, 1))
              for dy in range(-pixels, pixels + 1) for dx in range(-pixels, pixels + 1)]  # fmt: skip
    inner = (slice(pixels, -pixels), slice(pixels, -pixels))
    everywhere, nowhere = np.logical_and.reduce(around)[inner], ~np.logical_or.reduce(around)[inner]
    assert (faded[everywhere] == 255).all()
    assert (faded[nowhere] == 0).all()


def test_a_feathered_straight_border_falls_evenly_through_the_middle():
    alpha = np.zeros((9, 40), np.uint8)
    alpha[:, 20:] = 255
    row = feather(alpha, 6)[4].astype(int)
    assert (np.diff(row) >= 0).all()
    assert row[13] == 0
    assert row[26] == 255
    assert np.abs(row + row[::-1] - 255).max() <= 1


@pytest.mark.parametrize("pixels", [3, 40])
def test_strips_change_nothing(monkeypatch, pixels):
    rng = np.random.default_rng(0)
    mask = rng.random((150, 20)) < 0.01
    whole = grow(mask, pixels), grow(~mask, -pixels), feather(mask.view(np.uint8) * np.uint8(255), pixels)
    monkeypatch.setattr(edges, "_STRIP", 16)
    parts = grow(mask, pixels), grow(~mask, -pixels), feather(mask.view(np.uint8) * np.uint8(255), pixels)
    for a, b in zip(whole, parts, strict=True):
        assert (a == b).all()
