"""What JPEG leaves of a photo, without the file: the 8x8 cosine transform, its coefficients rounded to the steps of a
quality, and back (ITU-T T.81, sections A.3.3, A.3.4 and tables K.1 and K.2; colours in full resolution)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg_noise(images: Tensor, quality: Tensor) -> Tensor:
    """Photos [B, 3, H, W] in 0..255 as they come back from JPEG of `quality` [B], 1..100 (the scale of libjpeg)."""
    height, width = images.shape[2:]
    wide = F.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
    transform = _cosines(images.device)
    ycc = torch.einsum("kc,bchw->bkhw", images.new_tensor(_TO_YCC), wide)
    ycc[:, 0] -= 128
    blocks = ycc.reshape(len(ycc), 3, ycc.shape[2] // 8, 8, ycc.shape[3] // 8, 8)
    coefficients = torch.einsum("uy,vx,bcjyix->bcjuiv", transform, transform, blocks)
    step = _steps(quality.to(images.device))[:, :, None, :, None, :]
    coefficients = (coefficients / step).round() * step
    blocks = torch.einsum("uy,vx,bcjuiv->bcjyix", transform, transform, coefficients)
    ycc = blocks.flatten(4).flatten(2, 3)
    ycc[:, 0] += 128
    rgb = torch.einsum("kc,bchw->bkhw", images.new_tensor(_TO_RGB), ycc)
    return rgb[..., :height, :width].clamp(0, 255)


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal transform of 8 values, [frequency, place]."""
    u, x = torch.arange(8.0, device=device)[:, None], torch.arange(8.0, device=device)
    table = 0.5 * torch.cos((2 * x + 1) * u * math.pi / 16)
    table[0] /= math.sqrt(2)
    return table


def _steps(quality: Tensor) -> Tensor:
    """Steps of the three planes, [B, 3, 8, 8]."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    tables = torch.tensor([_LUMA, _CHROMA, _CHROMA], device=quality.device, dtype=torch.float32).view(3, 8, 8)
    return ((tables * percent.float()[:, None, None, None] + 50) / 100).floor().clamp(1, 255)
