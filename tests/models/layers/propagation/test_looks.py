from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.models.layers.propagation.looks import MULTIPLE, cells_of, extent, network_input, object_look, whole_look

sides = st.integers(1, 3000)


@given(sides, sides)
def test_a_whole_look_covers_the_frame_at_a_bounded_input(height: int, width: int):
    look = whole_look((height, width))
    assert (look.x0, look.y0, look.x1, look.y1) == (0, 0, width, height)
    assert all(v % MULTIPLE == 0 and MULTIPLE <= v <= 1024 for v in look.input)


@given(st.data(), sides, sides)
def test_an_object_look_holds_its_object_and_stays_in_the_frame(data: st.DataObject, height: int, width: int):
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    look = object_look((x0, y0, x1, y1), (height, width))
    assert 0 <= look.x0 <= x0
    assert x1 <= look.x1 <= width
    assert 0 <= look.y0 <= y0
    assert y1 <= look.y1 <= height
    assert all(v % MULTIPLE == 0 and v >= MULTIPLE for v in look.input)


def test_the_extent_is_the_smallest_box_and_none_for_nothing():
    mask = np.zeros((20, 30), bool)
    assert extent(mask) is None
    mask[4:9, 11:12] = True
    assert extent(mask) == (11, 4, 12, 9)


def test_cells_hold_the_part_that_is_covered():
    look = whole_look((256, 448))
    mask = torch.zeros(1, 256, 448)
    mask[:, :128] = 1
    mask[:, 128:132] = 1  # half of the cells' next row
    cells = cells_of(mask, look)
    assert cells.shape == (1, *look.grid)
    assert cells[0, :16].min() == 1
    assert torch.allclose(cells[0, 16], torch.tensor(0.5))
    assert cells[0, 17:].max() == 0


def test_centres_of_cells_are_frame_coordinates():
    look = object_look((100, 50, 140, 80), (200, 300))
    x, y = look.centres()
    assert (len(y), len(x)) == look.grid
    assert look.x0 < x[0] < x[-1] < look.x1
    assert look.y0 < y[0] < y[-1] < look.y1


def test_a_look_shows_its_part_of_the_frame():
    frame = torch.zeros(1, 3, 100, 200, dtype=torch.uint8)
    frame[..., 40:60, 100:120] = 200
    look = object_look((100, 40, 120, 60), (100, 200))
    seen = network_input(frame, look)
    assert seen.shape[-2:] == look.input
    share = 400 / (look.size[0] * look.size[1])
    assert abs(float(seen.mean()) / 200 - share) < 0.02
