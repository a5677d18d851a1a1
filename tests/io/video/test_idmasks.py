"""Masks that people give: which ids are objects, which are soft edges, which files are refused."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.io.video import clips

from segcli.core.errors import UsageError
from segcli.io.video.idmasks import read_given, soft_edges


def blurred(size: int = 200) -> np.ndarray:
    """Two objects, 50 and 200, whose borders a resize has mixed."""
    ids = np.zeros((4 * size, 4 * size), np.uint8)
    ids[160:400, 120:360] = 50
    ids[440:700, 300:703] = 200
    small = PIL.Image.fromarray(ids).resize((size, size), PIL.Image.Resampling.BILINEAR)
    return np.asarray(small)


def test_ids_along_resized_borders_are_soft_edges_and_the_objects_stay(tmp_path):
    ids = blurred()
    mixed = set(np.unique(ids).tolist()) - {0, 50, 200}
    assert mixed, "the drawing has such ids"
    found = read_given(clips.write_mask(tmp_path / "m.png", ids), (200, 200), "frame 0")
    assert set(found.masks) == {50, 200}
    assert set(found.edges) == mixed
    assert np.array_equal(found.masks[50], ids == 50)


def test_a_small_object_of_its_own_is_no_soft_edge():
    ids = np.zeros((100, 100), np.uint8)
    ids[10:50, 10:50] = 1
    ids[80:82, 80:82] = 2
    assert soft_edges(ids) == ()


def test_a_thin_line_that_is_no_mean_of_its_neighbours_is_an_object():
    ids = np.zeros((100, 100), np.uint8)
    ids[:, :50], ids[:, 50:] = 1, 2
    ids[:, 50] = 3
    assert soft_edges(ids) == ()


def test_a_mask_of_nothing_but_specks_keeps_them():
    ids = np.zeros((100, 100), np.uint8)
    ids[5, 5], ids[5, 6] = 1, 2
    assert soft_edges(ids) == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 254), st.integers(20, 60), st.integers(20, 60), st.integers(0, 30))
def test_no_mask_of_plain_rectangles_has_soft_edges(number, width, height, left):
    ids = np.zeros((100, 120), np.uint8)
    ids[10 : 10 + height, left : left + width] = number
    assert soft_edges(ids) == ()


def test_a_soft_grey_mask_is_one_object(tmp_path):
    hard = PIL.Image.fromarray(np.where(clips.disc(30, (400, 400), row=0.5), 255, 0).astype(np.uint8))
    hard.resize((200, 200), PIL.Image.Resampling.LANCZOS).save(tmp_path / "m.png")
    found = read_given(tmp_path / "m.png", None, "frame 0")
    assert set(found.masks) == {1}
    assert found.edges


@pytest.mark.parametrize("what", ["blank", "size", "colours", "many", "text"])
def test_what_can_not_be_a_mask_is_refused_with_its_name(tmp_path, what):
    path = tmp_path / "m.png"
    if what == "blank":
        clips.write_mask(path, np.zeros((20, 20), np.uint8))
    elif what == "size":
        clips.write_mask(path, np.ones((10, 20), np.uint8))
    elif what == "colours":
        pixels = np.zeros((20, 20, 3), np.uint8)
        pixels[:5], pixels[10:] = (255, 0, 0), (0, 0, 255)
        PIL.Image.fromarray(pixels).save(path)
    elif what == "many":
        ids = np.full((20, 20), 300, np.uint16)
        ids[:5] = 2
        PIL.Image.fromarray(ids).save(path)
    else:
        path.write_text("no picture")
    with pytest.raises(UsageError, match=r"m\.png") as caught:
        read_given(path, (20, 20), "clip.mp4: frame 0")
    assert "\n" not in str(caught.value)
