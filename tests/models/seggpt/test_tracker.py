from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.model import SegGPT, half_mask
from segcli.models.seggpt.prepost import binary, lower_half, painted, resized_mask, resized_photo, stacked, unit
from segcli.models.seggpt.tracker import ObjectMemory, Pair, SegGPTTracker, remembered

SIZE = (36, 44)


def frames(count: int, seed: int = 0) -> list[Image]:
    draw = np.random.default_rng(seed)
    return [Image(draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8), SIZE, f"{n}.png") for n in range(count)]


def square(top: int = 8, left: int = 8, side: int = 16) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def white(mask: np.ndarray) -> np.ndarray:
    return np.repeat((mask * np.uint8(255))[..., None], 3, 2)


def published_loop(model: SegGPT, video: list[Image], mask: np.ndarray, capacity: int) -> Iterator[np.ndarray]:
    """The published loop as it stands in the facts: whole canvases, two queues, sample 0 answers."""
    side = model.config.side
    example = unit(resized_photo(video[0].pixels, side)), unit(resized_mask(white(mask), side))
    photos: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for frame in video[1:]:
        query = unit(resized_photo(frame.pixels, side))
        uppers, colors = [example[0], *photos], [example[1], *targets]
        with torch.no_grad():
            canvas = model(
                stacked(uppers, [query] * len(uppers)),
                stacked(colors, [example[1]] * len(uppers)),
                half_mask(model.config.grid),
                torch.ones(len(uppers)),
                ensemble=len(uppers) > 1,
            )
        out = painted(lower_half(canvas[0]))
        white_now = np.repeat(binary(out).astype(float)[..., None], 3, 2)
        photos, targets = [*photos, query][-capacity:], [*targets, white_now][-capacity:]
        yield out


@pytest.mark.parametrize("capacity", [2, 8])
def test_the_tracker_equals_the_plain_published_loop_frame_by_frame(model: SegGPT, engine: InContext, capacity: int):
    video, mask = frames(5), square()
    side = model.config.side
    memory = ObjectMemory(
        [Pair(resized_photo(video[0].pixels, side), resized_mask(white(mask), side))], capacity, "published"
    )
    tracker = SegGPTTracker(engine, capacity, "published")
    tracker.step(video[0], {1: mask})
    for frame, expected in zip(video[1:], published_loop(model, video, mask, capacity), strict=True):
        photo = resized_photo(frame.pixels, side)
        ours = memory.paint(engine, photo, 1)
        memory.remember(photo, ours)
        np.testing.assert_allclose(ours, expected, atol=0.02)
        np.testing.assert_array_equal(binary(ours), binary(expected))
        rows, columns = (np.arange(n) * side // n for n in SIZE)
        np.testing.assert_array_equal(tracker.step(frame)[1], binary(expected)[np.ix_(rows, columns)])


def test_soft_memory_keeps_colours_and_published_memory_makes_them_white():
    colors = np.zeros((2, 2, 3))
    colors[0] = (255, 200, 0), (127.6, 0, 0)
    np.testing.assert_array_equal(remembered(colors, "soft")[0], [[255, 200, 0], [128, 0, 0]])
    np.testing.assert_array_equal(remembered(colors, "published")[0], [[255, 255, 255], [0, 0, 0]])


@pytest.mark.parametrize("memory", ["published", "soft"])
def test_a_stopped_run_goes_on_bit_for_bit(engine: InContext, memory):
    video = frames(6)
    undisturbed = SegGPTTracker(engine, 2, memory, memory_every=2)
    undisturbed.step(video[0], {1: square(), 7: square(20, 24, 10)})
    for frame in video[1:4]:
        undisturbed.step(frame)
    resumed = SegGPTTracker(engine, 2, memory, memory_every=2)
    resumed.restore(undisturbed.state())
    for frame in video[4:]:
        expected, got = undisturbed.step(frame), resumed.step(frame)
        assert expected.keys() == got.keys()
        for number in expected:
            np.testing.assert_array_equal(expected[number], got[number])
    for name, array in undisturbed.state().items():
        np.testing.assert_array_equal(array, resumed.state()[name])


def test_given_masks_are_returned_as_they_are_and_answers_never_overlap(engine: InContext):
    video = frames(3)
    tracker = SegGPTTracker(engine, 8)
    tracker.step(video[0], {1: square(), 2: square(4, 20)})
    correction = square(0, 0, 30)
    answer = tracker.step(video[1], {2: correction})
    np.testing.assert_array_equal(answer[2], correction)
    assert not (answer[1] & correction).any()
    later = tracker.step(video[2])
    assert not (later[1] & later[2]).any()


def test_a_correction_is_kept_beside_the_first_mask_and_replaces_the_last_correction(engine: InContext):
    video = frames(4)
    tracker = SegGPTTracker(engine, 0)
    for number, frame in enumerate(video):
        tracker.step(frame, {1: square(number, 0)})
    kept = tracker.state()["1.given"]
    assert len(kept) == 2
    for pair, frame in zip(kept, (video[0], video[3]), strict=True):
        np.testing.assert_array_equal(pair[0], resized_photo(frame.pixels, 32))


def test_only_every_nth_frame_is_remembered_and_no_more_than_the_capacity(engine: InContext):
    tracker = SegGPTTracker(engine, 2, memory_every=2)
    video = frames(8)
    tracker.step(video[0], {1: square()})
    counts = []
    for frame in video[1:]:
        tracker.step(frame)
        counts.append(len(tracker.state()["1.queue"]))
    assert counts == [0, 1, 1, 2, 2, 2, 2]


def test_a_dropped_object_is_gone_and_an_unknown_one_is_named(engine: InContext):
    tracker = SegGPTTracker(engine)
    tracker.step(frames(1)[0], {1: square(), 2: square(20, 20, 8)})
    tracker.drop(1)
    assert list(tracker.step(frames(2)[1])) == [2]
    with pytest.raises(UsageError, match="object 1 is not followed; known: 2"):
        tracker.drop(1)


def test_a_mask_of_another_size_an_empty_one_and_none_at_all_are_refused(engine: InContext):
    tracker, frame = SegGPTTracker(engine), frames(1)[0]
    with pytest.raises(UsageError, match=r"0\.png: no object to follow yet"):
        tracker.step(frame)
    with pytest.raises(UsageError, match="object 3 is 4x2, the frame 44x36"):
        tracker.step(frame, {3: np.ones((2, 4), bool)})
    with pytest.raises(UsageError, match="object 3 is empty"):
        tracker.step(frame, {3: np.zeros(SIZE, bool)})
    speck = np.zeros(SIZE, bool)
    speck[0, 5] = True  # between the columns that a nearest resize of 44 to 32 reads
    with pytest.raises(UsageError, match="object 3 is too small to be seen at 32x32"):
        tracker.step(frame, {3: speck})
    assert tracker.state().keys() == {"steps"}
    with pytest.raises(UsageError, match="memory of -1 frames"):
        SegGPTTracker(engine, -1)
