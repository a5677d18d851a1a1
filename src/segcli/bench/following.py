"""A model that answers rough masks, carried through a video: each frame's answer is the next frame's rough mask.

The plainest way to follow an object, and the least that a real tracker has to beat. Objects are shown on the first
frame, or (YouTube-VOS) on the one that meta.json lists first for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask
from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.core.rle import Rle, decode, encode
from segcli.datasets.video import Video
from segcli.models.api import Promptable


class Carried:
    """Label maps of a video's frames, asked for in order; each frame is looked at once."""

    def __init__(self, model: Promptable, video: Video) -> None:
        self._model = model
        self._video = video
        self._masks: dict[int, Rle] = {}
        self._done: dict[str, dict[int, Rle]] = {}
        self._next = 0

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
        followed = {k: m for k, m in self._masks.items() if k not in shown and m.area}
        if followed:
            (encoded,) = self._model.encode([image])
            answers = self._model.decode(encoded, [Ask(mask=mask) for mask in followed.values()])
            for k, answer in zip(followed, answers, strict=True):
                self._masks[k] = answer.masks[0] if len(answer) else encode(np.zeros(image.size, np.bool_))
        self._masks.update(shown)
        if not self._masks:
            self._masks = {0: encode(np.zeros(image.size, np.bool_))}  # remembers the size
        self._done[frame] = dict(self._masks)

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
