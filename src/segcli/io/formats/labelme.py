"""`labelme`: one JSON a photo for the LabelMe editor; polygons, or LabelMe's own mask shape where there are holes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.ask import Box
from segcli.core.errors import ItemError
from segcli.core.geometry import box_mask, fill_rings
from segcli.core.outline import outlines, ring_area, simplify
from segcli.core.rle import Rle, decode_tight, encode
from segcli.io.formats.base import UNLABELLED, PerPhoto, compact, read_json, said_of
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import pixel_limit, read_indexed
from segcli.io.png import write_png

VERSION = "5.5.0"
"""The first LabelMe line with mask shapes in its current form; later ones read it."""


class LabelMe(PerPhoto):
    """Put the file beside its photo, where LabelMe looks for it."""

    name = "labelme"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One file; without shapes when there is no target."""
        prediction = answered.prediction
        shapes: list[dict[str, Any]] = []
        for n in range(len(prediction)):
            label = prediction.names[n] or UNLABELLED
            shape = {"label": label, "flags": {}, "description": "", "group_id": prediction.ids[n]}
            said = said_of(prediction, n)
            shape |= {key: said[key] for key in ("score", "label_score", "phrase") if said.get(key) is not None}
            shapes += [{**shape, **part} for part in _parts(prediction.masks[n])]
        value: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": answered.relative.name,
            "imageData": None,
            "imageHeight": prediction.size[0],
            "imageWidth": prediction.size[1],
        }
        return [Rendered(compact(value) + b"\n", ".json", self.name)]

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """A mask for each label and group id; polygons, rectangles, circles and masks count, lines and points don't."""
        value = read_json(path)
        try:
            shape = (int(value["imageHeight"]), int(value["imageWidth"])) if size is None else size
            if min(shape) < 1 or shape[0] * shape[1] > pixel_limit():
                raise ValueError(f"the file says the photo has {shape[1]} x {shape[0]} pixels")
            relative = PurePosixPath(str(value["imagePath"]).replace("\\", "/"))
            groups: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
            for n, one in enumerate(value["shapes"]):
                group = one.get("group_id")
                groups.setdefault((one["label"], ("alone", n) if group is None else group), []).append(one)
            found = False
            for (label, group), members in groups.items():
                drawn = [mask for one in members if (mask := _drawn(one, shape, str(path))) is not None]
                if not drawn:
                    continue
                found = True
                score = members[0].get("score")
                yield Annotation(
                    relative,
                    shape,
                    encode(np.logical_or.reduce(drawn)),
                    id=group if isinstance(group, int) else None,
                    label=None if label == UNLABELLED else str(label),
                    score=None if score is None else float(score),
                    exact=all(one.get("shape_type") == "mask" for one in members),
                )
            if not found:
                yield Annotation(relative, shape, None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ItemError(f"{path}: not a LabelMe file: {what}") from None


def _parts(rle: Rle) -> list[dict[str, Any]]:
    """A polygon for each connected part, or one mask shape when a part has a hole, which no polygon can have."""
    x, y, mask = decode_tight(rle)
    rings = outlines(mask)
    if all(ring_area(ring) > 0 for ring in rings):
        return [{"shape_type": "polygon", "points": np.add(r, (x, y)).tolist()} for r in simplify(rings, mask)]
    height, width = mask.shape
    encoded = base64.b64encode(write_png(mask.view(np.uint8) * np.uint8(255))).decode("ascii")
    return [{"shape_type": "mask", "points": [[x, y], [x + width - 1, y + height - 1]], "mask": encoded}]


def _drawn(shape: dict[str, Any], size: tuple[int, int], name: str) -> NDArray[np.bool_] | None:
    points = np.array(shape["points"], dtype=np.float64).reshape(-1, 2)
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return fill_rings([points], size)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(0) - 0.5, points.max(0) - 0.5
        return box_mask(Box(x0, y0, x1, y1), size)
    if kind == "circle":
        radius2 = float(((points[1] - points[0]) ** 2).sum())
        x, y = np.arange(size[1]) + 0.5 - points[0, 0], np.arange(size[0]) + 0.5 - points[0, 1]
        disc: NDArray[np.bool_] = x[None, :] ** 2 + y[:, None] ** 2 <= radius2
        return disc
    if kind == "mask":
        try:
            data = base64.b64decode(shape["mask"])
        except binascii.Error:
            raise ValueError("a mask shape is not base64") from None
        part = read_indexed(data, name) != 0
        left, top = (int(v) for v in points[0])
        whole = np.zeros(size, dtype=np.bool_)
        if left < 0 or top < 0 or left + part.shape[1] > size[1] or top + part.shape[0] > size[0]:
            raise ValueError("a mask shape reaches beyond the photo")
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        return whole
    return None


FORMAT = LabelMe()
