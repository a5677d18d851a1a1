"""COCO on disk: instances, panoptic, and results in COCO's JSON formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.datasets.files import read_raw, require_directory, require_file


def read_panoptic_png(path: Path) -> NDArray[Any]:
    """Colours uint8 [H, W, 3] of a panoptic PNG, or ids [H, W] where the file has one channel."""
    raw = read_raw(path)
    return np.ascontiguousarray(raw[..., :3]) if raw.ndim == 3 else raw


@dataclass(frozen=True)
class PanopticPair:
    """Ground truth and prediction of one image: PNG files and `segments_info` lists.

    prediction_png: None where a model is asked; `photo` is what it is asked about.
    """

    name: str
    truth_png: Path
    truth_segments: tuple[dict[str, Any], ...]
    prediction_png: Path | None = None
    prediction_segments: tuple[dict[str, Any], ...] = ()
    photo: Path | None = None


def panoptic_pairs(
    truth: Path, prediction: Path, truth_folder: Path | None = None, prediction_folder: Path | None = None
) -> tuple[list[PanopticPair], dict[int, bool], dict[int, str]]:
    """Images of two COCO panoptic JSON files, whether each category is a thing, and category names.

    The PNG folders default to those named like the JSON files. Raises StorageError for a file that can't be used,
    ItemError for an image without an annotation or without a prediction.
    """
    true, predicted = read_json(truth), read_json(prediction)
    folder = require_directory(
        prediction_folder or prediction.with_suffix(""), f"the PNG files of {prediction.name} belong there"
    )
    images, things, names = _panoptic_truth(true, truth, truth_folder)
    try:
        answers = {a["image_id"]: a for a in predicted["annotations"]}
        pairs = []
        for image, found in images:
            if image["id"] not in answers:
                raise _missing(prediction, image)
            answer = answers[image["id"]]
            pairs.append(
                replace(
                    found,
                    prediction_png=folder / answer["file_name"],
                    prediction_segments=tuple(answer["segments_info"]),
                )
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{prediction}: not COCO panoptic JSON ({type(error).__name__}: {error})") from None
    return pairs, things, names


def panoptic_truths(
    truth: Path, photos: Path, truth_folder: Path | None = None
) -> tuple[list[PanopticPair], dict[int, bool], dict[int, str]]:
    """The same without predictions, each image with its photo out of the folder `photos`."""
    images, things, names = _panoptic_truth(read_json(truth), truth, truth_folder)
    require_directory(photos, f"the photos of {truth.name} belong there")
    try:
        pairs = [replace(found, photo=photos / image["file_name"]) for image, found in images]
    except KeyError:
        raise StorageError(f"{truth}: an image has no file_name, by which its photo would be found") from None
    return pairs, things, names


def _panoptic_truth(
    content: dict[str, Any], path: Path, folder: Path | None
) -> tuple[list[tuple[dict[str, Any], PanopticPair]], dict[int, bool], dict[int, str]]:
    folder = require_directory(folder or path.with_suffix(""), f"the PNG files of {path.name} belong there")
    try:
        things = {int(c["id"]): bool(c["isthing"]) for c in content["categories"]}
        names = {int(c["id"]): str(c.get("name", c["id"])) for c in content["categories"]}
        by_image = {a["image_id"]: a for a in content["annotations"]}
        images = []
        for image in content["images"]:
            if image["id"] not in by_image:
                raise _missing(path, image)
            entry = by_image[image["id"]]
            pair = PanopticPair(str(image["id"]), folder / entry["file_name"], tuple(entry["segments_info"]))
            images.append((image, pair))
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: not COCO panoptic JSON ({type(error).__name__}: {error})") from None
    return images, things, names


def _missing(path: Path, image: dict[str, Any]) -> ItemError:
    return ItemError(f"{path}: has no annotation of image {image['id']} ({image.get('file_name', '')})")


def read_instances(path: Path) -> dict[str, Any]:
    """A COCO instances file. Raises StorageError when one of its three lists is missing."""
    content: dict[str, Any] = read_json(path)
    lacking = [k for k in ("images", "annotations", "categories") if not isinstance(content.get(k), list)]
    if lacking:
        raise StorageError(f"{path}: not a COCO instances file, it has no {lacking[0]}")
    return content


def read_results(path: Path) -> list[dict[str, Any]]:
    """Detections `[{image_id, category_id, segmentation|bbox, score}]`. Raises StorageError."""
    content = read_json(path, list)
    needed = {"image_id", "category_id", "score"}
    for number, entry in enumerate(content):
        if not isinstance(entry, dict) or not needed <= entry.keys():
            raise StorageError(f"{path}: entry {number} is no detection; it needs {', '.join(sorted(needed))}")
    return list(content)


def read_json(path: Path, kind: type = dict) -> Any:
    """Content of a JSON file of that kind. Raises StorageError."""
    require_file(path, "a JSON file in COCO's format is expected there")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, kind):
        raise StorageError(f"{path}: expected a JSON {'object' if kind is dict else 'list'}")
    return content


def read_lines(path: Path) -> Sequence[dict[str, Any]]:
    """Objects of a file of JSON lines. Raises StorageError that names the line."""
    require_file(path, "a file of JSON lines is expected there")
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise StorageError(f"{path}:{number}: not JSON ({error})") from None
                if not isinstance(value, dict):
                    raise StorageError(f"{path}:{number}: expected a JSON object")
                found.append(value)
    return found
