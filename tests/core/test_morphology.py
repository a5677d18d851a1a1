from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from segcli.core.morphology import dilate, erode

masks = array_shapes(min_dims=2, max_dims=2, max_side=14).flatmap(lambda shape: arrays(np.bool_, shape))


@given(masks, st.integers(0, 9))
def test_growing_is_the_highest_value_of_the_window(mask, radius):
    assert (dilate(mask, radius) == ndimage.maximum_filter(mask, 2 * radius + 1, mode="constant", cval=0)).all()


@pytest.mark.parametrize("outside", [False, True])
@given(masks, st.integers(0, 9))
def test_shrinking_is_the_lowest_value_of_the_window(outside, mask, radius):
    expected = ndimage.minimum_filter(mask, 2 * radius + 1, mode="constant", cval=outside)
    assert (erode(mask, radius, outside=outside) == expected).all()
