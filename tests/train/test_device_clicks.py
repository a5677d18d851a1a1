"""Users simulated on the device do what simulate.py's users do."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, label

from segcli.train import device_clicks as device
from segcli.train import simulate
from segcli.train.chance import Chance

SIZE = (18, 23)
EVERYWHERE = np.ones(SIZE, np.bool_)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Noise of some density, or a union of rectangles; sometimes empty, sometimes full."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["noise", "noise", "boxes", "boxes", "boxes", "empty", "full"]))
    if kind == "noise":
        return rng.random(SIZE) < rng.choice([0.05, 0.5, 0.9, 0.98])
    mask = np.full(SIZE, kind == "full")
    for _ in range(int(rng.integers(1, 5)) if kind == "boxes" else 0):
        y, x = rng.integers(-4, SIZE[0]), rng.integers(-4, SIZE[1])
        mask[max(0, y) : max(0, y + rng.integers(1, 14)), max(0, x) : max(0, x + rng.integers(1, 14))] ^= True
    return mask


stacks = st.lists(st.tuples(masks(), masks(), masks()), min_size=1, max_size=6)


def tensor(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))


@given(st.lists(masks(), min_size=1, max_size=6))
def test_depth_is_the_exact_euclidean_distance(regions: list[np.ndarray]) -> None:
    depth = device.squared_depth(tensor(regions)).numpy()
    for mine, region in zip(depth, regions, strict=True):
        exact = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] ** 2
        np.testing.assert_array_equal(mine, np.round(exact).astype(int))


@given(stacks)
def test_a_careful_user_clicks_the_very_cell_that_the_other_one_clicks(cases: list) -> None:
    truth, answer, valid = (tensor(list(stack)) for stack in zip(*cases, strict=True))
    clicks = device.next_clicks(truth, answer, valid, Chance(0), careful=1.0)
    for number, case in enumerate(cases):
        expected = simulate.next_click(*case, np.random.default_rng(0), careful=1.0)
        assert bool(clicks.found[number]) == (expected is not None)
        if expected is not None:
            assert clicks.xy[number].tolist() == [expected.x, expected.y]
            assert bool(clicks.positive[number]) == expected.positive


@given(stacks, st.integers(0, 99))
def test_a_clumsy_user_clicks_in_the_region_around_the_deepest_error(cases: list, seed: int) -> None:
    truth, answer, valid = (tensor(list(stack)) for stack in zip(*cases, strict=True))
    clicks = device.next_clicks(truth, answer, valid, Chance(seed), careful=0.0)
    for number, case in enumerate(cases):
        deepest = simulate.next_click(*case, np.random.default_rng(0), careful=1.0)
        assert bool(clicks.found[number]) == (deepest is not None)
        if deepest is None:
            continue
        error = (case[0] != case[1]) & case[2] & (case[0] == deepest.positive)
        parts, _ = label(error)
        x, y = clicks.xy[number].tolist()
        assert parts[y, x] == parts[deepest.y, deepest.x] != 0
        assert bool(clicks.positive[number]) == deepest.positive


def test_a_clumsy_user_clicks_everywhere_in_the_region_alike() -> None:
    truth = torch.zeros(2000, 4, 6, dtype=torch.bool)
    truth[:, 1:3, 1:5] = True
    nothing = torch.zeros_like(truth)
    clicks = device.next_clicks(truth, nothing, ~nothing, Chance(1), careful=0.0)
    counts = torch.bincount(clicks.xy[:, 1] * 6 + clicks.xy[:, 0], minlength=24).view(4, 6)
    assert (counts[~truth[0]] == 0).all()
    assert (counts[truth[0]] - 250).abs().max() < 70  # 4.7 standard deviations


@given(st.lists(masks(), min_size=1, max_size=6), st.integers(0, 10**6))
def test_what_is_connected_is_what_scipy_labels_alike(regions: list[np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = [int(rng.choice(np.flatnonzero(r))) if r.any() else 0 for r in regions]
    found = device.connected(tensor(regions), torch.tensor(at)).numpy()
    for mine, region, cell in zip(found, regions, at, strict=True):
        parts, _ = label(region)
        np.testing.assert_array_equal(mine, (parts == parts.flat[cell]) & region)


class Given(Chance):
    """Draws that a test chose."""

    def __init__(self, *draws: np.ndarray) -> None:
        self.draws = list(draws)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        drawn = torch.from_numpy(self.draws.pop(0))
        assert drawn.shape == shape
        return drawn


@given(st.lists(masks(), min_size=1, max_size=6), st.integers(0, 99))
def test_loose_boxes_are_those_of_the_same_draws(truths: list[np.ndarray], seed: int) -> None:
    off = np.stack([np.random.default_rng(seed + n).uniform(-0.08, 0.08, 4) for n in range(len(truths))])
    boxes = device.loose_boxes(tensor(truths), Given(off))
    for number, truth in enumerate(truths):
        expected = simulate.loose_box(truth, np.random.default_rng(seed + number))
        assert boxes[number].tolist() == list(expected or (0, 0, -1, -1))


@given(st.lists(masks(), min_size=1, max_size=6), st.integers(0, 99))
def test_strokes_are_straight_walks_between_two_cells_of_the_object(truths: list[np.ndarray], seed: int) -> None:
    walk, inside = device.strokes(tensor(truths), Chance(seed))
    for truth, cells, good in zip(truths, walk.tolist(), inside.tolist(), strict=True):
        assert any(good) == bool(truth.any())
        marks = [tuple(cell) for cell, ok in zip(cells, good, strict=True) if ok]
        assert len(set(marks)) == len(marks)
        assert all(truth[y, x] for x, y in marks)
        (ax, ay), (bx, by) = cells[0], cells[-1]
        if truth.any():
            assert truth[ay, ax]
            assert truth[by, bx]
        for x, y in cells:  # at most half a cell beside the line, on either axis
            off = abs((bx - ax) * (y - ay) - (by - ay) * (x - ax))
            assert off <= 0.5 * (abs(bx - ax) + abs(by - ay)) + 1e-9


@given(st.lists(masks(), min_size=1, max_size=4), st.integers(1, 6), st.booleans())
def test_masks_are_grown_and_shrunk_as_scipy_does_it(truths: list[np.ndarray], size: int, grow: bool) -> None:
    sizes = torch.arange(size, size + len(truths))
    done = device._resized(tensor(truths), sizes, torch.full((len(truths),), grow))
    for mine, truth, steps in zip(done.numpy(), truths, sizes.tolist(), strict=True):
        np.testing.assert_array_equal(mine, (binary_dilation if grow else binary_erosion)(truth, iterations=steps))


def test_a_rough_mask_is_wrong_but_not_elsewhere_and_of_nothing_it_is_nothing() -> None:
    truth = torch.zeros(40, 60, 60, dtype=torch.bool)
    truth[:39, 15:45, 15:45] = True
    rough = device.rough_masks(truth, Chance(3))
    overlap = (rough & truth)[:39].sum((1, 2)) / (rough | truth)[:39].sum((1, 2))
    assert overlap.max() < 1.0
    assert overlap.min() > 0.2
    assert not rough[39].any()


@given(st.lists(masks(), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=40)
def test_picked_cells_lie_in_the_mask(cells: list[np.ndarray], seed: int) -> None:
    at = device.pick(tensor(cells), Chance(seed).uniform(len(cells), 3))
    for mask, chosen in zip(cells, at.tolist(), strict=True):
        assert all(mask.flat[c] for c in chosen) if mask.any() else chosen == [0, 0, 0]


def test_the_same_seed_draws_the_same_and_its_neighbours_do_not() -> None:
    one, same, other = (Chance(*seed).uniform(50) for seed in ((3, 4), (3, 4), (3, 5)))
    assert torch.equal(one, same)
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.4
