"""`palette`: one indexed PNG a photo, pixel value = mask id, in the colours of DAVIS and PASCAL VOC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from segcli.core.colors import davis_palette
from segcli.core.errors import ItemError
from segcli.core.prediction import Prediction
from segcli.core.rle import encode_ids, inside_runs
from segcli.io.formats.base import PerPhoto
from segcli.io.formats.contract import Annotation, Answered, Options, Rendered
from segcli.io.images import read_indexed
from segcli.io.png import write_png


def paint_ids(prediction: Prediction, dtype: type[np.uint8 | np.uint32]) -> NDArray[np.uint8 | np.uint32]:
    """Ids [H, W], 0 where no mask is. Where masks overlap the one named first lies on top."""
    columns: NDArray[np.uint8 | np.uint32] = np.zeros(prediction.size[::-1], dtype=dtype)
    flat = columns.reshape(-1)
    for rle, number in zip(reversed(prediction.masks), reversed(prediction.ids), strict=True):
        starts, stops = inside_runs(rle)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            flat[start:stop] = number
    return np.ascontiguousarray(columns.T)


class Palette(PerPhoto):
    """What DAVIS-style tools read and write."""

    name = "palette"

    def render(self, answered: Answered, options: Options) -> list[Rendered]:
        """One PNG, blank when there is no target. Raises ItemError when an id does not fit one byte."""
        prediction = answered.prediction
        if len(prediction) and not 0 < min(prediction.ids) <= max(prediction.ids) <= 255:
            raise ItemError(
                f"{answered.image.name}: {len(prediction)} masks with ids up to {max(prediction.ids)}, a palette holds "
                f"1 to 255: use -f panoptic, coco or npz"
            )
        ids = paint_ids(prediction, np.uint8)
        return [Rendered(write_png(ids.astype(np.uint8, copy=False), palette=davis_palette()), ".png", self.name)]

    def read(
        self, path: Path, *, size: tuple[int, int] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[Annotation]:
        """A mask for each id in the file except 0."""
        ids = read_indexed(path, str(path))
        shape = (ids.shape[0], ids.shape[1])
        if size is not None and shape != size:
            raise ItemError(f"{path}: has {shape[1]} x {shape[0]} pixels, the photo has {size[1]} x {size[0]}")
        relative = PurePosixPath(path.stem)
        present = encode_ids(ids)
        for number, rle in present.items():
            yield Annotation(relative, shape, rle, id=number)
        if not present:
            yield Annotation(relative, shape, None)


FORMAT = Palette()
