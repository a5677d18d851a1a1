"""A model that follows the objects of a video: by a tracker of its own, or carried by its rough masks.

Carried means that each frame's answer is the next frame's rough mask: the plainest way to follow an object, and the
least that a real tracker has to beat. Objects are shown on the first frame, or (YouTube-VOS) on the one that meta.json
lists first for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask
from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.core.rle import Rle, decode, encode
from segcli.datasets.video import Video
from segcli.models.api import Promptable, Tracking

Follow = Callable[[Image, dict[int, Rle]], dict[int, Rle]]
"""From a frame and the objects that are shown on it to the masks of all objects so far."""


def tracked(model: Tracking, memory: int) -> Follow:
    """A fresh tracker of the model, with `memory` frames remembered."""
    tracker = model.tracker(memory=memory)

    def step(image: Image, shown: dict[int, Rle]) -> dict[int, Rle]:
        given = {k: decode(mask) for k, mask in shown.items()}
        return {k: encode(mask) for k, mask in tracker.step(image, given or None).items()}

    return step


def carried(model: Promptable) -> Follow:
    """Each answer is the next frame's rough mask; an object that was lost stays lost."""
    masks: dict[int, Rle] = {}

    def step(image: Image, shown: dict[int, Rle]) -> dict[int, Rle]:
        followed = {k: m for k, m in masks.items() if k not in shown and m.area}
        if followed:
            (encoded,) = model.encode([image])
            answers = model.decode(encoded, [Ask(mask=mask) for mask in followed.values()])
            for k, answer in zip(followed, answers, strict=True):
                masks[k] = answer.masks[0] if len(answer) else encode(np.zeros(image.size, np.bool_))
        masks.update(shown)
        return dict(masks)

    return step


class Followed:
    """Label maps of a video's frames, asked for in order; each frame is looked at once."""

    def __init__(self, follow: Follow, video: Video) -> None:
        self._follow = follow
        self._video = video
        self._done: dict[str, dict[int, Rle]] = {}
        self._next = 0
        self._started = False

    def __call__(self, frame: str) -> NDArray[Any]:
        """Labels uint8 [H, W]. Raises ItemError for a frame that has no photo or another size than its annotation."""
        place = self._video.frames.index(frame)
        while self._next <= place:
            self._step(self._video.frames[self._next])
            self._next += 1
        return labels_of(self._done[frame])

    def kept(self, frame: str) -> dict[int, Rle]:
        """The answers of a frame that was asked for."""
        return self._done[frame]

    def _step(self, frame: str) -> None:
        shown = self._shown(frame)
        pixels = self._video.photo(frame)
        image = Image(pixels=pixels, size=(pixels.shape[0], pixels.shape[1]), name=f"{self._video.name}/{frame}")
        for mask in shown.values():
            if mask.size != image.size:
                raise ItemError(f"{image.name}: the annotation is {mask.size[::-1]}, the photo {image.size[::-1]}")
        self._started |= bool(shown)
        masks = self._follow(image, shown) if self._started else {}
        self._done[frame] = masks or {0: encode(np.zeros(image.size, np.bool_))}  # remembers the size

    def _shown(self, frame: str) -> dict[int, Rle]:
        """Objects whose first frame this is, as annotated."""
        objects = self._video.meta.get("objects")
        if objects is None and frame != self._video.frames[0]:
            return {}
        truth = self._video.truth(frame)
        if objects is None:
            labels = [int(v) for v in np.unique(truth) if v not in (0, 255)]
        else:
            labels = [int(k) for k, entry in objects.items() if entry["frames"][0] == frame]
        return {k: encode(truth == k) for k in labels}


def labels_of(masks: dict[int, Rle]) -> NDArray[np.uint8]:
    """Label map of masks; where two overlap the smaller one is seen."""
    size = next(iter(masks.values())).size
    result = np.zeros(size, np.uint8)
    for label, mask in sorted(masks.items(), key=lambda item: -item[1].area):
        result[decode(mask)] = label
    return result
