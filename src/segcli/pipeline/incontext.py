"""Models that learn by example, dressed as models that are asked about photos.

Every photo is answered from a set of examples: one set for all, the few of a bank that are most like the photo, or one
set a class. Each set is learned by a fork of the model; forks are kept as long as their memory lasts. A large photo may
be looked at through windows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Ask, PromptKind
from segcli.core.errors import UsageError
from segcli.core.example import Task
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.core.rle import encode
from segcli.io.pairs import Examples
from segcli.models.api import Encoded, Ensemble, Learning, Promptable, Tunable
from segcli.pipeline.windows import Plane, Window, blended, resized, windows


class Learner(Promptable, Learning, Protocol):
    """A model that takes examples and then answers asks."""


def learner(model: Promptable) -> Learner:
    """The model as one that learns from examples. Raises UsageError when it does not."""
    if not isinstance(model, Learning):
        raise UsageError(f"{model.name}: does not learn from examples; choose another with -m")
    return cast(Learner, model)


def tunable(model: Promptable) -> Tunable:
    """The model as one that answers from tuned prompts. Raises UsageError when it does not."""
    if not isinstance(model, Tunable):
        raise UsageError(f"{model.name}: has no prompt that can be tuned; choose another with -m")
    return model


@dataclass(frozen=True)
class Manner:
    """How examples are used.

    tiles:  side of the windows in pixels through which a larger photo is looked at, None for the whole photo at once.
    memory: bytes that learned examples may hold while they are not in use.
    """

    ensemble: Ensemble = "feature"
    kind: Literal["semantic", "instance"] = "instance"
    threshold: float | None = None
    tiles: int | None = None
    memory: int = 512 << 20


@dataclass(frozen=True, eq=False)
class Looked:
    """An encoded photo: its windows, and the examples that were chosen for it."""

    size: tuple[int, int]
    parts: tuple[tuple[Window, Encoded], ...]
    chosen: tuple[int, ...] | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(encoded.nbytes for _, encoded in self.parts)


class Taught:
    """Forks of a model, each with a set of examples learned; the latest stay while they fit `Manner.memory`."""

    def __init__(self, model: Learner, manner: Manner) -> None:
        self._model, self._manner = model, manner
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], Learner] = OrderedDict()

    def by(self, examples: Examples, chosen: tuple[int, ...], name: str = "") -> Learner:
        """A fork that has learned these examples. Raises UsageError for examples that the model can't use."""
        key = (name, chosen)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        fork = self._model.fork()
        if self._manner.threshold is not None:
            fork.threshold = self._manner.threshold
        fork.learn([examples.load(index) for index in chosen], self._manner.ensemble, self._manner.kind)
        if name:  # classes come round in turn: to drop the oldest would drop the very one that is needed next
            if self._held + fork.held <= self._manner.memory:
                self._kept[key] = fork
            return fork
        while self._kept and self._held + fork.held > self._manner.memory:
            self._kept.popitem(last=False)
        self._kept[key] = fork
        return fork

    @property
    def _held(self) -> int:
        return sum(fork.held for fork in self._kept.values())


@dataclass(eq=False)
class ByExample:
    """Answers every photo from the same examples, or from the `nearest` of them. Implements `Promptable`."""

    model: Learner
    examples: Examples
    manner: Manner = field(default_factory=Manner)
    nearest: int | None = None
    accepts: frozenset[PromptKind] = frozenset({PromptKind.EXAMPLES})

    def __post_init__(self) -> None:
        self.name, self.revision = self.model.name, self.model.revision
        self._taught = Taught(self.model, self.manner)
        self._described: NDArray[np.float32] | None = None
        if self.nearest is None:
            self._taught.by(self.examples, self._all)
        else:
            vectors = [self.model.describe([self.examples.load(i).photo])[0] for i in self._all]
            self._described = np.stack(vectors)

    @property
    def reads(self) -> int | None:
        """What the model reads, and all of a photo that is cut into windows or compared with a bank."""
        return None if self.manner.tiles or self.nearest else self.model.reads

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode photos, window by window; choose their examples."""
        looks = _look(self.model, images, self.manner)
        return [replace(look, chosen=self._choose(image)) for look, image in zip(looks, images, strict=True)]

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The same answer for each ask: a mask for every id of the examples that is found."""
        looked = cast(Looked, encoded)
        fork = self._taught.by(self.examples, self._all if looked.chosen is None else looked.chosen)
        prediction = _answer(fork, looked)
        labels = tuple(self.examples.labels.get(number) for number in prediction.ids)
        names = () if looked.chosen is None else tuple(str(self.examples.pairs[i].photo) for i in looked.chosen)
        return [replace(prediction, labels=labels, examples=names) for _ in asks]

    @property
    def _all(self) -> tuple[int, ...]:
        return tuple(range(len(self.examples)))

    def _choose(self, image: Image) -> tuple[int, ...] | None:
        """The examples most like the photo, the likest first, or None when there is no choice."""
        if self._described is None:
            return None
        alike = self._described @ self.model.describe([image])[0]
        return tuple(np.argsort(-alike, kind="stable")[: self.nearest].tolist())


