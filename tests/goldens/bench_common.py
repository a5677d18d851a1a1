"""What the checks of `bench` goldens share."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.goldens.contract import Golden

Difference = tuple[str, float, str]


def load_json(golden: Golden, name: str) -> Any:
    return json.loads((golden.directory / name).read_text(encoding="utf-8"))


def gap(mine: Any, theirs: Any) -> float:
    """Absolute difference; NaN and None are equal to each other and to nothing else."""
    a, b = (float("nan") if v is None else float(v) for v in (mine, theirs))
    if np.isnan(a) or np.isnan(b):
        return 0.0 if np.isnan(a) and np.isnan(b) else float("inf")
    return abs(a - b)


def same(mine: Any, theirs: Any) -> float:
    """0 for equal values (arrays elementwise), else infinite."""
    return 0.0 if np.array_equal(np.asarray(mine), np.asarray(theirs)) else float("inf")


def unpacked(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A bool array of `shape` from numpy's packbits."""
    return np.unpackbits(packed)[: int(np.prod(shape))].reshape(shape).astype(np.bool_)
