"""Sets for interactive segmentation: GrabCut, Berkeley, DAVIS-345, COCO-MVal, PascalVOC, SBD, COCO, Open Images.

Each photo comes with its targets: maps int8 [H, W] with 1 on the object, -1 where nothing is counted, else 0.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.core.rle import Rle
from segcli.datasets.coco import read_instances
from segcli.datasets.fewshot import resize_nearest
from segcli.datasets.files import read_raw, read_rgb, require_directory, require_file
from segcli.datasets.pickles import read_plain_pickle
from segcli.datasets.referring import draw

VOID_GREY = 220
LAYOUTS = ("grabcut", "berkeley", "davis345", "pascal", "pascal-test", "sbd", "coco", "openimages")
Targets = list[tuple[str, NDArray[np.int8]]]


@dataclass(frozen=True)
class TargetPhoto:
    """A photo and the objects to click at; nothing is read before `pixels` or `targets` is called.

    prompts: what the set records for each object, name -> kind of prompt -> what was drawn; None where prompts are
    drawn from the objects.
    """

    name: str
    image: Path
    read: Callable[[], Targets]
    prompts: Callable[[], dict[str, dict[str, Rle]]] | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """The photo, uint8 [H, W, 3]."""
        return read_rgb(self.image)

    def targets(self) -> Targets:
        """(name, map) of each object."""
        return self.read()


def open_interactive(root: Path, layout: str, split: str = "val") -> Iterator[TargetPhoto]:
    """Photos of one of `LAYOUTS`, in the published order."""
    if layout == "grabcut":
        return _paired(root, "data_GT", "boundary_GT", _trimap)
    if layout == "berkeley":
        return _paired(root, "images", "masks", _trimap)
    if layout == "davis345":
        return _paired(root, "img", "gt", _any_colour)
    if layout == "pascal":
        return pascal(root, split)
    if layout == "pascal-test":
        return pascal_test(root)
    if layout == "coco":
        return coco(root, split)
    if layout == "openimages":
        return open_images(root, split)
    return sbd(root, split)


def pascal(root: Path, split: str = "val") -> Iterator[TargetPhoto]:
    """PascalVOC 2012: every instance of `ImageSets/Segmentation/SPLIT.txt`, told apart as RITM and SimpleClick do.

    They read the palette as grey, where some pairs of instances have the same value and become one.
    """
    listing = require_file(root / "ImageSets" / "Segmentation" / f"{split}.txt", "PascalVOC lists its photos there")
    for name in listing.read_text(encoding="utf-8").split():
        mask = root / "SegmentationObject" / f"{name}.png"
        yield TargetPhoto(name, root / "JPEGImages" / f"{name}.jpg", partial(_grey_objects, mask, None))


def pascal_test(root: Path) -> Iterator[TargetPhoto]:
    """RITM's list of single instances, `ImageSets/Segmentation/test.pickle`: photo names and grey values."""
    path = root / "ImageSets" / "Segmentation" / "test.pickle"
    content = read_plain_pickle(path)
    try:
        names, greys = content
        entries = [(str(n), int(g)) for n, g in zip(names, greys, strict=True)]
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path}: expected a list of names and a list of grey values ({error})") from None
    for name, grey in entries:
        mask = root / "SegmentationObject" / f"{name}.png"
        yield TargetPhoto(name, root / "JPEGImages" / f"{name}.jpg", partial(_grey_objects, mask, grey))


def sbd(root: Path, split: str = "val") -> Iterator[TargetPhoto]:
    """SBD: every instance of `SPLIT.txt`, from `inst/NAME.mat`."""
    listing = require_file(root / f"{split}.txt", "SBD lists its photos there")
    for name in listing.read_text(encoding="utf-8").split():
        yield TargetPhoto(name, root / "img" / f"{name}.jpg", partial(_mat_objects, root / "inst" / f"{name}.mat"))


def coco(root: Path, split: str = "val2017") -> Iterator[TargetPhoto]:
    """COCO: every instance of `annotations/instances_SPLIT.json` that is no crowd; photos in `SPLIT/`."""
    content = read_instances(root / "annotations" / f"instances_{split}.json")
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd", 0):
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    for image in content["images"]:
        if image["id"] in by_image:
            size = (int(image["height"]), int(image["width"]))
            read = partial(_drawn, by_image[image["id"]], size)
            yield TargetPhoto(Path(image["file_name"]).stem, root / split / image["file_name"], read)


