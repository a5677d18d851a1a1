"""How fast are the scores, beside the official tools? One process, one thread, CPU seconds, everything in one run.

    python benchmarks/metrics.py [--json] [--rounds 7] [--videos 128]
    python benchmarks/metrics.py --only-workers        wall seconds of one process and of two; on a quiet machine

Peers that are installed (`vos-benchmark`, OpenCV) run beside ours, in turns. Of the others the cost was recorded as a
multiple of a fixed reference workload, which is timed here as well. Aims: J&F >= 5 times faster from memory and >= 3
times from PNG, next click >= 4, PQ >= 3 from memory and >= 1.5 from PNG.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segcli.bench.run import run
from segcli.bench.vos_measure import VosMeasure
from segcli.datasets.video import folder_sequences
from segcli.metrics.boundary import frame_score
from segcli.metrics.clicks import click_iou, next_click
from segcli.metrics.panoptic import Segment, image_counts

cv2.setNumThreads(1)

# CPU seconds of the official code as a multiple of `reference`, measured side by side with it (OpenCV 5.0, numpy 2.4).
RECORDED = {
    "J&F of a frame, 3 objects, from memory": ("davis2017-evaluation", 0.3101),
    "J&F of a frame, 3 objects, from PNG": ("davis2017-evaluation", 0.5290),
    "next click, 480p": ("RITM", 0.1895),
    "PQ of an image, from memory": ("panopticapi", 0.0721),
    "PQ of an image, from PNG": ("panopticapi", 0.2140),
}
AIMS = dict(zip(RECORDED, (5, 3, 4, 3, 1.5), strict=True))


@dataclass
class Timing:
    task: str
    peer: str
    ours_ms: float
    peer_ms: float

    @property
    def ratio(self) -> float:
        return self.peer_ms / self.ours_ms


def reference() -> float:
    """A fixed workload in OpenCV and numpy that tells how fast this machine is just now."""
    random = np.random.default_rng(7)
    image, total = random.random((512, 512)).astype(np.float32), 0.0
    for i in range(6):
        blurred = cv2.GaussianBlur(image, (0, 0), 3 + i)
        mask = (blurred > np.median(blurred)).astype(np.uint8)
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
        dilated = cv2.dilate(mask, np.ones((9, 9), np.uint8))
        codes = (distance * 7).astype(np.int32) + 1000 * dilated.astype(np.int32)
        _, counts = np.unique(codes, return_counts=True)
        total += float(counts.max()) + float(np.bincount(dilated.ravel()).max())
        image = np.sort(image, axis=1)[:, ::-1].copy()
        image = np.fft.irfft2(np.fft.rfft2(image) * 0.99, s=image.shape).astype(np.float32)
    return total


def cpu(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def in_turns(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Least CPU seconds of each; they take turns, so that a busy machine hits all alike."""
    return [min(column) for column in zip(*([cpu(f) for f in functions] for _ in range(rounds)), strict=True)]


def noise(random: np.random.Generator, size: tuple[int, int], sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(random.standard_normal(size).astype(np.float32), (0, 0), sigma)


def video(frames: int = 12) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Three objects that share a 480p frame with the background and roll over it; answers are shifted and smoothed."""
    random = np.random.default_rng(4801)
    first = np.stack([noise(random, (480, 854), 28) for _ in range(4)]).argmax(axis=0).astype(np.uint8)
    truth = [np.roll(first, (3 * t, 5 * t), (0, 1)) for t in range(frames)]
    return truth, [cv2.medianBlur(np.roll(t, (2, -3), (0, 1)), 9) for t in truth]


def write_video(root: Path, frames: int = 12) -> None:
    for name, maps in zip(("truth", "results"), video(frames), strict=True):
        folder = root / name / "s"
        folder.mkdir(parents=True)
        for t, labels in enumerate(maps):
            Image.fromarray(labels).save(folder / f"{t:05d}.png")


def ritm_click(truth: np.ndarray, prediction: np.ndarray) -> tuple[int, int, bool]:
    """RITM's rule with the calls that its tool makes: two precise distance transforms of padded maps."""
    target, counted = truth == 1, truth != -1
    depths = []
    for wrong in (target & ~prediction & counted, ~target & prediction & counted):
        padded = np.pad(wrong, 1).astype(np.uint8)
        depths.append(cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1] * np.ones(truth.shape, np.bool_))
    best = [float(d.max()) for d in depths]
    positive = best[0] > best[1]
    y, x = np.where(depths[0 if positive else 1] == max(best))
    return int(y[0]), int(x[0]), positive


