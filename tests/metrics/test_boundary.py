from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcli.metrics.boundary import boundary_map, boundary_radius, frame_score

sizes = st.tuples(st.integers(1, 150), st.integers(1, 150))


def score_by_definition(truth, prediction):
    """J and F as the paper says them: every boundary pixel is compared with every other one."""
    either = (truth | prediction).sum()
    j = (truth & prediction).sum() / either if either else 1.0
    radius = boundary_radius(*truth.shape)
    bt, bp = np.argwhere(boundary_map(truth)), np.argwhere(boundary_map(prediction))
    if not len(bt) or not len(bp):
        return j, float(len(bt) == len(bp))
    near = ((bt[:, None] - bp[None]) ** 2).sum(axis=2) <= radius**2
    precision, recall = near.any(axis=0).sum() / len(bp), near.any(axis=1).sum() / len(bt)
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None)
def test_scores_equal_the_definition_for_boxes_anywhere(size, seed):
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        mask = np.zeros(size, np.bool_)
        for _ in range(random.integers(0, 4)):
            y, x = random.integers(0, size[0]), random.integers(0, size[1])
            mask[y : y + random.integers(1, 70), x : x + random.integers(1, 70)] ^= True
        masks.append(mask)
    assert tuple(frame_score(*masks)) == score_by_definition(*masks)


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda s: st.tuples(arrays(np.bool_, s), arrays(np.bool_, s))
    )
)
@settings(max_examples=120, deadline=None)
def test_scores_equal_the_definition_for_any_small_pair(pair):
    assert tuple(frame_score(*pair)) == score_by_definition(*pair)


def test_a_wide_radius_is_matched_across_word_borders():
    truth, prediction = np.zeros((2000, 3000), np.bool_), np.zeros((2000, 3000), np.bool_)
    truth[900:1100, 1000:1400] = True
    prediction[900:1100, 1029:1429] = True  # the radius is 29
    assert boundary_radius(2000, 3000) == 29
    assert frame_score(truth, prediction).f == 1.0
    shifted = np.roll(prediction, 1, axis=1)
    assert frame_score(truth, shifted).f < 1.0


def test_void_is_taken_out_of_both_masks_first():
    truth, prediction, void = (np.zeros((30, 30), np.bool_) for _ in range(3))
    truth[5:15, 5:15], prediction[5:15, 5:25], void[:, 15:] = True, True, True
    assert frame_score(truth, prediction, void) == (1.0, 1.0)


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        frame_score(np.zeros((3, 4), np.bool_), np.zeros((4, 3), np.bool_))
