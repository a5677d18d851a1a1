from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segcli.train.seggpt_data import BlockwiseMask


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.floats(0, 1), st.integers(1, 20), st.integers(0, 2**16))
def test_a_mask_hides_exactly_as_many_tokens_as_asked(rows: int, columns: int, share: float, smallest: int, seed: int):
    hidden = round(share * rows * columns)
    generator = BlockwiseMask((rows, columns), hidden, smallest)
    assert generator.draw(random.Random(seed), np.random.RandomState(seed)).sum() == hidden


def test_the_same_seeds_give_the_same_mask_and_others_another():
    generator = BlockwiseMask((56, 28), 784, 16, 392)
    first, again, other = (generator.draw(random.Random(s), np.random.RandomState(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
