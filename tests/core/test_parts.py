"""Islands and holes of run-length codes beside those of bitmaps."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import label

from segcli.core.parts import parts, without_holes, without_islands
from segcli.core.rle import decode, empty, encode

bitmaps = array_shapes(min_dims=2, max_dims=2, max_side=14).flatmap(lambda shape: arrays(np.bool_, shape))


def large(seed: int) -> np.ndarray:
    """Ragged masks with many parts and holes, some of them along the borders."""
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 90, 2))
    return rng.random(size) < rng.choice([0.05, 0.4, 0.6, 0.95])


masks = bitmaps | st.integers(0, 2**32).map(large)


@settings(max_examples=200)
@given(masks)
def test_parts_are_those_of_the_bitmap(mask):
    found = parts(encode(mask))
    named, count = label(mask)
    assert len(found.areas) == count
    assert sorted(found.areas) == sorted(np.bincount(named.ravel())[1:])
    dense = np.zeros(mask.size, int)
    for start, stop, part in zip(found.starts, found.stops, found.part, strict=True):
        dense[start:stop] = part + 1
    pairs = set(zip(dense.reshape(mask.shape[::-1]).T.ravel().tolist(), named.ravel().tolist(), strict=True))
    assert len(pairs - {(0, 0)}) == count


@settings(max_examples=200)
@given(masks, st.integers(0, 40))
def test_without_islands_is_the_bitmap_without_small_parts(mask, least):
    named, _ = label(mask)
    areas = np.bincount(named.ravel())
    assert without_islands(encode(mask), least) == encode(mask & (areas >= least)[named])


@settings(max_examples=200)
@given(masks, st.integers(0, 40))
def test_without_holes_fills_what_is_small_and_closed_within_the_box(mask, least):
    wanted = mask.copy()
    if mask.any():
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
        named, _ = label(~box)
        small = np.bincount(named.ravel()) < least
        small[[0, named[0, 0]]] = False
        filled = (box | small[named])[1:-1, 1:-1]
        wanted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = filled
    assert without_holes(encode(mask), least) == encode(wanted)


def test_nothing_and_everything_stay():
    for coded in (empty((5, 7)), encode(np.ones((5, 7), bool))):
        assert without_islands(coded, 1) == without_holes(coded, 100) == coded
    assert without_islands(encode(np.ones((5, 7), bool)), 36) == empty((5, 7))
    assert decode(without_islands(encode(np.ones((5, 7), bool)), 35)).all()
