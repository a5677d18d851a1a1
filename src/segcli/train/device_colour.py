"""Colours of a batch of photos changed at random, as `views.recolour` does, and what cameras and files do to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segcli.train.chance import Chance
from segcli.train.jpeg_noise import jpeg_noise

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Colour:
    """How often, and within what. `colour` counts for brightness, contrast and saturation each."""

    colour: float = 0.6
    least: float = 0.65
    most: float = 1.4
    blur: float = 0.1
    grey: float = 0.05
    jpeg: float = 0.0
    quality: tuple[int, int] = (30, 95)


def recolour(images: Tensor, config: Colour, chance: Chance) -> Tensor:
    """Photos float [B, 3, H, W] in 0..255, some darker, flatter, paler, blurred, grey or coarsely compressed."""
    count = len(images)
    brightness, contrast, saturation = (
        torch.where(
            chance.hits(config.colour, count), chance.uniform(count, low=config.least, high=config.most), 1.0
        ).to(images)[:, None, None, None]
        for _ in range(3)
    )
    images = (images * brightness).clamp(0, 255)
    mean = luma(images).mean((2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 255)
    grey = luma(images)
    images = (grey + (images - grey) * saturation).clamp(0, 255)
    blurred = chance.hits(config.blur, count).nonzero()[:, 0]
    sigma = chance.uniform(count, low=0.3, high=1.2)[blurred]
    if len(blurred):
        some = blurred.to(images.device)
        images = images.index_copy(0, some, gaussian(images[some], sigma.to(images)))
    paled = chance.hits(config.grey, count).to(images.device)[:, None, None, None]
    images = torch.where(paled, luma(images), images)
    pressed = chance.hits(config.jpeg, count).nonzero()[:, 0]
    quality = chance.uniform(count, low=config.quality[0], high=config.quality[1] + 1).floor()[pressed]
    if len(pressed):
        some = pressed.to(images.device)
        images = images.index_copy(0, some, jpeg_noise(images[some], quality))
    return images


def luma(images: Tensor) -> Tensor:
    """Brightness [B, 1, H, W] of photos [B, 3, H, W]."""
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def gaussian(planes: Tensor, sigma: Tensor) -> Tensor:
    """Planes [B, C, H, W], each of the batch blurred with its own standard deviation [B], up to 2.5 pixels."""
    batch, channels, height, width = planes.shape
    radius = 7
    place = torch.arange(-radius, radius + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-0.5 * (place / sigma[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    x = planes.reshape(1, batch * channels, height, width)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=len(kernel))
    x = F.conv2d(F.pad(x, (0, 0, radius, radius), mode="replicate"), kernel[:, None, :, None], groups=len(kernel))
    return x.view(planes.shape)
