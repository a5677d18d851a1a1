"""Photos with objects to ask a model for, whatever layout they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, UsageError
from segcli.core.image import Image
from segcli.core.rle import Rle
from segcli.datasets.coco_interactive import coco_interactive
from segcli.datasets.folders import IGNORED, Photo, click_targets, photos, sources
from segcli.datasets.interactive import LAYOUTS as PUBLISHED
from segcli.datasets.interactive import TargetPhoto, open_interactive

LAYOUTS = ("folder", *PUBLISHED, "coco-interactive")
SPLITS = {"coco": "val2017", "openimages": "validation"}


Loaded = tuple[Image, list[tuple[str, NDArray[np.int8]]]]


@dataclass(frozen=True)
class AskedPhoto:
    """One photo; `load` reads it and the truths int8 [H, W] (1 object, -1 not counted, else 0) of its objects."""

    name: str
    source: Photo | TargetPhoto
    min_area: float

    @property
    def recorded(self) -> bool:
        """Whether the set says itself how to ask for each object."""
        return isinstance(self.source, TargetPhoto) and self.source.prompts is not None

    def prompts(self) -> dict[str, dict[str, Rle]]:
        """Recorded prompts, target -> kind -> what was drawn; empty where there are none. Raises ItemError."""
        if isinstance(self.source, TargetPhoto) and self.source.prompts is not None:
            return self.source.prompts()
        return {}

    def load(self) -> Loaded:
        """The photo and its targets by name. Raises ItemError when mask and photo differ in size."""
        if isinstance(self.source, TargetPhoto):
            targets = self.source.targets()
        else:
            ids = self.source.ids()
            targets = []
            for target in click_targets(self.source, ids, self.min_area):
                truth = (ids == target.id).astype(np.int8)
                truth[ids == IGNORED] = -1
                targets.append((str(target.id), truth))
        pixels = self.source.pixels()
        for _, truth in targets:
            if truth.shape != pixels.shape[:2]:
                sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (truth, pixels)]
                raise ItemError(
                    f"{self.name}: the mask is {sizes[0]}, the photo {sizes[1]}; they must be the same size"
                )
        return Image(pixels=pixels, size=(pixels.shape[0], pixels.shape[1]), name=self.name), targets


def open_photos(root: Path, layout: str, split: str, min_area: float = 0.01) -> list[AskedPhoto]:
    """All photos of a layout; `min_area` (share of the photo) only counts for plain folders.

    Of a folder of several sources each photo is named SOURCE/NAME. Raises UsageError for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"--layout {layout}: there are {', '.join(LAYOUTS)}")
    if layout == "folder":
        found = sources(root)
        return [
            AskedPhoto(photo.name if len(found) == 1 else f"{source.name}/{photo.name}", photo, min_area)
            for source in found
            for photo in photos(source)
        ]
    if layout == "coco-interactive":
        return list(_numbered(coco_interactive(root, split or "val")))
    return list(_numbered(open_interactive(root, layout, split or SPLITS.get(layout, "val"))))


def _numbered(found: Iterator[TargetPhoto]) -> Iterator[AskedPhoto]:
    """Lists of single instances name a photo several times: each entry gets a number."""
    seen: dict[str, int] = {}
    for photo in found:
        seen[photo.name] = seen.get(photo.name, 0) + 1
        count = seen[photo.name]
        yield AskedPhoto(photo.name if count == 1 else f"{photo.name}#{count}", photo, 0.0)
