"""The parts of following: interpolation, threads, and what lies on disk."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.io.video import clips

from segcli.core.errors import StorageError
from segcli.core.rle import encode
from segcli.pipeline.track.between import Between
from segcli.pipeline.track.store import Log, LogLine, Reversed, Saved, read_log, true_length
from segcli.pipeline.track.threads import Ahead, Behind, depth_for


@settings(max_examples=60, deadline=None)
@given(st.integers(-25, 25), st.integers(-14, 14), st.floats(0.05, 0.95))
def test_an_object_that_moves_evenly_is_found_on_its_way(across, down, share):
    ids = np.zeros((60, 80), np.uint8)
    ids[22:38, 32:48] = 3
    after = np.roll(ids, (down, across), (0, 1))
    way = Between(ids, after).at(share)
    expected = np.roll(ids, (round(down * share), round(across * share)), (0, 1))
    assert set(np.unique(way)) <= {0, 3}
    assert clips.iou(way == 3, expected == 3) > 0.75


@given(st.floats(0, 1))
def test_what_does_not_move_stays_to_the_pixel(share):
    ids = clips.both_discs()
    assert np.array_equal(Between(ids, ids.copy()).at(share), ids)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99))
def test_nothing_is_made_up_where_neither_neighbour_has_anything(seed, share):
    draw = np.random.default_rng(seed)
    before, after = np.zeros((2, 40, 50), np.uint8)
    for number in (1, 2):
        for ids in (before, after):
            if draw.random() < 0.8:
                top, left = draw.integers(0, 30), draw.integers(0, 40)
                ids[top : top + draw.integers(2, 10), left : left + draw.integers(2, 10)] = number
    way = Between(before, after).at(share)
    assert set(np.unique(way)) <= set(np.unique(before)) | set(np.unique(after))


def test_an_object_of_one_side_only_keeps_its_mask_up_to_the_middle():
    before, after = clips.both_discs(), np.zeros(clips.SIZE, np.uint8)
    way = Between(before, after)
    assert np.array_equal(way.at(0.4), before)
    assert not way.at(0.6).any()


def test_reading_ahead_gives_everything_in_order_and_then_the_error():
    def items():
        yield from range(20)
        raise StorageError("enough")

    ahead, seen = Ahead(items(), 3), []
    with pytest.raises(StorageError, match="enough"):
        seen.extend(iter(ahead))
    assert seen == list(range(20))
    ahead.close()


def test_reading_ahead_is_bounded_and_stops_when_it_is_closed():
    taken, closed = [], threading.Event()

    def items():
        try:
            for number in range(1000):
                taken.append(number)
                yield number
        finally:
            closed.set()

    ahead = Ahead(items(), 4)
    first = next(iter(ahead))
    time.sleep(0.3)
    assert first == 0
    assert len(taken) <= 7
    ahead.close()
    assert closed.wait(5)


class Slow:
    """A sink that takes its time and keeps what it gets."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.got, self.synced, self.fails_at = [], [], fails_at
        self.finished = self.abandoned = False

    def write(self, item):
        time.sleep(0.001)
        if item == self.fails_at:
            raise StorageError("the disk is full")
        self.got.append(item)

    def sync(self):
        self.synced.append(len(self.got))

    def finish(self):
        self.finished = True

    def abandon(self):
        self.abandoned = True


def test_a_mark_comes_after_everything_before_it_is_synced_by_every_sink():
    sinks = [Slow(), Slow(), Slow()]
    behind, marks = Behind(sinks, 2), []
    for number in range(40):
        behind.put(number)
        if number % 10 == 9:
            behind.mark(lambda number=number: marks.append((number, [max(sink.synced) for sink in sinks])))
    behind.close()
    assert [number for number, _ in marks] == [9, 19, 29, 39]
    assert all(min(counts) >= number + 1 for number, counts in marks)
    assert all(sink.got == list(range(40)) and sink.finished for sink in sinks)


def test_the_error_of_a_sink_reaches_the_main_thread_and_no_mark_after_it_counts():
    sinks = [Slow(), Slow(fails_at=5)]
    behind, marks = Behind(sinks, 2), []

    def feed():
        for number in range(40):
            behind.put(number)
            behind.mark(lambda number=number: marks.append(number))
        behind.close()

    with pytest.raises(StorageError, match="full"):
        feed()
    assert max(marks, default=-1) < 5
    assert sinks[1].abandoned


def test_fewer_large_frames_wait_than_small_ones():
    assert depth_for((90, 160)) == 8
    assert depth_for((2160, 3840)) < 8
    assert depth_for((20000, 20000)) == 2


def line(index: int) -> LogLine:
    mask = clips.disc(index)
    return LogLine(index, f"f{index}", index * 1001, 1001, clips.SIZE, {1: encode(mask), 7: encode(~mask)})


def test_a_log_gives_back_what_was_put_in_and_a_torn_line_is_cut_off(tmp_path):
    path = tmp_path / "frames.log"
    log = Log(path)
    for index in range(5):
        log.append(line(index))
    log.sync()
    log.close()
    assert list(read_log(path)) == [line(index) for index in range(5)]
    assert np.array_equal(line(2).ids, np.where(clips.disc(2), 1, 7))
    with path.open("ab") as file:
        file.write(line(5).dumps()[:-9])
    length = true_length(path, lambda index: index < 100)
    assert length == sum(len(line(index).dumps()) for index in range(5))
    Log(path, true_length(path, lambda index: index < 3)).close()
    assert [one.index for one in read_log(path)] == [0, 1, 2]


def test_a_log_in_falling_order_is_looked_up_by_frame(tmp_path):
    log = Log(tmp_path / "back.log")
    for index in (9, 7, 4):
        log.append(line(index))
    log.close()
    found = Reversed(tmp_path / "back.log")
    assert np.array_equal(found.masks(7)[1], clips.disc(7))
    assert found.masks(8) == {}


def test_memory_comes_back_exactly_and_only_to_the_same_script(tmp_path):
    memory = {"tracker/1.given": np.arange(6, dtype=np.float64).reshape(2, 3) / 7, "objects": np.array([1, 3])}
    Saved("script", 42, False, memory).write(tmp_path / "s.npz")
    back = Saved.read(tmp_path / "s.npz", "script")
    assert back is not None
    assert (back.upcoming, back.ended, set(back.memory)) == (42, False, set(memory))
    assert all(np.array_equal(back.memory[name], memory[name]) for name in memory)
    assert Saved.read(tmp_path / "s.npz", "other") is None
    assert Saved.read(tmp_path / "none.npz", "script") is None
    whole = (tmp_path / "s.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(whole[: len(whole) // 2])
    assert Saved.read(tmp_path / "s.npz", "script") is None
