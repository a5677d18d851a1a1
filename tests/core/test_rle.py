from __future__ import annotations

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segcli.core import rle

masks = array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(lambda shape: arrays(np.bool_, shape))

few = st.integers(0, 4)


@given(masks)
def test_a_mask_comes_back_from_its_runs(mask):
    coded = rle.encode(mask)
    assert (rle.decode(coded) == mask).all()
    assert coded.area == mask.sum()
    assert rle.from_coco(coded.coco()) == coded


@given(masks)
def test_plain_runs_are_read_as_well_as_compressed_ones(mask):
    column_major = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column_major, [1 - column_major[-1]]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    assert rle.from_coco({"size": list(mask.shape), "counts": runs}) == rle.encode(mask)


@pytest.mark.parametrize(
    "value",
    [
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": [1.5, 2.5]},
        {"size": [-2, -2], "counts": [4]},
        {"size": [0, 5], "counts": []},
        {"size": [1 << 16, 1 << 16], "counts": [1 << 32]},
        {"size": [2, 2], "counts": "3"},
        {"size": [2, 2], "counts": "\x01"},
        {"size": [2, 2], "counts": "T"},
    ],
)
def test_runs_that_do_not_fill_their_size_are_refused(value):
    with pytest.raises(ValueError, match="RLE"):
        rle.from_coco(value)


@given(masks)
def test_decoding_within_the_box_is_the_mask_within_the_box(mask):
    x, y, part = rle.decode_tight(rle.encode(mask))
    whole = np.zeros_like(mask)
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    assert (whole == mask).all()
    if mask.any():
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()


def test_large_masks_decode_within_their_box_too():
    mask = np.zeros((900, 1300), dtype=bool)
    mask[17:600, 5:1200] = np.random.default_rng(0).random((583, 1195)) < 0.3
    x, y, part = rle.decode_tight(rle.encode(mask))
    assert (x, y) == (5, 17)
    assert (part == mask[17:600, 5:1200]).all()


@given(masks)
def test_codes_are_those_of_pycocotools_to_the_byte(mask):
    theirs = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle.encode(mask).counts == theirs["counts"]


@given(masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3))
def test_a_part_is_encoded_as_the_whole_mask_would_be(mask, x, y, right, below):
    whole = np.zeros((y + mask.shape[0] + below, x + mask.shape[1] + right), dtype=bool)
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    assert rle.encode_tight(mask, x, y, whole.shape) == rle.encode(whole)


@given(
    array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(lambda s: arrays(np.uint16, s, elements=st.integers(0, 4)))
)
def test_all_ids_are_encoded_in_one_pass_as_each_would_be_alone(ids):
    assert rle.encode_ids(ids) == {n: rle.encode(ids == n) for n in range(1, 5) if (ids == n).any()}


def test_long_runs_and_short_ones_are_written_with_as_many_characters_as_they_need():
    mask = np.zeros((5000, 900), dtype=bool)
    mask[:, 300:] = True
    mask[2, 100] = mask[4999, 899] = True
    theirs = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle.encode(mask).counts == theirs["counts"]


@given(masks)
def test_runs_inside_are_where_the_mask_is(mask):
    flat = np.zeros(mask.size, dtype=bool)
    for start, stop in zip(*rle.inside_runs(rle.encode(mask)), strict=True):
        flat[start:stop] = True
    assert (mask == flat.reshape(mask.shape[::-1]).T).all()


@given(masks)
def test_the_complement_is_what_is_outside_in_the_same_codes(mask):
    assert rle.complement(rle.encode(mask)) == rle.encode(~mask)
    assert rle.complement(rle.complement(rle.encode(mask))) == rle.encode(mask)
