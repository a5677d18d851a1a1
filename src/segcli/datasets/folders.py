"""Photos with object masks in plain folders: `images/NAME.jpg` beside `masks/NAME.png`.

A file `objects.jsonl` beside the two folders, one line a photo, may name the objects:
`{"image", "mask", "objects": [{"id", "class", "thing"}], "complete", "stuff_labelled"}`. Without it, every value of a
mask other than 0 and 255 is an object, 255 is ignored; a mask of only 0 and 255 holds one object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.core.errors import ItemError, StorageError
from segcli.datasets.files import read_indices, read_raw, read_rgb, require_directory, stored_size

IGNORED = 255
_PHOTOS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class FolderObject:
    """One labelled object: its value in the mask, its class name if known, thing or stuff if known."""

    id: int
    name: str | None = None
    thing: bool | None = None
    region: str | None = None


@dataclass(frozen=True)
class Photo:
    """A photo and its mask, both still on disk.

    objects: the listed objects, or None where no list exists (then `labelled` finds them in the mask).
    complete: every object of the source's classes is labelled, so a class that is absent here is truly absent.
    origin, licence, url: where it comes from and what may be done with it, as the list says.
    """

    name: str
    image: Path
    mask: Path
    objects: tuple[FolderObject, ...] | None = None
    complete: bool = False
    stuff_labelled: bool = False
    origin: str | None = None
    licence: str | None = None
    url: str | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """The photo, uint8 [H, W, 3]."""
        return read_rgb(self.image)

    def ids(self) -> NDArray[np.uint8]:
        """Object ids [H, W]; 0 is background, 255 is ignored.

        Raises ItemError for a mask of another size than its photo, as stored, or with ids beyond 255.
        """
        ids = self._ids()
        size = stored_size(self.image)
        if ids.shape != size:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (ids.shape, size)]
            raise ItemError(
                f"{self.mask}: is {sizes[0]}, {self.image} is stored as {sizes[1]} (a turned photo has to be saved "
                "upright); make them equal"
            )
        return ids

    def _ids(self) -> NDArray[np.uint8]:
        if self.objects is not None:
            return self._small(read_indices(self.mask))
        raw = read_raw(self.mask)
        if raw.ndim == 3:  # a painted mask: anything that is not black
            return np.asarray((raw[..., :3] > 0).any(axis=2), np.uint8)
        values = self._small(raw)
        if set(np.unique(values).tolist()) <= {0, IGNORED}:
            return np.asarray(values > 0, np.uint8)
        return np.asarray(values)

    def _small(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Ids as bytes; larger ones would become others."""
        if values.size and not 0 <= int(values.min()) <= int(values.max()) <= IGNORED:
            raise ItemError(f"{self.mask}: holds the id {int(values.max())}; ids are 1 to 254, and 255 is ignored")
        return values.astype(np.uint8)

    def labelled(self, ids: NDArray[np.uint8]) -> tuple[FolderObject, ...]:
        """The objects of this photo; `ids` is the array that `ids()` returned."""
        if self.objects is not None:
            return self.objects
        return tuple(FolderObject(int(i)) for i in np.unique(ids) if i not in (0, IGNORED))


def sources(root: Path) -> tuple[Path, ...]:
    """Folders below `root` (or `root` itself) that hold `images/` and `masks/`, in order of name.

    Raises StorageError when there is none.
    """
    require_directory(root, "give a folder with images/ and masks/, or one of such folders")
    if _is_source(root):
        return (root,)
    found = tuple(sorted(p for p in root.iterdir() if p.is_dir() and _is_source(p)))
    if not found:
        raise StorageError(f"{root}: no images/ with masks/ beside it, neither here nor one level below")
    return found


def photos(source: Path) -> Iterator[Photo]:
    """The photos of one source in their listed order, or in order of name without a list.

    Raises StorageError for a missing folder or a broken list, ItemError for a photo without a mask.
    """
    require_directory(source / "images", "a source holds images/ and masks/")
    require_directory(source / "masks", "a source holds images/ and masks/")
    listing = source / "objects.jsonl"
    if listing.is_file():
        with listing.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _listed(source, line, f"{listing}:{number}")
        return
    for image in sorted((source / "images").iterdir()):
        if image.suffix.lower() in _PHOTOS:
            mask = source / "masks" / f"{image.stem}.png"
            if not mask.is_file():
                raise ItemError(f"{image}: has no mask; expected {mask}")
            yield Photo(image.stem, image, mask)


def click_targets(photo: Photo, ids: NDArray[np.uint8], min_area: float = 0.01) -> tuple[FolderObject, ...]:
    """Objects to click at: not stuff, with at least `min_area` of the photo's pixels.

    Where a list exists only what it calls a thing counts.
    """
    areas = np.bincount(ids.ravel(), minlength=256)
    listed = photo.objects is not None
    return tuple(
        o
        for o in photo.labelled(ids)
        if (o.thing is True or not listed) and areas[o.id] >= max(1.0, min_area * ids.size)
    )


def _is_source(path: Path) -> bool:
    return (path / "images").is_dir() and (path / "masks").is_dir()


def _listed(source: Path, line: str, where: str) -> Photo:
    try:
        entry: dict[str, Any] = json.loads(line)
        objects = tuple(
            FolderObject(int(o["id"]), o.get("class"), o.get("thing"), o.get("region")) for o in entry["objects"]
        )
        image, mask = source / str(entry["image"]), source / str(entry["mask"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{where}: not a line of objects.jsonl ({type(error).__name__}: {error})") from None
    if any(not 0 < o.id < IGNORED for o in objects):
        raise StorageError(f"{where}: object ids must be 1 to 254")
    return Photo(
        image.stem,
        image,
        mask,
        objects,
        bool(entry.get("complete", False)),
        bool(entry.get("stuff_labelled", False)),
        *(None if entry.get(word) is None else str(entry[word]) for word in ("origin", "licence", "url")),
    )
