"""Class maps on disk: ADE20K, Cityscapes, Pascal Context, PascalVOC, plain folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.datasets.files import read_indices, require_directory, require_file

IGNORED = 255
CLASSES = {"ade20k": 150, "cityscapes": 19, "pascal-context-59": 59, "pascal-context-459": 459, "pascal": 21}
LAYOUTS = (*CLASSES, "folder")


@dataclass(frozen=True)
class ClassMap:
    """One image: its annotation, and how stored values become classes from 0 (`ignored` where none counts).

    shift: stored value of class 0. A stored value below it is ignored.
    """

    name: str
    annotation: Path
    image: Path | None = None
    shift: int = 0
    ignored: int = IGNORED

    def truth(self) -> NDArray[Any]:
        """Classes [H, W] from 0; pixels that don't count hold `ignored`."""
        stored = read_indices(self.annotation)
        if not self.shift:
            return stored
        wide = stored.astype(np.int32) - self.shift
        wide[wide < 0] = self.ignored
        return wide


def class_maps(root: Path, layout: str, split: str) -> list[ClassMap]:
    """Annotations of one of `LAYOUTS`. Raises UsageError for another one, StorageError when nothing is there.

    ADE20K: `annotations/SPLIT/*.png`, 0 ignored, classes from 1 (`annotations_detectron2/` holds them from 0).
    Cityscapes: `gtFine/SPLIT/CITY/*_labelTrainIds.png`. Pascal Context: `annotations/SPLIT/*.png`, 0 ignored.
    PascalVOC: `SegmentationClass/NAME.png` of `ImageSets/Segmentation/SPLIT.txt`. Folder: `masks/*.png`, classes from
    0, 255 ignored.
    """
    require_directory(root, "give the folder of the data set")
    if layout == "cityscapes":
        folder = require_directory(root / "gtFine" / split, "Cityscapes keeps a folder for each city there")
        ending = "_gtFine_labelTrainIds.png"
        found = [
            ClassMap(
                p.name.removesuffix(ending),
                p,
                root / "leftImg8bit" / split / p.parent.name / p.name.replace(ending, "_leftImg8bit.png"),
            )
            for p in sorted(folder.glob(f"*/*{ending}"))
        ]
    elif layout == "ade20k" and (root / "annotations_detectron2" / split).is_dir():
        found = _folder(root / "annotations_detectron2" / split, root / "images" / split, 0)
    elif layout == "ade20k" or layout.startswith("pascal-context"):
        ignored = IGNORED if CLASSES[layout] < IGNORED else 65535
        found = _folder(root / "annotations" / split, root / "images" / split, first_value(layout), ignored)
    elif layout == "pascal":
        listing = require_file(root / "ImageSets" / "Segmentation" / f"{split}.txt", "PascalVOC lists its photos there")
        found = [
            ClassMap(n, root / "SegmentationClass" / f"{n}.png", root / "JPEGImages" / f"{n}.jpg")
            for n in listing.read_text(encoding="utf-8").split()
        ]
    elif layout == "folder":
        found = _folder(root / "masks", root / "images", 0)
    else:
        raise UsageError(f"--layout {layout}: there are {', '.join(LAYOUTS)}")
    if not found:
        raise StorageError(f"{root}: no annotation of layout {layout}, split {split}")
    return found


def first_value(layout: str) -> int:
    """What a layout's annotations hold for class 0: 1 where 0 says that a pixel is of no class."""
    return int(layout == "ade20k" or layout.startswith("pascal-context"))


def read_prediction(folder: Path, name: str) -> NDArray[Any]:
    """Predicted classes [H, W] from 0, `FOLDER/NAME.png`. Raises ItemError when the file is missing."""
    path = folder / f"{name}.png"
    if not path.is_file():
        raise ItemError(f"{path}: no such file; every annotated image needs a prediction")
    return read_indices(path)


def _folder(annotations: Path, images: Path, shift: int, ignored: int = IGNORED) -> list[ClassMap]:
    require_directory(annotations, "one PNG for each image belongs there")
    photos = {p.stem: p for p in images.iterdir()} if images.is_dir() else {}
    return [
        ClassMap(p.stem, p, photos.get(p.stem), shift, ignored)
        for p in sorted(annotations.iterdir())
        if p.suffix == ".png"
    ]
