"""Whole photos where one can see by eye what they must be: three object queries over a photo of 24x48 pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcli.models.seem import strips as strips_module
from segcli.models.seem import whole
from segcli.models.seem.marks import InputSize
from segcli.models.seem.whole import Seen, countable, whole_photo

NAMES = ("cat", "sky-other-merged", "grass-merged")
THINGS = (True, False, False)
SIZE = InputSize((24, 48), (16, 32), (32, 32))


def seen(*queries: tuple[int, int, int]) -> Seen:
    """Queries of a class (3: none of them) over columns first to last of 8 cells; the padding below is full too."""
    logits = torch.full((len(queries), 4), -8.0)
    masks = torch.full((len(queries), 8, 8), -9.0)
    for n, (category, first, last) in enumerate(queries):
        logits[n, category] = 4.0
        masks[n, :, first:last] = 9.0
    return Seen(logits, masks, SIZE)


SCENE = seen((0, 0, 2), (1, 2, 4), (0, 4, 6), (1, 6, 8), (3, 0, 8))


def areas(prediction) -> list[tuple[str, int]]:
    return sorted((label, mask.area) for label, mask in zip(prediction.labels, prediction.masks, strict=True))


def test_panoptic_output_has_each_thing_and_one_segment_of_each_stuff():
    answer = whole_photo(SCENE, "panoptic", NAMES, THINGS, None)
    assert areas(answer) == [("cat", 288), ("cat", 288), ("sky-other-merged", 576)]
    assert set(zip(answer.labels, answer.things, strict=True)) == {("cat", True), ("sky-other-merged", False)}
    assert answer.scores == answer.label_scores
    assert all(0.9 < score <= 1 for score in answer.scores)
    cover = sum(answer.dense(n).astype(int) for n in range(len(answer)))
    assert cover.max() == 1


def test_a_class_that_nobody_calls_stuff_is_a_thing():
    answer = whole_photo(SCENE, "panoptic", NAMES, (None, None, None), None)
    assert [mask.area for mask in answer.masks] == [288] * 4
    assert set(answer.things) == {None}


def test_semantic_output_gives_each_pixel_a_class_and_numbers_classes_by_their_place():
    answer = whole_photo(SCENE, "semantic", NAMES, THINGS, None)
    assert areas(answer) == [("cat", 576), ("sky-other-merged", 576)]
    assert dict(zip(answer.labels, answer.ids, strict=True)) == {"cat": 1, "sky-other-merged": 2}
    doubtful = whole_photo(seen((0, 0, 2), (1, 2, 4)), "semantic", NAMES, THINGS, 0.5)
    assert areas(doubtful) == [("cat", 288), ("sky-other-merged", 288)]


def test_instance_output_has_no_stuff_and_comes_surest_first():
    answer = whole_photo(SCENE, "instance", NAMES, THINGS, 0.5)
    assert areas(answer) == [("cat", 288), ("cat", 288)]
    everything = whole_photo(SCENE, "instance", NAMES, THINGS, None)
    assert len(everything) > 2
    assert list(everything.scores) == sorted(everything.scores, reverse=True)


@pytest.mark.parametrize("kind", ["panoptic", "semantic", "instance"])
def test_a_photo_without_anything_is_an_empty_answer(kind):
    answer = whole_photo(seen((3, 0, 8)), kind, NAMES, THINGS, 0.5)
    assert len(answer) == 0
    assert answer.size == (24, 48)


@pytest.mark.parametrize("kind", ["panoptic", "semantic", "instance"])
def test_a_large_photo_is_answered_in_strips_with_the_same_masks(kind, monkeypatch: pytest.MonkeyPatch):
    at_once = whole_photo(SCENE, kind, NAMES, THINGS, 0.3)
    monkeypatch.setattr(strips_module.strips, "__defaults__", (0, 5 * 4 * 48 * 7))
    monkeypatch.setattr(whole, "BUDGET", 4 * 24 * 48)
    in_strips = whole_photo(SCENE, kind, NAMES, THINGS, 0.3)
    assert in_strips.masks == at_once.masks
    assert np.allclose(in_strips.scores, at_once.scores)


def test_things_and_stuff_are_looked_up_in_the_list_that_knows_most_of_the_names():
    assert countable(["cat", "sky-other-merged", "sky", "no such class"]) == (True, False, False, None)
    assert countable(["curtain", "wall", "sconce"]) == (True, False, True)  # ADE20K's curtains can be counted
    assert countable(["curtain"]) == (False,)  # COCO's can't
    assert countable(["cat", "sky"], (None, True)) == (True, True)
