"""Objects through a video with SEEM: marks read on one frame prompt the next ones (section 4.3 of the paper).

As published, the visual prompt of the first frame segments every frame by itself. Beside it the answers of the latest
frames may prompt too ("or the previous frame" in the paper); how many is the caller's choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.ask import Ask
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.api import ObjectMasks
from segcli.models.seem.postprocess import resize_interactive
from segcli.models.seem.prompts import SpatialTokens, Tokens
from segcli.models.seem.released_answers import EncodedPhoto, Question

if TYPE_CHECKING:
    from segcli.models.seem.released_predictor import ReleasedPredictor


class _Object:
    """One object's prompts: of the given masks (the first one, the latest correction), and of answers, oldest first."""

    def __init__(self, capacity: int) -> None:
        self.given: list[SpatialTokens] = []
        self.answers: deque[SpatialTokens] = deque(maxlen=capacity)

    def take(self, tokens: SpatialTokens) -> None:
        self.given = [*self.given[:1], tokens]


class ReleasedTracker:
    """Carries masks through a video; implements `segcli.models.api.Tracker`.

    capacity: answers that prompt beside the given masks; 0 is the published loop.
    every:    only the answers of each so-manyth frame are kept.
    Objects are asked for one by one and each pixel goes to the one with the largest logit; that part is ours.
    """

    def __init__(self, model: ReleasedPredictor, capacity: int = 0, every: int = 1) -> None:
        if capacity < 0 or every < 1:
            raise UsageError(f"a memory of {capacity} frames, every {every}: give at least 0 and 1")
        self.model, self.capacity, self.every = model, capacity, every
        self._objects: dict[int, _Object] = {}
        self._steps = 0

    def step(self, frame: Image, masks: ObjectMasks | None = None) -> ObjectMasks:
        """Masks of `frame` for every known object, without overlap; one that isn't seen is an empty mask.

        `masks` are taken as true for it. Raises UsageError before any mask was given and for a mask that is empty or of
        another size; DeviceError when the device has no memory left.
        """
        given = dict(masks or {})
        if not given and not self._objects:
            raise UsageError(f"{frame.name}: no object to follow yet; give a mask for the first frame")
        for number, mask in given.items():
            _check(frame, number, mask)
        photo = self.model.look(frame)
        followed = sorted(self._objects.keys() - given.keys())
        found = self._resolved(followed, photo, given)
        if self.capacity and self._steps % self.every == 0:
            for number in followed:
                if found[number].any():
                    self._objects[number].answers.append(self._read(photo, found[number]))
        for number, mask in given.items():
            self._objects.setdefault(number, _Object(self.capacity)).take(self._read(photo, mask))
        self._steps += 1
        return {number: given[number] if number in given else found[number] for number in sorted(self._objects)}

    def drop(self, number: int) -> None:
        """Forget an object. Raises UsageError for one that is not followed."""
        if self._objects.pop(number, None) is None:
            known = ", ".join(map(str, self._objects)) or "none"
            raise UsageError(f"object {number} is not followed; known: {known}")

    def state(self) -> dict[str, NDArray[Any]]:
        """All memory as arrays: each prompt's tokens a level and its mean vectors, float32."""
        arrays: dict[str, NDArray[Any]] = {"steps": np.array(self._steps)}
        for number, held in self._objects.items():
            for part, prompts in (("given", held.given), ("answers", held.answers)):
                for n, prompt in enumerate(prompts):
                    for level, tokens in enumerate(prompt.levels):
                        arrays[f"{number}.{part}.{n}.{level}"] = _array(tokens.content[0])
                    arrays[f"{number}.{part}.{n}.vectors"] = _array(torch.cat([prompt.positive[0], prompt.negative[0]]))
        return arrays

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        self._steps = int(state["steps"])
        self._objects = {}
        prompts = [name.split(".") for name in state if name.endswith(".vectors")]
        for number, part, n, _ in sorted(prompts, key=lambda name: (int(name[0]), int(name[2]))):
            held = self._objects.setdefault(int(number), _Object(self.capacity))
            prompt = self._prompt(state, f"{number}.{part}.{n}.")
            (held.given if part == "given" else held.answers).append(prompt)

    def _prompt(self, state: Mapping[str, NDArray[Any]], name: str) -> SpatialTokens:
        def tensor(key: str) -> Tensor:
            return torch.from_numpy(np.array(state[name + key]))[None].to(self.model.model.decoder.query_feat.weight)

        vectors = tensor("vectors")
        levels = range(self.model.model.config.decoder.levels)
        return SpatialTokens(
            tuple(Tokens.of_words(tensor(str(level))) for level in levels), vectors[:, :1], vectors[:, 1:]
        )

    def _read(self, photo: EncodedPhoto, mask: NDArray[np.bool_]) -> SpatialTokens:
        return self.model.read_marks(photo, Ask(mask=encode(mask)))

    def _resolved(self, followed: list[int], photo: EncodedPhoto, given: ObjectMasks) -> dict[int, NDArray[np.bool_]]:
        """Each pixel to the object with the largest positive logit; given masks first."""
        size = photo.size
        free = ~np.any(list(given.values()), axis=0) if given else np.ones(size.photo, np.bool_)
        largest = np.zeros(size.photo, np.float32)
        owner = np.full(size.photo, -1)
        for place, number in enumerate(followed):
            held = self._objects[number]
            prompt = SpatialTokens.joined([*held.given, *held.answers])
            logits = self.model.answer(photo, Question(references=prompt))
            full = resize_interactive(logits[None], size.padded, size.image, size.photo)[0].cpu().numpy()
            closer = full > largest
            largest[closer], owner[closer] = full[closer], place
        return {number: (owner == place) & free for place, number in enumerate(followed)}


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array


def _check(frame: Image, number: int, mask: NDArray[np.bool_]) -> None:
    if mask.shape != frame.size:
        raise UsageError(
            f"{frame.name}: the mask of object {number} is {mask.shape[1]}x{mask.shape[0]}, the frame "
            f"{frame.size[1]}x{frame.size[0]}; give a mask of the frame's size"
        )
    if not mask.any():
        raise UsageError(f"{frame.name}: the mask of object {number} is empty; mark the object or leave it out")
