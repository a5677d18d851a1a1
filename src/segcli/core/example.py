"""A photo that shows what is meant, for models that answer by example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segcli.core.image import Image


@dataclass(frozen=True, eq=False)
class Example:
    """A photo and what is marked in it: `ids` [H, W] of the photo's size, 0 for the background."""

    photo: Image
    ids: NDArray[np.integer]