def click_maps() -> tuple[np.ndarray, np.ndarray]:
    truth = noise(np.random.default_rng(4802), (480, 854), 30) > 0.01
    moved = np.roll(truth, (9, -7), (0, 1)).astype(np.uint8)
    return truth.astype(np.int8), cv2.dilate(moved, np.ones((5, 5), np.uint8)) > 0


def panoptic_images(count: int = 24) -> list[tuple[np.ndarray, list[Segment], np.ndarray, list[Segment]]]:
    random = np.random.default_rng(4803)
    images = []
    for _ in range(count):
        n = int(random.integers(6, 22))
        small = np.stack([noise(random, (120, 160), 8) for _ in range(n)]).argmax(axis=0).astype(np.uint8)
        labels = cv2.resize(small, (640, 480), interpolation=cv2.INTER_NEAREST)
        ids = random.integers(1, 2**24, (2, n))
        truth = ids[0][labels]
        truth[noise(random, (480, 640), 12) > 0.05] = 0
        prediction = ids[1][np.roll(cv2.medianBlur(labels, 5), (3, 4), (0, 1))]
        category = random.integers(0, 133, n)
        areas = [int((truth == i).sum()) for i in ids[0]]
        images.append(
            (
                colours(truth),
                [Segment(int(i), int(c), False, a) for i, c, a in zip(ids[0], category, areas, strict=True) if a],
                colours(prediction),
                [Segment(int(i), int(c)) for i, c in zip(ids[1], category, strict=True) if (prediction == i).any()],
            )
        )
    return images


