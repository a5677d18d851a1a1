"""`coco`: one instances.json for the run, with RLE masks and scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from segcli.core.errors import ItemError, StorageError
from segcli.core.geometry import fill_rings
from segcli.core.rle import Rle, encode, from_coco
from segcli.io.formats.base import UNLABELLED, Categories, ImageIds, compact, lookup, read_json, said_of
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered


class Coco:
    """COCO's instance format; its annotations with their scores are also COCO results."""

    name = "coco"
    needs_photo: ClassVar[bool] = False
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
        """Every annotation, photo by photo as the file lists them; polygons and RLE alike."""
        value = read_json(path)
        try:
            names = {int(c["id"]): _label(c["name"]) for c in value.get("categories", ())}
            rows: dict[int, list[dict[str, Any]]] = {}
            for row in value["annotations"]:
                rows.setdefault(int(row["image_id"]), []).append(row)
            for photo in value["images"]:
                shape = (int(photo["height"]), int(photo["width"]))
                relative = PurePosixPath(str(photo["file_name"]))
                own = rows.pop(int(photo["id"]), [])
                for row in own:
                    rle, exact = mask_of(row["segmentation"], shape)
                    label, score = names.get(int(row["category_id"])), row.get("score")
                    score = None if score is None else float(score)
                    yield Annotation(relative, shape, rle, int(row["id"]), label, score, exact)
                if not own:
                    yield Annotation(relative, shape, None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ItemError(f"{path}: not COCO instances: {what}") from None
        if rows:
            raise ItemError(f"{path}: has annotations of image id {next(iter(rows))}, which it does not list")


def mask_of(segmentation: Any, size: tuple[int, int]) -> tuple[Rle, bool]:
    """A COCO segmentation (RLE, or polygons in corner coordinates) as a mask, and whether that is exact."""
    if isinstance(segmentation, dict):
        rle = from_coco(segmentation)
        if rle.size != size:
            raise ValueError(f"a mask of {rle.size[1]} x {rle.size[0]} pixels in a photo of {size[1]} x {size[0]}")
        return rle, True
    union = np.zeros(size, dtype=np.bool_)
    for part in segmentation:  # COCO means the union of the parts, so holes can't be told
        union |= fill_rings([np.array(part, dtype=np.float64).reshape(-1, 2)], size)
    return encode(union), False


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
