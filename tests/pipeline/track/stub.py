"""A tracker and a model for photos that need no weights: objects are told by their colour, remembered as it changes.

What is remembered (the mean colours of the latest masks, as floats) decides later answers to the last bit, so that a
run that goes on with anything but the exact memory gives other masks.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path, PurePosixPath

import numpy as np

from segcli.core.ask import PromptKind
from segcli.core.errors import UsageError
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode
from segcli.io.video.opening import open_source
from segcli.pipeline.events import Events
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.plan import Following, Prompts, VideoItem, VideoOutput, VideoPlan
from segcli.pipeline.track.run import VideoHow, run_videos

NEAR = 45.0


class Colours:
    """Implements `Tracker`. pause: seconds that every step takes, as a model would."""

    def __init__(self, memory: int = 8, every: int = 1, soft: bool = True, pause: float = 0.0) -> None:
        self.memory, self.every, self.soft, self.pause = memory, every, soft, pause
        self.seen: list[tuple[str, tuple[int, int], tuple[int, ...]]] = []
        self._means: dict[int, deque[np.ndarray]] = {}
        self._steps = 0

    def step(self, frame, masks=None):
        time.sleep(self.pause)
        given = dict(masks or {})
        self.seen.append((frame.name, frame.pixels.shape[:2], tuple(sorted(given))))
        if not given and not self._means:
            raise UsageError(f"{frame.name}: no object to follow yet")
        pixels = frame.pixels.astype(np.float64)
        rows = np.arange(frame.size[0]) * pixels.shape[0] // frame.size[0]
        columns = np.arange(frame.size[1]) * pixels.shape[1] // frame.size[1]
        pixels = pixels[rows][:, columns]
        nearest = np.full(frame.size, NEAR)
        owner = np.zeros(frame.size, int)
        for number, means in self._means.items():
            distance = np.linalg.norm(pixels - np.mean(means, axis=0), axis=-1)
            owner[distance < nearest] = number
            nearest = np.minimum(nearest, distance)
        answers = {number: owner == number for number in self._means}
        for number, mask in given.items():
            assert mask.shape == frame.size
            for other in answers:
                answers[other] = answers[other] & ~mask
            answers[number] = mask
            self._means.setdefault(number, deque(maxlen=self.memory + 1))
        for number, mask in answers.items():
            if mask.any() and (self._steps % self.every == 0 or number in given):
                self._means[number].append(pixels[mask].mean(axis=0))
        self._steps += 1
        return answers

    def drop(self, number):
        del self._means[number]

    def state(self):
        state = {str(number): np.array(list(means)) for number, means in self._means.items()}
        return {"steps": np.array(self._steps), **state}

    def restore(self, state):
        self._steps = int(state["steps"])
        self._means = {
            int(name): deque(state[name], maxlen=self.memory + 1) for name in sorted(state) if name != "steps"
        }


class Model:
    """Implements `Tracking` and `Promptable`: a click means all that is of the same colour, a box what lies in it."""

    name, revision, reads = "colours", "0", None
    accepts = frozenset({PromptKind.POINT, PromptKind.BOX, PromptKind.TEXT, PromptKind.PREVIOUS, PromptKind.VIDEO})

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.trackers: list[Colours] = []
        self.asked: list[tuple[str, object]] = []

    def tracker(self, *, memory=8, every=1, soft=True):
        self.trackers.append(Colours(memory, every, soft, self.pause))
        return self.trackers[-1]

    def encode(self, images):
        return list(images)

    def decode(self, encoded, asks):
        return [self._answer(encoded, ask) for ask in asks]

    def _answer(self, image, ask):
        self.asked.append((image.name, ask))
        mask = np.zeros(image.size, bool)
        if ask.previous is not None:
            mask |= decode(ask.previous)
        for box in ask.boxes:
            mask[int(box.y0) : int(box.y1) + 1, int(box.x0) : int(box.x1) + 1] = True
        pixels = image.pixels.astype(float)
        for point in ask.points:
            like = np.linalg.norm(pixels - pixels[int(point.y), int(point.x)], axis=-1) < NEAR
            mask = mask | like if point.positive else mask & ~like
        if ask.text is not None:
            colour = {"red": (240, 40, 30), "blue": (30, 60, 230)}.get(ask.text)
            if colour is not None:
                mask |= np.linalg.norm(pixels - colour, axis=-1) < NEAR
        return Prediction(image.size, (encode(mask),), scores=(0.9,)) if mask.any() else Prediction(image.size)


class Heard(Events):
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[Exception] = []

    def notice(self, text):
        self.lines.append(text)

    def failed(self, record, error):
        self.errors.append(error)


def item(path: Path, prompts: Prompts, **more) -> VideoItem:
    name = PurePosixPath(path.name) if path.is_dir() else PurePosixPath(path.stem)
    return VideoItem(name, path, lambda: open_source(path, str(path), **more), prompts)


def do(
    path: Path,
    out: Path,
    prompts: Prompts,
    *formats: str,
    model: Model | None = None,
    how: VideoHow | None = None,
    events: Events | None = None,
    audio: bool = False,
    cutout: str = "prores",
    **following,
):
    """Follow objects through one video; returns the summary."""
    model = model or Model()
    plan = VideoPlan(
        (item(path, prompts),),
        VideoOutput(out, formats or ("palette",), cutout, audio),
        Following(**following),
        "test",
        "colours",
    )
    return run_videos(plan, lambda: model, FirstMasks(lambda: model), how or VideoHow(), events or Heard())


def tree(root: Path) -> dict[str, bytes]:
    """Every file that a run leaves, but for its journal and locks."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".seg-"))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}
