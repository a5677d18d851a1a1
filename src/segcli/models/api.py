"""What the rest of seg needs of a model: heavy work once, questions many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask, PromptKind
from segcli.core.example import Example, Task
from segcli.core.image import Image
from segcli.core.prediction import Prediction

if TYPE_CHECKING:
    from torch import Tensor

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
    """A promptable model whose examples are set first; every ask about a photo then has the same answer.

    threshold: from which probability on a pixel belongs to an id; may be set.
    """

    threshold: float

    def learn(
        self, examples: Sequence[Example], ensemble: Ensemble = "feature", kind: Literal["semantic", "instance"] = ...
    ) -> None:
        """Take these examples for all photos to come. Masks of answers carry the examples' ids.

        Raises UsageError for no example, and for one whose mask has another size or marks nothing (named).
        """
        ...

    def fork(self) -> Self:
        """The same model, weights shared, that learns for itself: so several sets of examples are ready at once."""
        ...

    @property
    def held(self) -> int:
        """Bytes that the learned examples hold, so that forks can stay within a budget."""
        ...

    def probabilities(self, encoded: Encoded) -> dict[int, NDArray[np.float32]]:
        """How sure the model is of each id of its examples: [h, w] in [0, 1] over the whole photo, a size of its own.

        For those who join several looks at a photo, or several sets of examples. Raises UsageError before `learn`.
        """
        ...

    def describe(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Photos as unit vectors [N, D]: the larger the product of two, the more alike they are; cheap."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """A promptable model that answers from learned tensors in place of examples, its weights left as they are.

    This is SegGPT's in-context tuning (section 3.4): what an example is to the model becomes a parameter.
    """

    def tunable(self, examples: Sequence[Example], task: Task) -> dict[str, Tensor]:
        """Tensors for `task` to begin with, float32: what these examples are to the model, or noise for none.

        Raises UsageError for a task or for examples that the model can't be tuned from.
        """
        ...

    def tuning_loss(self, tensors: Mapping[str, Tensor], queries: Sequence[Example], task: Task) -> Tensor:
        """How far answers from `tensors` are from the queries' own ids: a scalar whose gradient reaches `tensors`."""
        ...

    def tune(self, tensors: Mapping[str, Tensor], task: Task) -> None:
        """Answer from these tensors from now on. Raises UsageError for tensors that are not such as `tunable` gives."""
        ...


@runtime_checkable
class Referring(Protocol):
    """A promptable model that also takes regions of other photos (`Reference.image` names them)."""

    def know(self, name: str, image: Image) -> None:
        """Keep the photo that asks will call `name`; before the first ask that does. Photos are encoded when asked."""
        ...


@runtime_checkable
class Worded(Protocol):
    """A promptable model that knows only some words."""

    def check_words(self, words: Sequence[str]) -> None:
        """Raise UsageError for the first text or class name that the model does not know, with near ones it knows.

        Called once with all words of a run, before its first photo is encoded.
        """
        ...


@runtime_checkable
class Conversing(Protocol):
    """A promptable model that answers questions about a photo in words."""

    def reply(self, encoded: Encoded, question: str, limit: int = 256) -> str:
        """The answer to `question`, at most `limit` tokens long. Raises UsageError for a question that is too long."""
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

    def drop(self, number: int) -> None:
        """Forget an object. Raises UsageError for one that is not followed."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """All memory as arrays, so that a stopped run goes on from disk."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        ...
