"""Objects through a video, at a tiny size with random weights."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.seem.test_released_predictor import mask_of, predictor

from segcli.core.ask import Ask, Reference
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import encode

FIRST, SECOND = mask_of(5, 5, 30, 30), mask_of(40, 10, 75, 45)


def frame(n: int) -> Image:
    pixels = np.random.default_rng(n).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    return Image(pixels, (50, 80), f"{n:05d}.jpg")


@pytest.fixture(scope="module")
def model():
    return predictor("v0")


def test_without_memory_each_frame_is_segmented_by_itself_with_the_first_frames_prompt(model):
    """The published loop: each answer is that of an ask with the first frame as reference, whatever lies between."""
    tracker = model.tracker(memory=0)
    assert tracker.step(frame(0), {7: FIRST})[7] is FIRST
    answers = [tracker.step(frame(n))[7] for n in (1, 2)]
    model.know("first", frame(0))
    for n, answer in zip((1, 2), answers, strict=True):
        (asked,) = model.decode(model.encode([frame(n)])[0], [Ask(references=(Reference("first", encode(FIRST)),))])
        assert len(asked) == answer.any() == 1
        assert np.mean(answer != asked.dense(0)) < 0.01  # a video's masks are resized bilinearly
    other = model.tracker(memory=0)
    other.step(frame(0), {7: FIRST})
    assert np.array_equal(other.step(frame(2))[7], answers[1])


def test_answers_of_the_latest_frames_prompt_beside_it(model):
    with_memory, without = model.tracker(memory=1), model.tracker(memory=0)
    for tracker in (with_memory, without):
        tracker.step(frame(0), {1: FIRST})
        tracker.step(frame(1))
    assert sum("answers" in key for key in with_memory.state()) == 4  # three levels and the vectors
    assert not any("answers" in key for key in without.state())
    with_memory.step(frame(2))
    assert sum("answers" in key for key in with_memory.state()) == 4
    rarely = model.tracker(memory=8, every=3)
    rarely.step(frame(0), {1: FIRST})
    for n in range(1, 4):
        rarely.step(frame(n))
    assert sum(key.endswith("vectors") and "answers" in key for key in rarely.state()) == 1


def test_objects_never_overlap_and_given_masks_stay_as_they_are(model):
    tracker = model.tracker(memory=2)
    tracker.step(frame(0), {1: FIRST, 2: SECOND})
    found = tracker.step(frame(1))
    assert set(found) == {1, 2}
    assert not (found[1] & found[2]).any()
    corrected = tracker.step(frame(2), {2: SECOND})
    assert corrected[2] is SECOND
    assert not (corrected[1] & SECOND).any()
    assert sum(key.startswith("2.given") and key.endswith("vectors") for key in tracker.state()) == 2
    tracker.step(frame(3), {2: FIRST, 9: SECOND})
    assert sum(key.startswith("2.given") and key.endswith("vectors") for key in tracker.state()) == 2
    assert set(tracker.step(frame(4))) == {1, 2, 9}


def test_a_tracker_that_was_stopped_goes_on_with_the_same_masks(model):
    tracker = model.tracker(memory=11)
    tracker.step(frame(0), {3: FIRST, 1: SECOND})
    for n in range(1, 13):
        tracker.step(frame(n))
    again = model.tracker(memory=11)
    again.restore({key: array.copy() for key, array in sorted(tracker.state().items())})
    for n in (13, 14):
        one, two = tracker.step(frame(n)), again.step(frame(n))
        assert list(one) == list(two)
        assert all(np.array_equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (None, "no object to follow yet"),
        ({1: np.zeros((50, 80), bool)}, "the mask of object 1 is empty"),
        ({1: np.ones((5, 8), bool)}, "the mask of object 1 is 8x5, the frame 80x50"),
    ],
)
def test_a_mask_that_cannot_be_followed_is_named(model, masks, words: str):
    with pytest.raises(UsageError, match=f"^00000.jpg: .*{words}"):
        model.tracker().step(frame(0), masks)


def test_a_memory_of_less_than_nothing_is_refused(model):
    with pytest.raises(UsageError, match="give at least 0 and 1"):
        model.tracker(memory=-1)
    with pytest.raises(UsageError, match="give at least 0 and 1"):
        model.tracker(every=0)


def test_an_object_that_is_gone_is_asked_for_no_more(model):
    tracker = model.tracker()
    tracker.step(frame(0), {1: FIRST, 2: SECOND})
    tracker.drop(2)
    assert set(tracker.step(frame(1))) == {1}
    assert not any(key.startswith("2.") for key in tracker.state())
    with pytest.raises(UsageError, match="object 2 is not followed; known: 1"):
        tracker.drop(2)