def colours(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def timings(rounds: int) -> list[Timing]:
    found: list[Timing] = []
    truth, answers = video()

    def ours_jf() -> None:
        for t, p in zip(truth, answers, strict=True):
            for k in (1, 2, 3):
                frame_score(t == k, p == k)

    add(found, "J&F of a frame, 3 objects, from memory", ours_jf, len(truth), rounds, vos_in_memory(truth, answers))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_video(root)
        measure = VosMeasure(tuple(folder_sequences(root / "truth", results=root / "results")))
        peer = vos_from_png(root)
        add(found, "J&F of a frame, 3 objects, from PNG", lambda: run(measure), 10, rounds, peer)
    maps, prediction = click_maps()
    here = ritm_click(maps, prediction)
    assert tuple(next_click(maps, prediction)) == here, "both must click at the same pixel"
    add(
        found,
        "next click, 480p",
        lambda: next_click(maps, prediction),
        1,
        3 * rounds,
        ("RITM's calls", lambda: ritm_click(maps, prediction)),
    )
    images = panoptic_images()

    def ours_pq() -> None:
        for image in images:
            image_counts(*image, range(133))

    add(found, "PQ of an image, from memory", ours_pq, len(images), rounds)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for k, (t, _, p, _) in enumerate(images):
            paths.append((Path(folder, f"{k}t.png"), Path(folder, f"{k}p.png")))
            Image.fromarray(t).save(paths[-1][0])
            Image.fromarray(p).save(paths[-1][1])

        def ours_png() -> None:
            for (a, b), (_, ts, _, ps) in zip(paths, images, strict=True):
                image_counts(np.array(Image.open(a)), ts, np.array(Image.open(b)), ps, range(133))

        add(found, "PQ of an image, from PNG", ours_png, len(images), rounds)
    add_iou(found, maps, prediction, rounds)
    return found


def add(
    found: list[Timing],
    task: str,
    ours: Callable[[], object],
    per: int,
    rounds: int,
    peer: tuple[str, Callable[[], object]] | None = None,
) -> None:
    """Our cost, that of an installed peer, and that of the recorded official tool on a machine like this one."""
    functions = [ours, reference] + ([peer[1]] if peer else [])
    seconds = in_turns(functions, rounds)
    name, multiple = RECORDED[task]
    found.append(Timing(task, f"{name} (recorded)", 1e3 * seconds[0] / per, 1e3 * seconds[1] * multiple))
    if peer:
        found.append(Timing(task, peer[0], 1e3 * seconds[0] / per, 1e3 * seconds[2] / per))


def add_iou(found: list[Timing], truth: np.ndarray, prediction: np.ndarray, rounds: int) -> None:
    def plain() -> float:
        target, counted = truth == 1, truth != -1
        both = np.logical_and(np.logical_and(prediction, target), counted).sum()
        return float(both / np.logical_and(np.logical_or(prediction, target), counted).sum())

    assert plain() == click_iou(truth, prediction)
    ours, theirs = in_turns([lambda: click_iou(truth, prediction), plain], 3 * rounds)
    found.append(Timing("IoU of a click, 480p", "RITM's calls", 1e3 * ours, 1e3 * theirs))


def vos_in_memory(truth: list[np.ndarray], answers: list[np.ndarray]) -> tuple[str, Callable[[], object]] | None:
    try:
        from vos_benchmark.evaluator import Evaluator
    except ImportError:
        return None

    def feed() -> None:
        evaluator = Evaluator()
        for t, p in zip(truth, answers, strict=True):
            evaluator.feed_frame(p, t)

    return "vos-benchmark", feed


def vos_from_png(root: Path) -> tuple[str, Callable[[], object]] | None:
    try:
        from vos_benchmark.benchmark import VideoEvaluator
    except ImportError:
        return None
    return "vos-benchmark", lambda: VideoEvaluator(str(root / "truth"), str(root / "results"))("s")


def memory(frames: int) -> float:
    """Peak memory in MB of a process that scores a video of so many frames from PNG."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder), frames)
        command = [sys.executable, __file__, "--only-score", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@dataclass
class Workers:
    """Wall seconds of the same results scored by one process and by two, and how long two processes take to start."""

    videos: int
    frames: int
    one: float
    two: float
    start: float

    @property
    def ratio(self) -> float:
        return self.one / self.two


def workers(videos: int, frames: int = 24) -> Workers:
    """One process and two over the same PNG results. The start is that of two processes with one short video each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_video(root / "long", frames)
        write_video(root / "short", 1)
        for k in range(1, videos):
            for name in ("truth", "results"):
                (root / "long" / name / f"s{k}").symlink_to(root / "long" / name / "s")
        (root / "short" / "truth" / "t").symlink_to(root / "short" / "truth" / "s")
        (root / "short" / "results" / "t").symlink_to(root / "short" / "results" / "s")

        def wall(part: str, count: int) -> float:
            measure = VosMeasure(
                tuple(folder_sequences(root / part / "truth", results=root / part / "results")), rule="vos-benchmark"
            )
            started = time.perf_counter()
            run(measure, workers=count)
            return time.perf_counter() - started

        start = wall("short", 2)
        return Workers(videos, frames, wall("long", 1), wall("long", 2), start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--videos", type=int, default=128, help="videos of 24 frames that one and two processes score")
    parser.add_argument("--only-workers", action="store_true", help="one process beside two, and nothing else")
    parser.add_argument("--only-score", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_score:
        root = Path(arguments.only_score)
        run(VosMeasure(tuple(folder_sequences(root / "truth", results=root / "results"))))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    if arguments.only_workers:
        print_workers(workers(arguments.videos))
        return 0
    rows = timings(arguments.rounds)
    peak = {frames: memory(frames) for frames in (12, 96)}
    both = workers(arguments.videos)
    if arguments.json:
        both_json = {**vars(both), "ratio": both.ratio}
        tasks = [{**vars(r), "ratio": r.ratio, "aim": AIMS.get(r.task)} for r in rows]
        json.dump({"timings": tasks, "peak_mb_by_frames": peak, "workers": both_json}, sys.stdout, indent=1)
        print()
        return 0
    print(f"{'':42}{'ours':>9}{'peer':>9}{'faster':>8}{'aim':>6}  peer")
    for r in rows:
        aim = f"{AIMS[r.task]:>6g}" if r.task in AIMS else " " * 6
        print(f"{r.task:42}{r.ours_ms:7.2f}ms{r.peer_ms:7.2f}ms{r.ratio:7.1f}x{aim}  {r.peer}")
    print(f"peak memory of scoring a video: {', '.join(f'{mb:.0f} MB with {n} frames' for n, mb in peak.items())}")
    print_workers(both)
    return 0


def print_workers(both: Workers) -> None:
    two = f"{both.two:.1f} s with 2 ({both.start:.1f} s or {both.start / both.two:.0%} of them to start)"
    print(f"{both.videos} videos of {both.frames} frames from PNG: {both.one:.1f} s with 1 process, {two}", end="")
    print(f": {both.ratio:.2f} times faster")


if __name__ == "__main__":
    sys.exit(main())
