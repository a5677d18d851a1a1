"""One pass over frames in one direction: what is said is given to the tracker, what it answers is kept apart by object.

The tracker resolves its objects against each other by score; masks that a person gave lie on top of what it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.io.video.frames import Frame
from segcli.io.video.idmasks import read_given
from segcli.models.api import Tracker
from segcli.pipeline.track.first import FirstMasks
from segcli.pipeline.track.plan import Said

Masks = dict[int, NDArray[np.bool_]]


class Follower:
    """A tracker with the objects that it follows now.

    said: by frame number. takes: which objects of a frame's prompts count; None: all.
    """

    def __init__(
        self,
        tracker: Tracker,
        first: FirstMasks,
        said: Mapping[int, Said],
        max_side: int | None = None,
        takes: Callable[[int, int], bool] | None = None,
    ) -> None:
        self._tracker, self._first, self._said, self._max_side, self._takes = tracker, first, said, max_side, takes
        self._known: set[int] = set()

    def step(self, frame: Frame) -> Masks:
        """Masks of all objects known at this frame, [H, W] each; empty before the first object.

        Raises UsageError (a prompt that does not fit, an object too small for the tracker) and what the models raise.
        """
        said = self._said.get(frame.index, Said())
        for number in sorted(said.drops & self._known):
            self._tracker.drop(number)
            self._known.discard(number)
        image = reduced(frame.image, self._max_side)
        given = self._given(frame, image, said)
        if not given and not self._known:
            return {}
        answers = self._tracker.step(image, given or None)
        self._known |= given.keys()
        nothing = np.zeros(frame.image.size, np.bool_)
        return {number: np.asarray(answers.get(number, nothing), np.bool_) for number in sorted(self._known)}

    def state(self) -> dict[str, NDArray[Any]]:
        """The tracker's memory and the objects, as arrays that nothing changes any more."""
        arrays = {f"tracker/{name}": np.array(value) for name, value in self._tracker.state().items()}
        return {"objects": np.array(sorted(self._known), np.int64), **arrays}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` gave."""
        self._known = set(state["objects"].tolist())
        if self._known:
            mine = {name.removeprefix("tracker/"): state[name] for name in state if name.startswith("tracker/")}
            self._tracker.restore(mine)

    def _given(self, frame: Frame, image: Image, said: Said) -> Masks:
        """The masks that are true for this frame, by file or by question."""
        given: Masks = {}
        if said.masks is not None:
            masks = read_given(said.masks, frame.image.size, frame.image.name).masks
            given.update({number: mask for number, mask in masks.items() if self._counts(number, frame.index)})
        if said.asks:
            asks = {number: ask for number, ask in said.asks.items() if self._counts(number, frame.index)}
            guess = self._guess(image) if self._known & (asks.keys() - given.keys()) else {}
            answers = self._first.answer(frame.image, asks, {**guess, **given}) if asks else {}
            for number, mask in answers.items():
                others = [other for key, other in given.items() if key not in asks]
                given[number] = mask & ~np.any(others, axis=0) if others else mask
                if not given[number].any():
                    raise UsageError(
                        f"{frame.image.name}: all that was found of object {number} belongs to others there; point at "
                        "it elsewhere"
                    )
        return given

    def _guess(self, image: Image) -> Masks:
        """What the tracker would say of this frame; it remembers nothing of being asked."""
        before = {name: np.array(value) for name, value in self._tracker.state().items()}
        answers = dict(self._tracker.step(image))
        self._tracker.restore(before)
        return answers

    def _counts(self, number: int, index: int) -> bool:
        return self._takes is None or self._takes(number, index)


def reduced(image: Image, max_side: int | None) -> Image:
    """The image with fewer pixels of the same whole; coordinates and masks stay those of its full size."""
    height, width = image.pixels.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.asarray(PIL.Image.fromarray(image.pixels).resize(smaller, PIL.Image.Resampling.BOX, reducing_gap=None))
    return Image(pixels, image.size, image.name)


def to_ids(size: tuple[int, int], forward: Masks, backward: Masks | None = None) -> NDArray[np.uint8]:
    """Ids [H, W]: objects met going forward lie on those carried back, smaller numbers on larger ones.

    Raises UsageError for a number beyond 255.
    """
    ids = np.zeros(size, np.uint8)
    for masks in (backward or {}, forward):
        for number in sorted(masks, reverse=True):
            if not 0 < number <= 255:
                raise UsageError(f"object {number}: a video has objects 1 to 255")
            ids[masks[number]] = number
    return ids
