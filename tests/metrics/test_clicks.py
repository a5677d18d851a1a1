from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from segcli.metrics.clicks import Click, click_iou, clicks_needed, iou_per_click, next_click, noc
from segcli.metrics.deepest import Depth, deeper_of_two, deepest
from segcli.metrics.seem_clicks import clicking_mask

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda size: arrays(np.bool_, size))


def deepest_by_transform(mask, excluded=None):
    """The definition: a full distance transform of the padded mask, in integers."""
    padded = np.pad(mask, 1)
    nearest = distance_transform_edt(padded, return_distances=False, return_indices=True)
    squared = ((nearest - np.indices(padded.shape)) ** 2).sum(axis=0)[1:-1, 1:-1]
    if excluded is not None:
        squared = np.where(excluded, 0, squared)
    y, x = divmod(int(squared.argmax()), mask.shape[1])
    return Depth(int(squared[y, x]), y, x) if squared[y, x] else None


@given(masks, st.data())
@settings(max_examples=150, deadline=None)
def test_the_deepest_pixel_is_that_of_a_full_distance_transform(mask, data):
    excluded = data.draw(arrays(np.bool_, mask.shape)) & data.draw(arrays(np.bool_, mask.shape))
    assert deepest(mask, excluded) == deepest_by_transform(mask, excluded)


@given(masks, st.data())
@settings(max_examples=150, deadline=None)
def test_the_deeper_of_two_masks_is_found_and_a_tie_goes_to_the_second(mask, data):
    first = mask & data.draw(arrays(np.bool_, mask.shape))
    second = mask & ~first
    excluded = data.draw(arrays(np.bool_, mask.shape)) & data.draw(arrays(np.bool_, mask.shape))
    one, two = deepest_by_transform(first, excluded), deepest_by_transform(second, excluded)
    if one is None and two is None:
        expected = None
    elif two is None or (one is not None and one.squared > two.squared):
        expected = True, one
    else:
        expected = False, two
    assert deeper_of_two(first, second, excluded) == expected


@pytest.mark.parametrize("sigma", [1, 4, 20])
@pytest.mark.parametrize("seed", range(4))
def test_large_blobs_are_searched_exactly(sigma, seed):
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).standard_normal((211, 305)), sigma)
    first, second = field > 0.5 * field.std(), field < -0.5 * field.std()
    one, two = deepest_by_transform(first), deepest_by_transform(second)
    assert deeper_of_two(first, second) == (one.squared > two.squared, max(two, one, key=lambda d: d.squared))


def test_stripes_of_one_pixel_are_searched_exactly():
    mask = np.zeros((1500, 1501), np.bool_)
    mask[:, ::2] = True
    assert deepest(mask) == Depth(1, 0, 0)
    assert deepest(~mask) == Depth(1, 0, 1)


def test_equal_depths_give_a_negative_click():
    truth = np.zeros((20, 40), np.int8)
    truth[5:12, 3:10] = 1
    prediction = np.zeros((20, 40), np.bool_)
    prediction[5:12, 20:27] = True
    assert next_click(truth, prediction) == Click(8, 23, positive=False)


def test_the_image_border_counts_as_background():
    assert next_click(np.ones((9, 9), np.int8), np.zeros((9, 9), np.bool_)) == Click(4, 4, positive=True)


def test_an_earlier_click_only_loses_its_own_pixel():
    truth = np.zeros((11, 11), np.int8)
    truth[1:10, 1:10] = 1
    nothing = np.zeros((11, 11), np.bool_)
    assert next_click(truth, nothing, [(5, 5)]) == Click(4, 4, positive=True)


def test_ignored_pixels_are_never_clicked_and_not_counted():
    truth = np.full((10, 10), -1, np.int8)
    truth[0, 0] = 1
    everything = np.ones((10, 10), np.bool_)
    assert next_click(truth, everything) == Click(0, 0, positive=False)
    assert click_iou(truth, everything) == 1.0


def test_no_error_gives_the_published_negative_click_at_the_corner():
    truth = np.zeros((5, 5), np.int8)
    truth[2:4, 2:4] = 1
    assert next_click(truth, truth == 1) == Click(0, 0, positive=False)


def test_an_empty_union_reaches_no_threshold():
    iou = click_iou(np.zeros((3, 3), np.int8), np.zeros((3, 3), np.bool_))
    assert np.isnan(iou)
    assert clicks_needed([iou, iou], 0.0, 7) == 7


def test_thresholds_are_compared_in_float32():
    assert clicks_needed([0.5, 0.8999999999], 0.9, 20) == 2


def test_the_count_at_the_last_click_includes_those_that_succeed_there():
    assert noc([[0.5, 0.95], [0.5, 0.6], [0.95]], 0.9, 2).at_max == 2


def test_the_curve_ends_with_the_shortest_run():
    assert iou_per_click([[0.25, 0.5, 1.0], [0.75, 1.0]]).tolist() == [0.5, 0.75]


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        noc([], 0.9, 20)


@pytest.mark.parametrize(
    ("size", "to"), [((24, 50), (40, 91)), ((12, 7), (67, 87)), ((25, 14), (45, 3)), ((8, 26), (111, 90))]
)
def test_an_object_resized_for_seems_clicks_has_opencvs_very_pixels(size, to):
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(sum(size))
    for _ in range(20):
        y, x = (np.sort(random.integers(0, length + 1, 2)) for length in size)
        mask = random.random(size) < 0.5
        mask[y[0] : y[1], x[0] : x[1]] = True
        theirs = cv2.resize(mask.astype(np.float64), to[::-1], interpolation=cv2.INTER_CUBIC) != 0
        np.testing.assert_array_equal(clicking_mask(mask, to), theirs)
