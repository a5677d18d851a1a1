"""What the rest of seg needs of a model: heavy work once, questions many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask, PromptKind
from segcli.core.example import Example
from segcli.core.image import Image
from segcli.core.prediction import Prediction

ObjectMasks = Mapping[int, NDArray[np.bool_]]
"""Object id -> mask [H, W] of one frame."""


class Encoded(Protocol):
    """One encoded photo. Opaque, except for how much memory it holds."""

    @property
    def nbytes(self) -> int:
        """Bytes held, so that a cache can stay within its budget."""
        ...


@runtime_checkable
class Promptable(Protocol):
    """A model that answers asks about photos.

    `encode` is the image encoder, once a photo; `decode` may then be called any number of times.
    Both raise `segcli.core.errors.DeviceError` when the device has no memory left.
    """

    name: str
    revision: str  # content hash of the weights; part of the journal's fingerprint
    accepts: frozenset[PromptKind]

    @property
    def reads(self) -> int | None:
        """The longest side in pixels that the model looks at, or None for all; a reader may decode a JPEG smaller."""
        ...

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode photos; one result each, independent of what else is in the batch."""
        ...

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks about one encoded photo; one prediction each, masks at the photo's full size."""
        ...


Ensemble = Literal["feature", "spatial", "vote"]


@runtime_checkable
class Learning(Protocol):
    """A promptable model whose examples are set first; every ask about a photo then has the same answer."""

    def learn(
        self, examples: Sequence[Example], ensemble: Ensemble = "feature", kind: Literal["semantic", "instance"] = ...
    ) -> None:
        """Take these examples for all photos to come. Masks of answers carry the examples' ids.

        Raises UsageError for no example, and for one whose mask has another size or marks nothing (named).
        """
        ...


@runtime_checkable
class Referring(Protocol):
    """A promptable model that also takes regions of other photos (`Reference.image` names them)."""

    def know(self, name: str, image: Image) -> None:
        """Keep the photo that asks will call `name`; before the first ask that does. Photos are encoded when asked."""
        ...


@runtime_checkable
class Tracking(Protocol):
    """A model that can carry masks through a video."""

    def tracker(self, *, memory: int = 8, every: int = 1, soft: bool = True) -> Tracker:
        """A fresh tracker that remembers the first frame and, of the later ones, each `every`-th, the last `memory`.

        `soft`: what is remembered keeps its probabilities, where the model has any; published loops binarise.
        """
        ...


class Tracker(Protocol):
    """A model that carries masks through a video."""

    def step(self, frame: Image, masks: ObjectMasks | None = None) -> ObjectMasks:
        """Masks of `frame`; given `masks` are taken as true for it (first frame, corrections)."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """All memory as arrays, so that a stopped run goes on from disk."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        ...
