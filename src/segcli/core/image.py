"""A photo, decoded and upright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Image:
    """A photo as every part of seg sees it: EXIF orientation applied, sRGB bytes.

    pixels: uint8 [h, w, 3]. May be smaller than `size` when the reader decoded at a reduced scale.
    size:   (H, W) of the upright photo at full resolution; every coordinate and mask refers to it.
    name:   what messages and outputs call it (a path as the user gave it, or "-").
    alpha:  uint8 [h, w] of the file's own transparency, or None.
    icc, exif: the file's colour profile and EXIF block (orientation reset to 1), kept for cut-outs.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    name: str = "-"
    alpha: NDArray[np.uint8] | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def reduced(self) -> bool:
        """True when `pixels` are fewer than the photo has."""
        return self.pixels.shape[:2] != self.size
