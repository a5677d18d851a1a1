"""Photos and masks as PSALM sees them: the longest side at the network's size, grey below or to the right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
_GREY = 128  # filled in before the photo is normalised, so padding is not zero for the network

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Fit:
    """A photo of size `photo` is resized to `image` and padded to a square of `side` pixels."""

    photo: Size
    image: Size
    side: int


def fit(photo: Size, side: int) -> Fit:
    """The longest side becomes `side`, smaller photos too; the other one is rounded to the nearest pixel."""
    scale = side / max(photo)
    height, width = (max(1, int(length * scale + 0.5)) for length in photo)
    return Fit(photo, (height, width), side)


def pixel_values(pixels: NDArray[np.uint8], size: Fit) -> Tensor:
    """RGB bytes [h, w, 3] (the photo at any scale) -> normalised float32 [3, side, side]."""
    small = Pillow.fromarray(pixels).resize(size.image[::-1], Pillow.Resampling.BILINEAR)
    square = np.full((size.side, size.side, 3), _GREY, np.uint8)
    square[: size.image[0], : size.image[1]] = np.asarray(small)
    photo = torch.from_numpy(square).permute(2, 0, 1).float()
    return (photo - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def region_mask(mask: NDArray[np.bool_], size: Fit) -> NDArray[np.bool_]:
    """A mask of the photo's size at the network's: nearest pixel, padded."""
    small = Pillow.fromarray(mask.astype(np.uint8)).resize(size.image[::-1], Pillow.Resampling.NEAREST)
    square = np.zeros((size.side, size.side), np.bool_)
    square[: size.image[0], : size.image[1]] = np.asarray(small) != 0
    return square


def full_size(logits: Tensor, size: Fit) -> Tensor:
    """Mask logits [Q, h, w] at the photo's size [Q, H, W]: to the square, crop, to the photo; two bilinear steps."""
    square = F.interpolate(logits[None], size=(size.side, size.side), mode="bilinear", align_corners=False)
    inner = square[..., : size.image[0], : size.image[1]]
    return F.interpolate(inner, size=size.photo, mode="bilinear", align_corners=False)[0]


def scaled_polygon(polygon: NDArray[np.float32], size: Fit) -> NDArray[np.bool_]:
    """A COCO polygon (x, y, x, y, … in the photo's pixels) at the network's size, by COCO's own rasteriser."""
    from pycocotools import mask as coco

    scale = np.array([size.image[1] / size.photo[1], size.image[0] / size.photo[0]])
    scaled = (polygon.reshape(-1, 2).astype(np.float64) * scale).reshape(-1)
    raw = coco.merge(coco.frPyObjects([scaled.tolist()], size.image[0], size.image[1]))
    square = np.zeros((size.side, size.side), np.bool_)
    square[: size.image[0], : size.image[1]] = coco.decode(raw) != 0
    return square


def visible_mask(mask: NDArray[np.bool_], size: Fit) -> NDArray[np.bool_]:
    """`region_mask`, except that a mask which falls between the network's pixels keeps the nearest one.

    Raises ValueError for an empty mask.
    """
    square = region_mask(mask, size)
    if not square.any():
        rows, columns = np.nonzero(mask)
        if not len(rows):
            raise ValueError("an empty mask marks no region")
        row = int((rows.mean() + 0.5) * size.image[0] / size.photo[0])
        column = int((columns.mean() + 0.5) * size.image[1] / size.photo[1])
        square[min(row, size.image[0] - 1), min(column, size.image[1] - 1)] = True
    return square
