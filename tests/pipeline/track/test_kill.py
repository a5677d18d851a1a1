"""Processes that die or are asked to stop in the middle of a video: what comes out is the undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.io.video import clips
from tests.pipeline.track import stub

from segcli.pipeline.track.plan import Prompts, Said

ROOT = Path(__file__).parents[3]
FRAMES = 30


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.pipeline.track.killable", *map(str, words)]
    pipe = subprocess.PIPE
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment)


def until_step(process: subprocess.Popen[str], step: int) -> str:
    """Wait until the tracker is about to see its `step`-th frame; returns which one that is."""
    assert process.stdout is not None
    for _ in range(step):
        line = process.stdout.readline()
    return line.strip()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clips.clip(tmp_path / "clip.mp4", FRAMES)


@pytest.mark.parametrize(
    ("stride", "first", "formats"),
    [
        (1, 0, ("palette", "jsonl", "mask-video", "overlay-video", "cutout-video")),
        (3, 0, ("palette", "overlay-video")),
        (1, 14, ("palette", "jsonl")),
    ],
    ids=["every frame", "stride", "both ways"],
)
def test_killed_at_any_frame_and_started_again_it_is_the_undisturbed_run_bit_for_bit(
    video, tmp_path, stride, first, formats
):
    mask = clips.write_mask(tmp_path / "mask.png", clips.both_discs(index=first))
    prompts = Prompts({first: Said(masks=mask)})
    whole = stub.do(video, tmp_path / "whole", prompts, *formats, stride=stride, both_ways=first > 0)
    assert whole.exit_code == 0
    out = tmp_path / "out"
    words = (video, mask, out, 0.05, 4, stride, first, *formats)
    seen = []
    for step in (3, 16, 7) if stride == 1 else (2, 8, 3):
        process = start(*words)
        seen.append(until_step(process, step))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert len(set(seen)) > 1, "it went on"
    process = start(*words)
    steps, said = process.communicate()
    assert process.returncode == 0, said
    assert len(steps.split()) < FRAMES, "it did not begin anew"
    assert stub.tree(out) == stub.tree(tmp_path / "whole")
    assert not (out / ".seg-vos").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_the_very_frame_and_goes_on_with_the_next(video, tmp_path, number):
    mask = clips.write_mask(tmp_path / "mask.png", clips.both_discs())
    stub.do(video, tmp_path / "whole", Prompts({0: Said(masks=mask)}), "palette")
    words = (video, mask, tmp_path / "out", 0.02, 1000, 1, 0, "palette")
    process = start(*words)
    until_step(process, 8)
    process.send_signal(number)
    rest, _ = process.communicate()
    assert process.returncode == 128 + number
    last = 7 + len(rest.split())
    assert len(list((tmp_path / "out" / "clip").glob("*.png"))) == last + 1
    process = start(*words)
    steps, _ = process.communicate()
    assert process.returncode == 0
    assert int(steps.split()[0]) == last + 1
    assert stub.tree(tmp_path / "out") == stub.tree(tmp_path / "whole")


def test_killed_between_parts_of_a_video_no_frame_is_lost_or_twice(tmp_path):
    video = clips.clip(tmp_path / "clip.mp4", 140, (24, 32))
    mask = clips.write_mask(tmp_path / "mask.png", clips.both_discs((24, 32)))
    prompts = Prompts({0: Said(masks=mask)})
    stub.do(video, tmp_path / "whole", prompts, "overlay-video")
    out = tmp_path / "out"
    for step in (123, 12):
        process = start(video, mask, out, 0.0, 1, 1, 0, "overlay-video")
        until_step(process, step)
        process.kill()
        process.communicate()
    assert stub.do(video, out, prompts, "overlay-video").exit_code == 0
    assert stub.tree(out) == stub.tree(tmp_path / "whole")


def test_a_format_that_is_added_to_a_stopped_run_needs_no_step_again(video, tmp_path):
    mask = clips.write_mask(tmp_path / "mask.png", clips.both_discs())
    out = tmp_path / "out"
    process = start(video, mask, out, 0.04, 1, 1, 0, "palette", "jsonl")
    until_step(process, 20)
    process.kill()
    process.communicate()
    model = stub.Model()
    prompts = Prompts({0: Said(masks=mask)})
    formats = ("palette", "jsonl", "overlay-video", "cutout")
    assert stub.do(video, out, prompts, *formats, model=model).exit_code == 0
    assert len(model.trackers[0].seen) < 20
    stub.do(video, tmp_path / "whole", prompts, *formats)
    assert stub.tree(out) == stub.tree(tmp_path / "whole")
