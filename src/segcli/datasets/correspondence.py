"""Ego-Exo4D correspondence: an object seen by a worn (ego) and by standing (exo) cameras.

Two forms of the truth are read:

- the annotations as they are distributed, `relations_SPLIT.json`: annotations -> take -> object_masks -> object ->
  camera -> {annotation: frame -> {width, height, encodedMask}, annotated_frames}; masks are run-length codes, packed;
- the file that the official evaluation makes of them: annotations -> take -> masks -> object -> camera -> frame ->
  run-length code, beside annotated_frames -> object -> camera.

A camera whose name contains "aria" is the ego one. Checked against the two masks in the data set's documentation; the
files themselves were not at hand, and which takes of a file the official split takes is not looked up: all count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.core.rle import Rle, from_coco
from segcli.datasets.coco import read_json
from segcli.datasets.lzstring import decompress

DIRECTIONS = ("ego-exo", "exo-ego")
_EGO = "aria"


@dataclass(frozen=True)
class Correspondence:
    """One object of a take, shown in camera `source`, to be found in camera `target`.

    frames: those where the source shows it and the target was looked at. truths: frame -> mask as stored, for frames
    where the target shows it.
    """

    take: str
    name: str
    source: str
    target: str
    frames: tuple[str, ...]
    truths: Mapping[str, Any]

    @property
    def item(self) -> str:
        """What messages call it."""
        return f"{self.take}/{self.name}/{self.cameras}"

    @property
    def cameras(self) -> str:
        """Both cameras as results name them."""
        return f"{self.source}_{self.target}"

    def truth(self, frame: str) -> Rle | None:
        """The object in the target's frame, None where it is not seen. Raises ItemError."""
        return _mask(self.truths[frame], f"{self.item}, frame {frame}") if frame in self.truths else None


@dataclass(frozen=True)
class Found:
    """A result: where the object is, and how sure it is that it is there at all."""

    mask: Rle
    confidence: float


def correspondences(path: Path, direction: str) -> list[Correspondence]:
    """All pairs of cameras in the order of the file; objects without ego camera are left out, as published.

    Raises UsageError for another direction, StorageError for a file of another form.
    """
    if direction not in DIRECTIONS:
        raise UsageError(f"--direction {direction}: there are {', '.join(DIRECTIONS)}")
    found = []
    try:
        for take, content in read_json(path)["annotations"].items():
            for name, (masks, looked) in _objects(content).items():
                ego = [camera for camera in masks if _EGO in camera]
                if len(ego) > 1:
                    raise StorageError(f"{path}: {take}, {name} has two ego cameras, {ego[0]} and {ego[1]}")
                for exo in (camera for camera in masks if ego and _EGO not in camera):
                    source, target = (ego[0], exo) if direction == "ego-exo" else (exo, ego[0])
                    frames = tuple(frame for frame in masks[source] if int(frame) in looked[target])
                    truths = {frame: masks[target][frame] for frame in frames if frame in masks[target]}
                    found.append(Correspondence(take, name, source, target, frames, truths))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"{path}: no annotations of relations ({type(error).__name__}: {error})") from None
    if not found:
        raise StorageError(f"{path}: no object that an ego and an exo camera show")
    return found


def _objects(take: Mapping[str, Any]) -> dict[str, tuple[dict[str, dict[str, Any]], dict[str, set[int]]]]:
    """Object -> camera -> frame -> mask as stored, and object -> camera -> frames that were looked at."""
    if "object_masks" in take:
        return {
            name: (
                {camera: entry["annotation"] for camera, entry in cameras.items()},
                {camera: set(entry["annotated_frames"]) for camera, entry in cameras.items()},
            )
            for name, cameras in take["object_masks"].items()
        }
    looked = take["annotated_frames"]
    return {
        name: (cameras, {camera: set(looked[name][camera]) for camera in cameras})
        for name, cameras in take["masks"].items()
    }


def _mask(stored: Any, where: str) -> Rle:
    try:
        if "encodedMask" in stored:
            size = [int(stored["height"]), int(stored["width"])]
            stored = {"size": size, "counts": decompress(stored["encodedMask"])}
        return from_coco(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ItemError(f"{where}: its mask is no run-length code ({error})") from None


class CorrespondenceResults:
    """A results file: DIRECTION -> results -> take -> masks -> object -> SOURCE_TARGET -> frame -> {pred_mask,
    confidence}."""

    def __init__(self, path: Path, direction: str) -> None:
        """Read the file. Raises StorageError."""
        self._path = path
        try:
            self._takes = read_json(path)[direction]["results"]
        except (KeyError, TypeError):
            raise StorageError(f"{path}: has no {direction} with results, as the official tool wants them") from None

    def __call__(self, asked: Correspondence, frame: str) -> Found:
        """The result for one frame. Raises ItemError that names what is missing."""
        where = f"{asked.item}, frame {frame}"
        try:
            entry = self._takes[asked.take]["masks"][asked.name][asked.cameras][frame]
            confidence, mask = float(entry["confidence"]), entry["pred_mask"]
        except (KeyError, TypeError, ValueError):
            raise ItemError(f"{where}: {self._path} has no pred_mask with a confidence for it") from None
        return Found(_mask(mask, f"{self._path}: {where}"), confidence)
