"""Numbers that decide between "left of" and "right of", "larger" and "smaller", "touching" and "apart"."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.rle import Rle, encode
from segcli.models.ras.relations import PAIR, STANDING, beside, extents, standing
from segcli.train.ras_scenes import touching

SIZE = (60, 80)
LEFT, CONTACT, OVERLAP = 0, 19, 16


def block(x: int, y: int, width: int, height: int) -> Rle:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


blocks = st.builds(block, st.integers(0, 60), st.integers(0, 40), st.integers(2, 18), st.integers(2, 18))


@given(st.lists(blocks, min_size=1, max_size=5), blocks)
def test_signs_of_pairs_are_those_of_the_rules(masks: list[Rle], reference: Rle) -> None:
    found = beside(masks, [reference])
    (boxes, areas), (own, size) = extents(masks), extents([reference])
    assert found.shape == (len(masks), 1, PAIR)
    assert np.isfinite(found).all()
    across = (boxes[:, 0] + boxes[:, 2]) - (own[0, 0] + own[0, 2])
    assert (np.sign(found[:, 0, LEFT]) == np.sign(across)).all()
    assert (found[:, 0, 15] == np.sign(areas - size)).all()


@given(st.lists(blocks, min_size=1, max_size=6))
def test_standing_follows_the_order_and_names_the_largest_and_smallest(masks: list[Rle]) -> None:
    boxes, areas = extents(masks)
    found = standing(boxes, areas, SIZE)
    assert found.shape == (len(masks), STANDING)
    np.testing.assert_array_equal(standing(boxes[::-1], areas[::-1], SIZE), found[::-1])
    assert (found[areas == areas.max(), 4] == 1).all()
    assert (found[areas == areas.min(), 5] == 1).all()
    assert (found[areas < areas.max(), 4] < 1).all()


@pytest.mark.parametrize("gap", range(5))
def test_contact_is_what_the_sentences_call_touching(gap: int) -> None:
    ids = np.zeros(SIZE, np.uint8)
    ids[10:20, 10:20], ids[10:20, 20 + gap : 30 + gap] = 1, 2
    (row,) = beside([encode(ids == 1)], [encode(ids == 2)])
    assert bool(row[0, CONTACT]) == bool(touching(ids, [1, 2])[0, 1])


def test_a_mask_overlaps_itself_and_nothing_apart_from_it() -> None:
    one, other = block(5, 5, 10, 10), block(40, 30, 10, 10)
    assert beside([one, other], [one])[:, 0, OVERLAP].tolist() == [1, 0]


def test_no_masks_and_no_references_have_no_numbers() -> None:
    assert standing(*extents([]), SIZE).shape == (0, STANDING)
    assert beside([block(0, 0, 4, 4)], []).shape == (1, 0, PAIR)
    assert beside([], [block(0, 0, 4, 4)]).shape == (0, 1, PAIR)
