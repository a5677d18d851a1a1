"""COCO-Interactive (PSALM): COCO's objects with one recorded prompt of each kind, so that all are asked alike.

    coco_interactive_SPLIT_psalm.json     [{"image": FILE, "image_info": {"height", "width"}, "anns": [ANNOTATION]}]
    SPLIT2017/FILE                        COCO's photos

ANNOTATION is one of COCO's with `{point,scribble,box,mask}_visual_prompt_mask`, run-length codes of the photo's size
that mark what was drawn; an empty one says that the object has no prompt of that kind. A file in COCO's own form
(`images` and `annotations`) is read too. The form of the published file was taken from code that reads it; the file
itself was not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segcli.core.errors import ItemError, StorageError
from segcli.core.rle import Rle, from_coco
from segcli.datasets.files import require_file
from segcli.datasets.interactive import TargetPhoto, Targets
from segcli.datasets.referring import draw

KINDS = ("point", "scribble", "box", "mask")
Prompts = dict[str, dict[str, Rle]]


def coco_interactive(root: Path, split: str = "val") -> Iterator[TargetPhoto]:
    """Photos with their objects that are no crowd; `TargetPhoto.prompts` reads what was recorded for each.

    Raises StorageError for a file of another form, and for an object without one of the four prompts.
    """
    path = require_file(root / f"coco_interactive_{split}_psalm.json", "COCO-Interactive keeps its prompts there")
    for entry in _entries(path):
        try:
            info = entry["image_info"]
            size = (int(info["height"]), int(info["width"]))
            image = str(entry.get("image", info.get("file_name")))
            objects = {
                str(a.get("id", number)): a for number, a in enumerate(entry["anns"], 1) if not a.get("iscrowd", 0)
            }
            lacking = [f"{kind}_visual_prompt_mask" for kind in KINDS for a in objects.values() if _key(kind) not in a]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{path}: an entry is broken ({type(error).__name__}: {error})") from None
        if lacking:
            raise StorageError(f"{path}: an object of {image} has no {lacking[0]}")
        if objects:
            name, photo = Path(image).stem, root / f"{split}2017" / Path(image).name
            yield TargetPhoto(name, photo, partial(_targets, objects, size), partial(_prompts, name, objects, size))


def _key(kind: str) -> str:
    return f"{kind}_visual_prompt_mask"


def _entries(path: Path) -> list[dict[str, Any]]:
    """Photos of the published list, or of a file in COCO's form brought into that one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path}: not JSON ({error})") from None
    if isinstance(content, list):
        return content
    try:
        entries = {i["id"]: {"image": i["file_name"], "image_info": i, "anns": []} for i in content["images"]}
        for annotation in content["annotations"]:
            entries[annotation["image_id"]]["anns"].append(annotation)
    except (KeyError, TypeError) as error:
        raise StorageError(
            f"{path}: neither a list of photos nor COCO's form ({type(error).__name__}: {error})"
        ) from None
    return list(entries.values())


def _targets(objects: Mapping[str, dict[str, Any]], size: tuple[int, int]) -> Targets:
    return [(name, draw([a], size).astype(np.int8)) for name, a in objects.items()]


def _prompts(photo: str, objects: Mapping[str, dict[str, Any]], size: tuple[int, int]) -> Prompts:
    """What was drawn for each object by kind of prompt; kinds that were left empty are missing."""
    found: Prompts = {}
    for name, annotation in objects.items():
        found[name] = {}
        for kind in KINDS:
            try:
                drawn = from_coco(annotation[_key(kind)])
            except (KeyError, TypeError, ValueError) as error:
                raise ItemError(f"{photo}: the {kind} of object {name} is no run-length code ({error})") from None
            if drawn.size != size:
                sizes = [f"{s[1]}x{s[0]}" for s in (drawn.size, size)]
                raise ItemError(f"{photo}: the {kind} of object {name} is {sizes[0]}, the photo {sizes[1]}")
            if drawn.area:
                found[name][kind] = drawn
    return found
