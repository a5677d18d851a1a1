"""Colour, blur and JPEG noise on the device."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from segcli.train.chance import Chance
from segcli.train.device_colour import Colour, gaussian, luma, recolour
from segcli.train.jpeg_noise import jpeg_noise

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Pillow.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").resize((147, 101)))  # sides that no block of 8 divides


def batch(photo: np.ndarray, count: int = 1) -> torch.Tensor:
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float().repeat(count, 1, 1, 1)


@pytest.mark.parametrize("quality", [15, 40, 60, 85, 95])
def test_jpeg_noise_is_what_a_jpeg_file_leaves(photo: np.ndarray, quality: int) -> None:
    data = io.BytesIO()
    Pillow.fromarray(photo).save(data, "JPEG", quality=quality, subsampling=0)
    with Pillow.open(data) as image:
        file = np.asarray(image).astype(float)
    ours = jpeg_noise(batch(photo), torch.tensor([quality]))[0].permute(1, 2, 0).round().numpy()
    assert np.abs(ours - file).mean() < 1.0  # the file rounds colours before and after the transform
    assert np.abs(ours - file).mean() < 0.6 * np.abs(photo - file).mean()


def test_each_photo_has_its_own_quality(photo: np.ndarray) -> None:
    both = jpeg_noise(batch(photo, 2), torch.tensor([10, 90]))
    alone = jpeg_noise(batch(photo), torch.tensor([10]))
    torch.testing.assert_close(both[:1], alone, atol=1e-3, rtol=0)
    off = (both - batch(photo, 2)).abs().mean((1, 2, 3))
    assert off[0] > 3 * off[1]


def test_a_blur_is_a_gaussian_of_each_photos_own_width(photo: np.ndarray) -> None:
    blurred = gaussian(batch(photo, 2), torch.tensor([0.6, 2.0]))
    for plane, sigma in zip(blurred, (0.6, 2.0), strict=True):
        expected = gaussian_filter(photo.astype(float), (sigma, sigma, 0), mode="nearest", truncate=7 / sigma)
        assert np.abs(plane.permute(1, 2, 0).numpy() - expected).max() < 0.5


def test_without_any_chance_nothing_changes(photo: np.ndarray) -> None:
    same = recolour(batch(photo, 3), Colour(colour=0, blur=0, grey=0), Chance(0))
    torch.testing.assert_close(same, batch(photo, 3), atol=1e-3, rtol=0)


def test_greys_are_grey_and_keep_their_brightness(photo: np.ndarray) -> None:
    grey = recolour(batch(photo), Colour(colour=0, blur=0, grey=1), Chance(0))
    assert torch.equal(grey[:, 0], grey[:, 1])
    expected = np.asarray(Pillow.fromarray(photo).convert("L")).astype(float)
    assert np.abs(luma(grey)[0, 0].numpy() - expected).max() <= 1.0


def test_colours_change_within_bounds_and_stay_colours(photo: np.ndarray) -> None:
    changed = recolour(batch(photo, 40), Colour(colour=1, blur=0, grey=0), Chance(1))
    assert changed.amin() >= 0
    assert changed.amax() <= 255
    means = changed.mean((1, 2, 3)) / batch(photo).mean()
    assert means.std() > 0.1
    assert ((means > 0.6) & (means < 1.45)).all()
