"""Photos and masks to canvases and back, bit for bit as the published image inference does it.

Photos are resized with Pillow's bicubic filter, masks with its nearest one (pixel centres); the aspect is not kept.
Numbers stay float64 until the model's input is cast to float32. What the model paints goes back with torch's nearest
rule, which does not use pixel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

MEAN: NDArray[np.float64] = np.array([0.485, 0.456, 0.406])
STD: NDArray[np.float64] = np.array([0.229, 0.224, 0.225])
BINARY_THRESHOLD = 128.0
"""Channel mean (0 to 255) above which the published video loop takes a pixel as the object."""

Pixels = NDArray[np.uint8]
Unit = NDArray[np.float64]


def resized_photo(pixels: Pixels, side: int) -> Pixels:
    """uint8 [H, W, 3] -> [side, side, 3], bicubic."""
    return np.asarray(Pillow.fromarray(pixels).resize((side, side), Pillow.Resampling.BICUBIC))


def resized_mask(pixels: Pixels, side: int) -> Pixels:
    """uint8 [H, W, 3] -> [side, side, 3], nearest; greys at antialiased edges are kept."""
    return np.asarray(Pillow.fromarray(pixels).resize((side, side), Pillow.Resampling.NEAREST))


def unit(pixels: Pixels) -> Unit:
    """uint8 -> float64 in [0, 1]."""
    return np.asarray(pixels / 255.0)


def normalised(values: Unit) -> Tensor:
    """Colours in [0, 1], [..., H, W, 3] -> what the model reads, float32 [..., 3, H, W]."""
    scaled = (values - MEAN) / STD
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, -3))).float()


def stacked(upper: Sequence[Unit], lower: Sequence[Unit]) -> Tensor:
    """Halves [side, side, 3], one of each a sample -> normalised canvases [B, 3, 2*side, side]."""
    return normalised(np.stack([np.concatenate(pair, axis=0) for pair in zip(upper, lower, strict=True)]))


def model_input(pictures: Sequence[Pixels], like: Tensor) -> Tensor:
    """Pictures uint8 [side, side, 3] -> normalised [N, 3, side, side] on the device and in the dtype of `like`."""
    return normalised(unit(np.stack(pictures))).to(like)


def lower_half(canvas: Tensor) -> Tensor:
    """The query's half of canvases [..., 3, 2*side, side]: [..., 3, side, side]."""
    return canvas[..., canvas.shape[-2] // 2 :, :]


def painted(half: Tensor) -> Unit:
    """A normalised half [3, side, side] -> colours float64 [side, side, 3], clipped to 0..255, not rounded."""
    values = half.detach().cpu().permute(1, 2, 0).double().numpy()
    return np.asarray(np.clip((values * STD + MEAN) * 255, 0, 255))


def resized_output(
    colors: NDArray[np.float64], size: tuple[int, int], mode: Literal["nearest", "bilinear"] = "nearest"
) -> Unit:
    """Painted colours [h, w, C] or a map [h, w] -> the photo's `size` (H, W), by torch's rule for that mode."""
    planes = torch.from_numpy(np.ascontiguousarray(colors)).reshape(*colors.shape[:2], -1).permute(2, 0, 1)[None]
    aligned: dict[str, Any] = {"align_corners": False} if mode == "bilinear" else {}
    resized = F.interpolate(planes, size=size, mode=mode, **aligned)[0].permute(1, 2, 0)
    return resized.reshape(*size, *colors.shape[2:]).contiguous().numpy()


def overlay(photo: Pixels, colors: Unit) -> Pixels:
    """The published picture: uint8 photo [H, W, 3] brightened where `colors` (0..255, same size) are, truncated."""
    return (photo * (0.6 * colors / 255 + 0.4)).astype(np.uint8)


def binary(colors: Unit) -> NDArray[np.bool_]:
    """Painted colours [h, w, 3] -> the object's pixels: channel mean above 128, strictly."""
    return np.asarray(colors.mean(-1) > BINARY_THRESHOLD)
