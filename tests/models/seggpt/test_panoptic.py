"""Places as colours, instances out of them, and whole photos out of two pictures."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segcli.core.example import Task
from segcli.models.seggpt.palette import colors_of, paint
from segcli.models.seggpt.panoptic import panoptic
from segcli.models.seggpt.places import PLACES, find_instances, matrix_nms, paint_places, place_color

TASK = Task("panoptic", {1: "sky", 2: "cat", 3: "dog", 4: "grass"}, frozenset({2, 3}))


def discs(*centres: tuple[int, int], radius: int = 12, size: tuple[int, int] = (96, 96)) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    ids = np.zeros(size, np.int32)
    for number, (row, column) in enumerate(centres, 1):
        ids[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return ids


def test_every_place_has_a_colour_of_its_own_that_is_not_black():
    fractions = (np.arange(PLACES) + 0.5) / (PLACES - 1)
    colors = {tuple(place_color(y, x).tolist()) for y in fractions for x in fractions}
    assert len(colors) == PLACES**2
    assert min(min(color) for color in colors) > 0
    assert place_color(0, 0).tolist() == [255, 255, 255]
    assert place_color(1, 1).tolist() == [255 - 15 * 15, 255 - 13 * 19, 255 - 13 * 19]


@given(st.integers(0, 2**32 - 1))
def test_painted_instances_are_found_again(seed: int):
    rng = np.random.default_rng(seed)
    ids = discs((20, 20), (70, 30), (40, 75))
    noise = rng.uniform(-3, 3, (96, 96, 3))
    found = find_instances(np.clip(paint_places(ids) + noise, 0, 255))
    for number in range(1, 4):
        truth = ids == number
        best = max((mask & truth).sum() / (mask | truth).sum() for mask in found.masks)
        assert best > 0.98
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()


def test_a_second_mask_of_the_same_place_is_thinned_out():
    mask = discs((40, 40))[None] > 0
    apart = discs((80, 80))[None] > 0
    kept = matrix_nms(np.concatenate([mask, mask, apart]), np.array([0.9, 0.8, 0.7]))
    assert kept[0] == 0.9
    assert kept[1] < 0.8 * np.exp(-2) + 1e-9
    assert kept[2] == 0.7


def test_nothing_painted_is_no_instance_and_no_segment():
    assert len(find_instances(np.zeros((32, 32, 3))).masks) == 0
    assert len(panoptic(np.zeros((32, 32, 3)), np.zeros((32, 32, 3)), colors_of(TASK.ids), TASK, (64, 50))) == 0


def test_two_pictures_give_each_thing_and_each_stuff_its_segment():
    instances = discs((30, 25), (60, 70))
    classes = np.full((96, 96), 1)
    classes[70:] = 4
    classes[instances == 1], classes[instances == 2] = 2, 3
    colors = colors_of(TASK.ids)
    answer = panoptic(
        paint(classes, colors).astype(float), paint_places(instances).astype(float), colors, TASK, (192, 96)
    )
    assert sorted(zip(answer.labels, answer.things, strict=True)) == [
        ("cat", True),
        ("dog", True),
        ("grass", False),
        ("sky", False),
    ]
    tall = np.repeat(classes, 2, axis=0)
    for index, label in enumerate(answer.labels):
        number = next(n for n, name in TASK.names.items() if name == label)
        np.testing.assert_array_equal(answer.dense(index), tall == number)
