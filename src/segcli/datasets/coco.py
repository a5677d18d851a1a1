"""COCO on disk: instances, panoptic, and results in COCO's JSON formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.datasets.files import read_raw


def read_panoptic_png(path: Path) -> NDArray[Any]:
    """Colours uint8 [H, W, 3] of a panoptic PNG, or ids [H, W] where the file has one channel."""
    raw = read_raw(path)
    return np.ascontiguousarray(raw[..., :3]) if raw.ndim == 3 else raw
