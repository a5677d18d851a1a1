from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcli.models.layers.propagation.looks import object_look
from segcli.models.layers.propagation.views import VIEWS, View

SIZE = (200, 300)
BOX = (140.0, 80.0, 180.0, 110.0)


def test_the_last_view_is_the_plain_look_around_the_object():
    assert VIEWS[-1] == View()
    assert VIEWS[-1].look(BOX, SIZE) == object_look(BOX, SIZE)


@pytest.mark.parametrize(("view", "right", "down"), [(View(0.25, 0.2), 1, 1), (View(-0.25, -0.2), -1, -1)])
def test_a_view_that_is_moved_shows_the_object_on_the_other_side(view: View, right: int, down: int):
    plain, moved = object_look(BOX, SIZE), view.look(BOX, SIZE)
    assert np.sign(moved.x0 - plain.x0) == np.sign(moved.x1 - plain.x1) == right
    assert np.sign(moved.y0 - plain.y0) == np.sign(moved.y1 - plain.y1) == down


def test_zooming_out_takes_a_larger_window():
    box = (100.0, 60.0, 180.0, 120.0)
    sides = [View(zoom=zoom).look(box, SIZE).size for zoom in (0.65, 1.0, 1.35)]
    assert sides == sorted(sides)
    assert len(set(sides)) == 3


@given(st.data(), st.integers(4, 400), st.integers(4, 400))
def test_every_view_stays_in_the_frame_and_shows_some_of_the_object(data: st.DataObject, height: int, width: int):
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    for view in VIEWS:
        look = view.look((x0, y0, x1, y1), (height, width))
        assert 0 <= look.x0 < look.x1 <= width
        assert 0 <= look.y0 < look.y1 <= height
        assert max(look.x0, x0) < min(look.x1, x1)
        assert max(look.y0, y0) < min(look.y1, y1)