def open_images(root: Path, split: str = "validation") -> Iterator[TargetPhoto]:
    """Open Images: `SPLIT-annotations-object-segmentation.csv` names a mask file for each object, below `masks/`.

    Masks may be smaller or larger than the photo in `SPLIT/`; they are brought to its size by nearest pixel.
    """
    listing = require_file(root / f"{split}-annotations-object-segmentation.csv", "Open Images lists its masks there")
    by_image: dict[str, list[Path]] = {}
    with listing.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if not row.get("ImageID") or not row.get("MaskPath"):
                raise StorageError(f"{listing}: has no columns ImageID and MaskPath")
            by_image.setdefault(row["ImageID"], []).append(root / "masks" / row["MaskPath"])
    for name, masks in sorted(by_image.items()):
        image = root / split / f"{name}.jpg"
        yield TargetPhoto(name, image, partial(_resized_masks, image, masks))


def _drawn(annotations: list[dict[str, Any]], size: tuple[int, int]) -> Targets:
    return [(str(a["id"]), draw([a], size).astype(np.int8)) for a in annotations]


def _resized_masks(image: Path, masks: list[Path]) -> Targets:
    height, width = read_rgb(image).shape[:2]
    found: Targets = []
    for path in masks:
        mask = np.asarray((_colours(path) > 0).any(axis=2), np.int8)
        found.append((path.stem, resize_nearest(mask, (height, width))))
    return found


def _paired(root: Path, images: str, masks: str, read: Callable[[Path], NDArray[np.int8]]) -> Iterator[TargetPhoto]:
    """Photos and masks of one stem, in order of name."""
    require_directory(root / images, f"the layout has {images}/ and {masks}/")
    require_directory(root / masks, f"the layout has {images}/ and {masks}/")
    by_stem = {p.stem: p for p in sorted((root / masks).iterdir()) if p.is_file()}
    for image in sorted(p for p in (root / images).iterdir() if p.is_file()):
        if image.stem not in by_stem:
            raise ItemError(f"{image}: has no mask {root / masks / image.stem}.png")
        yield TargetPhoto(image.stem, image, partial(_single, by_stem[image.stem], read))


def _single(mask: Path, read: Callable[[Path], NDArray[np.int8]]) -> Targets:
    return [("1", read(mask))]


def _trimap(path: Path) -> NDArray[np.int8]:
    """GrabCut's and Berkeley's masks: 128 is not counted, more is the object, and so is a stored 1."""
    raw = _colours(path)[..., 2]  # the published code takes the first channel of OpenCV's blue, green, red
    truth: NDArray[np.int8] = ((raw > 128) | (raw == 1)).astype(np.int8)
    truth[raw == 128] = -1
    return truth


def _any_colour(path: Path) -> NDArray[np.int8]:
    return np.asarray((_colours(path) > 0).any(axis=2), np.int8)


def _grey_objects(path: Path, only: int | None) -> Targets:
    grey = _grey(_colours(path))
    values = [v for v in np.unique(grey).tolist() if v not in (0, VOID_GREY)] if only is None else [only]
    found: Targets = []
    for value in values:
        truth = (grey == value).astype(np.int8)
        truth[grey == VOID_GREY] = -1
        found.append((str(value), truth))
    return found


def _grey(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma in OpenCV's integers: 14 bits of fraction, rounded."""
    wide = colours.astype(np.int32)
    return ((wide @ np.array([4899, 9617, 1868], np.int32) + 8192) >> 14).astype(np.uint8)


def _mat_objects(path: Path) -> Targets:
    from scipy.io import loadmat

    if not path.is_file():
        raise ItemError(f"{path}: no such file")
    try:
        labels: NDArray[Any] = loadmat(str(path))["GTinst"][0][0]["Segmentation"]
    except (ValueError, KeyError, IndexError, TypeError, OSError, NotImplementedError) as error:
        raise ItemError(f"{path}: not an SBD instance file ({type(error).__name__}: {error})") from None
    return [(str(v), (labels == v).astype(np.int8)) for v in np.unique(labels).tolist() if v]


def _colours(path: Path) -> NDArray[np.uint8]:
    """A mask as colours uint8 [H, W, 3], as OpenCV would show it: palettes resolved, grey repeated, alpha dropped."""
    raw = read_raw(path)
    if raw.dtype == np.bool_:
        raw = raw.astype(np.uint8) * np.uint8(255)
    return read_rgb(path) if raw.ndim == 2 and raw.dtype == np.uint8 else np.asarray(raw[..., :3], np.uint8)
