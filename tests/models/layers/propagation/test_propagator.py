from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.layers.propagation.looks import object_look
from segcli.models.layers.propagation.propagator import Propagator
from segcli.models.layers.propagation.views import VIEWS

SIZE = (96, 160)
RED, BLUE = (220, 30, 30), (30, 60, 230)
Start = Callable[..., Propagator]


def square(x: int, y: int, side: int = 28) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[max(0, y) : y + side, max(0, x) : x + side] = True
    return mask


def frame(*shapes: tuple[np.ndarray, tuple[int, int, int]]) -> Image:
    pixels = np.full((*SIZE, 3), (90, 130, 70), np.uint8)
    for mask, colour in shapes:
        pixels[mask] = colour
    return Image(pixels, SIZE, "frame.png")


def red_at(x: int, y: int = 30) -> Image:
    return frame((square(x, y), RED))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_a_shape_that_moves_is_followed(fresh: Start):
    tracker = fresh()
    tracker.step(red_at(10), {1: square(10, 30)})
    for x in (20, 34, 50, 64):
        assert overlap(tracker.step(red_at(x))[1], square(x, 30)) > 0.75


def test_a_given_mask_is_the_answer(fresh: Start):
    tracker = fresh()
    given = square(12, 31)
    np.testing.assert_array_equal(tracker.step(red_at(10), {1: given})[1], given)
    corrected = square(15, 33)
    np.testing.assert_array_equal(tracker.step(red_at(10), {1: corrected})[1], corrected)


def test_several_objects_do_not_overlap(fresh: Start):
    tracker = fresh()
    places = [(10, 100), (30, 90), (50, 75), (64, 70)]
    for t, (a, b) in enumerate(places):
        image = frame((square(a, 30), RED), (square(b, 34), BLUE))
        masks = tracker.step(image, {1: square(a, 30), 2: square(b, 34)} if t == 0 else None)
        if t:
            assert not (masks[1] & masks[2]).any()
    assert overlap(masks[2], square(70, 34)) > 0.6


def test_an_object_may_be_named_later_and_dropped_again(fresh: Start):
    tracker = fresh()
    tracker.step(red_at(10), {7: square(10, 30)})
    both = frame((square(16, 30), RED), (square(100, 30), BLUE))
    assert list(tracker.step(both, {3: square(100, 30)})) == [7, 3]
    masks = tracker.step(both)
    assert overlap(masks[7], square(16, 30)) > 0.7
    assert overlap(masks[3], square(100, 30)) > 0.7
    tracker.drop(7)
    assert list(tracker.step(both)) == [3]


def test_an_object_that_leaves_is_an_empty_mask_and_is_found_when_it_returns(fresh: Start):
    tracker = fresh(capacity=2)
    tracker.step(red_at(10), {1: square(10, 30)})
    tracker.step(red_at(16))
    for _ in range(4):
        assert not tracker.step(frame())[1].any()
    tracker.step(red_at(100))
    assert overlap(tracker.step(red_at(104))[1], square(104, 30)) > 0.6


def test_a_stopped_run_goes_on_bit_for_bit(fresh: Start):
    def shown(x: int) -> Image:
        return frame((square(x, 30), RED), (square(120 - x, 50), BLUE))

    undisturbed = fresh(capacity=3)
    undisturbed.step(shown(10), {1: square(10, 30), 2: square(110, 50)})
    for x in (14, 18, 24, 30):
        undisturbed.step(shown(x))
    kept = {name: array.copy() for name, array in undisturbed.state().items()}
    restored = fresh(capacity=3)
    restored.restore(kept)
    for x in (36, 44, 50):
        a, b = undisturbed.step(shown(x)), restored.step(shown(x))
        assert list(a) == list(b)
        for number in a:
            np.testing.assert_array_equal(a[number], b[number])
    states = undisturbed.state(), restored.state()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert states[0][name].dtype == states[1][name].dtype
        np.testing.assert_array_equal(states[0][name], states[1][name])


