"""Asks as marks on the network's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.ask import Ask, Box, Point, Polygon, Scribble
from segcli.core.rle import encode
from segcli.models.seem.marks import InputSize, input_size, marks_of, previous_logits

SAME = InputSize((40, 60), (40, 60), (64, 64))
HALF = InputSize((80, 120), (40, 60), (64, 64))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_test_size_keeps_the_shape_and_one_of_its_two_limits(height, width):
    inner = input_size((height, width), 800, 1333)
    assert min(inner) == 800 or max(inner) == 1333
    assert min(inner) <= 800
    assert max(inner) <= 1333
    assert (inner[0] <= inner[1]) == (height <= width) or inner[0] == inner[1]


def test_a_click_is_three_by_three_around_its_pixel_and_its_sign_decides_where():
    positive, negative = marks_of(Ask(points=(Point(10, 20), Point(30, 5, positive=False))), SAME)
    assert positive.shape == (1, 64, 64)
    assert positive.nonzero()[:, 1:].float().mean(0).tolist() == [20, 10]
    assert negative.nonzero()[:, 1:].float().mean(0).tolist() == [5, 30]
    assert positive.sum() == negative.sum() == 9


def test_a_click_in_the_corner_stays_in_the_photo():
    for point in (Point(0, 0), Point(59, 39)):
        positive, _ = marks_of(Ask(points=(point,)), SAME)
        assert positive.sum() == 4
        assert positive[0, :40, :60].sum() == 4


def test_marks_follow_the_photo_into_the_network():
    positive, _ = marks_of(Ask(boxes=(Box(20, 10, 39, 29),)), HALF)
    assert positive[0, 5:15, 10:20].all()
    assert positive.sum() == 100


@pytest.mark.parametrize(
    "ask",
    [
        Ask(boxes=(Box(50, 50, 50, 50),)),
        Ask(scribbles=(Scribble(((50.0, 50.0),)),)),
        Ask(polygons=(Polygon(((50, 50), (50.4, 50), (50, 50.4))),)),
        Ask(points=(Point(50, 50),)),
        Ask(scribbles=(Scribble(drawn=encode(np.eye(80, 120, k=10))),)),
        Ask(mask=encode(np.eye(80, 120, k=10))),
    ],
)
def test_no_mark_is_too_small_to_be_seen(ask: Ask):
    tiny = InputSize((80, 120), (10, 15), (32, 32))
    assert marks_of(ask, tiny)[0].any()


def test_a_previous_answer_is_a_mark_only_where_nothing_else_is():
    mask = np.zeros((40, 60), bool)
    mask[5:20, 5:20] = True
    alone, _ = marks_of(Ask(previous=encode(mask)), SAME)
    assert torch.equal(alone[0, :40, :60], torch.from_numpy(mask))
    clicked, _ = marks_of(Ask(points=(Point(40, 30),), previous=encode(mask)), SAME)
    assert clicked.sum() == 9


def test_the_memory_of_an_answer_is_positive_inside_it_only():
    mask = np.zeros((80, 120), bool)
    mask[16:32, 24:48] = True
    logits = previous_logits(encode(mask), HALF, (16, 16))
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[2:4, 3:6] = True
    assert torch.equal(logits[0, 0] > 0, expected)
