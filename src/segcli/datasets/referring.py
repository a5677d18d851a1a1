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
    from pycocotools import mask as coco

    height, width = scaled or size
    result = np.zeros((height, width), np.bool_)
    for annotation in annotations:
        if annotation.get("iscrowd", 0):
            continue
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            factor = np.array([width / size[1], height / size[0]])
            polygons = [(np.reshape(p, (-1, 2)) * factor).ravel().tolist() for p in shape] if scaled else shape
            runs = coco.merge(coco.frPyObjects(polygons, height, width))
            result |= coco.decode(runs).astype(np.bool_)
        elif scaled is None or scaled == size:
            raw = coco.frPyObjects(shape, *size) if isinstance(shape["counts"], list) else shape
            result |= coco.decode(raw).astype(np.bool_)
        else:
            raise ItemError(f"annotation {annotation.get('id')}: a run-length mask can't be drawn at another size")
    return result


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
    instances = _json(require_file(root / "instances.json", "COCO's annotations of the referred objects"))
    images = {i["id"]: i for i in instances["images"]}
    annotations = {a["id"]: a for a in instances["annotations"]}
    chosen = [r for r in refs if r["split"] == split]
    if not chosen:
        known = ", ".join(sorted({r["split"] for r in refs})) or "none"
        raise StorageError(f"{root}: nothing in split {split}; there are {known}")
    for ref in chosen:
        ids = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
        try:
            image = images[ref["image_id"]]
            targets = tuple(annotations[i] for i in ids if i != -1)
        except KeyError as error:
            raise ItemError(f"{root}: reference {ref['ref_id']} names {error}, which instances.json lacks") from None
        for sentence in ref["sentences"]:
            yield Sentence(
                int(ref["ref_id"]),
                int(sentence["sent_id"]),
                str(sentence.get("sent", sentence.get("raw", ""))),
                int(ref["image_id"]),
                str(image["file_name"]),
                (int(image["height"]), int(image["width"])),
                targets,
            )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"{path}: not JSON ({error})") from None
