"""Views made on the device: what they show, what is asked for, and that a seed says all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from scipy.ndimage import binary_dilation

from segcli.core.errors import StorageError
from segcli.train.chance import Chance
from segcli.train.device_colour import Colour
from segcli.train.device_targets import PASTED, Granularity, ViewLabels, pick_targets, target_masks
from segcli.train.device_views import DeviceViewConfig, DeviceViews, cut, paste
from segcli.train.resident import connected_pieces, resident
from segcli.train.views import IGNORE, PAD, TrainingPhoto, ViewConfig

PLAIN = DeviceViewConfig(colour=Colour(0, blur=0, grey=0))
VIEW = ViewConfig(side=64, targets=2)


def photo(seed: int, size: tuple[int, int] = (90, 120)) -> TrainingPhoto:
    """A red and a blue rectangle on grey noise, an ignored strip above."""
    pixels = np.random.default_rng(seed).integers(90, 110, (*size, 3), dtype=np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[20:60, 20:70], labels[50:80, 80:110] = 1, 2
    pixels[labels == 1], pixels[labels == 2] = (250, 0, 0), (0, 0, 250)
    labels[:5] = IGNORE
    return TrainingPhoto(pixels, labels, {1: 1.0, 2: 1.0}, donors=(1, 2))


def views(view: ViewConfig = VIEW, config: DeviceViewConfig = PLAIN, count: int = 6, seed: int = 0) -> DeviceViews:
    return DeviceViews(resident([photo(0), photo(1, (70, 128)), photo(2)], "cpu"), view, config, count, seed)


EVERYTHING = DeviceViewConfig(0.1, 0.5, Colour(jpeg=0.5, blur=0.5), Granularity(0.3, 0.2, 0.3))


def test_a_batch_is_a_function_of_the_seed_and_its_number() -> None:
    whole = views(config=EVERYTHING).stream()
    first = [next(whole) for _ in range(4)]
    later = views(config=EVERYTHING).stream(2)
    for one, other in zip(first[2:], later, strict=False):
        for name in ("images", "truth", "valid", "image_of"):
            assert torch.equal(getattr(one, name), getattr(other, name))
    assert not torch.equal(first[0].images, first[1].images)
    assert not torch.equal(first[0].images, views(config=EVERYTHING, seed=1).batch(0).images)


def test_each_photo_is_shown_once_an_epoch() -> None:
    source = views(count=2)
    shown = torch.cat([source._photos(number) for number in range(6)]).view(4, 3)
    assert all(sorted(epoch) == [0, 1, 2] for epoch in shown.tolist())
    assert len({tuple(epoch) for epoch in shown.tolist()}) > 1


def test_batches_have_the_shapes_that_the_recipe_reads() -> None:
    batch = views().batch(0)
    assert (batch.images.shape, batch.images.dtype) == ((6, 3, 64, 64), torch.uint8)
    assert batch.truth.shape[1:] == batch.valid.shape[1:] == (32, 32)
    assert len(batch.truth) == len(batch.image_of) <= 12
    assert batch.image_of.tolist() == sorted(batch.image_of.tolist())
    assert torch.bincount(batch.image_of).max() <= 2


def test_a_target_covers_its_own_pixels() -> None:
    for number in range(6):
        batch = views(replace(VIEW, paste=0.0)).batch(number)
        small = torch.nn.functional.avg_pool2d(batch.images.float(), 2)
        for truth, index in zip(batch.truth, batch.image_of, strict=True):
            inside = small[index][:, truth == 1]
            if inside.shape[1] > 4:
                assert inside.amax(0).median() > 200
                assert inside.amin(0).median() < 40


@settings(max_examples=40)
@given(st.floats(0, 60), st.floats(0, 40), st.floats(16, 48), st.booleans())
def test_a_part_of_a_photo_is_what_pillow_makes_of_it(x: float, y: float, length: float, mirrored: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    labels = rng.integers(1, 200, (90, 120), dtype=np.uint8)
    photos = resident([TrainingPhoto(pixels, labels, {1: 1.0})], "cpu")
    box = (x, y, x + length, y + length)
    images, ids, _ = cut(photos, torch.tensor([0]), torch.tensor([box]).double(), torch.tensor([mirrored]), 32)
    expected = np.asarray(Pillow.fromarray(pixels).resize((32, 32), Pillow.Resampling.BILINEAR, box=box))
    nearest = np.asarray(Pillow.fromarray(labels).resize((32, 32), Pillow.Resampling.NEAREST, box=box))
    if mirrored:
        expected, nearest = expected[:, ::-1], nearest[:, ::-1]
    assert np.abs(images[0].permute(1, 2, 0).numpy() - expected).max() <= 1.5  # Pillow rounds twice
    assert (ids[0].numpy() == nearest).mean() > 0.9  # a place on the line between two pixels may go either way


def test_beside_the_photo_there_is_padding_that_nobody_asks_for() -> None:
    photos = resident([photo(0)], "cpu")
    box = torch.tensor([[-60.0, -75.0, 180.0, 165.0]]).double()
    images, labels, _ = cut(photos, torch.tensor([0]), box, torch.tensor([False]), 48)
    assert (images[0, :, :15] == PAD).all()
    assert (images[0, :, :, :12] == PAD).all()
    assert (labels[0, :15] == IGNORE).all()
    assert (labels[0, 33:] == IGNORE).all()
    assert set(labels[0, 16:33, 12:36].unique().tolist()) == {0, 1, 2}


def test_a_pasted_object_becomes_a_target_and_hides_what_lies_below() -> None:
    source = views(ViewConfig(side=64, targets=3, paste=1.0))
    batches = [source.batch(number) for number in range(5)]
    assert max(int(torch.bincount(batch.image_of).max()) for batch in batches) == 3
    for batch in batches:
        for index in range(6):
            assert ((batch.truth[batch.image_of == index] > 0.5).sum(0) <= 1).all()


def test_a_feathered_paste_differs_only_around_its_edge() -> None:
    photos = resident([photo(0)], "cpu")
    images, labels = torch.full((8, 3, 64, 64), 127.0), torch.zeros(8, 64, 64, dtype=torch.long)
    hard, cover = paste(photos, images, labels, 0.0, Chance(5))
    soft, _ = paste(photos, images, labels, 1.0, Chance(5))
    changed = (hard - soft).abs().amax(1) > 0.5
    assert changed.any()
    edge = cover.numpy() & binary_dilation(~cover.numpy(), np.ones((1, 3, 3)))
    near = binary_dilation(edge, np.ones((1, 19, 19)))
    assert not (changed.numpy() & ~near).any()


LABELS = torch.zeros(1, 20, 40, dtype=torch.long)
LABELS[0, 2:10, 2:10] = 1  # a thing
LABELS[0, 2:10, 10:20] = 2  # another one, touching it
LABELS[0, 10:18, 2:20] = 3  # stuff below both
LABELS[0, 2:18, 24:30] = 4  # of the class of 1, in two pieces
LABELS[0, 8:12, 24:30] = IGNORE
PIECES = torch.zeros_like(LABELS)
PIECES[0, 2:8, 24:30], PIECES[0, 12:18, 24:30] = 1, 2


def view_labels() -> ViewLabels:
    weights, classes, owners = torch.zeros(1, 257), torch.zeros(1, 257, dtype=torch.long), torch.zeros(1, 256).long()
    weights[0, 1:5] = torch.tensor([1.0, 1.0, 0.15, 1.0])
    classes[0, 1:5] = torch.tensor([7, 8, 9, 7])
    owners[0, 1:3] = 4
    return ViewLabels(LABELS, PIECES, weights, classes, owners)


def asked(config: Granularity, ids: list[int], seed: int = 0) -> list[set[int]]:
    """What each mask is made of; -1 and -2 stand for the pieces alone."""
    masks = target_masks(view_labels(), torch.tensor([ids]), 5, config, Chance(seed))[0]
    found = []
    for mask in masks:
        parts = {int(i) for i in LABELS[0][mask].unique()}
        for part in parts:
            if (LABELS[0][mask] == part).sum() < (LABELS[0] == part).sum():
                parts = {-int(i) for i in PIECES[0][mask].unique()}
        found.append(parts)
    return found


def test_a_target_is_one_object_by_default() -> None:
    assert asked(Granularity(), [1, 2, 3, 4]) == [{1}, {2}, {3}, {4}]


def test_touching_objects_of_one_kind_are_joined() -> None:
    assert asked(Granularity(touching=1.0), [1, 2, 3, 4]) == [{1, 2}, {1, 2}, {3}, {4}]


def test_all_objects_of_a_class_are_joined() -> None:
    assert asked(Granularity(alike=1.0), [1, 2, 3, 4]) == [{1, 4}, {2}, {3}, {1, 4}]


def test_a_piece_is_one_of_an_object_in_several() -> None:
    seen = [asked(Granularity(piece=1.0), [1, 4], seed) for seed in range(12)]
    assert all(one == {1} for one, _ in seen)
    assert {frozenset(four) for _, four in seen} == {frozenset({-1}), frozenset({-2})}


def test_each_granularity_has_its_share() -> None:
    kinds = [tuple(map(frozenset, asked(Granularity(0.2, 0.3, 0.1), [1, 4], seed))) for seed in range(400)]
    ones = [one for one, _ in kinds]
    assert ones.count(frozenset({1, 2})) / 400 == pytest.approx(0.2, abs=0.06)
    assert ones.count(frozenset({1, 4})) / 400 == pytest.approx(0.3, abs=0.06)
    fours = [four for _, four in kinds]
    assert sum(min(four) < 0 for four in fours) / 400 == pytest.approx(0.1, abs=0.05)


def test_targets_are_drawn_by_their_weight_without_repeating_and_only_where_visible() -> None:
    view = view_labels()
    first = []
    for seed in range(300):
        ids, taken = pick_targets(view, torch.tensor([-1]), 6, 40, Chance(seed))
        assert taken.sum() == 4
        assert sorted(ids[taken].tolist()) == [1, 2, 3, 4]
        first.append(int(ids[0, 0]))
    assert first.count(3) / 300 == pytest.approx(0.15 / 3.15, abs=0.035)
    assert first.count(1) / 300 == pytest.approx(1 / 3.15, abs=0.08)
    ids, taken = pick_targets(view, torch.tensor([3]), 2, 65, Chance(0))
    assert ids[0, 0] == 3
    assert 1 not in ids[taken].tolist()  # 64 pixels
    assert PASTED == IGNORE + 1


def test_pieces_are_connected_parts_of_objects_in_several_and_specks_are_none() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[5:30, 5:70], labels[5:30, 30:40] = 1, 2  # 2 cuts 1 in two
    labels[50:55, 5:10], labels[58, 70] = 3, 3  # one large part and a speck
    pieces, owners = connected_pieces(TrainingPhoto(np.zeros((60, 80, 3), np.uint8), labels, {1: 1.0, 2: 1.0, 3: 1.0}))
    assert np.flatnonzero(owners).tolist() == [1, 2]
    assert owners[1:3].tolist() == [1, 1]
    assert set(np.unique(pieces[labels == 1]).tolist()) == {1, 2}
    assert (pieces[labels != 1] == 0).all()


def test_photos_without_a_target_end_in_an_error_and_not_in_an_endless_search() -> None:
    empty = TrainingPhoto(np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), np.uint8), {1: 1.0})
    labels = np.full((40, 40), IGNORE, np.uint8)
    labels[0, 0] = 1
    with pytest.raises(StorageError, match="none of 1 photos"):
        DeviceViews(resident([replace(empty, labels=labels)], "cpu"), ViewConfig(side=64, zoom=0.0), PLAIN, 2).batch(0)
