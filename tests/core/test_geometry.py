from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.core import rle
from segcli.core.ask import Ask, Box, Point, Polygon, Reference, Scribble
from segcli.core.errors import ItemError, UsageError
from segcli.core.geometry import (
    Percent,
    box_mask,
    fill_rings,
    polygon_mask,
    prompt_mask,
    resolve,
    stroke_mask,
    to_pixels,
)

SIZE = (30, 40)


def full(size=SIZE):
    return rle.encode(np.ones(size, dtype=bool))


def test_percentages_span_the_photo_from_edge_to_edge():
    assert to_pixels(Percent(0), 40) == 0
    assert to_pixels(Percent(100), 40) == 39
    assert to_pixels(Percent(50), 40) == 19.5
    assert to_pixels(50.0, 40) == 50


def test_a_percentage_is_not_the_pixel_of_the_same_number():
    assert Percent(50) != 50.0
    assert Ask(points=(Point(Percent(5), Percent(5)),)) != Ask(points=(Point(5, 5),))
    assert len({Point(Percent(5), 5), Point(5, 5), Point(Percent(5), 5)}) == 2


def test_resolving_turns_every_percentage_into_pixels():
    half = Percent(50)
    ask = Ask(
        points=(Point(half, half),),
        boxes=(Box(Percent(0), Percent(0), half, half),),
        scribbles=(Scribble(((half, 0), (0, half))),),
        polygons=(Polygon(((0, 0), (half, 0), (0, half))),),
        references=(Reference(None, Point(half, 3)),),
    )
    done = resolve(ask, SIZE, "a.jpg")
    assert done.points == (Point(19.5, 14.5),)
    assert done.boxes == (Box(0, 0, 19.5, 14.5),)
    assert done.scribbles[0].points == ((19.5, 0), (0, 14.5))
    assert done.polygons[0].points == ((0, 0), (19.5, 0), (0, 14.5))
    assert done.references[0].region == Point(19.5, 3)


@pytest.mark.parametrize("point", [(40, 3), (3, 30), (-1, 3), (Percent(101), 3), (float("nan"), 3)])
def test_a_click_outside_the_photo_names_the_click(point):
    with pytest.raises(ItemError, match=r"^a\.jpg: the click .* lies outside of the photo \(40 x 30 pixels\)$"):
        resolve(Ask(points=(Point(*point),)), SIZE, "a.jpg")


def test_the_callers_error_class_is_raised():
    with pytest.raises(UsageError):
        resolve(Ask(points=(Point(99, 99),)), SIZE, "a.jpg", UsageError)


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (Ask(boxes=(Box(5, 5, 4, 9),)), "box 5,5,4,9 has no inside"),
        (Ask(boxes=(Box(50, 5, 60, 9),)), "box 50,5,60,9 lies outside"),
        (Ask(scribbles=(Scribble(),)), "scribble has no points"),
        (Ask(scribbles=(Scribble(((60, 60), (70, 70))),)), "scribble from 60,60 lies outside"),
        (Ask(scribbles=(Scribble(drawn=rle.empty(SIZE)),)), "painted scribble has nothing inside"),
        (Ask(scribbles=(Scribble(drawn=full((3, 3))),)), "scribble has 3 x 3 pixels, the photo has 40 x 30"),
        (Ask(polygons=(Polygon(((0, 0), (5, 5))),)), "polygon has 2 points"),
        (Ask(polygons=(Polygon(((60, 60), (70, 60), (70, 70))),)), "polygon from 60,60 has nothing inside"),
        (Ask(mask=rle.empty(SIZE)), "mask given as a prompt has nothing inside"),
        (Ask(mask=full((30, 41))), "mask has 41 x 30 pixels, the photo has 40 x 30"),
        (Ask(previous=full((3, 3))), "previous mask has 3 x 3 pixels"),
        (Ask(references=(Reference(None, full((3, 3))),)), "mask of reference 1 has 3 x 3 pixels"),
        (Ask(references=(Reference(None, rle.empty(SIZE)),)), "mask of reference 1 has nothing inside"),
        (Ask(references=(Reference(None, Box(90, 90, 95, 95)),)), "box 90,90,95,95 lies outside"),
    ],
)
def test_a_prompt_that_does_not_fit_is_named(ask, what):
    with pytest.raises(ItemError, match=what):
        resolve(ask, SIZE, "a.jpg")


