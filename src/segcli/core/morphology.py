"""Growing and shrinking masks by square windows, in time that hardly depends on the window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """bool [H, W]: inside where any pixel at most `radius` rows and columns away is inside."""
    return _any_within(_any_within(mask, radius, 0), radius, 1)


def erode(mask: NDArray[np.bool_], radius: int, *, outside: bool = True) -> NDArray[np.bool_]:
    """bool [H, W]: inside where every pixel at most `radius` rows and columns away is inside.

    `outside` is what lies beyond the photo's edge: True leaves a mask that is cut off there as it is.
    """
    return ~_any_within(_any_within(~mask, radius, 0, not outside), radius, 1, not outside)


def _any_within(mask: NDArray[np.bool_], radius: int, axis: int, beyond: bool = False) -> NDArray[np.bool_]:
    """Along one axis. The window doubles at every step, so that a wide one costs its logarithm."""
    widths = [(radius, radius) if n == axis else (0, 0) for n in range(2)]
    spread = np.pad(mask, widths, constant_values=beyond)
    window = 1
    while window < 2 * radius + 1:
        step = min(window, 2 * radius + 1 - window)
        spread = spread[:-step] | spread[step:] if axis == 0 else spread[:, :-step] | spread[:, step:]
        window += step
    return spread
