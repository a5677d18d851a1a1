"""Mask logits at the photo's size, some rows at a time: 101 masks of a 12-megapixel photo would be 5 GB at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.models.seem.postprocess import Size, resize_masks

BUDGET = 256 << 20
"""Bytes of a strip."""


def strips(
    masks: Tensor, padded: Size, image: Size, output: Size, planes: int = 0, budget: int = BUDGET
) -> Iterator[tuple[slice, Tensor]]:
    """`resize_masks` of mask logits [q, h, w] in strips: rows of the output and their logits [q, rows, W].

    planes: how many planes of this size the caller makes of them, if more than q. Strips differ from the whole by
    float32 rounding only.
    """
    height, width = output
    row_bytes = max(len(masks), planes, 1) * width * 4
    if row_bytes * height <= budget:
        yield slice(0, height), resize_masks(masks, padded, image, output)
        return
    up = F.interpolate(masks[None], size=padded, mode="bilinear", align_corners=False)[0, :, : image[0], : image[1]]
    # Resizing is separable: one matrix for the rows, in which an output row has a few neighbours only.
    rows = _row_weights(image[0], height, masks)
    step = max(1, budget // row_bytes)
    for start in range(0, height, step):
        part = rows[start : start + step]
        near = part.ne(0).any(0).nonzero()[:, 0]
        first, last = int(near[0]), int(near[-1]) + 1
        tall = part[:, first:last] @ up[:, first:last]
        size = (int(part.shape[0]), width)
        wide = F.interpolate(tall[None], size=size, mode="bicubic", align_corners=False, antialias=True)
        yield slice(start, start + size[0]), wide[0]


def _row_weights(rows: int, into: int, like: Tensor) -> Tensor:
    """What each of `into` output rows takes of each input row, [into, rows]."""
    each = torch.eye(rows, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(each, size=(into, rows), mode="bicubic", align_corners=False, antialias=True)[0, 0]
