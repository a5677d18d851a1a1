"""`panoptic`: COCO panoptic, a PNG a photo whose colours are segment ids, and one panoptic.json for the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError
from segcli.core.rle import encode, merge
from segcli.io.formats.base import UNLABELLED, Categories, ImageIds, compact, lookup, read_json, said_of
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.formats.palette import paint_ids
from segcli.io.images import read_image
from segcli.io.png import write_png

_LARGEST = (1 << 24) - 1


class Panoptic:
    """Every pixel belongs to one segment at most; where masks overlap the one named first keeps the pixel."""

    name = "panoptic"
    needs_photo: ClassVar[bool] = False
    joins: ClassVar[bool] = True
    run_file: ClassVar[str | None] = "panoptic.json"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """The PNG: id = red + 256 green + 65536 blue, black where nothing is."""
        return [Rendered(write_png(_colored(_ids(answered))), ".png", self.name)]

    def fragment(self, answered: Answered, options: Options) -> dict[str, Any]:
        """The photo and its segments; "png" is the PNG's name."""
        prediction = answered.prediction
        file_name = str(answered.relative)
        if options.coco_images:
            lookup(options.coco_images, file_name)
        segments = []
        for n, (area, box) in enumerate(_visible(answered)):
            if area:
                segment = {"id": prediction.ids[n], "bbox": box, "area": area, **said_of(prediction, n)}
                thing = prediction.things[n]
                segments.append(segment if thing is None else {**segment, "thing": thing})
        return {
            "file_name": file_name,
            "png": answered.named.get(self.name, str(answered.relative.with_suffix(".png"))),
            "height": prediction.size[0],
            "width": prediction.size[1],
            "segments": segments,
        }

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """The file; annotations first, as in `coco`."""
        categories, ids = Categories(options), ImageIds(options)
        photos: dict[str, dict[str, Any]] = {}
        stuff = set(options.stuff)
        yield b'{"info":{"description":"segments by seg"},"licenses":[],"annotations":['
        for n, fragment in enumerate(fragments):
            file_name = fragment["file_name"]
            size = {"height": fragment["height"], "width": fragment["width"]}
            photos.setdefault(file_name, {"id": ids.of(file_name), "file_name": file_name, **size})
            segments = [
                {
                    "id": s["id"],
                    "category_id": categories.of(s["label"]),
                    "bbox": s["bbox"],
                    "area": s["area"],
                    "iscrowd": 0,
                    **{key: s[key] for key in ("score", "label_score", "phrase") if key in s},
                }
                for s in fragment["segments"]
            ]
            stuff.update(s["label"] for s in fragment["segments"] if s.get("thing") is False)
            annotation = {"image_id": ids.of(file_name), "file_name": fragment["png"], "segments_info": segments}
            yield (b",\n" if n else b"\n") + compact(annotation)
        yield b'\n],"images":['
        for n, photo in enumerate(photos.values()):
            yield (b",\n" if n else b"\n") + compact(photo)
        named = [
            {"id": i, "name": name, "supercategory": "", "isthing": int(name not in stuff)}
            for name, i in categories.ids.items()
        ]
        yield b'\n],"categories":' + compact(named) + b"}\n"

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """Every segment of a panoptic.json; the PNGs lie beside it or in a directory of its name (or "panoptic")."""
        value = read_json(path)
        try:
            names = {int(c["id"]): str(c["name"]) for c in value.get("categories", ())}
            photos = {int(p["id"]): p for p in value["images"]}
            for row in value["annotations"]:
                photo = photos[int(row["image_id"])]
                relative = PurePosixPath(str(photo["file_name"]))
                ids = _read_ids(path, str(row["file_name"]))
                shape = (int(photo["height"]), int(photo["width"]))
                if ids.shape != shape:
                    raise ValueError(f"{row['file_name']} is not of the photo's size, {shape[1]} x {shape[0]}")
                for segment in row["segments_info"]:
                    name = names.get(int(segment["category_id"]))
                    score = segment.get("score")
                    yield Annotation(
                        relative,
                        shape,
                        encode(ids == int(segment["id"])),
                        id=int(segment["id"]),
                        label=None if name == UNLABELLED else name,
                        score=None if score is None else float(score),
                    )
                if not row["segments_info"]:
                    yield Annotation(relative, shape, None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ItemError(f"{path}: not COCO panoptic: {what}") from None


def _ids(answered: Answered) -> NDArray[np.uint32]:
    prediction = answered.prediction
    if len(prediction) and not 0 < min(prediction.ids) <= max(prediction.ids) <= _LARGEST:
        raise ItemError(f"{answered.image.name}: a mask id is not between 1 and {_LARGEST}, which panoptic files need")
    return paint_ids(prediction, np.uint32).astype(np.uint32, copy=False)


def _visible(answered: Answered) -> list[tuple[int, list[int]]]:
    """Area and box of what is left of each mask when the ones before it lie on top."""
    masks = answered.prediction.masks
    if not masks or merge(masks).area == sum(mask.area for mask in masks):  # disjoint, as panoptic answers are
        return [(mask.area, list(mask.bbox)) for mask in masks]
    ids = _ids(answered)
    left = []
    for mask, number in zip(masks, answered.prediction.ids, strict=True):
        x, y, width, height = mask.bbox
        mine = ids[y : y + height, x : x + width] == number
        rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        if rows.size:
            box = [x + int(columns[0]), y + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
            left.append((int(np.count_nonzero(mine)), box))
        else:
            left.append((0, [0, 0, 0, 0]))
    return left


def _colored(ids: NDArray[np.uint32]) -> NDArray[np.uint8]:
    bytes_of = np.ascontiguousarray(ids, dtype="<u4").view(np.uint8).reshape(*ids.shape, 4)
    return np.ascontiguousarray(bytes_of[..., :3])


def _read_ids(path: Path, png: str) -> NDArray[np.uint32]:
    places = [folder / png for folder in (path.parent, path.parent / path.stem, path.parent / "panoptic")]
    file = next((place for place in places if place.is_file()), places[0])
    colors = read_image(file, str(file)).pixels.astype(np.uint32)
    ids: NDArray[np.uint32] = colors[..., 0] + (colors[..., 1] << 8) + (colors[..., 2] << 16)
    return ids


FORMAT = Panoptic()
