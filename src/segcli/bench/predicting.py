"""A model's answers about whole photos and groups, in the forms that the measures of files have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.bench.asking import read_image
from segcli.bench.sentences import Answer
from segcli.core.ask import Ask, Kind, Reference
from segcli.core.errors import UsageError
from segcli.core.prediction import Prediction
from segcli.datasets.groups import MARKER, Group
from segcli.models.api import Encoded, Promptable, Worded


@dataclass(frozen=True)
class WholePhotos:
    """Asks a model for everything that some classes name in a photo.

    names:  category id -> the class's name, in the order in which the model is asked.
    things: category id -> whether it can be counted; empty where nobody said.
    left_out: names that the model does not know, which it is not asked for.
    """

    model: Promptable
    names: Mapping[int, str]
    things: Mapping[int, bool]
    left_out: tuple[str, ...] = ()

    def ask(self, photo: Path, kind: Kind) -> Prediction:
        """The model's answer. Raises ItemError for a photo that can't be read."""
        (encoded,) = self.model.encode([read_image(photo)])
        things = tuple(self.things.get(c) for c in self.names) if self.things else ()
        (answer,) = self.model.decode(encoded, [Ask(classes=tuple(self.names.values()), things=things, kind=kind)])
        return answer

    def panoptic(self, photo: Path) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
        """Segment ids [H, W], 0 where there is none, and COCO's segments_info."""
        answer = self.ask(photo, "panoptic")
        ids = np.zeros(answer.size, np.int32)
        segments: list[dict[str, Any]] = []
        for index, category in enumerate(self._categories(answer)):
            mask = answer.dense(index) & (ids == 0)
            if mask.any():
                ids[mask] = index + 1
                segments.append({"id": index + 1, "category_id": category})
        return ids, segments

    def classes(self, photo: Path, none: int) -> NDArray[np.int32]:
        """Class ids [H, W], `none` where no class was found; of two classes the one with the better score."""
        answer = self.ask(photo, "semantic")
        found = np.full(answer.size, none, np.int32)
        categories = self._categories(answer)
        for index in sorted(range(len(answer)), key=lambda i: answer.scores[i]):
            found[answer.dense(index)] = categories[index]
        return found

    def detections(self, photo: Path, image_id: int) -> list[dict[str, Any]]:
        """COCO results of one photo."""
        answer = self.ask(photo, "instance")
        return [
            {"image_id": image_id, "category_id": category, "segmentation": mask.coco(), "score": score}
            for category, mask, score in zip(self._categories(answer), answer.masks, answer.scores, strict=True)
        ]

    def _categories(self, answer: Prediction) -> list[int]:
        ids = {name: category for category, name in self.names.items()}
        return [ids[label or ""] for label in answer.labels]


@dataclass(frozen=True)
class ShownClasses:
    """A model that has learned classes by example, or by a tuned prompt, and labels a photo's pixels with them.

    classes_of: id in the model's answers -> class of the data set, from 0.
    background: class of the pixels that no example claims; None where there is no such class.
    learned:    what decides the answers besides the photo, for the settings.
    """

    model: Promptable
    classes_of: Mapping[int, int]
    background: int | None
    learned: Mapping[str, Any]

    def classes(self, photo: Path, none: int) -> NDArray[np.int32]:
        """Class ids [H, W]; pixels of no class hold the background's, or `none`. Raises ItemError."""
        (encoded,) = self.model.encode([read_image(photo)])
        (answer,) = self.model.decode(encoded, [Ask()])
        found = np.full(answer.size, none if self.background is None else self.background, np.int32)
        for index in sorted(range(len(answer)), key=lambda i: answer.scores[i]):
            found[answer.dense(index)] = self.classes_of[answer.ids[index]]
        return found


def whole_photos(model: Promptable, names: Mapping[int, str], things: Mapping[int, bool] | None = None) -> WholePhotos:
    """The model with those of the classes that it knows.

    Raises UsageError for a model that takes no classes or knows none of these, and for two classes of one name.
    """
    if "classes" not in model.accepts:
        raise UsageError(f"{model.name} takes no class names; choose a model that does (see `seg models list`)")
    if len(set(names.values())) < len(names):
        raise UsageError("two categories have the same name; a model could not tell them apart")
    known = {c: name for c, name in names.items() if _knows(model, name)}
    if not known:
        raise UsageError(
            f"{model.name} knows none of the {len(names)} classes, {next(iter(names.values()))!r} the first"
        )
    return WholePhotos(model, known, things or {}, tuple(n for c, n in names.items() if c not in known))


def _knows(model: Promptable, name: str) -> bool:
    if not isinstance(model, Worded):
        return True
    try:
        model.check_words([name])
    except UsageError:
        return False
    return True


class GroupAnswers(Mapping[str, Answer]):
    """Answers to groups by line number, asked when they are looked up; consecutive lines share a photo's encoding."""

    def __init__(self, model: Promptable, groups: Sequence[Group], images: Path) -> None:
        if not images.is_dir():
            raise UsageError(f"--images {images}: no such folder; give the one that the groups' photos are in")
        self._model = model
        self._groups = {str(g.line): g for g in groups}
        self._images = images
        self._last: tuple[str, Encoded] | None = None

    def __getitem__(self, item: str) -> Answer:
        group = self._groups[item]
        if self._last is None or self._last[0] != group.image:
            image = read_image(self._images / group.image, group.size)
            self._last = (group.image, self._model.encode([image])[0])
        ask = Ask(
            text=numbered(group.prompt),
            references=tuple(Reference(None, region) for region in group.refs),
            candidates=group.candidates,
            id=item,
        )
        (answer,) = self._model.decode(self._last[1], [ask])
        return Answer(tuple(m.coco() for m in answer.masks), no_target=len(answer) == 0 or None)

    def __contains__(self, item: object) -> bool:  # the inherited one would ask the model
        return item in self._groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


def numbered(prompt: str) -> str:
    """The sentence with its markers as `{1}`, `{2}`, …, in order."""
    parts = prompt.split(MARKER)
    return parts[0] + "".join(f"{{{n}}}{part}" for n, part in enumerate(parts[1:], 1))