@dataclass(eq=False)
class ByPrompt:
    """Answers every photo from a prompt that was tuned for `task`. Implements `Promptable`."""

    model: Learner
    task: Task
    manner: Manner = field(default_factory=Manner)
    accepts: frozenset[PromptKind] = frozenset({PromptKind.EXAMPLES})

    def __post_init__(self) -> None:
        self.name, self.revision = self.model.name, self.model.revision
        if self.manner.threshold is not None:
            self.model.threshold = self.manner.threshold

    @property
    def reads(self) -> int | None:
        """What the model reads, and all of a photo that is cut into windows."""
        return None if self.manner.tiles else self.model.reads

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode photos, window by window."""
        return list(_look(self.model, images, self.manner))

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The same answer for each ask, with the task's names as labels."""
        prediction = _answer(self.model, cast(Looked, encoded))
        if self.task.kind != "panoptic":  # whose segments are labelled already
            prediction = replace(prediction, labels=tuple(self.task.names.get(number) for number in prediction.ids))
        return [prediction for _ in asks]


@dataclass(eq=False)
class ByClass:
    """A label for each pixel out of classes that examples show; each class is asked alone. Implements `Promptable`.

    The paper's ADE20K experiment (its Table 3); how classes are merged is not stated there: here each pixel goes to the
    class that is surest of it, if that is above the threshold.
    """

    model: Learner
    classes: Mapping[str, Examples]
    manner: Manner = field(default_factory=Manner)
    accepts: frozenset[PromptKind] = frozenset({PromptKind.EXAMPLES})

    def __post_init__(self) -> None:
        self.name, self.revision = self.model.name, self.model.revision
        self._taught = Taught(self.model, self.manner)
        for label, examples in self.classes.items():  # what can't be learned is refused before any photo is read
            self._fork(label, examples)

    @property
    def reads(self) -> int | None:
        """What the model reads, and all of a photo that is cut into windows."""
        return None if self.manner.tiles else self.model.reads

    def encode(self, images: Sequence[Image]) -> list[Encoded]:
        """Encode photos, window by window."""
        return list(_look(self.model, images, self.manner))

    def decode(self, encoded: Encoded, asks: Sequence[Ask]) -> list[Prediction]:
        """The same answer for each ask: a mask for every class that is found, ids by the classes' order."""
        looked = cast(Looked, encoded)
        surest: Plane = np.zeros(looked.size, np.float32)
        owner = np.zeros(looked.size, np.uint16)
        threshold = 0.0
        for number, (label, examples) in enumerate(self.classes.items(), 1):
            fork = self._fork(label, examples)
            parts = [(window, fork.probabilities(part)) for window, part in looked.parts]
            plane = blended(parts, looked.size)[1] if len(parts) > 1 else resized(parts[0][1][1], looked.size)
            better = plane > surest
            surest[better], owner[better] = plane[better], number
            threshold = fork.threshold
        owner[surest <= threshold] = 0
        found = np.unique(owner[owner > 0]).tolist()
        names = list(self.classes)
        prediction = Prediction(
            size=looked.size,
            masks=tuple(encode(owner == number) for number in found),
            scores=tuple(float(surest[owner == number].mean()) for number in found),
            labels=tuple(names[number - 1] for number in found),
            ids=tuple(found),
        )
        return [prediction for _ in asks]

    def _fork(self, label: str, examples: Examples) -> Learner:
        return self._taught.by(examples, tuple(range(len(examples))), label)


def cut(planes: Mapping[int, Plane], threshold: float, size: tuple[int, int]) -> Prediction:
    """Masks of the ids whose probability [H, W] is above the threshold anywhere, the surest first."""
    found = []
    for number, plane in planes.items():
        mask = plane > threshold
        if mask.any():
            found.append((float(plane[mask].mean()), number, encode(mask)))
    found.sort(key=lambda each: (-each[0], each[1]))
    return Prediction(
        size=size,
        masks=tuple(rle for _, _, rle in found),
        scores=tuple(min(score, 1.0) for score, _, _ in found),
        ids=tuple(number for _, number, _ in found),
        soft=np.stack([planes[number] for _, number, _ in found]).astype(np.float16) if found else None,
    )


def _look(model: Promptable, images: Sequence[Image], manner: Manner) -> list[Looked]:
    """Encode photos whole, or through windows where they are larger than one."""
    side = manner.tiles
    if side is None:
        whole = [Window(0, 0, *image.size) for image in images]
        encoded = model.encode(images)
        return [Looked(image.size, ((w, e),), None) for image, w, e in zip(images, whole, encoded, strict=True)]
    looks = []
    for image in images:
        places = windows(image.size, side)
        parts = model.encode([window.cut(image) for window in places])
        looks.append(Looked(image.size, tuple(zip(places, parts, strict=True)), None))
    return looks


def _answer(model: Learner, looked: Looked) -> Prediction:
    """A model's own answer for a whole photo; joined ones where there are several windows."""
    if len(looked.parts) == 1:
        return model.decode(looked.parts[0][1], [Ask()])[0]
    planes = blended(((window, model.probabilities(part)) for window, part in looked.parts), looked.size)
    return cut(planes, model.threshold, looked.size)
