"""Where seggpt-nano looks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.models.seggpt.nano_looks import WHOLE, Window, look, shares, shrunk, window_around


@given(st.integers(0, 79), st.integers(0, 79), st.integers(1, 50), st.integers(1, 50))
def test_a_window_holds_what_was_found_and_stays_in_the_photo(x: int, y: int, w: int, h: int) -> None:
    inside = np.zeros((80, 80), np.bool_)
    inside[y : y + h, x : x + w] = True
    window = window_around(inside)
    if window is None:
        assert min(min(w, 80 - x), min(h, 80 - y)) * 1.6 / 80 > 0.6
        return
    assert 0 <= window.x0 < window.x1 <= 1
    assert 0 <= window.y0 < window.y1 <= 1
    rows, columns = window.cells(80, 80)
    assert inside[rows, columns].sum() == inside.sum()


def test_nothing_found_is_not_looked_at() -> None:
    assert window_around(np.zeros((80, 80), np.bool_)) is None


def test_a_mirrored_look_is_the_look_mirrored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    assert torch.equal(look(pixels, WHOLE, 64, mirrored=True), look(pixels, WHOLE, 64).flip(-1))


def test_a_look_at_a_window_is_the_look_at_that_part_of_the_photo() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    part = look(pixels, Window(0.25, 0.5, 0.75, 1.0), 32)
    alone = look(np.ascontiguousarray(pixels[32:, 24:72]), WHOLE, 32)
    inner = (..., slice(2, -2), slice(2, -2))  # the filter sees the photo beyond the window's border, as it should
    assert torch.equal(part[inner], alone[inner])


@given(st.integers(20, 200), st.integers(20, 200), st.integers(0, 1000))
def test_shares_keep_the_area_of_a_mask(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.bool_)
    top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
    mask[top : top + height // 2, left : left + width // 2] = True
    assert abs(float(shares(mask, WHOLE, 320).mean()) - mask.mean()) < 0.04


def test_a_large_photo_is_shrunk_and_a_small_one_is_left_alone() -> None:
    pixels = np.zeros((300, 600, 3), np.uint8)
    assert shrunk(pixels, 200).shape == (100, 200, 3)
    assert shrunk(pixels, 600) is pixels
