"""Referring expressions: RefCOCO, RefCOCO+, RefCOCOg (pickles) and gRefCOCO (JSON), with masks from COCO polygons."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.core.rle import decode, from_coco
from segcli.datasets.coco import read_instances
from segcli.datasets.files import require_file
from segcli.datasets.pickles import read_plain_pickle


@dataclass(frozen=True)
class Sentence:
    """One sentence about one photo. `annotations` is empty when the sentence has no target there."""

    ref_id: int
    sentence_id: int
    text: str
    image_id: int
    image: str  # file name in COCO's train2014
    size: tuple[int, int]
    annotations: tuple[dict[str, Any], ...]

    def mask(self, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """The target bool [H, W]; crowd annotations are left out, several ones united.

        size: draw the polygons scaled to that (height, width), as ReLA's evaluator does with 480x480.
        """
        return draw(self.annotations, self.size, size)


def draw(
    annotations: Iterable[dict[str, Any]], size: tuple[int, int], scaled: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """Union of COCO annotations bool [H, W], without crowds; polygons are scaled to `scaled` where given."""
    height, width = scaled or size
    result = np.zeros((height, width), np.bool_)
    for annotation in annotations:
        if annotation.get("iscrowd", 0):
            continue
        try:
            result |= _drawn(annotation["segmentation"], size, (height, width))
        except Exception as error:
            raise ItemError(f"annotation {annotation.get('id')}: can't be drawn ({error})") from None
    return result


def _drawn(shape: Any, size: tuple[int, int], target: tuple[int, int]) -> NDArray[np.bool_]:
    """One segmentation of an image of `size`, drawn at `target`. pycocotools raises plain Exceptions for bad ones."""
    from pycocotools import mask as coco

    if isinstance(shape, list):
        factor = np.array([target[1] / size[1], target[0] / size[0]])
        polygons = shape if target == size else [(np.reshape(p, (-1, 2)) * factor).ravel().tolist() for p in shape]
        return np.asarray(coco.decode(coco.merge(coco.frPyObjects(polygons, *target))), np.bool_)
    if target != size:
        raise ValueError("a run-length mask has one size only")
    return decode(from_coco(shape))


def read_refs(path: Path) -> list[dict[str, Any]]:
    """The list of a RefCOCO `refs(…).p`. Raises StorageError for anything but plain data of that form."""
    refs = read_plain_pickle(path)
    if not isinstance(refs, list) or not all(isinstance(r, dict) and "ref_id" in r and "sentences" in r for r in refs):
        raise StorageError(f"{path}: not a list of references")
    return refs


def refcoco(root: Path, split: str = "val", splits_by: str | None = None) -> Iterator[Sentence]:
    """RefCOCO, + or g: `instances.json` beside `refs(unc).p` (g: umd or google); one sample a sentence."""
    found = sorted(root.glob("refs(*).p")) if splits_by is None else [root / f"refs({splits_by}).p"]
    if len(found) != 1:
        names = ", ".join(p.name[5:-3] for p in found) or "none"
        raise StorageError(f"{root}: expected one refs(…).p, found {names}; choose one with --splits-by")
    return _sentences(root, read_refs(found[0]), split)


def grefcoco(root: Path, split: str = "val", splits_by: str = "unc") -> Iterator[Sentence]:
    """gRefCOCO: `grefs(unc).json` beside `instances.json`; `ann_id` is a list, [-1] says that there is no target."""
    path = require_file(root / f"grefs({splits_by}).json", "gRefCOCO keeps its sentences there")
    return _sentences(root, _json(path), split)


def _sentences(root: Path, refs: Iterable[dict[str, Any]], split: str) -> Iterator[Sentence]:
    instances = read_instances(root / "instances.json")
    images = {i["id"]: i for i in instances["images"]}
    annotations = {a["id"]: a for a in instances["annotations"]}
    chosen = [r for r in refs if r.get("split") == split]
    if not chosen:
        known = ", ".join(sorted({str(r.get("split")) for r in refs})) or "none"
        raise StorageError(f"{root}: nothing in split {split}; there are {known}")
    for ref in chosen:
        try:
            ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
            absent = [i for i in ids if i != -1 and i not in annotations]
            if absent or ref["image_id"] not in images:
                what = f"annotation {absent[0]}" if absent else f"image {ref['image_id']}"
                raise ItemError(f"{root}: reference {ref['ref_id']} names {what}, which instances.json lacks")
            image = images[ref["image_id"]]
            for sentence in ref["sentences"]:
                yield Sentence(
                    int(ref["ref_id"]),
                    int(sentence["sent_id"]),
                    str(sentence.get("sent", sentence.get("raw", ""))),
                    int(ref["image_id"]),
                    str(image["file_name"]),
                    (int(image["height"]), int(image["width"])),
                    tuple(annotations[i] for i in ids if i != -1),
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{root}: a reference is broken ({type(error).__name__}: {error})") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"{path}: not JSON ({error})") from None
