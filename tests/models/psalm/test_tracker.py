"""Objects through a video with PSALM."""

from __future__ import annotations

import numpy as np
import pytest

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.psalm.predictor import PsalmPredictor
from segcli.models.psalm.tracker import _apart

SIZE = (72, 96)


def frames(count: int) -> list[Image]:
    rng = np.random.default_rng(1)
    start = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(12, 0).repeat(12, 1)
    return [Image(pixels=np.roll(start, 3 * k, 1), size=SIZE, name=f"{k}.jpg") for k in range(count)]


def first_masks() -> dict[int, np.ndarray]:
    masks = {3: np.zeros(SIZE, np.bool_), 7: np.zeros(SIZE, np.bool_)}
    masks[3][10:40, 10:40] = True
    masks[7][30:60, 50:90] = True
    return masks


def test_given_masks_are_true_and_every_object_has_a_mask_of_its_own(predictor: PsalmPredictor):
    tracker = predictor.tracker()
    given = first_masks()
    video = frames(4)
    first = tracker.step(video[0], given)
    assert all((first[number] == mask).all() for number, mask in given.items())
    for frame in video[1:]:
        found = tracker.step(frame)
        assert set(found) == {3, 7}
        assert not (found[3] & found[7]).any()


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(predictor: PsalmPredictor):
    video = frames(4)
    tracker = predictor.tracker()
    tracker.step(video[0], first_masks())
    tracker.step(video[1])
    other = predictor.tracker()
    other.restore(tracker.state())
    for frame in video[2:]:
        a, b = tracker.step(frame), other.step(frame)
        assert all((a[number] == b[number]).all() for number in a)


def test_without_memory_the_given_masks_prompt_every_frame(predictor: PsalmPredictor):
    video = frames(3)
    tracker = predictor.tracker(memory=0)
    tracker.step(video[0], first_masks())
    before = tracker.state()
    tracker.step(video[1])
    after = tracker.state()
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "steps")


def test_an_object_may_be_corrected_dropped_and_added_later(predictor: PsalmPredictor):
    video = frames(3)
    tracker = predictor.tracker()
    masks = first_masks()
    tracker.step(video[0], {3: masks[3]})
    found = tracker.step(video[1], {7: masks[7]})
    assert (found[7] == masks[7]).all()
    tracker.drop(3)
    assert set(tracker.step(video[2])) == {7}
    with pytest.raises(UsageError, match="object 3"):
        tracker.drop(3)


def test_frames_on_which_objects_fall_together_or_vanish_are_not_remembered():
    a, b = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    a[:20, :20], b[40:, 40:] = True, True
    assert _apart({1: a, 2: b})
    assert not _apart({1: a, 2: a.copy()})
    assert not _apart({1: a, 2: np.zeros(SIZE, np.bool_)})


@pytest.mark.parametrize(
    ("mask", "words"),
    [(np.zeros(SIZE, np.bool_), "is empty"), (np.ones((5, 5), np.bool_), "5x5")],
)
def test_a_mask_that_marks_nothing_of_the_frame_is_refused(predictor: PsalmPredictor, mask: np.ndarray, words: str):
    with pytest.raises(UsageError, match=words):
        predictor.tracker().step(frames(1)[0], {1: mask})


def test_a_video_without_a_first_mask_is_refused(predictor: PsalmPredictor):
    with pytest.raises(UsageError, match="no object to follow"):
        predictor.tracker().step(frames(1)[0])
