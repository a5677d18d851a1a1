"""Second looks: where the window lies and how photo pixels become cells."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.models.seem.focus import cells_of, focus_window, geometry, network_input, whole

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    height, width = draw(sizes)
    x = sorted(draw(st.lists(st.floats(0, width - 1), min_size=2, max_size=2)))
    y = sorted(draw(st.lists(st.floats(0, height - 1), min_size=2, max_size=2)))
    return (height, width), (x[0], y[0], x[1], y[1])


@given(boxes())
def test_a_window_lies_in_the_photo_and_holds_the_object(case) -> None:
    size, (x0, y0, x1, y1) = case
    window = focus_window((x0, y0, x1, y1), size)
    assert 0 <= window.x0 <= x0
    assert x1 <= window.x1 <= size[1]
    assert 0 <= window.y0 <= y0
    assert y1 <= window.y1 <= size[0]
    assert window == whole(size) or max(window.size) < 0.8 * max(size)


@given(sizes, st.sampled_from([64, 320, 384]))
def test_an_input_is_as_long_as_asked_and_padded_to_multiples_of_32(size: tuple[int, int], side: int) -> None:
    place = geometry(whole(size), side)
    assert max(place.used) == side
    assert all(p % 32 == 0 and 0 <= p - u < 32 for p, u in zip(place.padded, place.used, strict=True))


@given(sizes)
def test_the_corner_pixels_stay_at_the_corners_of_the_input(size: tuple[int, int]) -> None:
    place = geometry(whole(size), 384)
    x0, y0 = place.to_input(-0.5, -0.5)
    x1, y1 = place.to_input(size[1] - 0.5, size[0] - 0.5)
    np.testing.assert_allclose([x0, y0], -0.5, atol=1e-6)
    np.testing.assert_allclose([x1, y1], [place.used[1] - 0.5, place.used[0] - 0.5], atol=1e-6)


def test_a_small_change_of_the_answer_keeps_the_window() -> None:
    assert focus_window((300, 200, 400, 320), (1000, 1000)) == focus_window((302, 199, 403, 318), (1000, 1000))


def test_a_reduced_photo_gives_the_same_window_as_the_whole_one() -> None:
    ramp = np.linspace(0, 255, 400, dtype=np.uint8)
    full = np.broadcast_to(ramp[None, :, None], (400, 400, 3)).copy()
    window = focus_window((100, 100, 200, 200), (400, 400))
    assert window != whole((400, 400))
    place = geometry(window, 64)
    large = network_input(full, (400, 400), place, 0.0)
    small = network_input(full[::2, ::2], (400, 400), place, 0.0)
    torch.testing.assert_close(large, small, atol=3.0, rtol=0)


def test_cells_hold_the_covered_part() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:, :32] = True
    cells = cells_of(mask, (64, 64), geometry(whole((64, 64)), 64), 4)
    assert cells.shape == (1, 1, 16, 16)
    assert float(cells[..., :8].min()) == 1.0
    assert float(cells[..., 8:].max()) == 0.0
