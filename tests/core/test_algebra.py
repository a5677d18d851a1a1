"""What is done to masks without a model, held against the same done to bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from segcli.core.algebra import (
    Wanted,
    chosen,
    cleaned,
    coverage,
    matched,
    merged,
    subtract,
    without_repeats,
)
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode

SIZE = (9, 11)
bitmaps = arrays(np.bool_, SIZE)


def of(*masks, **said) -> Prediction:
    return Prediction(SIZE, tuple(encode(m) for m in masks), **said)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


@given(bitmaps, bitmaps)
def test_a_difference_is_that_of_the_bitmaps(a, b):
    assert np.array_equal(decode(subtract(encode(a), encode(b))), a & ~b)


@given(st.lists(bitmaps, min_size=1, max_size=4))
def test_coverage_is_the_share_of_pixels_in_any_mask(masks):
    assert coverage(of(*masks)) == pytest.approx(np.logical_or.reduce(masks).mean())


@given(st.lists(bitmaps, max_size=3), st.lists(bitmaps, max_size=3))
def test_merging_all_is_the_set_operation_on_the_unions(first, second):
    a, b = (np.logical_or.reduce(masks) if masks else np.zeros(SIZE, bool) for masks in (first, second))
    for how, wanted in (("union", a | b), ("intersection", a & b), ("difference", a & ~b)):
        found = merged([of(*first), of(*second)], how)
        assert len(found) == bool(wanted.any())
        assert not len(found) or np.array_equal(found.dense(0), wanted)


def test_merging_by_label_keeps_labels_and_the_best_score():
    a = of(box(0, 0, 4, 4), box(5, 5, 8, 8), labels=("cat", "dog"), scores=(0.5, 0.9))
    b = of(box(2, 0, 6, 4), labels=("cat",), scores=(0.8,))
    union = merged([a, b], "union", "label")
    assert (union.labels, union.scores) == (("cat", "dog"), (0.8, 0.9))
    assert np.array_equal(union.dense(0), box(0, 0, 6, 4))
    both = merged([a, b], "intersection", "label")
    assert (both.labels, both.masks[0].area) == (("cat",), 8)
    less = merged([a, b], "difference", "label")
    assert [m.area for m in less.masks] == [8, 9]


def test_merging_by_id_keeps_ids():
    a = of(box(0, 0, 4, 4), box(5, 5, 8, 8), ids=(7, 3))
    assert merged([a, of(box(0, 0, 1, 1), ids=(3,))], "union", "id").ids == (7, 3)


def test_merging_photos_of_different_size_is_refused():
    with pytest.raises(ValueError, match="different size"):
        merged([of(box(0, 0, 1, 1)), Prediction((3, 3))])


@given(bitmaps, st.integers(1, 12), st.integers(1, 12))
def test_no_small_island_and_no_small_hole_stays_and_nothing_else_changes(mask, holes, islands):
    found = cleaned(of(mask), holes=holes, islands=islands)
    parts, count = label(mask)
    kept = [parts == n for n in range(1, count + 1) if (parts == n).sum() >= islands]
    without = np.logical_or.reduce(kept) if kept else np.zeros(SIZE, bool)
    if not without.any():
        assert len(found) == 0
        return
    gaps, count = label(~np.pad(without, 1))
    filled = without.copy()
    for n in range(1, count + 1):
        gap = gaps == n
        if gap.sum() < holes and not gap[0, 0]:
            filled |= gap[1:-1, 1:-1]
    assert np.array_equal(found.dense(0), filled)


def test_smoothing_takes_off_spikes_and_closes_cracks_but_leaves_a_block():
    size = (40, 40)
    block = np.zeros(size, np.bool_)
    block[10:30, 10:30] = True
    spiked = block.copy()
    spiked[2:10, 20] = True
    cracked = block.copy()
    cracked[10:30, 20] = False
    for mask in (block, spiked, cracked):
        found = cleaned(Prediction(size, (encode(mask),)), smooth=2)
        assert np.array_equal(found.dense(0), block)


def test_filtering_keeps_what_meets_all_conditions():
    masks = of(
        box(0, 0, 2, 2), box(0, 0, 5, 5), box(6, 6, 9, 9),
        labels=("cat", "cat", "dog"), scores=(0.9, 0.4, 0.8), ids=(4, 5, 6),
    )  # fmt: skip
    assert chosen(masks, Wanted()).ids == (4, 5, 6)
    assert chosen(masks, Wanted(least=5)).ids == (5, 6)
    assert chosen(masks, Wanted(least=0.1, shares=(True, False))).ids == (5,)
    assert chosen(masks, Wanted(most=10)).ids == (4, 6)
    assert chosen(masks, Wanted(score=0.5)).ids == (4, 6)
    assert chosen(masks, Wanted(labels=frozenset({"cat"}), score=0.5)).ids == (4,)
    assert chosen(masks, Wanted(not_labels=frozenset({"cat"}))).ids == (6,)
    assert chosen(masks, Wanted(within=(5, 5, 11, 9))).ids == (6,)
    assert chosen(masks, Wanted(largest=2)).ids == (5, 6)


def test_of_masks_that_overlap_the_best_by_score_stays():
    masks = of(box(0, 0, 5, 5), box(0, 0, 5, 4), box(7, 0, 9, 2), scores=(0.5, 0.9, 0.1))
    assert without_repeats(masks, 0.7).scores == (0.9, 0.1)
    assert without_repeats(masks, 0.9).scores == (0.9, 0.5, 0.1)


def test_masks_are_matched_by_the_best_assignment_and_the_rest_counts_as_nothing():
    first = of(box(0, 0, 4, 4), box(5, 5, 9, 9), labels=("a", "b"))
    second = of(box(5, 5, 9, 9), box(0, 0, 4, 2), box(9, 0, 11, 1), labels=("a", "a", "a"))
    found = [(m.first, m.second, m.iou) for m in matched(first, second)]
    assert found == [(0, 1, 0.5), (1, 0, 1.0), (None, 2, 0.0)]
    found = [(m.first, m.second, m.iou) for m in matched(first, second, "label")]
    assert found == [(0, 1, 0.5), (1, None, 0.0), (None, 0, 0.0), (None, 2, 0.0)]
    with pytest.raises(ValueError, match="11x9 and 3x3"):
        matched(first, Prediction((3, 3)))
