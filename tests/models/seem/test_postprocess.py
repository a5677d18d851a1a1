"""Panoptic, semantic and instance output where one can see by eye what they must be."""

from __future__ import annotations

import torch

from segcli.models.seem.postprocess import instances, panoptic, resize_interactive, resize_masks, semantic

THING, STUFF, NO_OBJECT = 0, 1, 2


def logits(*classes: int) -> torch.Tensor:
    scores = torch.full((len(classes), 3), -10.0)
    for query, category in enumerate(classes):
        scores[query, category] = 10.0
    return scores


def columns(*spans: tuple[int, int]) -> torch.Tensor:
    masks = torch.full((len(spans), 4, 12), -8.0)
    for query, (first, last) in enumerate(spans):
        masks[query, :, first:last] = 8.0
    return masks


def test_stuff_of_one_class_is_one_segment_and_things_stay_apart():
    map_, segments = panoptic(logits(STUFF, THING, STUFF, THING), columns((0, 3), (3, 6), (6, 9), (9, 12)), {THING})
    assert [(s.id, s.category, s.isthing) for s in segments] == [(1, STUFF, False), (2, THING, True), (3, THING, True)]
    assert map_[0].tolist() == [1] * 3 + [2] * 3 + [1] * 3 + [3] * 3


def test_a_segment_that_loses_a_fifth_of_its_mask_to_another_is_dropped():
    kept = panoptic(logits(THING, THING), columns((0, 10), (9, 12)), {THING})[1]
    strong = logits(THING, THING)
    strong[0, THING] = 3.0  # the second wins where both are
    dropped = panoptic(strong, columns((0, 4), (2, 12)), {THING}, object_threshold=0.5)[1]
    assert len(kept) == 2 - (2 / 3 < 0.8)
    assert [s.id for s in dropped] == [1]


def test_no_object_and_unsure_queries_leave_the_map_void():
    map_, segments = panoptic(logits(NO_OBJECT), columns((0, 12)), {THING})
    assert segments == []
    assert not map_.any()
    unsure = torch.zeros(1, 3)
    assert panoptic(unsure, columns((0, 12)), {THING})[1] == []


def test_semantic_scores_leave_no_object_out():
    scores = semantic(logits(THING, NO_OBJECT), columns((0, 6), (6, 12)))
    assert scores.shape == (2, 4, 12)
    assert (scores[THING, :, :6] > 0.99).all()
    assert (scores[:, :, 6:] < 0.01).all()


def test_an_instance_scores_its_class_times_the_sureness_inside_its_mask():
    masks = columns((0, 6))
    masks[0, :, :6] = 0.5
    found = instances(logits(THING), masks, {THING}, limit=1)
    torch.testing.assert_close(found.scores[0], torch.tensor(0.5).sigmoid(), atol=1e-4, rtol=0)
    assert found.masks[0, 0].tolist() == [True] * 6 + [False] * 6


def test_stuff_is_no_instance_unless_all_classes_are_asked_for():
    assert instances(logits(STUFF), columns((0, 6)), {THING}).scores.numel() == 1  # thing scored near zero
    assert STUFF not in instances(logits(STUFF), columns((0, 6)), {THING}).categories
    assert STUFF in instances(logits(STUFF), columns((0, 6))).categories


def test_padding_is_cut_off_before_the_last_resize():
    masks = torch.full((1, 4, 4), -8.0)
    masks[:, :, :2] = 8.0  # the left half of 16 padded columns; the image has 8 of them
    for resize in (resize_masks, resize_interactive):
        whole = resize(masks, (16, 16), (16, 8), (32, 16))
        assert whole.shape == (1, 32, 16)
        assert (whole[:, :, :12] > 0).all()