def test_an_empty_previous_answer_is_a_legal_memory():
    assert resolve(Ask(previous=rle.empty(SIZE)), SIZE, "a.jpg").previous == rle.empty(SIZE)


def test_another_photos_region_is_not_checked_against_this_photo():
    ask = Ask(references=(Reference("other.jpg", Point(900, 900)),))
    assert resolve(ask, SIZE, "a.jpg") == ask


def test_boxes_are_clipped_to_the_photo():
    ask = resolve(Ask(boxes=(Box(-5, -5, 100, 12),)), SIZE, "a.jpg")
    assert ask.boxes == (Box(0, 0, 39, 12),)


def test_a_box_has_both_corner_pixels_inside():
    mask = box_mask(Box(2, 3, 4, 5), SIZE)
    assert mask[3:6, 2:5].all()
    assert mask.sum() == 9


def test_a_polygon_is_filled_even_odd():
    bow_tie_twice = ((5, 5), (15, 5), (15, 15), (5, 15), (5, 5), (5, 5), (15, 5), (15, 15), (5, 15))
    assert not polygon_mask(bow_tie_twice, SIZE).any()


@given(
    st.lists(
        st.tuples(st.floats(-20, 60, allow_subnormal=False), st.floats(-20, 60, allow_subnormal=False)),
        min_size=3,
        max_size=8,
    )
)
def test_polygons_agree_with_counting_crossings_pixel_by_pixel(points):
    mask = polygon_mask(points, SIZE)
    ring = np.array(points)
    nxt = np.roll(ring, -1, axis=0)
    for y in range(0, SIZE[0], 3):
        for x in range(0, SIZE[1], 3):
            crossings, close = 0, False
            for (x0, y0), (x1, y1) in zip(ring + 0.5, nxt + 0.5, strict=True):
                if (y0 <= y + 0.5) != (y1 <= y + 0.5):
                    cross = x0 + (y + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                    close |= abs(cross - (x + 0.5)) < 1e-6
                    crossings += cross > x + 0.5
            if not close:
                assert mask[y, x] == bool(crossings % 2)


point = st.tuples(st.integers(0, SIZE[1] - 1), st.integers(0, SIZE[0] - 1))


@given(st.lists(point, min_size=1, max_size=5), st.floats(1, 6))
def test_a_stroke_is_one_piece_through_all_its_points(points, width):
    from scipy import ndimage

    mask = stroke_mask(points, SIZE, width)
    assert all(mask[y, x] for x, y in points)
    assert ndimage.label(mask, np.ones((3, 3)))[1] == 1


@given(st.lists(point, min_size=2, max_size=4), st.floats(1, 6))
def test_a_stroke_is_no_wider_than_asked(points, width):
    mask = stroke_mask(points, SIZE, width)
    ys, xs = np.nonzero(mask)
    spots = np.stack([xs, ys], 1).astype(float)
    best = np.full(len(spots), np.inf)
    for a, b in zip(np.array(points, float), np.array(points, float)[1:], strict=False):
        along = b - a
        t = np.clip(((spots - a) @ along) / max(along @ along, 1e-12), 0, 1)
        best = np.minimum(best, np.hypot(*(spots - a - t[:, None] * along).T))
    assert best.max() <= max(width / 2, 0.5) + 0.21  # a pixel of the line itself may lie up to 0.71 away


def test_prompts_of_one_sign_are_drawn_together():
    ask = Ask(
        boxes=(Box(0, 0, 1, 1), Box(10, 10, 11, 11, positive=False)),
        scribbles=(Scribble(((5, 5),)),),
        polygons=(Polygon(((20, 20), (25, 20), (25, 25), (20, 25)), positive=False),),
        mask=rle.encode(box_mask(Box(30, 1, 31, 2), SIZE)),
    )
    positive, negative = prompt_mask(ask, SIZE, positive=True), prompt_mask(ask, SIZE, positive=False)
    assert positive.sum() == 4 + 1 + 4
    assert negative.sum() == 4 + 25
    assert not (positive & negative).any()


def test_rings_without_numbers_or_area_fill_nothing():
    assert not fill_rings([np.array([[0, 0], [np.nan, 3], [4, 4]])], SIZE).any()
    assert not fill_rings([np.zeros((2, 2))], SIZE).any()
    assert not fill_rings([], SIZE).any()
