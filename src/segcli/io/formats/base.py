"""What most formats share: a format without a run file, names of photos and classes, and reading JSON safely."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from segcli.core.errors import ItemError
from segcli.core.image import Image
from segcli.core.prediction import Prediction
from segcli.io.formats.contract import Answered, Options
from segcli.io.images import read_bytes

UNLABELLED = "object"
"""The class of a mask without a label, in formats that need one."""


class PerPhoto:
    """Base of formats that write files for each answer only."""

    needs_photo: ClassVar[bool] = False
    joins: ClassVar[bool] = True
    run_file: ClassVar[str | None] = None

    def fragment(self, answered: Answered, options: Options) -> Any:
        """Nothing: there is no file for the whole run."""
        return None

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """Nothing: there is no file for the whole run."""
        return iter(())


def full_size(image: Image) -> Image:
    """The photo itself. Raises ValueError when it was decoded smaller, which no caller may do for `needs_photo`."""
    if image.reduced:
        raise ValueError(f"{image.name} is needed at full size")
    return image


class Categories:
    """Class name -> id: those known in advance keep theirs, others get the next free one as they appear."""

    def __init__(self, options: Options) -> None:
        self.ids: dict[str, int] = dict(options.coco_categories)
        for label in options.categories:
            self.of(label)

    def of(self, label: str | None) -> int:
        """The id of a label (None is "object")."""
        name = UNLABELLED if label is None else label
        if name not in self.ids:
            self.ids[name] = max(self.ids.values(), default=0) + 1
        return self.ids[name]


class ImageIds:
    """File name -> image id: from --coco-images where that was given, otherwise 1, 2, … as they appear."""

    def __init__(self, options: Options) -> None:
        self._given = options.coco_images
        self._new: dict[str, int] = {}

    def of(self, file_name: str) -> int:
        """The id of a photo."""
        if self._given:
            return lookup(self._given, file_name)
        return self._new.setdefault(file_name, len(self._new) + 1)


def said_of(prediction: Prediction, n: int) -> dict[str, Any]:
    """Score, name, and what else is known of mask `n`, as plain JSON data; `label` may be None, others are left out."""
    said: dict[str, Any] = {"score": score_of(prediction.scores[n]), "label": prediction.names[n]}
    if prediction.label_scores[n] is not None:
        said["label_score"] = score_of(prediction.label_scores[n])
    if prediction.phrases[n] is not None:
        said["phrase"] = prediction.phrases[n]
    return said


def lookup(given: dict[str, int], file_name: str) -> int:
    """The id of a photo in --coco-images, by its path or its plain name. Raises ItemError."""
    for name in (file_name, PurePosixPath(file_name).name):
        if name in given:
            return given[name]
    raise ItemError(f"{file_name}: is not among the file names of --coco-images")


def read_json(path: Path) -> Any:
    """The JSON value of a file. Raises ItemError."""
    data = read_bytes(path, str(path))
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ItemError(f"{path}: not JSON: {' '.join(str(error).split())}") from None


def compact(value: Any) -> bytes:
    """JSON without spaces, ASCII only, so that every name survives."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def score_of(value: float | None) -> float | None:
    """A score for JSON; NaN and infinities, which JSON can't hold, become None."""
    return None if value is None or value - value != 0 else float(value)
