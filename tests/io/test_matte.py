from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segcli.io import matte as module
from segcli.io import matte_alpha
from segcli.io.matte import default_width, matte, trimap

INK, PAPER = np.array([200, 60, 30]), np.array([40, 90, 200])


def hairy(size=(96, 128), seed=0):
    """A disc with hairs on a plain ground: photo, true opacity, and a mask that knows the disc alone."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    cy, cx, radius = size[0] / 2, size[1] / 2, size[0] / 4
    distance = np.hypot(y - cy, x - cx)
    alpha = np.clip(radius - distance + 0.5, 0, 1)
    for angle in rng.uniform(0, 2 * np.pi, 25):
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = np.abs((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle))
        hair = np.clip(1.2 - across, 0, 1) * ((along > 0) & (along < radius + 6))
        alpha = np.maximum(alpha, hair)
    photo = alpha[..., None] * INK + (1 - alpha[..., None]) * PAPER
    return np.round(photo).astype(np.uint8), alpha, distance < radius


def blob(size, seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(size), 3)
    return noise > 0


def test_hairs_that_the_mask_has_not_are_found():
    photo, true, mask = hairy()
    found = matte(photo, mask, 9).alpha / 255
    assert np.abs(found - true).mean() < np.abs(mask - true).mean() / 4
    assert np.corrcoef(found[~mask], true[~mask])[0, 1] > 0.97


def test_the_background_is_taken_out_of_the_colours():
    photo, true, mask = hairy()
    made = matte(photo, mask, 9)
    seen = (true > 0.3) & (true < 0.8)
    before = np.abs(photo[seen] - INK).mean()
    after = np.abs(made.pixels[seen] - INK).mean()
    assert before > 40
    assert after < 6


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 9))
def test_nothing_changes_beyond_the_band(seed, width):
    rng = np.random.default_rng(seed)
    photo, mask = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), blob((40, 50), seed)
    made = matte(photo, mask, width)
    if mask.all() or not mask.any():
        assert (made.alpha == mask * 255).all()
        return
    away = np.where(mask, ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)) >= width + 0.5
    assert (made.alpha[away] == mask[away] * 255).all()
    untouched = (made.alpha == 255) | (made.alpha == 0)
    assert (made.pixels[untouched] == photo[untouched]).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_what_is_known_is_what_the_mask_says(seed, width):
    mask = blob((40, 50), seed)
    unknown, guess = trimap(mask, width)
    assert (guess[~unknown] == mask[~unknown]).all()
    assert ((guess > 0.5) == mask)[unknown].all()  # the first guess is on the mask's side


def test_a_stem_thinner_than_the_band_stays():
    photo = np.broadcast_to(PAPER, (60, 60, 3)).astype(np.uint8).copy()
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:55, 27:34] = True
    photo[mask] = INK
    alpha = matte(photo, mask, 20).alpha
    assert (alpha[10:50, 28:33] == 255).all()
    assert not alpha[10:50, :26].any()


def test_tiles_give_what_the_whole_photo_gives(monkeypatch):
    photo, _, mask = hairy((220, 260))
    whole = matte(photo, mask, 9)
    monkeypatch.setattr(module, "_TILE", 128)
    tiled = matte(photo, mask, 9)
    apart = np.abs(whole.alpha.astype(int) - tiled.alpha)
    assert apart.max() <= 6
    assert apart.mean() < 0.05
    assert (tiled.pixels != photo).any()


def test_the_same_bytes_every_time():
    photo, _, mask = hairy()
    once, again = matte(photo, mask, 9), matte(photo.copy(), mask.copy(), 9)
    assert (once.alpha.tobytes(), once.pixels.tobytes()) == (again.alpha.tobytes(), again.pixels.tobytes())


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (2, 40)])
def test_photos_of_a_few_pixels_have_mattes_too(size):
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for mask in (np.zeros(size, bool), np.ones(size, bool), rng.random(size) < 0.5):
        made = matte(photo, mask)
        assert made.alpha.shape == size
        if mask.all() or not mask.any():
            assert (made.alpha == mask * 255).all()


def test_an_object_at_the_photos_edge_is_not_eaten_there():
    photo = np.broadcast_to(PAPER, (50, 50, 3)).astype(np.uint8).copy()
    mask = np.zeros((50, 50), dtype=bool)
    mask[:, :25] = True
    photo[mask] = INK
    assert (matte(photo, mask, 8).alpha[:, :20] == 255).all()


def test_memory_does_not_grow_with_the_photo_beyond_what_is_kept():
    def peak(height):
        mask = np.zeros((height, 600), dtype=bool)
        mask[:, 300:] = True
        photo = np.zeros((height, 600, 3), np.uint8)
        photo[mask] = 200
        tracemalloc.start()
        matte(photo, mask, 6)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert (peak(2400) - peak(1200)) / (1200 * 600) < 16  # bytes a pixel: opacity, colours, the band


def test_the_band_is_as_wide_as_the_object_asks_for():
    mask = np.zeros((400, 400), dtype=bool)
    assert default_width(mask) == 2
    mask[:300, :300] = True
    assert default_width(mask) == 10


def test_the_solution_is_the_one_of_the_papers_equations():
    """Against the matting Laplacian written out window by window (equation 12)."""
    rng = np.random.default_rng(3)
    colors, unknown = rng.random((7, 8, 3)), np.zeros((7, 8), dtype=bool)
    unknown[2:5, 2:6] = True
    guess = (rng.random((7, 8)) < 0.5).astype(float)
    size = unknown.size
    laplacian = np.zeros((size, size))
    for y in range(1, 6):
        for x in range(1, 7):
            at = [(y + dy) * 8 + x + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            shades = colors.reshape(-1, 3)[at]
            spread = np.linalg.inv(np.cov(shades.T, bias=True) + np.eye(3) * matte_alpha._EPSILON / 9)
            shades = shades - shades.mean(0)
            laplacian[np.ix_(at, at)] += np.eye(9) - (1 + shades @ spread @ shades.T) / 9
    u, k = np.flatnonzero(unknown), np.flatnonzero(~unknown)
    matrix = laplacian[np.ix_(u, u)] + 0.01 * np.eye(u.size)
    right = 0.01 * guess.ravel()[u] - laplacian[np.ix_(u, k)] @ guess.ravel()[k]
    exact = np.clip(np.linalg.solve(matrix, right), 0, 1)
    assert np.abs(matte_alpha.solve(colors, guess, unknown, 0.01) - exact).max() < 1e-3
