from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from segcli.core.geometry import fill_rings
from segcli.core.outline import outlines, ring_area, simplify

masks = array_shapes(min_dims=2, max_dims=2, max_side=14).flatmap(lambda shape: arrays(np.bool_, shape))


def blobs(seed, size=(120, 160)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    mask = np.zeros(size, dtype=bool)
    for _ in range(4):
        cy, cx, ry, rx = rng.uniform([0, 0, 12, 12], [size[0], size[1], 50, 60])
        mask ^= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
    return mask


@given(masks)
def test_filling_the_outlines_gives_the_mask_back_pixel_for_pixel(mask):
    assert (fill_rings(outlines(mask), mask.shape) == mask).all()


@given(masks)
def test_outer_rings_and_holes_add_up_to_the_area(mask):
    assert sum(ring_area(ring) for ring in outlines(mask)) == mask.sum()


@given(masks)
def test_outlines_have_corners_only(mask):
    for ring in outlines(mask):
        step = np.roll(ring, -1, axis=0) - ring
        assert ((step != 0).sum(axis=1) == 1).all()  # along a row or a column
        assert ((step != 0)[1:] != (step != 0)[:-1]).all()  # and never twice in one direction


def test_a_ring_with_a_hole_is_two_outlines():
    mask = np.ones((5, 5), dtype=bool)
    mask[2, 2] = False
    assert sorted(ring_area(ring) for ring in outlines(mask)) == [-1, 25 + 1 - 1]


def test_pixels_that_touch_at_a_corner_are_different_rings():
    for mask in (np.eye(3, dtype=bool), np.eye(3, dtype=bool)[::-1]):
        assert len(outlines(mask)) == 3


@pytest.mark.parametrize("seed", range(12))
def test_simplified_outlines_fill_to_the_same_mask_within_the_bound(seed):
    mask = blobs(seed)
    exact = outlines(mask)
    fewer = simplify(exact, mask)
    filled = fill_rings(fewer, mask.shape)
    assert (filled & mask).sum() >= 0.995 * (filled | mask).sum()
    assert len(fewer) == len(exact)
    assert sum(map(len, fewer)) < 0.6 * sum(map(len, exact))


@given(masks)
def test_simplifying_keeps_the_bound_on_any_mask(mask):
    fewer = simplify(outlines(mask), mask)
    filled = fill_rings(fewer, mask.shape)
    assert (filled & mask).sum() >= 0.995 * (filled | mask).sum()


def test_a_hole_of_one_pixel_survives_simplification():
    mask = np.ones((60, 60), dtype=bool)
    mask[30, 30] = False
    assert not fill_rings(simplify(outlines(mask), mask), mask.shape)[30, 30]


@given(masks)
def test_slopes_instead_of_staircases_change_no_pixel(mask):
    assert (fill_rings(simplify(outlines(mask), mask, iou=1.0), mask.shape) == mask).all()
