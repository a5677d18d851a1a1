"""`semantic`: one indexed PNG a photo, pixel value = id of the class, and one legend.json for the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from segcli.core.colors import davis_palette
from segcli.core.errors import ItemError
from segcli.core.rle import encode
from segcli.io.formats.base import UNLABELLED, Categories, compact, read_json
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.formats.palette import paint_ids
from segcli.io.images import read_indexed
from segcli.io.png import write_png

LEGEND = "legend.json"
_LARGEST = 255


class Semantic:
    """What ADE20K and PASCAL VOC keep their classes in: 0 is no class, colours are those of VOC.

    Ids are those of the class list (COCO's and ADE20K's own for theirs), or 1, 2, … in its order.
    """

    name = "semantic"
    needs_photo: ClassVar[bool] = False
    joins: ClassVar[bool] = True
    run_file: ClassVar[str | None] = LEGEND

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One PNG, blank when there is no target. Raises ItemError when a class has no id, or none that fits a byte."""
        prediction, known = answered.prediction, _known(options)
        ids = []
        for name in prediction.names:
            number = known.get(UNLABELLED if name is None else name)
            if number is None:
                raise ItemError(f"{answered.image.name}: the class {name!r} has no id: name all classes with --classes")
            if number > _LARGEST:
                raise ItemError(
                    f"{answered.image.name}: the class {name!r} has the id {number}, a semantic PNG holds 1 to 255: "
                    f"use -f panoptic or coco"
                )
            ids.append(number)
        values = paint_ids(replace(prediction, ids=tuple(ids)), np.uint8).astype(np.uint8, copy=False)
        return [Rendered(write_png(values, palette=davis_palette()), ".png", self.name)]

    def fragment(self, answered: Answered, options: Options) -> dict[str, Any]:
        """Which classes the model says are stuff; their ids are known in advance."""
        prediction = answered.prediction
        pairs = zip(prediction.names, prediction.things, strict=True)
        return {"stuff": sorted({name for name, thing in pairs if thing is False and name is not None})}

    def assemble(self, fragments: Iterable[Any], options: Options) -> Iterator[bytes]:
        """The legend: each class with its id, its colour, and whether it is a thing (as in COCO's `isthing`)."""
        stuff = set(options.stuff)
        for fragment in fragments:
            stuff.update(fragment["stuff"])
        colors = davis_palette().tolist()
        rows = [
            {"id": number, "name": name, "isthing": int(name not in stuff), "color": colors[number]}
            for name, number in _known(options).items()
            if number <= _LARGEST
        ]
        yield b'{"none":0,"classes":[\n' + b",\n".join(map(compact, rows)) + b"\n]}\n"

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """A mask for each class in a PNG. Names come from a legend.json nearby, or are `categories` 1, 2, …"""
        ids = read_indexed(path, str(path))
        shape = (ids.shape[0], ids.shape[1])
        if size is not None and shape != size:
            raise ItemError(f"{path}: has {shape[1]} x {shape[0]} pixels, the photo has {size[1]} x {size[0]}")
        names = dict(enumerate(categories, 1)) or read_legend(path)
        relative = PurePosixPath(path.stem)
        present = np.flatnonzero(np.bincount(ids.ravel(), minlength=1)[1:]) + 1
        for number in present.tolist():
            label = names.get(number, str(number))
            yield Annotation(
                relative, shape, encode(ids == number), id=number, label=None if label == UNLABELLED else label
            )
        if not present.size:
            yield Annotation(relative, shape, None)


def read_legend(path: Path) -> dict[int, str]:
    """Id -> name from the legend.json in a file's directory or one of the two above; empty where there is none.

    Raises ItemError for a legend that is none.
    """
    for folder in list(path.parents)[:3]:
        file = folder / LEGEND
        if file.is_file():
            value = read_json(file)
            try:
                return {int(row["id"]): str(row["name"]) for row in value["classes"]}
            except (KeyError, TypeError, ValueError) as error:
                raise ItemError(f"{file}: not a legend of classes: {error}") from None
    return {}


def _known(options: Options) -> dict[str, int]:
    return Categories(options).ids if options.categories or options.coco_categories else {UNLABELLED: 1}


FORMAT = Semantic()
