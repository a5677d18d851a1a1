"""Scores over a set: what the goldens can't show because the official tool stops there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segcli.core.errors import ItemError, UsageError
from segcli.metrics.coco import average_precision
from segcli.metrics.fewshot import EpisodeCounts, fewshot_scores, pascal_episodes
from segcli.metrics.panoptic import PanopticCounts, Segment, image_counts
from segcli.metrics.referring import Grefer, Overlap, grefer_scores, group_scores, says_no_target
from segcli.metrics.semantic import confusion, semantic_scores


def colours(ids):
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


@given(arrays(np.int64, (9, 13), elements=st.sampled_from([0, 3, 70000, 2**24 - 1])))
@settings(max_examples=60, deadline=None)
def test_a_panoptic_map_against_itself_is_perfect(ids):
    listed = [Segment(int(i), 1, area=int((ids == i).sum())) for i in np.unique(ids) if i]
    counts = image_counts(colours(ids), listed, ids, listed, [1])
    total = PanopticCounts({1: True})
    total.add(counts)
    if listed:
        assert total.mean() == (1.0, 1.0, 1.0, 1)
        assert (counts[1].tp, counts[1].fp, counts[1].fn) == (len(listed), 0, 0)
    else:
        assert total.mean().n == 0


def test_no_stuff_makes_its_mean_undefined_not_an_error():
    ids = np.full((4, 4), 5)
    total = PanopticCounts({1: True, 2: False})
    total.add(image_counts(ids, [Segment(5, 1, area=16)], ids, [Segment(5, 1)], [1, 2]))
    assert total.mean(things=True).pq == 1.0
    assert np.isnan(total.mean(things=False).pq)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "segment 5 is in the PNG but not in segments_info"),
        ([Segment(5, 1), Segment(6, 1)], "segment 6 is in segments_info but has no pixel"),
        ([Segment(5, 9)], "segment 5 has category 9"),
    ],
)
def test_a_prediction_that_contradicts_its_png_is_refused(listed, message):
    ids = np.full((4, 4), 5)
    with pytest.raises(ItemError, match=message):
        image_counts(ids, [Segment(5, 1, area=16)], ids, listed, [1])


def test_panoptic_maps_of_different_sizes_are_refused():
    with pytest.raises(ItemError, match="the prediction is 4x3, the annotation 4x4"):
        image_counts(np.zeros((4, 4)), [], np.zeros((3, 4)), [], [1])


def test_predictions_on_ignored_pixels_are_no_false_positives():
    truth = np.array([[0, 1, 255]])
    scores = semantic_scores(confusion(truth, np.array([[0, 1, 1]]), 2))
    assert (scores.miou, scores.macc, scores.pacc) == (100, 100, 100)


@pytest.mark.parametrize("wrong", [7, -1])
def test_a_class_that_does_not_exist_is_named(wrong):
    with pytest.raises(ItemError, match=f"holds class {wrong}"):
        confusion(np.array([[0, 1]]), np.array([[0, wrong]]), 2)
    with pytest.raises(ItemError, match=f"annotation holds class {wrong}"):
        confusion(np.array([[0, wrong]]), np.array([[0, 1]]), 2)


def test_nothing_but_ignored_pixels_has_no_miou():
    assert np.isnan(semantic_scores(confusion(np.full((2, 2), 255), np.zeros((2, 2), int), 3)).miou)


def test_a_no_target_sample_that_is_recognised_adds_nothing_to_the_union():
    recognised = Grefer(Overlap(0, 900), no_target=True, says_none=True)
    hit = Grefer(Overlap(50, 100), no_target=False, says_none=False)
    scores = grefer_scores([recognised, hit])
    assert (scores["gIoU"], scores["cIoU"], scores["N_acc"], scores["T_acc"]) == (75, 50, 1, 1)


def test_a_target_called_nothing_still_counts_in_the_union():
    scores = grefer_scores([Grefer(Overlap(50, 100), no_target=False, says_none=True)])
    assert (scores["gIoU"], scores["cIoU"]) == (0, 0)


def test_scores_without_any_target_are_undefined():
    scores = grefer_scores([Grefer(Overlap(0, 0), no_target=True, says_none=True)])
    assert np.isnan(scores["cIoU"])
    assert np.isnan(scores["Pr@0.7"])


def test_fewer_than_fifty_pixels_say_that_nothing_is_meant():
    mask = np.zeros((10, 10), np.bool_)
    mask[:5] = True
    assert not says_no_target(mask)
    mask[0, 0] = False
    assert says_no_target(mask)


def test_an_empty_group_answered_with_nothing_is_right():
    assert group_scores([Overlap(0, 0), Overlap(5, 10)]) == {"gIoU": 75, "cIoU": 50}


def test_a_class_without_an_episode_counts_as_zero():
    scores = fewshot_scores([(0, EpisodeCounts(10, 10, 10, 10))], [0, 1], 20)
    assert scores.miou == 50


def test_a_class_with_one_image_has_no_example_to_show():
    with pytest.raises(UsageError, match="one image only"):
        pascal_episodes([("a", 0)], shots=1, count=1)


def test_no_detections_score_zero_and_unmeasurable_sizes_stay_undefined():
    truth = {
        "images": [{"id": 1, "height": 50, "width": 50}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "area": 100, "iscrowd": 0, "bbox": [0, 0, 10, 10],
             "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]}
        ],
    }  # fmt: skip
    found = average_precision(truth, [])
    assert (found.stats["AP"], found.stats["APs"], found.stats["APl"]) == (0, 0, -1)
    assert found.per_category == {1: 0, 2: -1}


def test_a_detection_of_an_unknown_image_is_refused():
    truth = {"images": [{"id": 1, "height": 5, "width": 5}], "annotations": [], "categories": []}
    with pytest.raises(ItemError, match="image_id 9"):
        average_precision(truth, [{"image_id": 9, "category_id": 1, "score": 1.0, "bbox": [0, 0, 1, 1]}])
