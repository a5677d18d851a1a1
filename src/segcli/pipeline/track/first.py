"""Masks from questions: clicks, boxes and words about one frame, answered by a model for photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segcli.core import geometry
from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.core.rle import encode
from segcli.models.api import Promptable


class FirstMasks:
    """Asks a model that is opened at the first question."""

    def __init__(self, opened: Callable[[], Promptable]) -> None:
        self._opened = opened
        self._model: Promptable | None = None

    def answer(
        self, image: Image, asks: Mapping[int, Ask], previous: Mapping[int, NDArray[np.bool_]]
    ) -> dict[int, NDArray[np.bool_]]:
        """The mask [H, W] of each object, without overlap: the better answer on top.

        previous: what is known of an object already, for models that take it. Raises UsageError for a prompt outside
        of the frame, and for one that finds nothing.
        """
        self._model = self._model or self._opened()
        resolved = []
        for number, ask in asks.items():
            given = ask
            if number in previous and previous[number].any() and PromptKind.PREVIOUS in self._model.accepts:
                given = replace(ask, previous=encode(previous[number]))
            if not given.has_positive:
                raise UsageError(
                    f"{image.name}: only what is not object {number} is pointed at; point at the object too"
                )
            resolved.append(geometry.resolve(given, image.size, image.name, UsageError))
        predictions = self._model.decode(self._model.encode([image])[0], resolved)
        best: list[tuple[float, int, NDArray[np.bool_]]] = []
        for number, ask, prediction in zip(asks, resolved, predictions, strict=True):
            if not len(prediction):
                what = f'"{ask.text}"' if ask.text else "what is pointed at"
                raise UsageError(f"{image.name}: {what} is not found there; try another frame, or point at it")
            index = max(range(len(prediction)), key=lambda n: prediction.scores[n])
            best.append((prediction.scores[index], number, prediction.dense(index)))
        taken = np.zeros(image.size, np.bool_)
        masks: dict[int, NDArray[np.bool_]] = {}
        for _, number, mask in sorted(best, key=lambda one: (-one[0], one[1])):
            masks[number] = mask & ~taken
            taken |= mask
            if not masks[number].any():
                raise UsageError(f"{image.name}: nothing of object {number} is found there; point at it elsewhere")
        return masks
