"""What following objects through a video costs besides the model: memory that should not grow, work that should hide.

    python benchmarks/video_pipeline.py [--frames 10000] [--model-ms 20]

A drawn video of 160 x 90 pixels (a disc that moves, H.264) is followed by a tracker that looks at colours only, in a
process of its own for every measurement, and written as indexed PNGs, JSON lines and an overlay video.

Memory: the peak of a run over all frames beside that of a run over a twentieth of them; the bound is 1.05.
Time: a tracker that sleeps --model-ms a frame, as a model on an accelerator leaves the processor free, beside what
decoding alone, the model alone and writing alone take; the bound is 1.15 times the slowest of the three.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segcli.core.image import Image
from segcli.io.video.encode import Coding, Segment, Times, join
from segcli.io.video.opening import open_source
from segcli.io.video.painting import masks_of
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.outputs import Outputs
from segcli.pipeline.track.plan import Following, Prompts, Said, VideoItem, VideoOutput, VideoPlan
from segcli.pipeline.track.run import run_videos
from segcli.pipeline.track.sinks import Done
from segcli.pipeline.track.threads import Behind, depth_for

SIZE = (90, 160)
FORMATS = ("palette", "jsonl", "overlay-video")
MEMORY_BOUND, TIME_BOUND = 1.05, 1.15


def disc(index: int) -> np.ndarray:
    """bool [H, W]: a disc that goes round."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    angle = index / 40
    return (columns - 80 - 50 * np.cos(angle)) ** 2 + (rows - 45 - 25 * np.sin(angle)) ** 2 <= 15**2


def draw_video(path: Path, frames: int) -> None:
    coding = Coding("libx264", "yuv420p", "yuv444p", "mp4", ".mp4", {"preset": "ultrafast", "crf": "20", "bf": "0"})
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    segment = Segment(path.with_suffix(".mkv"), coding, SIZE)
    for index in range(frames):
        pixels = np.roll(ground, index, axis=1)
        pixels[disc(index)] = (230, 60, 40)
        segment.write(pixels)
    segment.close()
    join([segment.path], Times(Fraction(1, 25), ((n, 1) for n in range(frames))), coding, path)


class Tracker:
    """Whatever is red is the object; every step sleeps as long as it is told."""

    def __init__(self, pause: float) -> None:
        self.pause, self.objects = pause, np.zeros(0, np.int64)

    def step(self, frame: Image, masks: Mapping[int, Any] | None = None) -> dict[int, np.ndarray]:
        time.sleep(self.pause)
        self.objects = np.union1d(self.objects, list(masks or {})).astype(np.int64)
        red = frame.pixels[..., 0] > 140
        return {int(number): (masks or {}).get(int(number), red) for number in self.objects}

    def drop(self, number: int) -> None:
        self.objects = self.objects[self.objects != number]

    def state(self) -> dict[str, np.ndarray]:
        return {"objects": self.objects}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.objects = state["objects"]


class Model:
    def __init__(self, pause: float) -> None:
        self.pause = pause

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> Tracker:
        return Tracker(self.pause)


def refuse() -> Any:
    raise AssertionError("nothing is asked here")


def follow(video: Path, mask: Path, out: Path, frames: int, pause: float) -> float:
    """Seconds from the first frame that the tracker sees to the last file that is written, and all before it."""
    item = VideoItem(
        PurePosixPath("clip"), video, lambda: open_source(video, str(video)), Prompts({0: Said(masks=mask)})
    )
    plan = VideoPlan((item,), VideoOutput(out, FORMATS), Following(stop=frames), "benchmark", "stub")
    start = time.perf_counter()
    summary = run_videos(plan, lambda: Model(pause), FirstMasks(refuse))
    assert summary.exit_code == 0, summary
    return time.perf_counter() - start


def decode_alone(video: Path, frames: int) -> float:
    start = time.perf_counter()
    for frame in open_source(video, str(video)).frames():
        if frame.index + 1 == frames:
            break
    return time.perf_counter() - start


def write_alone(video: Path, out: Path, frames: int) -> float:
    """The writers with frames that are decoded beforehand, a few of them again and again."""
    source = open_source(video, str(video))
    some = [frame for frame, _ in zip(source.frames(), range(50), strict=False)]
    item = VideoItem(PurePosixPath("clip"), video, lambda: source, Prompts({}))
    out.mkdir()
    outputs = Outputs(out, out, item, VideoOutput(out, FORMATS), "stub")
    behind: Behind[Done] = Behind(outputs.sinks(source.info(), 0, several=False), depth_for(SIZE))
    start = time.perf_counter()
    for place in range(frames):
        frame = some[place % len(some)]
        ids = (frame.image.pixels[..., 0] > 140).astype(np.uint8)
        masks_of(ids, (1,))
        behind.put(Done(place, frame, ids, (1,)))
    behind.close()
    return time.perf_counter() - start


def child(what: str, video: str, frames: str, pause: str) -> None:
    """One measurement, printed as JSON."""
    path = Path(video)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / "out"
        if what == "follow":
            seconds = follow(path, path.parent / "mask.png", out, int(frames), float(pause))
        elif what == "decode":
            seconds = decode_alone(path, int(frames))
        else:
            seconds = write_alone(path, out, int(frames))
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(what: str, video: Path, frames: int, pause: float = 0.0) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", what, str(video), str(frames), str(pause)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def prepare(folder: Path, frames: int) -> Path:
    """A video and the mask of its first frame."""
    import PIL.Image

    video = folder / "clip.mp4"
    draw_video(video, frames)
    PIL.Image.fromarray(disc(0).astype(np.uint8)).save(folder / "mask.png")
    return video


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--model-ms", type=float, default=20.0)
    parser.add_argument("--timed", type=int, default=1000, help="frames of the timed runs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        video = prepare(Path(name), given.frames)
        few = measure("follow", video, given.frames // 20)
        many = measure("follow", video, given.frames)
        growth = many["peak"] / few["peak"]
        print(
            f"peak memory: {few['peak']:.0f} MB with {given.frames // 20} frames, {many['peak']:.0f} MB with ", end=""
        )
        print(f"{given.frames}: {growth:.3f} times as much (bound {MEMORY_BOUND})")
        pause = given.model_ms / 1000
        alone = {
            "decoding": measure("decode", video, given.timed)["seconds"],
            "the model": pause * given.timed,
            "writing": measure("write", video, given.timed)["seconds"],
        }
        whole = measure("follow", video, given.timed, pause)["seconds"]
        for what, seconds in alone.items():
            print(f"{what} alone: {seconds:.2f} s for {given.timed} frames")
        ratio = whole / max(alone.values())
        print(f"all together: {whole:.2f} s, {ratio:.3f} times the slowest alone (bound {TIME_BOUND})")
    return int(growth > MEMORY_BOUND or ratio > TIME_BOUND)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
