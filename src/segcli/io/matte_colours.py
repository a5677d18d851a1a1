"""What the object's own colour is where background shines through.

M. Forte, "Approximate Fast Foreground Colour Estimation" (ICIP 2021): blurs of the photo, weighted by opacity and by
transparency, guess both colours; what the photo shows beyond the guess is given to the foreground by its share. A wide
blur first, a narrow one around its result. Box blurs see only so far, so tiles with enough around them give exactly
what the whole photo would.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NARROW = 6
"""Radius of the second blur in pixels."""


def reach(width: int) -> int:
    """How many pixels around a tile its colours depend on, for a band `width` to either side of the border."""
    return _wide(width) + NARROW


def foreground(
    colors: NDArray[np.float32], alpha: NDArray[np.float32], width: int, border: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """float32 [h, w, 3] in [0, 1]: the object's colours where `border` (bool [h, w]), the photo's elsewhere.

    colors: float32 [h, w, 3] in [0, 1]. alpha: float32 [h, w] in [0, 1]. width: of the band, in pixels.
    """
    first = _fused(colors, colors, colors, alpha, _wide(width))
    found, _ = _fused(colors, *first, alpha, NARROW)
    return np.where(border[..., None], found, colors)


def _wide(width: int) -> int:
    return max(2 * width + 2, 2 * NARROW)


def _fused(
    colors: NDArray[np.float32],
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    alpha: NDArray[np.float32],
    radius: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Foreground and background: equations 5 to 7 of the paper."""
    clear = 1 - alpha
    ahead, behind = np.empty_like(colors), np.empty_like(colors)
    weight, rest = _blurred(alpha, radius) + 1e-5, _blurred(clear, radius) + 1e-5
    for channel in range(3):
        ahead[..., channel] = _blurred(front[..., channel] * alpha, radius) / weight
        behind[..., channel] = _blurred(back[..., channel] * clear, radius) / rest
    share = alpha[..., None]
    ahead += share * (colors - share * ahead - (1 - share) * behind)
    return np.clip(ahead, 0, 1, out=ahead), np.clip(behind, 0, 1, out=behind)


def _blurred(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    from scipy import ndimage

    blurred: NDArray[np.float32] = ndimage.uniform_filter(values, 2 * radius + 1, mode="nearest")
    return blurred
