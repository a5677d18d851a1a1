"""The fixed and the published choices of points, queries and memory slots."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from segcli.models.seem.draws import FixedDraws, RandomDraws, evenly

counts = st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any)


def owners(sizes: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


@given(sizes=counts, budget=st.integers(1, 100), seed=st.none() | st.integers(0, 9))
def test_points_are_never_more_than_the_budget_nor_drawn_twice_and_stay_in_order(sizes, budget, seed):
    draws = FixedDraws() if seed is None else RandomDraws(seed)
    objects = owners(sizes)
    chosen = draws.points(objects, budget)
    assert chosen.numel() == min(budget, objects.numel())
    assert (chosen[1:] > chosen[:-1]).all()


@given(sizes=counts, budget=st.integers(6, 100))
def test_fixed_points_leave_no_object_out_and_take_all_of_a_small_one(sizes, budget):
    taken = torch.bincount(owners(sizes)[FixedDraws().points(owners(sizes), budget)], minlength=len(sizes))
    present = sum(size > 0 for size in sizes)
    for size, got in zip(sizes, taken.tolist(), strict=True):
        assert got >= min(size, budget // present)


@given(count=st.integers(1, 300), data=st.data())
def test_even_indices_are_distinct_and_spread_over_the_whole_range(count, data):
    wanted = data.draw(st.integers(1, count))
    index = evenly(count, wanted)
    assert index.unique().numel() == wanted
    assert index[0] <= count / wanted
    assert index[-1] >= count - 1 - count / wanted


@given(slots=st.integers(1, 40), objects=st.integers(1, 40))
def test_fixed_memory_slots_are_shared_out_evenly_and_ascending(slots, objects):
    owner = FixedDraws().memories(slots, objects)
    share = torch.bincount(owner, minlength=objects)
    assert share.max() - share.min() <= 1
    assert (owner.diff() >= 0).all()


def test_every_object_starts_from_the_same_fixed_queries():
    assert FixedDraws().queries(2, 3, 101).tolist() == [0, 1, 2, 0, 1, 2]


def test_random_draws_come_from_their_seed_alone():
    def everything(draws: RandomDraws) -> list[list[int]]:
        objects = owners([50, 5])
        return [
            draws.points(objects, 10).tolist(),
            draws.points_of_one(30, 10).tolist(),
            draws.queries(2, 3, 101).tolist(),
            draws.memories(32, 4).tolist(),
        ]

    first = everything(RandomDraws(5))
    torch.manual_seed(77)
    assert first == everything(RandomDraws(5))
    assert first != everything(RandomDraws(6))


def test_random_points_weigh_objects_not_pixels():
    objects = owners([1000, 20])
    draws = RandomDraws(0)
    small = sum(int((objects[draws.points(objects, 10)] == 1).sum()) for _ in range(50))
    assert 150 < small < 350  # about half of 500, though the object has 2 % of the points
