"""A model for tests: discs around positive clicks, minus discs around negative ones, and whatever is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segcli.core.ask import Ask, PromptKind
from segcli.core.geometry import prompt_mask
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode


@dataclass(frozen=True)
class Encoded:
    size: tuple[int, int]
    nbytes: int = 1000


class Discs:
    accepts = frozenset(PromptKind)
    reads = None

    def __init__(self, name: str, revision: str, radius: float) -> None:
        self.name, self.revision, self.radius = name, revision, radius

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        return [Encoded(image.size) for image in images]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        return [self._answer(encoded.size, ask) for ask in asks]

    def _answer(self, size: tuple[int, int], ask: Ask) -> Prediction:
        mask = prompt_mask(replace(ask, points=()), size, positive=True)
        for given in (ask.mask, ask.previous):
            if given is not None:
                mask = mask | decode(given)
        rows, columns = np.mgrid[: size[0], : size[1]]
        for point in ask.points:
            disc = (columns - point.x) ** 2 + (rows - point.y) ** 2 <= self.radius**2
            mask = mask | disc if point.positive else mask & ~disc
        answers = [mask, ~mask, mask | True] if ask.multimask else [mask]
        return Prediction(size, tuple(map(encode, answers)), scores=(0.9, 0.5, 0.1)[: len(answers)])


def build(config, tensors, *, name, revision, **_):
    return Discs(name, revision, float(tensors["radius"][0]))
