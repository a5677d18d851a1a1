"""Video object segmentation on disk: DAVIS 2016 and 2017, YouTube-VOS, MOSE, and plain folders.

A reader names the files of each sequence; pixels are read one frame at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.datasets.files import read_indices, read_rgb, require_directory, require_file

LAYOUTS = ("davis2017", "davis2016", "youtube-vos", "mose", "folder")


@dataclass(frozen=True)
class Video:
    """The files of one sequence; frame names are file stems in order.

    annotations, images: folders, or None when there is none. results: folder of predictions `FRAME.png`, or None.
    binary: every value above 0 is the one object (DAVIS 2016). meta: the entry of meta.json, where there is one.
    """

    name: str
    frames: tuple[str, ...]
    annotations: Path
    images: Path | None = None
    results: Path | None = None
    binary: bool = False
    meta: dict[str, Any] = field(default_factory=dict)

    def truth(self, frame: str) -> NDArray[Any]:
        """Labels [H, W] of one annotated frame."""
        labels = read_indices(self.annotations / f"{frame}.png")
        return np.asarray(labels > 0, np.uint8) if self.binary else labels

    def prediction(self, frame: str) -> NDArray[Any]:
        """Predicted labels [H, W]. Raises ItemError when the file is missing."""
        if self.results is None:
            raise ItemError(f"{self.name}: there are no results to read")
        labels = read_indices(self.results / f"{frame}.png")
        return np.asarray(labels > 0, np.uint8) if self.binary else labels

    def photo(self, frame: str) -> NDArray[np.uint8]:
        """Pixels uint8 [H, W, 3] of one frame."""
        if self.images is None:
            raise ItemError(f"{self.name}: there are no photos of its frames")
        for suffix in (".jpg", ".png", ".jpeg"):
            path = self.images / f"{frame}{suffix}"
            if path.is_file():
                return read_rgb(path)
        raise ItemError(f"{self.images / frame}.jpg: no such file")


def davis_sequences(
    root: Path,
    split: str = "val",
    *,
    year: int = 2017,
    resolution: str = "480p",
    unsupervised: bool = False,
    results: Path | None = None,
    names: Iterable[str] | None = None,
) -> list[Video]:
    """DAVIS: `Annotations/480p/SEQ/00000.png` (2017: palette index = object; 2016: 0 and 255), `JPEGImages/480p/SEQ/`.

    The sequences come from `ImageSets/2017/SPLIT.txt` (2016: `ImageSets/480p/SPLIT.txt`), or are `names`.
    """
    folder = "Annotations_unsupervised" if unsupervised and year == 2017 else "Annotations"
    require_directory(root, "give the folder that holds JPEGImages, Annotations and ImageSets")
    if names is None:
        names = _davis_names(root, split, year, resolution)
    return [
        _video(
            name,
            root / folder / resolution / name,
            root / "JPEGImages" / resolution / name,
            results,
            binary=year == 2016,
        )
        for name in names
    ]


def youtube_sequences(root: Path, split: str = "valid", *, results: Path | None = None) -> list[Video]:
    """YouTube-VOS: `SPLIT/Annotations/VID/*.png`, `SPLIT/JPEGImages/VID/*.jpg` and `SPLIT/meta.json`."""
    base = require_directory(root / split, f"YouTube-VOS has {split}/Annotations and {split}/meta.json")
    return [
        _video(name, base / "Annotations" / name, base / "JPEGImages" / name, results, meta=entry)
        for name, entry in sorted(_youtube_meta(base / "meta.json").items())
    ]


def youtube_categories(path: Path) -> tuple[str, ...]:
    """The categories of a YouTube-VOS meta.json, in order of name."""
    return tuple(sorted({o["category"] for v in _youtube_meta(path).values() for o in v["objects"].values()}))


def _youtube_meta(path: Path) -> dict[str, dict[str, Any]]:
    require_file(path, "YouTube-VOS names each video's objects and frames there")
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        entries = {str(name): dict(entry) for name, entry in videos.items()}
        for entry in entries.values():
            for thing in entry["objects"].values():
                thing["category"], thing["frames"][0]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise StorageError(f"{path}: not a YouTube-VOS meta.json ({type(error).__name__}: {error})") from None
    return entries


def mose_sequences(root: Path, split: str = "valid", *, results: Path | None = None) -> list[Video]:
    """MOSE (and LVOS): `SPLIT/Annotations/VID/*.png` and `SPLIT/JPEGImages/VID/*.jpg`; no list of names."""
    base = require_directory(root / split, f"MOSE has {split}/Annotations and {split}/JPEGImages")
    annotations = require_directory(base / "Annotations", "one folder of palette PNGs for each video")
    names = sorted(p.name for p in annotations.iterdir() if p.is_dir())
    return [_video(name, annotations / name, base / "JPEGImages" / name, results) for name in names]


def folder_sequences(root: Path, *, results: Path | None = None) -> list[Video]:
    """Plain folders: `SEQ/masks/*.png` beside `SEQ/frames/*.jpg`, or only `SEQ/*.png`."""
    require_directory(root, "give a folder with one folder for each sequence")
    found = []
    for path in sorted(p for p in root.iterdir() if p.is_dir()):
        if (path / "masks").is_dir():
            found.append(_video(path.name, path / "masks", path / "frames", results))
        elif any(path.glob("*.png")):
            found.append(_video(path.name, path, None, results))
    if not found:
        raise StorageError(f"{root}: no sequence in it; expected SEQ/masks/*.png or SEQ/*.png")
    return found


def _davis_names(root: Path, split: str, year: int, resolution: str) -> list[str]:
    path = root / "ImageSets" / (str(year) if year != 2016 else resolution) / f"{split}.txt"
    require_file(path, f"DAVIS {year} lists its sequences there; other splits: {_splits(path.parent)}")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if year != 2016:
        return [line[0] for line in lines]
    return list(dict.fromkeys(Path(line[0]).parent.name for line in lines))  # a line a frame, each sequence once


def _splits(folder: Path) -> str:
    return ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"


def _video(
    name: str,
    annotations: Path,
    images: Path | None,
    results: Path | None,
    *,
    binary: bool = False,
    meta: dict[str, Any] | None = None,
) -> Video:
    if not annotations.is_dir():
        raise StorageError(f"{annotations}: no such folder; the sequence {name} has no annotations")
    frames: Sequence[str] = sorted(p.stem for p in annotations.iterdir() if p.suffix == ".png")
    if not frames:
        raise StorageError(f"{annotations}: no annotation PNG in it")
    return Video(
        name,
        tuple(frames),
        annotations,
        images if images is not None and images.is_dir() else None,
        None if results is None else results / name,
        binary,
        meta or {},
    )
