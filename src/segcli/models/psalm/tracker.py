"""Objects through a video with PSALM: regions read on one frame prompt the next one (PSALM, section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import ObjectMasks
from segcli.models.layers.memory import memory_errors
from segcli.models.psalm.answers import Found, best, dense

if TYPE_CHECKING:
    from segcli.models.psalm.predictor import PsalmPredictor

_CANDIDATES = 10  # each object takes the best of so many queries that no other one has taken
_SAME = 0.4  # IoU from which on two answers are taken for one object, and the frame is not remembered

Mask = NDArray[np.bool_]


class PsalmTracker:
    """Carries masks through a video; implements `segcli.models.api.Tracker`.

    The objects are those of the given masks, never more, never fewer. Each is a vector, read under its mask on the
    frame that is remembered: the latest one (of each `every`) on which all objects were found apart from each other.

    frames: 0 keeps the vectors of the given masks for the whole video.
    """

    def __init__(self, model: PsalmPredictor, frames: int = 8, every: int = 1) -> None:
        if frames < 0 or every < 1:
            raise UsageError(f"a memory of {frames} frames, every {every}: give at least 0 and 1")
        self.model, self.frames, self.every = model, frames, every
        self._vectors: dict[int, Tensor] = {}
        self._steps = 0

    def step(self, frame: Image, masks: ObjectMasks | None = None) -> ObjectMasks:
        """Masks of `frame` for every known object, without overlap; one that isn't seen is an empty mask.

        `masks` are taken as true for it. Raises UsageError before any mask was given and for a mask that is empty or
        of another size; DeviceError when the device has no memory left.
        """
        given = dict(masks or {})
        if not given and not self._vectors:
            raise UsageError(f"{frame.name}: no object to follow yet; give a mask for the first frame")
        for number, mask in given.items():
            _check(frame, number, mask)
        photo = self.model.look(frame)
        followed = [number for number in self._vectors if number not in given]
        found: dict[int, Mask] = {}
        with torch.inference_mode(), memory_errors(self.model.name):
            if followed:
                found = self._found(photo, followed)
            remembered = self.frames > 0 and self._steps % self.every == 0 and _apart(found)
            learned = {**(found if remembered else {}), **given}
            for number, mask in learned.items():
                self._vectors[number] = self.model.features(photo.tokens, photo.size, [mask])[0]
        self._steps += 1
        return _painted(frame.size, list(self._vectors), found, given)

    def drop(self, number: int) -> None:
        """Forget an object. Raises UsageError for one that is not there."""
        if self._vectors.pop(number, None) is None:
            known = ", ".join(map(str, self._vectors)) or "none"
            raise UsageError(f"object {number} is not followed; known: {known}")

    def state(self) -> dict[str, NDArray[Any]]:
        """All memory as arrays: each object's vector, float32."""
        arrays: dict[str, NDArray[Any]] = {"steps": np.array(self._steps)}
        return arrays | {str(number): vector.float().cpu().numpy() for number, vector in self._vectors.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        like = self.model.model.mask_tokens
        self._steps = int(state["steps"])
        self._vectors = {
            int(name): torch.from_numpy(np.array(vector)).to(like) for name, vector in state.items() if name != "steps"
        }

    def _found(self, photo: Any, followed: list[int]) -> dict[int, Mask]:
        """A mask for each object, in their order; each takes a query of its own."""
        said, masks = self.model.region_answer(photo, torch.stack([self._vectors[n] for n in followed]))
        taken: set[int] = set()
        found: dict[int, Mask] = {}
        for row, number in zip(said, followed, strict=True):
            candidates: list[Found] = best(row, masks, photo.size, _CANDIDATES)
            free = next((one for one in candidates if one.query not in taken), None)
            if free is None:
                found[number] = np.zeros(photo.size.photo, np.bool_)
            else:
                taken.add(free.query)
                found[number] = dense(free, masks, photo.size)
        return found


def _apart(found: Mapping[int, Mask]) -> bool:
    """True when every object was found, and no two of them at the same place."""
    masks = list(found.values())
    if not all(mask.any() for mask in masks):
        return False
    for k, a in enumerate(masks):
        for b in masks[:k]:
            if (a & b).sum() > _SAME * (a | b).sum():
                return False
    return True


def _painted(size: tuple[int, int], order: list[int], found: ObjectMasks, given: ObjectMasks) -> dict[int, Mask]:
    """One object a pixel: found masks painted in the order of the objects, given ones over them."""
    owner = np.full(size, -1)
    for masks in (found, given):
        for place, number in enumerate(order):
            if number in masks:
                owner[masks[number]] = place
    return {number: owner == place for place, number in enumerate(order)}


def _check(frame: Image, number: int, mask: Mask) -> None:
    if mask.shape != frame.size:
        raise UsageError(
            f"{frame.name}: the mask of object {number} is {mask.shape[1]}x{mask.shape[0]}, the frame "
            f"{frame.size[1]}x{frame.size[0]}; give a mask of the frame's size"
        )
    if not mask.any():
        raise UsageError(f"{frame.name}: the mask of object {number} is empty; mark the object or leave it out")