def test_the_same_video_gives_the_same_masks(fresh: Start):
    runs = []
    for _ in range(2):
        tracker = fresh()
        tracker.step(red_at(10), {1: square(10, 30)})
        runs.append([tracker.step(red_at(x))[1] for x in (20, 30)])
    np.testing.assert_array_equal(runs[0], runs[1])


def test_memory_stays_bounded(fresh: Start):
    tracker = fresh(capacity=2)
    tracker.step(red_at(10), {1: square(10, 30)})
    sizes = []
    for x in range(12, 26, 2):
        tracker.step(red_at(x))
        sizes.append(len(tracker.state()))
    assert sizes[2:] == [sizes[2]] * len(sizes[2:])


def test_only_each_so_manyth_frame_is_kept(fresh: Start):
    tracker = fresh(every=2)
    tracker.step(red_at(10), {1: square(10, 30)})
    counts = []
    for x in (12, 14, 16, 18):
        tracker.step(red_at(x))
        counts.append(int(tracker.state()["1.recent"]))
    assert counts == [0, 1, 1, 2]


def test_hard_memory_remembers_no_shades(fresh: Start):
    kept = {}
    for soft in (True, False):
        tracker = fresh(soft=soft)
        tracker.step(red_at(10), {1: square(10, 30)})
        tracker.step(red_at(14))
        kept[soft] = tracker.state()["1.earlier"]
    assert not np.array_equal(kept[True], kept[False])
    assert (kept[False] == 0).sum() > (kept[True] == 0).sum()


def test_a_frame_read_at_a_reduced_scale_is_answered_at_full_size(fresh: Start):
    tracker = fresh()
    tracker.step(red_at(10), {1: square(10, 30)})
    small = red_at(20)
    reduced = Image(small.pixels[::2, ::2].copy(), SIZE)
    assert overlap(tracker.step(reduced)[1], square(20, 30)) > 0.6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "no object to follow yet"),
        ({4: np.zeros(SIZE, bool)}, "object 4 is empty"),
        ({4: np.ones((5, 6), bool)}, "mask of object 4 is 6x5, the frame 160x96"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(fresh: Start, given: dict[int, np.ndarray] | None, words: str):
    with pytest.raises(UsageError, match=words):
        fresh().step(red_at(10), given)


def test_a_frame_of_another_size_is_refused_and_changes_nothing(fresh: Start):
    tracker = fresh()
    tracker.step(red_at(10), {1: square(10, 30)})
    before = tracker.state()
    with pytest.raises(UsageError, match="20x10, the frames before it are 160x96"):
        tracker.step(Image(np.zeros((10, 20, 3), np.uint8), (10, 20), "odd.png"))
    after = tracker.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_dropping_what_is_not_followed_names_what_is(fresh: Start):
    tracker = fresh()
    tracker.step(red_at(10), {5: square(10, 30)})
    with pytest.raises(UsageError, match="object 6 is not followed; known: 5"):
        tracker.drop(6)


@pytest.mark.parametrize("options", [{"capacity": -1}, {"every": 0}])
def test_an_impossible_memory_is_refused(fresh: Start, options: dict[str, int]):
    with pytest.raises(UsageError, match="give at least 0 and 1"):
        fresh(**options)


def test_of_given_masks_the_first_and_the_latest_are_remembered_in_all_their_views(fresh: Start):
    tracker = fresh()
    counts, first = [], []
    for x in (10, 14, 20):
        tracker.step(red_at(x), {1: square(x, 30)})
        state = tracker.state()
        counts.append(int(state["1.given_near"]))
        first.append(state["1.given_near.0.keys"])
    assert counts == [len(VIEWS), 2 * len(VIEWS), 2 * len(VIEWS)]
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(state["1.given_near.19.look"][:4], look_around(20))


def look_around(x: int) -> list[int]:
    look = object_look((x, 30, x + 28, 58), SIZE)
    return [look.x0, look.y0, look.x1, look.y1]
