"""Decoding and encoding happen beside the model, and memory does not grow with the video. No clock is looked at:
each side waits for the other one to be where it can only be when both go on at once."""

from __future__ import annotations

import importlib.util
import threading
from collections import defaultdict
from pathlib import Path

import pytest
from tests.io.video import clips
from tests.pipeline.track import stub

from segcli.io.video.opening import open_source
from segcli.pipeline.track import sinks
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.plan import Following, Prompts, Said, VideoItem, VideoOutput, VideoPlan
from segcli.pipeline.track.run import run_videos

FRAMES = 8
PATIENCE = 20.0
BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "video_pipeline.py"


def follow(video: Path, out: Path, model: stub.Model, source=None):
    prompts = Prompts({0: Said(masks=clips.write_mask(video.parent / "mask.png", clips.both_discs()))})
    item = VideoItem(stub.item(video, prompts).relative, video, lambda: source or open_source(video, ""), prompts)
    plan = VideoPlan((item,), VideoOutput(out), Following(), "test", "stub")
    heard = stub.Heard()
    summary = run_videos(plan, lambda: model, FirstMasks(lambda: model), events=heard)
    assert not heard.errors
    return summary


class Stepping(stub.Model):
    """A tracker that does something at every step."""

    def __init__(self, at_step) -> None:
        super().__init__()
        self.at_step = at_step

    def tracker(self, *, memory=8, every=1, soft=True):
        tracker, step, count = super().tracker(), None, iter(range(1000))
        step = tracker.step

        def stepping(frame, masks=None):
            self.at_step(next(count))
            return step(frame, masks)

        tracker.step = stepping
        return tracker


def test_the_next_frame_is_decoded_while_the_model_works(tmp_path):
    video = clips.folder(tmp_path / "clip", FRAMES)
    read = defaultdict(threading.Event)
    source = open_source(video, "")
    plain = source.frames

    def frames(start=0):
        for frame in plain(start):
            read[frame.index].set()
            yield frame

    source.frames = frames

    def at_step(number):
        if number + 1 < FRAMES:
            assert read[number + 1].wait(PATIENCE), f"frame {number + 1} waits for the model"

    assert follow(video, tmp_path / "out", Stepping(at_step), source).exit_code == 0


def test_a_frame_is_written_while_the_model_works_on_the_next_one(tmp_path, monkeypatch):
    video = clips.folder(tmp_path / "clip", FRAMES)
    begun = defaultdict(threading.Event)
    write = sinks.PictureSink.write
    late = []

    def waiting(self, item):
        if item.place + 1 < FRAMES and not begun[item.place + 1].wait(PATIENCE):
            late.append(item.place)
        write(self, item)

    monkeypatch.setattr(sinks.PictureSink, "write", waiting)
    assert follow(video, tmp_path / "out", Stepping(lambda number: begun[number].set())).exit_code == 0
    assert not late
    assert len(list((tmp_path / "out" / "clip").iterdir())) == FRAMES


@pytest.mark.timeout(120)
def test_ten_times_as_many_frames_need_no_more_memory(tmp_path):
    spec = importlib.util.spec_from_file_location("video_pipeline", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    video = benchmark.prepare(tmp_path, 400)
    few, many = (benchmark.measure("follow", video, count)["peak"] for count in (40, 400))
    assert many < 1.1 * few, "400 frames held would be 17 MB"
