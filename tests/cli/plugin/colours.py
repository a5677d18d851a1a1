"""A model for tests that knows colours by name: a word means the pixels of that colour, an instance is one piece of it.

So tests know every pixel of an answer beforehand. Things are told from stuff as the ask says; a name that ends in
"sky" is stuff by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segcli.core.ask import Ask, Box, Point, PromptKind, Reference
from segcli.core.errors import UsageError
from segcli.core.geometry import box_mask
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode

NAMES = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "blue sky": (0, 0, 255),
}


@dataclass(frozen=True)
class Encoded:
    image: Image
    nbytes: int = 1000


class Colours:
    accepts = frozenset(
        {PromptKind.POINT, PromptKind.BOX, PromptKind.PREVIOUS}
        | {PromptKind.TEXT, PromptKind.REFERENCE, PromptKind.CLASSES}
    )
    reads = None

    def __init__(self, name: str, revision: str) -> None:
        self.name, self.revision = name, revision
        self._known: dict[str, Image] = {}

    def check_words(self, words: Sequence[str]) -> None:
        for word in words:
            self._colour(word)

    def know(self, name: str, image: Image) -> None:
        self._known[name] = image

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        return [Encoded(image) for image in images]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        return [self._whole(encoded.image, ask) if ask.kind else self._answer(encoded.image, ask) for ask in asks]

    def _answer(self, image: Image, ask: Ask) -> Prediction:
        """The largest piece of what is meant, or all pieces; a click chooses the piece that it lies on."""
        if ask.text is not None and ask.answer != "visual":
            meant = _near(image, self._colour(ask.text))
        elif ask.references:
            meant = np.logical_or.reduce([_near(image, self._colour_of(image, one)) for one in ask.references])
        else:
            meant = np.ones(image.size, bool)
            for point in ask.points:
                if point.positive:
                    meant &= _near(image, image.pixels[round(point.y), round(point.x)])
        pieces = _pieces(meant)
        if ask.answer != "text":
            for point in ask.points:
                pieces = [one for one in pieces if one[round(point.y), round(point.x)] == point.positive]
            for box in ask.boxes:
                pieces = [one for one in pieces if (one & box_mask(box, image.size)).any() == box.positive]
        if not ask.every:
            pieces = pieces[:1]
        found = [(piece, self._label(image, piece, ask)) for piece in pieces]
        return Prediction(
            image.size,
            tuple(encode(piece) for piece, _ in found),
            tuple(round(0.9 - 0.2 * n, 3) for n in range(len(found))),
            labels=tuple(label for _, label in found),
            label_scores=tuple(None if label is None else 0.75 for _, label in found),
        )

    def _whole(self, image: Image, ask: Ask) -> Prediction:
        rows: list[tuple[np.ndarray, str]] = []
        for name, thing in zip(ask.classes, ask.things or (None,) * len(ask.classes), strict=True):
            meant = _near(image, self._colour(name))
            thing = not name.endswith("sky") if thing is None else thing
            if ask.kind == "instance" or (thing and ask.kind == "panoptic"):
                rows += [(piece, name) for piece in _pieces(meant) if thing]
            elif meant.any():
                rows.append((meant, name))
        count = len(rows)
        scores = tuple(round(0.9 - 0.1 * n, 3) for n in range(count))
        return Prediction(image.size, tuple(encode(m) for m, _ in rows), scores, labels=tuple(n for _, n in rows))

    def _label(self, image: Image, piece: np.ndarray, ask: Ask) -> str | None:
        if not ask.classes:
            return None
        mean = image.pixels[piece].mean(0)
        return min(ask.classes, key=lambda name: float(np.abs(mean - self._colour(name)).sum()))

    def _colour(self, word: str) -> tuple[int, int, int]:
        if word not in NAMES:
            raise UsageError(f"{word!r}: {self.name} knows {', '.join(NAMES)}")
        return NAMES[word]

    def _colour_of(self, image: Image, reference: Reference) -> np.ndarray:
        shown = image if reference.image is None else self._known[reference.image]
        region = reference.region
        if isinstance(region, Point):
            return shown.pixels[round(region.y), round(region.x)]
        inside = box_mask(region, shown.size) if isinstance(region, Box) else decode(region)
        return shown.pixels[inside].mean(0)


def _near(image: Image, colour: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.abs(image.pixels.astype(int) - np.asarray(colour)).max(2) < 60


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """Connected pieces, the largest first."""
    numbered, count = ndimage.label(mask)
    return sorted((numbered == n for n in range(1, count + 1)), key=lambda piece: -int(piece.sum()))


def build(config, tensors, *, name, revision, **_):
    return Colours(name, revision)
