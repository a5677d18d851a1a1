"""Simulated users: where they click, draw and scribble."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segcli.metrics.clicks import next_click as ritm
from segcli.train.simulate import loose_box, next_click, rough_mask, stroke

EVERYWHERE = np.ones((24, 30), np.bool_)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """A union of a few rectangles."""
    mask = np.zeros((24, 30), np.bool_)
    for _ in range(draw(st.integers(1, 3))):
        y, x = draw(st.integers(0, 20)), draw(st.integers(0, 26))
        mask[y : y + draw(st.integers(1, 12)), x : x + draw(st.integers(1, 12))] = True
    return mask


@given(masks(), masks())
def test_a_careful_user_clicks_as_the_benchmark_does(truth: np.ndarray, answer: np.ndarray) -> None:
    click = next_click(truth, answer, EVERYWHERE, np.random.default_rng(0), careful=1.0)
    expected = ritm(truth.astype(np.int8), answer)
    if click is None:
        assert (truth == answer).all()
    elif click.positive == expected.positive:
        assert (click.y, click.x) == (expected.y, expected.x)
    else:  # equally deep regions: the benchmark clicks negatively, the simulated user positively
        assert click.positive


@given(masks(), masks(), st.integers(0, 99))
def test_a_clumsy_user_still_clicks_on_an_error(truth: np.ndarray, answer: np.ndarray, seed: int) -> None:
    click = next_click(truth, answer, EVERYWHERE, np.random.default_rng(seed), careful=0.0)
    if click is not None:
        assert truth[click.y, click.x] != answer[click.y, click.x]
        assert click.positive == truth[click.y, click.x]


@given(masks(), st.integers(0, 99))
def test_a_stroke_lies_inside_the_object(truth: np.ndarray, seed: int) -> None:
    marks = stroke(truth, np.random.default_rng(seed))
    assert marks
    assert all(truth[m.y, m.x] and m.positive for m in marks)


@given(masks(), st.integers(0, 99))
def test_a_loose_box_is_close_to_the_tight_one(truth: np.ndarray, seed: int) -> None:
    box = loose_box(truth, np.random.default_rng(seed))
    assert box is not None
    ys, xs = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    tight = (xs[0], ys[0], xs[-1], ys[-1])
    reach = 0.08 * max(len(xs), len(ys)) + 1
    assert all(abs(a - b) <= reach for a, b in zip(box, tight, strict=True))
    assert 0 <= box[0] <= box[2] < 30
    assert 0 <= box[1] <= box[3] < 24


def test_nobody_clicks_where_nothing_is_counted() -> None:
    truth = np.zeros((24, 30), np.bool_)
    truth[:, :10] = True
    valid = ~truth
    assert next_click(truth, np.zeros_like(truth), valid, np.random.default_rng(0)) is None


def test_a_rough_mask_is_wrong_but_not_elsewhere() -> None:
    truth = np.zeros((60, 60), np.bool_)
    truth[15:45, 15:45] = True
    overlaps = []
    for seed in range(20):
        rough = rough_mask(truth, np.random.default_rng(seed))
        overlaps.append((rough & truth).sum() / (rough | truth).sum())
    assert max(overlaps) < 1.0
    assert min(overlaps) > 0.2
