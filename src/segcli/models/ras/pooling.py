"""Masks on the grids of feature maps, and features inside masks ("mask pooling", section on the mask token).

A photo is padded to a square (half of the rest on either side, the odd pixel to the right or below) and so are its
masks. On a map of n x n cells a mask becomes weights: the share of each cell's area that it covers, exactly, also
where a cell is no whole number of pixels. A mask with any pixel inside therefore has a positive weight somewhere;
sampling or thresholding would lose the small ones, and falls back to the area where it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segcli.core.rle import Rle, decode_tight
from segcli.models.ras.config import Pool

Weights = NDArray[np.float32]


def square_offset(size: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns left of a photo of `size` (H, W) when it is padded to a square."""
    side = max(size)
    return (side - size[0]) // 2, (side - size[1]) // 2


def grid_weights(mask: Rle, sides: Sequence[int], pool: Pool = "area") -> list[Weights]:
    """For each map side n the weights float32 [n, n] of `mask`, in the padded square of its photo.

    Raises ValueError for a mask with nothing inside.
    """
    x, y, inside = decode_tight(mask)
    if not inside.size:
        raise ValueError("a mask with nothing inside has no features")
    top, left = square_offset(mask.size)
    side = max(mask.size)
    # What lies above each row border within the window: its integral, linear between the borders.
    integral = np.zeros((inside.shape[0] + 1, inside.shape[1]), np.float64)
    np.cumsum(inside, axis=0, out=integral[1:])
    found = []
    for n in sides:
        if pool == "nearest":
            weights = _sampled(inside, y + top, x + left, side, n)
        else:
            weights = _area(integral, y + top, x + left, side, n)
        if pool == "threshold":
            weights = np.where(weights >= 0.5, 1.0, 0.0)
        if not weights.any():
            weights = _area(integral, y + top, x + left, side, n)
        found.append(weights.astype(np.float32))
    return found


def _area(integral: NDArray[np.float64], top: int, left: int, side: int, n: int) -> NDArray[np.float64]:
    rows = np.diff(_interpolated(integral, np.arange(n + 1) * (side / n) - top), axis=0)
    across = np.zeros((rows.shape[1] + 1, n))
    np.cumsum(rows.T, axis=0, out=across[1:])
    covered = np.diff(_interpolated(across, np.arange(n + 1) * (side / n) - left), axis=0).T
    return np.asarray(covered / (side / n) ** 2)


def _interpolated(integral: NDArray[np.float64], at: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of `integral` at fractional places, linear between them and constant outside."""
    at = np.clip(at, 0, len(integral) - 1)
    low = np.minimum(at.astype(np.intp), len(integral) - 2)
    share = (at - low)[:, None]
    return np.asarray(integral[low] * (1 - share) + integral[low + 1] * share)


def _sampled(inside: NDArray[np.bool_], top: int, left: int, side: int, n: int) -> NDArray[np.float64]:
    """The pixel at each cell's upper left corner."""
    at = np.arange(n) * side // n
    rows, columns = at - top, at - left
    weights = np.zeros((n, n))
    in_rows = (rows >= 0) & (rows < inside.shape[0])
    in_columns = (columns >= 0) & (columns < inside.shape[1])
    weights[np.ix_(in_rows, in_columns)] = inside[np.ix_(rows[in_rows], columns[in_columns])]
    return weights


def pooled(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of a map [C, h, w] under weights [N, h, w]: [N, C]. Weights of zero sum are the caller's bug."""
    flat = weights.flatten(1).to(features.dtype)
    return flat @ features.flatten(1).T / flat.sum(1, keepdim=True)


def area_means(picture: Tensor, side: int) -> Tensor:
    """[C, n, n] -> [C, side, side], the mean of each cell's area, exactly where cells are no whole number of pixels."""
    n = picture.shape[-1]
    edges = torch.arange(side + 1, dtype=torch.float64) * (n / side)
    pixel = torch.arange(n, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    shares = (covered.clamp(min=0) * (side / n)).to(picture)
    return torch.einsum("ih,chw,jw->cij", shares, picture, shares)


def geometry(mask: Rle) -> Weights:
    """Where a mask is and how large: float32 [`GEOMETRY`], ours (the published mask token has only the position map).

    Box, centre of mass, width, height and share of the photo's area, each in [0, 1] of the photo; the logarithm of the
    area; and each as sines and cosines of rising frequency, so that small differences between two masks are seen.
    """
    x, y, inside = decode_tight(mask)
    height, width = mask.size
    area = float(inside.sum())
    columns, rows = inside.sum(0), inside.sum(1)
    cx = (float(columns @ np.arange(len(columns))) / area + x + 0.5) / width
    cy = (float(rows @ np.arange(len(rows))) / area + y + 0.5) / height
    w, h = inside.shape[1] / width, inside.shape[0] / height
    share = area / (height * width)
    log_area = 1 + float(np.log10(share)) / 5  # a hundred-thousandth of the photo is 0
    plain = np.array([x / width, y / height, x / width + w, y / height + h, cx, cy, w, h, share, log_area])
    waves = np.pi * plain[:, None] * 2.0 ** np.arange(_WAVES)
    return np.concatenate([plain, np.sin(waves).ravel(), np.cos(waves).ravel()]).astype(np.float32)


_WAVES = 5
GEOMETRY = 10 * (1 + 2 * _WAVES)


def on_device(weights: Sequence[Weights], like: Tensor) -> Tensor:
    """Weights of N masks as one tensor [N, n, n] beside `like`."""
    return torch.from_numpy(np.stack(weights)).to(like.device)
