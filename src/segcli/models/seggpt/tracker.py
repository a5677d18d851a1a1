"""Objects through a video: the first frame's mask and the latest answers are the examples of the next frame.

One object at a time, as published: sample 0 is the given mask, then a queue of the K latest frames with what was
painted for them, all averaged by the feature ensemble. Several objects are painted one by one and each pixel goes to
the brightest of them; that part is ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import ObjectMasks
from segcli.models.seggpt.embedding import INSTANCE
from segcli.models.seggpt.incontext import InContext
from segcli.models.seggpt.prepost import (
    BINARY_THRESHOLD,
    Pixels,
    Unit,
    binary,
    model_input,
    painted,
    resized_mask,
    resized_output,
    resized_photo,
)

Memory = Literal["published", "soft"]


@dataclass(frozen=True, eq=False)
class Pair:
    """An example at the model's size: photo and colour mask, uint8 [side, side, 3]."""

    photo: Pixels
    target: Pixels


def remembered(colors: Unit, memory: Memory) -> Pixels:
    """What a later frame sees of painted colours [side, side, 3]: uint8 of the same shape.

    `published` keeps white where the channel mean is above 128 and black elsewhere; `soft` keeps the colours.
    """
    if memory == "soft":
        return np.rint(colors).astype(np.uint8)
    white = (binary(colors) * 255).astype(np.uint8)
    return np.repeat(white[..., None], 3, axis=2)


class ObjectMemory:
    """One object's examples: those given, then a queue of `capacity` pairs, oldest first."""

    def __init__(self, given: list[Pair], capacity: int, memory: Memory) -> None:
        self.given = given
        self.queue: deque[Pair] = deque(maxlen=capacity)
        self.memory: Memory = memory

    @property
    def pairs(self) -> list[Pair]:
        """All examples in the order of the samples."""
        return [*self.given, *self.queue]

    def paint(self, engine: InContext, photo: Pixels, kind: int | None) -> Unit:
        """The object in a photo uint8 [side, side, 3]: painted colours, float64 0..255, of the same shape."""
        like = engine.model.embedding.positions
        photos = model_input([pair.photo for pair in self.pairs], like)
        targets = model_input([pair.target for pair in self.pairs], like)
        examples = engine.prepare(photos, targets, kind)
        return painted(engine.answer(examples, model_input([photo], like)[0]))

    def remember(self, photo: Pixels, colors: Unit) -> None:
        """Put an answered frame at the end of the queue."""
        self.queue.append(Pair(photo, remembered(colors, self.memory)))


