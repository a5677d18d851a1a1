"""Answers to several asks of one photo, put together."""

from __future__ import annotations

import numpy as np

from segcli.core.prediction import Prediction, counted_through, joined
from segcli.core.rle import encode


def answer(count: int, soft: tuple[int, int] | None = None) -> Prediction:
    masks = tuple(encode(np.eye(4, 6, n, dtype=bool)) for n in range(count))
    maps = None if soft is None or not count else np.full((count, *soft), 0.5, np.float16)
    return Prediction((4, 6), masks, scores=(0.5,) * count, soft=maps)


def test_an_empty_answer_leaves_its_number_free():
    assert [one.ids for one in counted_through([answer(1), answer(0), answer(1)])] == [(1,), (), (3,)]


def test_answers_of_several_masks_are_counted_through():
    assert [one.ids for one in counted_through([answer(2), answer(0), answer(1)])] == [(1, 2), (), (3,)]


def test_joined_answers_keep_masks_ids_and_scores_in_order():
    first, second = counted_through([answer(2), answer(1)])
    whole = joined([first, second])
    assert whole.masks == (*first.masks, *second.masks)
    assert (whole.ids, whole.scores) == ((1, 2, 3), (0.5, 0.5, 0.5))
    assert len(joined([answer(0), answer(0)])) == 0


def test_soft_edges_are_kept_where_all_answers_have_them_at_one_size():
    same = joined([answer(1, (2, 3)), answer(0), answer(2, (2, 3))]).soft
    assert same is not None
    assert same.shape == (3, 2, 3)
    assert joined([answer(1, (2, 3)), answer(1)]).soft is None
    assert joined([answer(1, (2, 3)), answer(1, (4, 6))]).soft is None
