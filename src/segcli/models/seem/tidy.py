"""Small islands and pinholes that nobody pointed at, taken out of a mask.

A person who clicks means one thing; specks far from every click are the model's doubt, not the object. The published
members are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_ISLAND = 0.2  # of the largest part: smaller parts without a positive click go
_HOLE = 0.01  # of the largest part: smaller holes without a negative click are filled


def tidy(logits: Tensor, clicks: Iterable[tuple[float, float, float]]) -> Tensor:
    """Mask logits [h, w] with the sign of small unclicked islands and holes turned.

    clicks: x, y in cells of `logits`, and 1 positive or 0 negative.
    """
    from scipy.ndimage import label

    taken = (logits > 0).numpy()
    height, width = taken.shape
    marks = [(round(y), round(x), sign) for x, y, sign in clicks]
    marks = [(y, x, sign) for y, x, sign in marks if 0 <= y < height and 0 <= x < width]
    turned = np.zeros_like(taken)
    largest = 0
    for inside, part, spared in ((True, _ISLAND, 1.0), (False, _HOLE, 0.0)):
        parts, count = label(taken == inside)
        area = np.bincount(parts.ravel(), minlength=count + 1)
        area[0] = 0
        if inside:
            largest = int(area.max())
        small = area < part * largest
        small[0] = False
        small[[parts[y, x] for y, x, sign in marks if sign == spared]] = False
        if not inside:  # what touches the border is no hole
            for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
                small[np.unique(edge)] = False
        turned |= small[parts] & (parts > 0)
    return torch.where(torch.from_numpy(turned), -logits, logits)
