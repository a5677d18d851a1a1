"""Few-shot sets: PASCAL-5i, COCO-20i and FSS-1000, with masks prepared as HSNet's code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.datasets.files import read_indices, read_raw, require_directory, require_file
from segcli.datasets.pickles import read_plain_pickle

PASCAL_IGNORED = 255
FSS_SPLITS = {"val": 520, "test": 760}  # number of a split's first class


class FewShotMask(NamedTuple):
    """uint8 [H, W]: 1 on the class; `ignore` is 1 where nothing is counted, or None where a set has no such pixels."""

    mask: NDArray[np.uint8]
    ignore: NDArray[np.uint8] | None


def fold_classes(benchmark: str, fold: int) -> tuple[int, ...]:
    """Classes (from 0) of one of the four folds of "pascal" (5 in a row) or "coco" (every fourth)."""
    if not 0 <= fold < 4:
        raise ItemError(f"fold {fold}: there are folds 0 to 3")
    return tuple(range(5 * fold, 5 * fold + 5)) if benchmark == "pascal" else tuple(range(fold, 80, 4))


def pascal_list(path: Path) -> list[tuple[str, int]]:
    """Entries `2007_000033__01` of a fold's list as (name, class from 0)."""
    entries = []
    lines = require_file(path, "PASCAL-5i's list of a fold").read_text(encoding="utf-8").split()
    for line in lines:
        name, _, cls = line.rpartition("__")
        if not name or not cls.isdigit() or not 1 <= int(cls) <= 20:
            raise StorageError(f"{path}: {line!r} is not of the form 2007_000033__01")
        entries.append((name, int(cls) - 1))
    if not entries:
        raise StorageError(f"{path}: the list is empty")
    return entries


def coco_lists(path: Path) -> dict[int, list[str]]:
    """COCO-20i's pickled lists: class -> photo paths."""
    content = read_plain_pickle(path)
    if not isinstance(content, dict):
        raise StorageError(f"{path}: expected a dict of class to paths")
    return {int(k): [str(p) for p in v] for k, v in content.items()}


def fss_classes(root: Path, split: str = "test") -> list[tuple[int, str, tuple[str, ...]]]:
    """FSS-1000: (class number, folder name, image stems in string order), folders in order of name."""
    if split not in FSS_SPLITS:
        raise StorageError(f"{root}: no split {split}; there are {', '.join(FSS_SPLITS)}")
    require_directory(root, "one folder for each class, CLASS/1.jpg beside CLASS/1.png")
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    if not folders:
        raise StorageError(f"{root}: no class folder in it")
    first = FSS_SPLITS[split]
    return [
        (first + k, p.name, tuple(i.stem for i in sorted(p.glob("*.jpg"), key=lambda i: i.name)))
        for k, p in enumerate(folders)
    ]


def pascal_mask(path: Path, cls: int, size: tuple[int, int] | None = None) -> FewShotMask:
    """One class (from 0) of a `SegmentationClassAug` PNG; 255 is ignored."""
    return pascal_class(read_indices(path), cls, size)


def pascal_class(labels: NDArray[Any], cls: int, size: tuple[int, int] | None = None) -> FewShotMask:
    """The same from an array of labels [H, W]; resized to `size` (height, width) by nearest pixel where given."""
    shown = labels if size is None else resize_nearest(labels, size)
    return FewShotMask((shown == cls + 1).astype(np.uint8), (shown == PASCAL_IGNORED).astype(np.uint8))


def coco_class(labels: NDArray[Any], cls: int, size: tuple[int, int] | None = None) -> FewShotMask:
    """One class (from 0) of a COCO-20i mask, which holds class + 1; nothing is ignored."""
    shown = labels if size is None else resize_nearest(labels, size)
    return FewShotMask((shown == cls + 1).astype(np.uint8), None)


def fss_mask(path: Path, size: tuple[int, int] | None = None) -> FewShotMask:
    """An FSS-1000 mask: grey of 128 and more is the object."""
    raw = read_raw(path)
    if raw.ndim == 3:  # luma in Pillow's integers, as its conversion to "L"
        raw = (raw[..., :3].astype(np.int64) @ np.array([19595, 38470, 7471]) + 0x8000) >> 16
    mask = (raw >= 128).astype(np.uint8)
    return FewShotMask(mask if size is None else resize_nearest(mask, size), None)


def resize_nearest(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Nearest neighbour as torch's `interpolate`: source index floor(i * in / out), computed in float32."""
    indices = []
    for source, target in zip(image.shape[:2], size, strict=True):
        scale = np.float32(source) / np.float32(target)
        index = np.floor(np.arange(target, dtype=np.float32) * scale).astype(np.int64)
        indices.append(np.minimum(index, source - 1))
    return np.asarray(image[indices[0][:, None], indices[1]])
