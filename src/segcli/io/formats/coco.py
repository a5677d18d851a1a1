"""`coco`: one instances.json for the run, with RLE masks and scores."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

import numpy as np

from segcli.core.errors import ItemError, StorageError
from segcli.core.geometry import fill_tight
from segcli.core.rle import Rle, empty, encode_tight, from_coco, merge
from segcli.io.formats.base import UNLABELLED, Categories, ImageIds, compact, lookup, read_json, said_of
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.jsonscan import Place, open_json, scan


class Coco:
    """COCO's instance format; its annotations with their scores are also COCO results."""

    name = "coco"
    needs_photo: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    run_file: ClassVar[str | None] = "instances.json"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """No files a photo."""
        return []

    def fragment(self, answered: Answered, options: Options) -> dict[str, Any]:
        """The photo and its masks. Raises ItemError when --coco-images does not know the photo."""
        prediction = answered.prediction
        file_name = str(answered.relative)
        if options.coco_images:
            lookup(options.coco_images, file_name)
        return {
            "file_name": file_name,
            "height": prediction.size[0],
            "width": prediction.size[1],
            "masks": [
                {
                    "segmentation": rle.coco(),
                    "bbox": list(rle.bbox),
                    "area": rle.area,
                    **said_of(prediction, n),
                }
                for n, rle in enumerate(prediction.masks)
            ],
        }

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """The file. Annotations come first, because photos and classes are only known when all have passed."""
        categories, ids = Categories(options), ImageIds(options)
        photos: dict[str, dict[str, Any]] = {}
        number = 0
        yield b'{"info":{"description":"masks by seg"},"licenses":[],"annotations":['
        for fragment in fragments:
            file_name = fragment["file_name"]
            image_id = ids.of(file_name)
            size = {"height": fragment["height"], "width": fragment["width"]}
            photos.setdefault(file_name, {"id": image_id, "file_name": file_name, **size})
            for mask in fragment["masks"]:
                number += 1
                annotation = {
                    "id": number,
                    "image_id": image_id,
                    "category_id": categories.of(mask["label"]),
                    "segmentation": mask["segmentation"],
                    "bbox": mask["bbox"],
                    "area": mask["area"],
                    "iscrowd": 0,
                    **{key: mask[key] for key in ("score", "label_score", "phrase") if key in mask},
                }
                yield (b",\n" if number > 1 else b"\n") + compact(annotation)
        yield b'\n],"images":['
        for n, photo in enumerate(photos.values()):
            yield (b",\n" if n else b"\n") + compact(photo)
        named = [{"id": i, "name": name, "supercategory": ""} for name, i in categories.ids.items()]
        yield b'\n],"categories":' + compact(named) + b"}\n"

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """Every annotation, photo by photo as the file lists them; polygons and RLE alike.

        The file is not held: a first pass notes where annotations stand, a second one reads those of one photo.
        """
        with open_json(path) as file:
            try:
                index = _Index.of(file)
            except ValueError as error:
                raise ItemError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
            except _WRONG as error:
                raise _not_coco(path, error) from None
            try:
                yield from index.annotations(file)
            except _WRONG as error:
                raise _not_coco(path, error) from None
            if index.places:
                unknown = next(iter(index.places))
                raise ItemError(f"{path}: has annotations of image id {unknown}, which it does not list")


_WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass
class _Index:
    """Where a file's annotations stand, by image id, and what it says of photos and classes."""

    photos: list[tuple[int, str, int, int]] = field(default_factory=list)  # id, file name, height, width
    names: dict[int, str | None] = field(default_factory=dict)
    places: dict[int, array[int]] = field(default_factory=dict)  # image id -> start, stop, start, stop, …

    @classmethod
    def of(cls, file: BinaryIO) -> _Index:
        """From a file that `open_json` has opened. Raises what a file that is no COCO makes Python raise."""
        index, seen = cls(), set()
        for place, value in scan(file, ("images", "annotations", "categories")):
            seen.add(place.key)
            if place.key == "annotations" and place.listed:
                index.places.setdefault(int(value["image_id"]), array("q")).extend((place.start, place.stop))
            elif place.key in ("images", "categories") and place.listed:
                position = file.tell()
                own = place.read(file)
                file.seek(position)
                if place.key == "categories":
                    index.names[int(own["id"])] = _label(own["name"])
                else:
                    entry = (int(own["id"]), str(own["file_name"]), int(own["height"]), int(own["width"]))
                    index.photos.append(entry)
            elif place.key in ("images", "annotations") and value != []:
                raise TypeError(f"'{place.key}' is no list")
        for key in ("annotations", "images"):
            if key not in seen:
                raise KeyError(key)
        return index

    def annotations(self, file: BinaryIO) -> Iterator[Annotation]:
        """The annotations, photo by photo; those that were given are forgotten."""
        for ident, name, height, width in self.photos:
            own, shape, relative = self.places.pop(ident, None), (height, width), PurePosixPath(name)
            if own is None:
                yield Annotation(relative, shape, None)
                continue
            for start, stop in zip(own[::2], own[1::2], strict=True):
                row = Place("annotations", start, stop, True).read(file)
                rle, exact = mask_of(row["segmentation"], shape)
                score = row.get("score")
                label, score = self.names.get(int(row["category_id"])), None if score is None else float(score)
                yield Annotation(relative, shape, rle, int(row["id"]), label, score, exact)


def _not_coco(path: Path, error: Exception) -> ItemError:
    what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return ItemError(f"{path}: not COCO instances: {what}")


def mask_of(segmentation: Any, size: tuple[int, int]) -> tuple[Rle, bool]:
    """A COCO segmentation (RLE, or polygons in corner coordinates) as a mask, and whether that is exact."""
    if isinstance(segmentation, dict):
        rle = from_coco(segmentation)
        if rle.size != size:
            raise ValueError(f"a mask of {rle.size[1]} x {rle.size[0]} pixels in a photo of {size[1]} x {size[0]}")
        return rle, True
    parts = []
    for part in segmentation:  # COCO means the union of the parts, so holes can't be told
        x, y, inside = fill_tight([np.array(part, dtype=np.float64).reshape(-1, 2)], size)
        if inside.size:
            parts.append(encode_tight(inside, x, y, size))
    if len(parts) > 1:
        return merge(parts), False
    return parts[0] if parts else empty(size), False


@dataclass(frozen=True)
class Given:
    """What a COCO file fixes: file name -> image id, class name -> category id, and the classes that are stuff."""

    images: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    stuff: tuple[str, ...] = ()


def read_ids(path: Path) -> Given:
    """The ids of a COCO file (--coco-images).

    Raises StorageError when it can't be read or holds no images: the whole run needs it.
    """
    try:
        value = read_json(path)
        images = {str(photo["file_name"]): int(photo["id"]) for photo in value["images"]}
        rows = value.get("categories", ())
        stuff = tuple(str(c["name"]) for c in rows if not c.get("isthing", 1))
        return Given(images, {str(c["name"]): int(c["id"]) for c in rows}, stuff)
    except ItemError as error:
        raise StorageError(str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"{path}: not a COCO file with images: {error}") from None


def _label(name: Any) -> str | None:
    return None if name == UNLABELLED else str(name)


FORMAT = Coco()
