"""Encoded views of photos: the frozen encoder's maps once, so that training psalm-nano never runs it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.errors import StorageError
from segcli.datasets.folders import IGNORED, Photo
from segcli.io import atomic
from segcli.models.psalm.model import Psalm
from segcli.models.psalm.picture import fit, pixel_values

LEVELS = ("res2", "res3", "res4", "res5")
_SMALLEST = 24  # pixels of an object in a view that is worth asking for
_GROUP = 8


@dataclass(frozen=True, eq=False)
class View:
    """A square view. maps: the encoder's, float16; ids uint8 [S, S], 0 where nothing is labelled.

    names and things: of the object ids that the view shows; "" and False where the source says nothing.
    complete: a class that is not named is not there.
    """

    maps: dict[str, Tensor]
    ids: NDArray[np.uint8]
    names: dict[int, str]
    things: dict[int, bool]
    complete: bool

    def present(self) -> tuple[str, ...]:
        """Names in the view, the largest area first."""
        areas: dict[str, int] = {}
        for number, name in self.names.items():
            if name:
                areas[name] = areas.get(name, 0) + int((self.ids == number).sum())
        return tuple(sorted(areas, key=lambda name: -areas[name]))


def cut(photo: Photo, side: int, zooms: int, rng: np.random.Generator) -> list[tuple[NDArray[np.uint8], ...]]:
    """Looks at a photo as pixels [h, w, 3] and ids [h, w]: the whole, `zooms` around an object; half mirrored."""
    pixels, ids = photo.pixels(), photo.ids()
    found = [(pixels, ids)]
    height, width = ids.shape
    numbers = [o.id for o in photo.labelled(ids) if (ids == o.id).any()]
    for _ in range(zooms if numbers else 0):
        rows, columns = np.nonzero(ids == numbers[int(rng.integers(len(numbers)))])
        at = int(rng.integers(len(rows)))
        share = float(rng.uniform(0.45, 0.9))
        high, wide = max(32, int(share * height)), max(32, int(share * width))
        top = int(np.clip(rows[at] - rng.uniform(0.2, 0.8) * high, 0, max(0, height - high)))
        left = int(np.clip(columns[at] - rng.uniform(0.2, 0.8) * wide, 0, max(0, width - wide)))
        window = np.s_[top : top + high, left : left + wide]
        found.append((pixels[window], ids[window]))
    mirrored = rng.random(len(found)) < 0.5
    return [(p[:, ::-1], i[:, ::-1]) if flip else (p, i) for (p, i), flip in zip(found, mirrored, strict=True)]


@torch.inference_mode()
def encode(photos: Sequence[Photo], model: Psalm, zooms: int, seed: int) -> list[View]:
    """All views of photos, through the model's image encoder."""
    rng = np.random.default_rng(seed)
    side = model.config.image_size
    waiting: list[tuple[Tensor, NDArray[np.uint8], Photo]] = []
    views: list[View] = []

    def flush() -> None:
        maps = model.maps(torch.stack([pixels for pixels, _, _ in waiting]))
        for row, (_, ids, photo) in enumerate(waiting):
            views.append(_view({k: v[row].half().clone() for k, v in maps.items()}, ids, photo))
        waiting.clear()

    for photo in photos:
        for pixels, ids in cut(photo, side, zooms, rng):
            size = fit(ids.shape, side)
            waiting.append((pixel_values(np.ascontiguousarray(pixels), size), _square(ids, size.image, side), photo))
            if len(waiting) == _GROUP:
                flush()
    if waiting:
        flush()
    return views


def _square(ids: NDArray[np.uint8], image: tuple[int, int], side: int) -> NDArray[np.uint8]:
    rows = (np.arange(image[0]) + 0.5) * ids.shape[0] / image[0]
    columns = (np.arange(image[1]) + 0.5) * ids.shape[1] / image[1]
    square = np.zeros((side, side), np.uint8)
    square[: image[0], : image[1]] = ids[rows.astype(int)[:, None], columns.astype(int)]
    return square


def _view(maps: dict[str, Tensor], ids: NDArray[np.uint8], photo: Photo) -> View:
    areas = np.bincount(ids.ravel(), minlength=256)
    areas[IGNORED] = 0
    shown = [o for o in photo.labelled(ids) if areas[o.id] >= _SMALLEST]
    return View(
        maps,
        ids,
        {o.id: o.name or "" for o in shown},
        {o.id: bool(o.thing) for o in shown},
        photo.complete and photo.stuff_labelled,
    )


def save(views: Sequence[View], path: Path) -> None:
    """Keep views for another run, all or none of them. Raises StorageError."""
    fresh = path.with_name(atomic.temporary_name())
    try:
        torch.save([(v.maps, torch.from_numpy(v.ids), v.names, v.things, v.complete) for v in views], fresh)
        fresh.replace(path)
    except (OSError, RuntimeError) as error:  # torch answers a full disk with words of its own
        raise StorageError(
            f"{path}: can't be written ({' '.join(str(error).split())[:80]}); make room there"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def load(path: Path) -> list[View]:
    """The views that `save` kept."""
    rows = torch.load(path, map_location="cpu", weights_only=True)
    return [View(maps, ids.numpy(), names, things, complete) for maps, ids, names, things, complete in rows]