class SegGPTTracker:
    """Carries masks through a video; implements `segcli.models.api.Tracker`.

    capacity:     frames kept beside the given mask (the paper's best is 8).
    memory_every: only each so-manyth frame is kept.
    memory:       `published` or `soft`, see `remembered`.
    """

    def __init__(
        self,
        engine: InContext,
        capacity: int = 8,
        memory: Memory = "soft",
        memory_every: int = 1,
        kind: int | None = INSTANCE,
    ) -> None:
        if capacity < 0 or memory_every < 1:
            raise UsageError(f"a memory of {capacity} frames, every {memory_every}: give at least 0 and 1")
        self.engine = engine
        self.capacity, self.memory, self.memory_every, self.kind = capacity, memory, memory_every, kind
        self._objects: dict[int, ObjectMemory] = {}
        self._steps = 0

    def step(self, frame: Image, masks: ObjectMasks | None = None) -> ObjectMasks:
        """Masks of `frame` for every known object, without overlap.

        `masks` are taken as true for it. An object's first mask stays its first example for good, the latest
        correction stays beside it. Raises UsageError before any mask was given and for a mask that is empty, of
        another size, or too small to be seen at the model's size.
        """
        given = dict(masks or {})
        if not given and not self._objects:
            raise UsageError(f"{frame.name}: no object to follow yet; give a mask for the first frame")
        photo = resized_photo(frame.pixels, self.engine.model.config.side)
        pairs = {number: self._pair(frame, photo, number, mask) for number, mask in given.items()}
        answers = {
            number: self._objects[number].paint(self.engine, photo, self.kind)
            for number in self._objects
            if number not in given
        }
        if self._steps % self.memory_every == 0:
            for number, colors in answers.items():
                self._objects[number].remember(photo, colors)
        for number, pair in pairs.items():
            self._take(number, pair)
        self._steps += 1
        return self._resolved(answers, given, frame.size)

    def drop(self, number: int) -> None:
        """Forget an object. Raises UsageError for one that is not there."""
        if self._objects.pop(number, None) is None:
            known = ", ".join(map(str, self._objects)) or "none"
            raise UsageError(f"object {number} is not followed; known: {known}")

    def state(self) -> dict[str, NDArray[Any]]:
        """All memory as arrays: per object its given and queued pairs, uint8 [n, 2, side, side, 3]."""
        arrays: dict[str, NDArray[Any]] = {"steps": np.array(self._steps)}
        for number, held in self._objects.items():
            for part, pairs in (("given", held.given), ("queue", list(held.queue))):
                stacked = [np.stack([pair.photo, pair.target]) for pair in pairs]
                side = self.engine.model.config.side
                arrays[f"{number}.{part}"] = np.stack(stacked) if stacked else np.empty((0, 2, side, side, 3), np.uint8)
        return arrays

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        self._steps = int(state["steps"])
        self._objects = {}
        for name in state:
            number, _, part = name.partition(".")
            if part == "given":
                held = ObjectMemory(_pairs(state[name]), self.capacity, self.memory)
                held.queue.extend(_pairs(state[f"{number}.queue"]))
                self._objects[int(number)] = held

    def _pair(self, frame: Image, photo: Pixels, number: int, mask: NDArray[np.bool_]) -> Pair:
        """A given mask as an example; see `step` for what is refused."""
        if mask.shape != frame.size:
            height, width = frame.size
            raise UsageError(
                f"{frame.name}: the mask of object {number} is {mask.shape[1]}x{mask.shape[0]}, the frame "
                f"{width}x{height}; give a mask of the frame's size"
            )
        if not mask.any():
            raise UsageError(f"{frame.name}: the mask of object {number} is empty; mark the object or leave it out")
        pair = Pair(photo, resized_mask(_white(mask), len(photo)))
        if not pair.target.any():
            raise UsageError(
                f"{frame.name}: object {number} is too small to be seen at {len(photo)}x{len(photo)} pixels; "
                "crop the video around it"
            )
        return pair

    def _take(self, number: int, pair: Pair) -> None:
        held = self._objects.get(number)
        if held is None:
            self._objects[number] = ObjectMemory([pair], self.capacity, self.memory)
        else:
            held.given = [held.given[0], pair]

    def _resolved(
        self, answers: Mapping[int, Unit], given: ObjectMasks, size: tuple[int, int]
    ) -> dict[int, NDArray[np.bool_]]:
        """Each pixel to the brightest object above the threshold; given masks first."""
        free = ~np.any(list(given.values()), axis=0) if given else np.ones(size, bool)
        mode: Literal["nearest", "bilinear"] = "nearest" if self.memory == "published" else "bilinear"
        brightest = np.full(size, BINARY_THRESHOLD)
        owner = np.full(size, -1)
        numbers = list(answers)
        for place, number in enumerate(numbers):
            brightness = resized_output(answers[number].mean(-1), size, mode)
            closer = brightness > brightest
            brightest[closer], owner[closer] = brightness[closer], place
        found = {number: (owner == place) & free for place, number in enumerate(numbers)}
        return {number: given[number] if number in given else found[number] for number in self._objects}


def _white(mask: NDArray[np.bool_]) -> Pixels:
    return np.repeat((mask * np.uint8(255))[..., None], 3, axis=2)


def _pairs(stacked: NDArray[np.uint8]) -> list[Pair]:
    return [Pair(photo, target) for photo, target in stacked]
