"""Training photos from folders: `images/` + `masks/` with an optional `objects.jsonl`, decoded once into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from segcli.core.errors import StorageError
from segcli.train.views import IGNORE, TrainingPhoto

_THING, _UNKNOWN, _STUFF = 1.0, 0.4, 0.15  # how often a click target is a thing, an unnamed region, a stuff region
_DONOR_AREA = 0.02  # an object is worth pasting from 2 % of its photo on


def load_photos(folders: Iterable[Path], max_side: int = 384) -> list[TrainingPhoto]:
    """All photos of folders that hold `images/` and `masks/` (palette PNG: object ids, 255 ignored).

    With an `objects.jsonl` things are drawn more often than stuff; without one every id counts the same.
    Raises StorageError when a folder holds no pair.
    """
    pairs: list[tuple[Path, Path, dict[int, float]]] = []
    for folder in folders:
        found = list(_pairs(folder))
        if not found:
            raise StorageError(f"{folder}: no images/ with masks/ of the same names; give a folder that holds both")
        pairs += found
    with ThreadPoolExecutor(4) as pool:
        return [p for p in pool.map(lambda pair: _read(pair[0], pair[1], pair[2], max_side), pairs) if p.weights]


def _pairs(folder: Path) -> Iterable[tuple[Path, Path, dict[int, float]]]:
    listing = folder / "objects.jsonl"
    if listing.exists():
        for line in listing.read_text().splitlines():
            row = json.loads(line)
            if "image" in row:
                weights = {int(o["id"]): _weight(o) for o in row["objects"]}
                yield folder / row["image"], folder / row["mask"], weights
        return
    for image in sorted((folder / "images").glob("*")):
        mask = folder / "masks" / f"{image.stem}.png"
        if mask.exists():
            yield image, mask, {}


def _weight(row: dict[str, Any]) -> float:
    if row.get("thing") is None:
        return _UNKNOWN
    return _THING if row["thing"] else _STUFF


def _read(image: Path, mask: Path, weights: dict[int, float], max_side: int) -> TrainingPhoto:
    photo = Pillow.open(image).convert("RGB")
    labels: Pillow.Image = Pillow.open(mask)
    scale = min(1.0, max_side / max(photo.size))
    if scale < 1:
        size = (round(photo.width * scale), round(photo.height * scale))
        photo = photo.resize(size, Pillow.Resampling.BILINEAR)
        labels = labels.resize(size, Pillow.Resampling.NEAREST)
    ids = np.asarray(labels)
    area = np.bincount(ids.ravel(), minlength=256)
    present = weights or {int(i): _THING for i in np.flatnonzero(area) if i not in (0, IGNORE)}
    kept = {i: w for i, w in present.items() if 0 < i < IGNORE and area[i] >= 32}
    border = {int(i) for edge in (ids[0], ids[-1], ids[:, 0], ids[:, -1]) for i in np.unique(edge)}
    donors = tuple(i for i, w in kept.items() if w == _THING and i not in border and area[i] >= _DONOR_AREA * ids.size)
    return TrainingPhoto(np.asarray(photo), ids, kept, donors)
