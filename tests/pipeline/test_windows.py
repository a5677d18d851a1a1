"""Windows over a large photo."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.image import Image
from segcli.pipeline.windows import OVERLAP, blended, windows

LENGTHS = st.integers(1, 700)
SIDES = st.integers(64, 300)


@given(LENGTHS, LENGTHS, SIDES)
def test_windows_cover_every_pixel_and_stay_inside(height: int, width: int, side: int):
    seen = np.zeros((height, width), int)
    for window in windows((height, width), side):
        assert 0 <= window.top <= window.top + window.height <= height
        assert 0 <= window.left <= window.left + window.width <= width
        assert (window.height, window.width) == (min(side, height), min(side, width))
        seen[window.top : window.top + window.height, window.left : window.left + window.width] += 1
    assert seen.min() >= 1


@given(st.integers(65, 2000), SIDES)
def test_neighbours_overlap_by_their_share(length: int, side: int):
    starts = sorted({window.left for window in windows((1, length), side)})
    steps = np.diff(starts)
    assert (steps <= side * (1 - OVERLAP) + 1).all()


@given(LENGTHS, LENGTHS, SIDES, st.integers(0, 2**32 - 1))
def test_what_all_windows_agree_on_is_the_answer(height: int, width: int, side: int, seed: int):
    truth = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    image = Image(np.zeros((height, width, 3), np.uint8), (height, width))
    parts = [
        (w, {5: truth[w.top : w.top + w.height, w.left : w.left + w.width]}) for w in windows((height, width), side)
    ]
    np.testing.assert_allclose(blended(parts, image.size)[5], truth, atol=1e-5)


def test_a_window_counts_less_towards_its_border():
    left, right = windows((10, 160), 100)
    zeros, ones = np.zeros((10, 100), np.float32), np.ones((10, 100), np.float32)
    row = blended([(left, {1: zeros}), (right, {1: ones})], (10, 160))[1][5]
    assert row[: right.left].max() == 0
    assert row[100:].min() == 1
    assert (np.diff(row[right.left : 100]) >= 0).all()
