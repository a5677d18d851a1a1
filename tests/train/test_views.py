"""Training views: what is drawn from photos."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from segcli.core.errors import StorageError
from segcli.train.views import IGNORE, TrainingPhoto, ViewConfig, views


def photo(seed: int, size: tuple[int, int] = (90, 120)) -> TrainingPhoto:
    """Two rectangles on noise, the first red, the second blue."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 110, (*size, 3), dtype=np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[20:60, 20:70], labels[50:80, 80:110] = 1, 2
    pixels[labels == 1] = (250, 0, 0)
    pixels[labels == 2] = (0, 0, 250)
    labels[:5] = IGNORE
    return TrainingPhoto(pixels, labels, {1: 1.0, 2: 1.0}, donors=(1, 2))


CONFIG = ViewConfig(side=64, targets=2)


def test_the_same_seed_draws_the_same_views() -> None:
    photos = [photo(0), photo(1)]
    for a, b in zip(islice(views(photos, CONFIG, 7), 12), islice(views(photos, CONFIG, 7), 12), strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.targets, b.targets)


def test_views_hold_one_to_the_wanted_number_of_visible_targets() -> None:
    for view in islice(views([photo(0), photo(1)], CONFIG, 0), 60):
        assert view.pixels.shape == (64, 64, 3)
        assert 1 <= len(view.targets) <= 2
        assert view.targets.shape[1:] == view.valid.shape == (32, 32)
        assert all((t > 127).any() for t in view.targets)


def test_a_target_covers_its_own_pixels() -> None:
    config = ViewConfig(side=64, targets=2, paste=0.0)
    for view in islice(views([photo(0)], config, 1), 40):
        small = view.pixels.reshape(32, 2, 32, 2, 3).mean((1, 3))
        for target in view.targets:
            inside = small[target == 255]
            if len(inside) > 4:  # recoloured, but red or blue still leads (greys have no leader)
                spread = inside.max(1) - inside.min(1)
                assert spread.mean() > 40 or spread.max() < 12


def test_a_pasted_object_becomes_a_target_and_hides_what_lies_below() -> None:
    config = ViewConfig(side=64, targets=3, paste=1.0)
    counts = [len(v.targets) for v in islice(views([photo(0), photo(1)], config, 2), 60)]
    assert max(counts) == 3
    for view in islice(views([photo(0), photo(1)], config, 2), 60):
        assert (np.stack([t > 127 for t in view.targets]).sum(0) <= 1).all()


def test_photos_without_a_target_end_in_an_error_and_not_in_an_endless_search() -> None:
    empty = TrainingPhoto(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8), {1: 1.0})
    with pytest.raises(StorageError, match="none of 1 photos"):
        next(views([empty], CONFIG, 0))
