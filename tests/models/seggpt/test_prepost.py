from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.errors import UsageError
from segcli.models.seggpt.ensemble import spatial_example, tiled
from segcli.models.seggpt.palette import class_colors, nearest_class, with_background
from segcli.models.seggpt.prepost import (
    binary,
    lower_half,
    normalised,
    overlay,
    painted,
    resized_mask,
    resized_output,
    stacked,
    unit,
)

sizes = st.integers(1, 70)


@given(st.integers(0, 2**16))
def test_what_is_normalised_is_painted_back(seed: int):
    picture = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    np.testing.assert_allclose(painted(normalised(unit(picture))), picture, atol=1e-4)


def test_canvases_stand_on_each_other_sample_by_sample():
    upper, lower = ([unit(np.full((4, 4, 3), value, np.uint8)) for value in values] for values in ((0, 50), (100, 200)))
    canvases = stacked(upper, lower)
    assert canvases.shape == (2, 3, 8, 4)
    assert canvases.dtype == torch.float32
    for sample, value in enumerate((100, 200)):
        np.testing.assert_allclose(painted(lower_half(canvases[sample])), value, atol=1e-4)


@given(sizes, sizes, st.integers(1, 40))
def test_masks_are_read_at_pixel_centres_and_outputs_are_not(height: int, width: int, side: int):
    rows, columns = np.indices((height, width))
    where = np.stack([rows, columns, rows * 0], -1).astype(np.uint8)
    small = resized_mask(where, side)
    for read, extent in ((small[:, 0, 0], height), (small[0, :, 1], width)):
        centres = (np.arange(side) + 0.5) * extent / side
        assert (np.abs(read + 0.5 - centres) <= 0.5 + 1e-6).all()  # the pixel that holds it, either one on an edge
    grown = resized_output(np.arange(side, dtype=float)[:, None].repeat(side, 1), (height, width))
    assert (np.abs(grown[:, 0] - np.arange(height) * side / height) <= 1).all()
    assert grown[0, 0] == 0


def test_the_threshold_of_a_video_mask_is_strict():
    colors = np.full((1, 2, 3), 128.0)
    colors[0, 1, 2] += 1e-9
    np.testing.assert_array_equal(binary(colors), [[False, True]])


def test_the_overlay_keeps_the_object_and_darkens_the_rest():
    photo = np.full((1, 2, 3), 101, np.uint8)
    colors = np.array([[[255.0] * 3, [0.0] * 3]])
    np.testing.assert_array_equal(overlay(photo, colors), [[[101] * 3, [40] * 3]])


@pytest.mark.parametrize("count", [1, 7, 20, 27, 64, 125, 133, 150, 1000])
def test_class_colours_differ_from_each_other_and_from_black(count: int):
    colors = with_background(class_colors(count))
    assert len(np.unique(colors, axis=0)) == count + 1


@given(st.integers(1, 60), st.sampled_from(["absolute", "squared"]), st.integers(0, 99))
def test_a_painted_class_is_read_back_through_noise(count: int, distance, seed: int):
    draw = np.random.default_rng(seed)
    palette = with_background(class_colors(count))
    classes = draw.integers(0, count + 1, (5, 4))
    noisy = palette[classes] + draw.uniform(-9, 9, (5, 4, 3))
    np.testing.assert_array_equal(nearest_class(noisy, palette, distance), classes)


def test_tiles_run_row_by_row():
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in range(4)]
    np.testing.assert_array_equal(tiled(pictures)[::2, ::3, 0], [[0, 1], [2, 3]])
    for wrong in (pictures[:3], []):
        with pytest.raises(UsageError, match=f"{len(wrong)} examples"):
            tiled(wrong)


def test_a_spatial_example_gives_each_of_four_a_quarter_whatever_its_size():
    shapes = [(10, 20), (8, 8), (31, 5), (64, 64)]
    photos = [np.full((*shape, 3), 60 * (n + 1), np.uint8) for n, shape in enumerate(shapes)]
    photo, mask = spatial_example(photos, photos, 16)
    for picture in (photo, mask):
        assert picture.shape == (16, 16, 3)
        np.testing.assert_array_equal(picture[4::8, 4::8, 0], [[60, 120], [180, 240]])
